"""Failures of one of several processes: all others end with one line that says which process has failed, and why."""

import os
import random
import re
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from RecurrentFF.benchmarks import run
from RecurrentFF.benchmarks.flags import exit_code
from RecurrentFF.distributed.agreement import facts_of, require_agreement
from RecurrentFF.distributed.signs import Sign
from RecurrentFF.errors import CallbackError, ProcessError, SettingsError
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training import checkpoint
from RecurrentFF.training.callbacks import Callback
from RecurrentFF.training.callbacks.plots import Plots
from RecurrentFF.training.summary import Summary
from RecurrentFF.training.trainer import Trainer
from tests.several_processes import Started, environment, free_port

pytestmark = [pytest.mark.faults, pytest.mark.skipif(sys.platform == "win32", reason="the processes are forked")]


def settings_of(mode: str = "data", timeout: float = 30.0, **options: Any) -> Settings:
    """A small network that trains for ever."""
    data = {"name": "associative_retrieval", "train_samples": 60, "validation_samples": 10, "test_samples": 10}
    defaults: dict[str, Any] = {
        "data": data, "hidden_sizes": [8, 7, 6], "epochs": 10_000, "batch_size": 20, "device": "cpu", "compile": False,
        "precision": "float32", "label_timesteps": 3, "distributed": {"mode": mode, "timeout": timeout},
    }  # fmt: skip
    return Settings.from_arguments(**(defaults | options))


class Mark(Callback):
    """A file of the number of batches that a process has trained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        (self.folder / f"batches-{os.environ.get('RANK', '0')}").open("a").write(".")


class Slow(Callback):
    """Batches that take a while."""

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        time.sleep(0.02)


def train(settings: Settings, folder: Path, callbacks: Sequence[Callback] = ()) -> int:
    """The command that trains, without its plots, which take most of the time."""
    Plots.on_summary = lambda *arguments: None  # type: ignore[method-assign]
    return exit_code(lambda: run.start(settings, folder / "runs", callbacks=[Mark(folder), *callbacks]))


def started(count: int, settings: Any, folder: Path, callbacks: Any = (), **variables: str) -> Started:
    return Started(count, train, settings, folder, callbacks, folder=folder, **variables)


def wait_for_batches(folder: Path, rank: int, batches: int) -> None:
    file = folder / f"batches-{rank}"
    end = time.monotonic() + 30
    while not (file.exists() and file.stat().st_size >= batches):
        assert time.monotonic() < end, [path.read_text() for path in folder.glob("err-*")]
        time.sleep(0.005)


def require_whole_files(folder: Path) -> None:
    """No file under its final name is half-written."""
    (path,) = (folder / "runs").iterdir()
    checkpoint.read(path / "last.safetensors")
    if (path / "best.safetensors").exists():
        checkpoint.read(path / "best.safetensors")


@pytest.mark.parametrize(("mode", "seed"), [("data", 0), ("layer", 1), ("layer", 2)])
def test_a_process_that_is_killed_at_any_moment_ends_the_others(mode: str, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    victim = chance.randrange(3)
    processes = started(3, settings_of(mode), tmp_path)
    wait_for_batches(tmp_path, victim, chance.randrange(1, 12))
    time.sleep(chance.random() / 20)
    processes.signal(victim, signal.SIGKILL)
    codes = processes.wait(15)
    assert codes == [-9 if rank == victim else 2 for rank in range(3)]
    (line,) = processes.lines()
    (path,) = (tmp_path / "runs").iterdir()
    assert line == f"error: process {victim} was killed, or has crashed; continue with: rff resume {path}"
    require_whole_files(tmp_path)


@pytest.mark.parametrize(("mode", "victim"), [("data", 1)])
def test_a_process_that_is_stopped_ends_the_others_after_the_timeout(mode: str, victim: int, tmp_path: Path) -> None:
    processes = started(2, settings_of(mode, timeout=3), tmp_path)
    wait_for_batches(tmp_path, victim, 2)
    processes.signal(victim, signal.SIGSTOP)
    begun = time.monotonic()
    codes = processes.wait(15, without=victim)
    assert 2 < time.monotonic() - begun < 10 and codes[1 - victim] == 2
    (line,) = processes.lines()
    assert line.startswith(f"error: process {victim} has not answered for 3 s (distributed.timeout); continue with: rff resume ")
    require_whole_files(tmp_path)


class Fault(Callback):
    """Something that goes wrong after the second batch in one of the processes."""

    def __init__(self, what: str, rank: int = 1) -> None:
        self.what = what
        self.rank = rank

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        if trainer.group.index != self.rank or trainer.progress.batch < 2:
            return
        if self.what == "hangs":
            time.sleep(1000)
        elif self.what == "fails":
            raise ValueError("no such name")
        elif self.what == "exits":
            os._exit(0)
        elif self.what == "is interrupted":
            raise KeyboardInterrupt


def test_a_process_that_hangs_ends_like_the_others(tmp_path: Path) -> None:
    processes = started(3, settings_of(timeout=3), tmp_path, [[Fault("hangs")]] * 3)
    assert processes.wait(20) == [2, 2, 2]
    (line,) = processes.lines()
    assert "process 1 has not answered for 3 s (distributed.timeout)" in line


@pytest.mark.parametrize(("mode", "rank"), [("data", 1), ("layer", 0), ("layer", 1)])
def test_a_process_with_an_error_of_its_own_says_it_for_all(mode: str, rank: int, tmp_path: Path) -> None:
    processes = started(2, settings_of(mode), tmp_path, [[Fault("fails", rank)]] * 2)
    assert processes.wait(15) == [2, 2]
    assert "Fault.on_batch_end: ValueError: no such name" in processes.errors()[rank]
    assert len(processes.lines()) == 1


def test_other_hosts_are_told_the_error(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "0" / "error.json", tmp_path / "b" / "1" / "error.json"]
    for file in folders:
        file.parent.parent.mkdir()
    processes = Started(2, train_on_a_host, settings_of(), tmp_path, [str(file) for file in folders], folder=tmp_path)
    assert processes.wait(15) == [2, 2]
    first, second = (text.splitlines() for text in processes.errors())
    assert "error: process 1 has failed: Fault.on_batch_end: ValueError: no such name" in first[-1]
    assert second[-1].startswith("error: Fault.on_batch_end: ValueError: no such name")


def train_on_a_host(settings: Settings, folder: Path, file: str) -> int:
    """The command in a folder of torchrun, of which each host has one."""
    os.environ["TORCHELASTIC_ERROR_FILE"] = file
    return train(settings, folder, [Fault("fails")])


def test_a_process_of_another_host_is_named_when_its_connection_is_lost(tmp_path: Path) -> None:
    processes = Started(2, train_on_another_host, settings_of(), tmp_path, folder=tmp_path)
    wait_for_batches(tmp_path, 1, 2)
    processes.signal(1, signal.SIGKILL)
    assert processes.wait(15) == [2, -9]
    (line,) = processes.lines()
    assert line.startswith("error: process 1 on host1 can't be reached; continue with: rff resume ")


def train_on_another_host(settings: Settings, folder: Path) -> int:
    """The command, where the processes can't see each other's numbers."""
    rank = os.environ["RANK"]
    Sign.of_this_process = lambda: Sign(f"host{rank}", f"machine {rank}", os.getpid())  # type: ignore[method-assign]
    return train(settings, folder)


def test_others_are_told_the_error_of_a_program_that_goes_on(tmp_path: Path) -> None:
    processes = Started(2, train_and_go_on, settings_of(), tmp_path, folder=tmp_path)
    assert processes.wait(15, without=1)[0] == 2
    assert "error: process 1 has failed: Fault.on_batch_end: ValueError: no such name" in processes.errors()[0]


def train_and_go_on(settings: Settings, folder: Path) -> int:
    """A program that catches the error of a training."""
    os.environ["TORCHELASTIC_ERROR_FILE"] = str(folder / os.environ["RANK"] / "0" / "error.json")
    (folder / os.environ["RANK"]).mkdir()
    try:
        run.start(settings, folder / "runs", callbacks=[Fault("fails")])
    except CallbackError:
        time.sleep(1000)
    except ProcessError as error:
        print(f"error: {error}", file=sys.stderr)
    return 2


def test_a_program_may_go_on_after_the_failure_of_another_process(tmp_path: Path) -> None:
    processes = Started(2, catch_and_go_on, settings_of(), tmp_path, folder=tmp_path)
    wait_for_batches(tmp_path, 1, 2)
    processes.signal(0, signal.SIGKILL)
    assert processes.wait(15) == [-9, 7]


def catch_and_go_on(settings: Settings, folder: Path) -> int:
    """A program that does something else after a training has failed."""
    try:
        run.start(settings, folder / "runs", callbacks=[Mark(folder)])
    except ProcessError:
        time.sleep(3)
    return 7


class SlowSummary(Callback):
    """A first process that has work to do after the training."""

    def on_summary(self, trainer: Trainer, summary: Summary) -> None:
        time.sleep(4)


def test_the_first_process_goes_on_alone_after_the_training(tmp_path: Path) -> None:
    processes = started(2, settings_of(timeout=2, epochs=1), tmp_path, [[SlowSummary()]] * 2)
    assert processes.wait(20) == [0, 0]
    assert not any(processes.errors()) and (tmp_path / "out-1").read_text() == ""


@pytest.mark.parametrize("what", ["exits", "is interrupted"])
def test_a_process_that_ends_without_an_error_ends_the_others(what: str, tmp_path: Path) -> None:
    processes = started(2, settings_of(), tmp_path, [[Fault(what)]] * 2)
    assert processes.wait(15) == ([2, 0] if what == "exits" else [2, 130])
    (line,) = processes.lines()
    assert line == "interrupted" or line.startswith("error: process 1 was killed, or has crashed")


# ---------------------------------------------------------------- before the training


def test_different_configurations_are_refused_in_one_line(tmp_path: Path) -> None:
    processes = started(3, [settings_of(), settings_of(), settings_of(seed=7)], tmp_path)
    assert processes.wait(15) == [2, 2, 2]
    (line,) = processes.lines()
    advice = "start all processes with the same configuration"
    assert line == f"error: process 2 has training.seed = 7, but process 0 has 0; {advice}"
    assert not any((tmp_path / "runs").iterdir())


def test_a_process_that_does_not_come_is_named(tmp_path: Path) -> None:
    processes = started(1, settings_of(timeout=1), tmp_path, **environment(0, 3, free_port()))
    assert processes.wait(10) == [2]
    (line,) = processes.lines()
    assert "error: process 0 of 3 has waited for the others at 127.0.0.1:" in line
    assert line.endswith("but processes 1, 2 are missing; start all 3 of them")


def test_a_port_that_is_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        processes = started(2, settings_of(timeout=1), tmp_path, MASTER_PORT=str(port))
        assert processes.wait(10) == [2, 2]
    first, second = (text.splitlines()[-1] for text in processes.errors())
    assert first == f"error: port {port} is in use by another program; choose another MASTER_PORT"
    assert second.startswith(f"error: process 1 of 2 can't reach process 0 at 127.0.0.1:{port}; start process 0")


def test_processes_that_are_all_stopped_for_a_while_go_on(tmp_path: Path) -> None:
    processes = started(2, settings_of(timeout=2), tmp_path, [[Slow()]] * 2)
    wait_for_batches(tmp_path, 1, 2)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for rank in range(2):
            processes.signal(rank, number)
        time.sleep(3)
    wait_for_batches(tmp_path, 1, (tmp_path / "batches-1").stat().st_size + 3)
    processes.signal(0, signal.SIGTERM)
    assert processes.wait(15) == [130, 130] and not processes.lines()


FACTS: dict[str, Any] = {
    "versions": {"RecurrentFF": "2.0", "torch": "2.14"},
    "settings": {"training.seed": 0},
    "data": {"training samples": 5000},
    "weights": {"h1.forward": ([2, 3], 4.0, 1.0)},
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"versions": {"RecurrentFF": "2.0", "torch": "2.6"}},
            "process 1 has torch 2.6, but process 0 has 2.14; install the same",
        ),
        ({"settings": {"training.seed": 0, "data.pairs": 3}}, "process 1 has data.pairs = 3, but process 0 has no value; start"),
        ({"data": {"training samples": 4}}, "process 1 has 4 training samples, but process 0 has 5,000; give all processes the"),
        (
            {"weights": {"h1.forward": ([2, 3], 4.0, 1.1)}},
            "process 1 has other weights of h1.forward than process 0; make the network",
        ),
        ({"weights": {}}, "process 1 has other weights of h1.forward than process 0"),
    ],
)
def test_processes_that_differ_are_refused(change: dict[str, Any], words: str) -> None:
    require_agreement([FACTS, FACTS | {"weights": {"h1.forward": ([2, 3], 4.00001, 1.00001)}}])
    with pytest.raises(SettingsError, match=re.escape(words)):
        require_agreement([FACTS, FACTS | change, FACTS])


def test_paths_and_numbers_of_gpus_may_be_different() -> None:
    def facts(**options: Any) -> Any:
        settings = settings_of(input_size=4, num_classes=3, **options)
        return facts_of(Network(settings.with_arguments(device="cpu")), settings, {"training samples": 10})

    require_agreement([facts(device="cuda:0"), facts(device="cuda:1", weights="best.safetensors")])
    with pytest.raises(SettingsError, match=r"device\.device"):
        require_agreement([facts(device="cuda:0"), facts(device="cpu")])
