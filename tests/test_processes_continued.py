"""Several processes that are interrupted, or started again after a failure, and commands that one of them carries out."""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from RecurrentFF import cli
from RecurrentFF.benchmarks import run
from RecurrentFF.benchmarks.flags import exit_code
from RecurrentFF.distributed import DividedProcesses
from RecurrentFF.settings import Settings
from RecurrentFF.training import checkpoint
from RecurrentFF.training.callbacks.plots import Plots
from RecurrentFF.training.files import RunFolder
from tests.several_processes import Started, environment
from tests.test_processes_faults import Fault, Mark, Slow, settings_of, started, train, wait_for_batches

pytestmark = [pytest.mark.faults, pytest.mark.skipif(sys.platform == "win32", reason="the processes are forked")]


def folder_of(parent: Path) -> RunFolder:
    (path,) = (parent / "runs").iterdir()
    return RunFolder(path)


def resume(folder: RunFolder, marks: Path) -> int:
    Plots.on_summary = lambda *arguments: None  # type: ignore[method-assign]
    return exit_code(lambda: run.resume(folder.path, lambda settings: settings, callbacks=[Mark(marks)]))


def weights_of(folder: RunFolder) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder.last).network


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize(("number", "rank"), [(signal.SIGTERM, 1), (signal.SIGINT, 0), (signal.SIGHUP, None)])
def test_a_signal_to_one_or_all_saves_and_ends_all(number: int, rank: int | None, tmp_path: Path) -> None:
    processes = started(2, settings_of(), tmp_path)
    wait_for_batches(tmp_path, 1, 4)
    for each in range(2) if rank is None else [rank]:
        processes.signal(each, number)
    assert processes.wait(15) == [130, 130]
    folder = folder_of(tmp_path)
    assert not processes.lines()
    assert f"stopped     all saved; continue with: rff resume {folder.path}" in (tmp_path / "out-0").read_text()
    assert (tmp_path / "out-1").read_text() == ""
    training = checkpoint.require_training(checkpoint.read(folder.last), folder.last)
    assert (training.progress.epoch, training.progress.batch) != (0, 0)


def test_a_signal_while_the_processes_agree_to_go_on_counts_at_the_next_batch(tmp_path: Path) -> None:
    processes = Started(2, train_with_a_late_signal, settings_of(), tmp_path, folder=tmp_path)
    assert processes.wait(10) == [130, 130]
    assert "stopped     all saved" in (tmp_path / "out-0").read_text()


def train_with_a_late_signal(settings: Settings, folder: Path) -> int:
    """The command, in which process 1 receives a signal after it has said that there was none at the last batch of an epoch."""
    agree, calls = DividedProcesses.any, []

    def agree_late(processes: DividedProcesses, *flags: bool) -> tuple[bool, ...]:
        calls.append(flags)
        if len(calls) == 6 and processes.index == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return agree(processes, *flags)

    DividedProcesses.any = agree_late  # type: ignore[method-assign, assignment]
    return train(settings, folder)


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    processes = started(2, settings_of(), tmp_path, [[Fault("hangs")]] * 2)
    wait_for_batches(tmp_path, 1, 2)
    for _ in range(2):
        processes.signal(1, signal.SIGTERM)
        time.sleep(0.2)
    assert processes.wait(10) == [2, 130]
    assert processes.lines() == ["interrupted"]


def test_the_request_to_end_that_follows_a_failure_is_no_interruption(tmp_path: Path) -> None:
    processes = started(2, settings_of(), tmp_path)
    wait_for_batches(tmp_path, 1, 2)
    processes.signal(1, signal.SIGKILL)
    processes.signal(0, signal.SIGTERM)  # as torchrun sends it
    assert processes.wait(15) == [2, -9]
    (line,) = processes.lines()
    assert line.startswith("error: process 1 was killed, or has crashed")


# ---------------------------------------------------------------- continued


def finite(mode: str = "data", **options: Any) -> Any:
    return settings_of(mode, epochs=6, **options)


def test_a_run_whose_process_was_killed_is_resumed_with_any_number_of_processes(tmp_path: Path) -> None:
    for name, count in (("whole", 2), ("killed", 2)):
        (tmp_path / name).mkdir()
        processes = started(count, finite(), tmp_path / name, [[Slow()]] * count)
        if name == "killed":
            wait_for_batches(tmp_path / name, 1, random.Random(4).randrange(4, 12))
            processes.signal(1, signal.SIGKILL)
        processes.wait(30)
    expected, killed = (folder_of(tmp_path / name) for name in ("whole", "killed"))
    before = killed.last.read_bytes()
    for count, limit in ((2, 0.0), (3, 1e-4)):
        killed.last.write_bytes(before)
        assert Started(count, resume, killed, tmp_path, folder=tmp_path).wait(30) == [0] * count
        gaps = [float((weights_of(expected)[name] - weight).abs().max()) for name, weight in weights_of(killed).items()]
        assert max(gaps) <= limit
    assert not list(killed.path.glob(".writing*"))


def test_processes_that_are_started_again_continue_their_run(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    assert started(2, finite(), tmp_path / "whole").wait(30) == [0, 0]
    launch = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_MAX_RESTARTS": "1"}
    processes = started(2, finite(), tmp_path, [[Slow()]] * 2, **launch)
    wait_for_batches(tmp_path, 0, 5)
    processes.signal(0, signal.SIGKILL)
    assert processes.wait(15) == [-9, 2]
    assert processes.lines() == ["error: process 0 was killed, or has crashed; torchrun starts all processes again"]
    assert started(2, finite(), tmp_path, TORCHELASTIC_RESTART_COUNT="1", **launch).wait(30) == [0, 0]
    found, expected = (weights_of(folder_of(folder)) for folder in (tmp_path, tmp_path / "whole"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert "resumed     after 1 epochs and 0 batches" in (tmp_path / "out-0").read_text()
    assert "launch" not in (tmp_path / "out-0").read_text()


def test_processes_that_had_no_checkpoint_begin_anew(tmp_path: Path) -> None:
    launch = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_MAX_RESTARTS": "1"}
    processes = started(2, finite(), tmp_path, [[Slow()]] * 2, **launch)
    wait_for_batches(tmp_path, 1, 1)
    processes.signal(1, signal.SIGKILL)
    processes.wait(15)
    former = folder_of(tmp_path)
    former.last.unlink()
    assert started(2, finite(), tmp_path, TORCHELASTIC_RESTART_COUNT="1", **launch).wait(30) == [0, 0]
    assert folder_of(tmp_path).path != former.path


# ---------------------------------------------------------------- other commands


def test_one_process_carries_out_what_is_not_divided(tmp_path: Path) -> None:
    processes = Started(2, command, "config", folder=tmp_path)
    assert processes.wait(10) == [0, 0]
    assert "mnist_fast" in (tmp_path / "out-0").read_text() and (tmp_path / "out-1").read_text() == ""


def command(text: str) -> int:
    return cli.main(text.split())


def test_an_error_that_all_meet_before_they_join_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "attempt_0" / "0" / "error.json"
    file.parent.mkdir(parents=True)
    processes = Started(3, command, "train mnist --set training.epochs=-1", folder=tmp_path, TORCHELASTIC_ERROR_FILE=str(file))
    assert processes.wait(10) == [2, 2, 2]
    assert len(processes.lines()) == 1


def test_nothing_but_lines_for_people_is_written_about_closed_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_CPP_LOG_LEVEL", raising=False)
    assert exit_code(lambda: True) == 0 and "TORCH_CPP_LOG_LEVEL" not in os.environ
    for name, value in environment(0, 2, 1).items():
        monkeypatch.setenv(name, value)
    assert exit_code(lambda: os.environ["TORCH_CPP_LOG_LEVEL"] == "FATAL") == 0


# ---------------------------------------------------------------- the agent of torchrun


def launch(settings: Settings, folder: Path) -> int:
    """The program torchrun --max-restarts=1, whose processes are forked, and so need not import torch."""
    options: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    config = LaunchConfig(1, 1, 2, run_id="x", max_restarts=1, monitor_interval=0.1, start_method="fork", **options)
    elastic_launch(config, work)(settings, folder)
    return 0


def work(settings: Settings, folder: Path) -> None:
    """A process that the agent starts."""
    (folder / f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    code = train(settings, folder, [Slow()])
    if code:
        sys.exit(code)


@pytest.mark.parametrize("rank", [1])
def test_torchrun_starts_all_again_after_one_was_killed(rank: int, tmp_path: Path) -> None:
    agent = Started(1, launch, finite(), tmp_path, folder=tmp_path)
    wait_for_batches(tmp_path, rank, 5)
    os.kill(int((tmp_path / f"pid-{rank}").read_text()), signal.SIGKILL)
    assert agent.wait(30) == [0]
    assert agent.lines() == [f"error: process {rank} was killed, or has crashed; torchrun starts all processes again"]
    output = (tmp_path / "out-0").read_text()
    assert output.count("run folder") == 2 and "resumed     after" in output and "6/6" in output
    checkpoint.read(folder_of(tmp_path).best)
