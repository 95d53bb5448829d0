"""Programs as black boxes: the protocol, every way in which a program can fail, and that none is left behind."""

import copy
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF import registry
from RecurrentFF.errors import BlackBoxError, CheckpointError, SettingsError
from RecurrentFF.model.black_box_functions import ChildProcess, Draws, ProgramFunction, RunningProgram
from RecurrentFF.model.black_box_processes import Program
from RecurrentFF.model.black_boxes import BlackBox, BlackBoxKind
from RecurrentFF.model.connections import Dense
from tests.helpers import CLASSES, clusters, generator

PARTS = """
import os, struct, sys, time
source, target = sys.stdin.buffer, sys.stdout.buffer
def start(version=1, magic=b"RFFB"):
    assert source.read(8) == b"RFFB" + struct.pack("<I", 1)
    target.write(magic + struct.pack("<I", version))
    target.flush()
def request():
    header = source.read(12)
    if not header:
        sys.exit()
    length, rows, columns = struct.unpack("<III", header)
    assert length == 8 + 4 * rows * columns
    return rows, columns, struct.unpack(f"<{rows * columns}f", source.read(4 * rows * columns))
def answer(rows, columns, numbers):
    target.write(struct.pack("<III", 8 + 4 * len(numbers), rows, columns) + struct.pack(f"<{len(numbers)}f", *numbers))
    target.flush()
"""
"""The protocol in plain Python, without the package."""

DOUBLE = "start()\nwhile True:\n    rows, columns, numbers = request()\n    answer(rows, columns, [2 * n for n in numbers])"


def program(code: str, timeout: float = 20.0, start_timeout: float = 20.0) -> Program:
    return Program([sys.executable, "-I", "-S", "-c", PARTS + code], timeout, start_timeout)


def rows_of(n: int = 3, units: int = 2) -> Tensor:
    return torch.randn(n, units, generator=generator())


def runs(pid: int | None) -> bool:
    """True if a process runs, for which it has ten seconds to end; false if there is none, or it has only not been waited for."""
    assert pid is not None
    for _ in range(1000):
        stat = Path(f"/proc/{pid}/stat")
        try:
            state = stat.read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def double() -> Iterator[Program]:
    """A program that doubles numbers."""
    made = program(DOUBLE)
    yield made
    made.end()


# ---------------------------------------------------------------- the protocol


def test_a_program_starts_with_the_first_call_and_answers_any_number_of_requests(double: Program) -> None:
    assert double.pid is None
    pids: list[int | None] = []
    for n in (3, 1, 0, 2000):
        assert torch.equal(double(rows_of(n)), 2 * rows_of(n))
        pids.append(double.pid)
    assert len(set(pids)) == 1 and pids[0] is not None


def test_the_package_has_a_server_for_functions_of_arrays_whose_prints_do_no_harm() -> None:
    code = "from RecurrentFF.model.black_box_protocol import serve; serve(lambda rows: print('note') or rows > 0)"
    served = Program([sys.executable, "-c", code], 20, 20)
    for _ in range(2):
        assert torch.equal(served(rows_of()), (rows_of() > 0).float())
    served.end()


# ---------------------------------------------------------------- faults

FAULTS: dict[str, tuple[Any, str]] = {
    "no program": (["/nowhere/program"], r"black box /nowhere/program: the program can't be started \(No such file or directory"),
    "no command": ([], "can't be started"),
    "zero byte": (["a\0b"], r"can't be started \(embedded null byte\)"),
    "a folder": (["/"], r"can't be started \(Permission denied\)"),
    "ends at once": ("sys.exit(3)", "the program has ended with exit code 3$"),
    "error at once": ("import no_such_module", r"exit code 1 \(ModuleNotFoundError: No module named 'no_such_module'\)$"),
    "error at a request": ("start(); request(); 1 / 0", r"exit code 1 \(ZeroDivisionError: division by zero\)$"),
    "ends well at a request": ("start(); request()", "has ended with exit code 0$"),
    "killed": ("start(); request(); os.kill(os.getpid(), 9)", "was ended by signal 9"),
    "closes its output": ("start(); request(); os.close(1); time.sleep(60)", "has closed its input or output"),
    "half an answer": (
        "start(); request(); target.write(struct.pack('<III', 32, 3, 2)); target.flush()",
        "ended with exit code 0",
    ),
    "another start": (
        "start(magic=b'note')",
        r"first bytes of its output are b'note\\x01\\x00\\x00\\x00', not those .*; messages .* belong to its standard error$",
    ),
    "another version": ("start(version=2)", "speaks version 2 of the protocol, but this package speaks version 1"),
    "another shape": (
        "start(); request(); answer(2, 3, [0.0] * 6)",
        r"it answered with 32 bytes of shape \(2, 3\), expected \(3, 2\)$",
    ),
    "fewer numbers": ("start(); request(); answer(3, 2, [0.0] * 5)", r"with 28 bytes of shape \(3, 2\), expected \(3, 2\)$"),
    "a print": (
        "start(); request(); print('some text of a program'); sys.stdout.flush()",
        "its answer begins with b'some text of', which is no header .*; messages .* belong to its standard error$",
    ),
    "not a number": ("start(); request(); answer(3, 2, [float('nan')] * 6); request()", "numbers that are NaN or infinite"),
    "infinity": ("start(); request(); answer(3, 2, [float('inf')] * 6); request()", "numbers that are NaN or infinite"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_program_that_fails_is_told_of_in_one_line_and_ended(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if case == "closes its output":
        monkeypatch.setattr("RecurrentFF.model.black_box_processes.PATIENCE", 0.1)
    code, message = FAULTS[case]
    failing = Program(code, 20, 20) if isinstance(code, list) else program(code)
    with pytest.raises(BlackBoxError, match=message) as caught:
        failing(rows_of())
    assert "\n" not in str(caught.value) and str(caught.value).startswith("black box ")
    assert failing.pid is None


@needs_proc
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("time.sleep(60)", r"it has not started within 0\.3 s; use a longer start_timeout, or"),
        ("start(); request(); time.sleep(60)", r"it has not answered within 0\.3 s; use a longer timeout, or"),
        ("start(); request(); os.fork() or time.sleep(60); time.sleep(60)", r"it has not answered within 0\.3 s"),
        ("start(); time.sleep(60)", r"it has not answered within 0\.3 s"),  # it does not read a request that fills the pipe
    ],
)
def test_a_program_that_is_late_is_killed_with_what_it_has_started(
    code: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []
    kill = os.killpg
    monkeypatch.setattr(os, "killpg", lambda pid, number: pids.append(pid) or kill(pid, number))  # type: ignore[func-returns-value]
    late = program(code, timeout=0.3, start_timeout=0.3 if code.startswith("time") else 20)
    with pytest.raises(BlackBoxError, match=message):
        late(rows_of(100_000))
    assert pids and not runs(pids[0])


def test_what_is_not_finite_in_the_request_may_be_so_in_the_answer(double: Program) -> None:
    assert double(torch.full((2, 2), torch.nan)).isnan().all()


def test_another_call_starts_the_program_again(double: Program) -> None:
    double(rows_of())
    first = double.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(BlackBoxError, match="was ended by signal 9"):
        double(rows_of())
    assert torch.equal(double(rows_of()), 2 * rows_of()) and double.pid != first


def test_an_interrupted_request_ends_the_program(double: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    double(rows_of())
    running: Any = double._running

    def interrupted(size: int) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        double(rows_of())
    assert double.pid is None and torch.equal(double(rows_of()), 2 * rows_of())


# ---------------------------------------------------------------- the life of a program


@needs_proc
def test_a_program_ends_with_its_object_and_is_killed_if_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("RecurrentFF.model.black_box_processes.PATIENCE", 0.1)
    for code in (DOUBLE, DOUBLE.replace("while True", "while source.peek(1) or time.sleep(60) is None")):
        made = program(code)
        made(rows_of())
        pid = made.pid
        assert pid is not None and Path(f"/proc/{pid}").exists()
        del made
        assert not runs(pid)


def test_copies_and_pickles_start_a_program_of_their_own(double: Program) -> None:
    double(rows_of())
    for other in (copy.deepcopy(double), pickle.loads(pickle.dumps(double))):
        assert other.pid is None and torch.equal(other(rows_of()), 2 * rows_of())
        assert other.pid != double.pid
        other.end()
    assert torch.equal(double(rows_of()), 2 * rows_of())


@needs_proc
def test_a_forked_process_starts_a_program_of_its_own(double: Program) -> None:
    double(rows_of())
    child = os.fork()
    if child == 0:  # the rest of the test is for the parent alone
        code = 1
        try:
            parents = double.pid
            code = 0 if torch.equal(double(rows_of()), 2 * rows_of()) and double.pid != parents else 2
            double.end()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(double(rows_of()), 2 * rows_of())


def test_a_program_is_ended_when_python_exits(double: Program) -> None:
    double(rows_of())
    running: Any = double._running
    assert running.finalizer.alive and running.finalizer.atexit
    running.finalizer()  # as at the exit
    assert running.process.poll() == 0
    double.end()


@needs_proc
def test_a_program_ends_by_itself_when_python_is_killed() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            killed = program(DOUBLE)
            killed(rows_of())
            os.write(writer, str(killed.pid).encode())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert not runs(int(pipe.read()))


# ---------------------------------------------------------------- in a network


def child(code: str = DOUBLE, **options: Any) -> ChildProcess:
    return ChildProcess(command=(sys.executable, "-I", "-S", "-c", PARTS + code), **options)


def test_each_connection_has_a_program_and_gradients_do_not_call_it() -> None:
    first, second = (BlackBox(Dense({"h1": 5}, 4), child()) for _ in range(2))
    read, grad = torch.randn(5, 2, 3), torch.randn(4, 2, 3)
    drive, after = first([read])
    torch.testing.assert_close(drive, first.inner([2 * read])[0])
    own: Any = first._applied
    other: Any = second._applied
    pid = own.program.pid
    assert pid is not None and other.program.pid is None
    own.program.end()
    first.gradients([read], grad, None, after)
    assert own.program.pid is None and copy.deepcopy(first)._applied is not own


def test_a_program_gets_and_gives_float32_whatever_the_network_computes_in() -> None:
    applied = RunningProgram(program(DOUBLE))
    for dtype in (torch.bfloat16, torch.float64):
        values = torch.randn(3, 2, 4).to(dtype)
        found = applied.apply(values, Draws(None))
        assert found.dtype == dtype and torch.equal(found, (2 * values.float()).to(dtype))
    applied.program.end()


def test_a_function_alone_runs_a_program_for_the_call() -> None:
    assert child().apply(torch.ones(2, 1, 3), Draws(None)).tolist() == [[[2.0] * 3]] * 2


def network_of(function: Any) -> rff.Network:
    connections = [BlackBoxKind(layers=(1,), sources=("lateral",), function=function)]
    return rff.build(
        input_size=7, num_classes=CLASSES, hidden_sizes=[6, 5], connections=connections, device="cpu", prelabel_timesteps=1,
        label_timesteps=3, batch_size=10, epochs=1,
    )  # fmt: skip


def test_a_network_trains_through_a_program_and_a_checkpoint_never_names_a_command_that_is_run(tmp_path: Path) -> None:
    network, (inputs, labels) = network_of(child()), clusters(20)
    rff.fit(network, (inputs, labels), quiet=True)
    rff.save(network, tmp_path / "network.safetensors")
    with pytest.raises(CheckpointError, match=r"ChildProcess': .*pass it again, as connections=…"):
        rff.load(tmp_path / "network.safetensors", "cpu")
    loaded = rff.load(tmp_path / "network.safetensors", "cpu", connections=network.settings.network.connections)
    assert torch.equal(loaded.badness(inputs), network.badness(inputs))


def test_a_program_of_ones_own_can_be_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._classes, "black_box", dict(registry._classes["black_box"]))

    @rff.register("black_box", "double")
    @dataclass(frozen=True)
    class Double(ProgramFunction):
        def command_line(self) -> list[str]:
            return [*child().command]

    network, inputs = network_of({"name": "double", "timeout": 15.0}), clusters(3)[0]
    rff.save(network, tmp_path / "network.safetensors")
    loaded = rff.load(tmp_path / "network.safetensors", "cpu")
    assert torch.equal(loaded.badness(inputs), network.badness(inputs))
    assert loaded.settings.network.connections[0].function == Double(timeout=15.0)  # type: ignore[attr-defined]


def test_a_failing_program_ends_a_training_with_its_line() -> None:
    network = network_of(child("start(); request(); sys.exit('no license')"))
    with pytest.raises(BlackBoxError, match=r"ended with exit code 1 \(no license\)"):
        rff.fit(network, clusters(20), quiet=True)


def test_an_empty_command_and_a_wrong_timeout_are_refused() -> None:
    with pytest.raises(SettingsError, match="ChildProcess: command is empty; name the program and its arguments"):
        ChildProcess()
    with pytest.raises(SettingsError, match=r"timeout = 0\.0: expected a number above 0"):
        child(timeout=0.0)
