"""Runs that are killed, that run out of disk, that diverge, and that run beside each other."""

import errno
import json
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF import writing
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.benchmarks.mnist.mnist import MNIST
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.errors import CheckpointError, DivergenceError
from RecurrentFF.model.learner import BatchMetrics, Learner
from RecurrentFF.training import checkpoint
from RecurrentFF.training.console import Console
from RecurrentFF.training.divergence import Watch
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.helpers import clusters, small_settings
from tests.test_cli import TINY, run_folder, same_weights

EPOCHS = 12
KILLS = 20


def make_trainer(path: Path, **arguments: Any) -> Trainer:
    """All that a checkpoint has to hold: optimisers with moments, dropout, the classifier, averages, a schedule."""
    options: dict[str, Any] = {"ff_optimizer": "adam", "lr_schedule": "cosine", "dropout": 0.1, "weight_averaging": 0.8}
    options |= {"epochs": EPOCHS, "should_replace_neg_data": True, "train_batch_size": 20}
    settings = small_settings(**(options | arguments))
    splits = Splits(*(TensorDataset(*clusters(samples, seed=seed)) for samples, seed in ((200, 2), (60, 3), (60, 4), (60, 2))))
    path.mkdir(exist_ok=True)
    return Trainer(rff.build(settings), splits, RunFolder(path), Console(quiet=True))


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(path: Path, how: str, when: float) -> None:
    """A process that begins or resumes the run in `path`, and is killed: by the clock, or at some write of a file."""
    torch.set_num_threads(1)
    writes = int(when * 10)  # how many go well before

    def killing(function: Callable[..., None]) -> Callable[..., None]:
        """The same, but one of its calls is the last thing that the process does."""
        count = iter(range(10**6))

        def call(*arguments: Any) -> None:
            deadly = next(count) == writes
            function(*arguments)
            if deadly:
                if how == "in the middle of a file":
                    file = Path(arguments[1])
                    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
                die()

        return call

    if how == "by the clock":
        threading.Timer(when, die).start()
    elif how == "in the middle of a file":
        torch.save = killing(torch.save)
    elif how == "before a file has its name":
        os.fsync = killing(os.fsync)
    elif how == "between two files":
        writing._copy = killing(writing._copy)
    trainer = make_trainer(path)
    assert trainer.folder is not None
    with trainer.folder.alone():
        if trainer.folder.last.exists():
            trainer.resume()
        trainer.fit()


def without_times(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9")
def test_a_run_killed_twenty_times_ends_as_one_that_was_not(tmp_path: Path) -> None:
    make_trainer(tmp_path / "straight").fit()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_survival"])
    ways = ["by the clock", "in the middle of a file", "before a file has its name", "between two files"]
    draw, killed = random.Random(1), 0
    for number in range(KILLS):
        arguments = (tmp_path / "killed", ways[number % len(ways)], draw.uniform(0, 0.35))
        process = context.Process(target=train_until_killed, args=arguments)
        process.start()
        process.join(60)
        killed += process.exitcode == -signal.SIGKILL
        for file in (tmp_path / "killed").glob("[!.]*.pt"):
            checkpoint.read(file)  # whole, whenever it was
    assert killed > KILLS / 2  # the others had come to the end of the training before their time
    resumed = make_trainer(tmp_path / "killed")
    resumed.resume()
    assert resumed.fit()
    straight, end = (checkpoint.read(tmp_path / name / "last.pt") for name in ("straight", "killed"))
    for part in ("network", "learner", "average", "totals"):
        assert checkpoint.checksum(straight[part]) == checkpoint.checksum(end[part]), part
    best = [checkpoint.read(tmp_path / name / "best.pt") for name in ("straight", "killed")]
    assert checkpoint.checksum(best[0]["network"]) == checkpoint.checksum(best[1]["network"])
    assert without_times(tmp_path / "straight/metrics.jsonl") == without_times(tmp_path / "killed/metrics.jsonl")


def test_a_run_that_is_cut_off_in_its_first_batch_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def power_cut(*_: Any) -> None:
        raise SystemError

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "train_batch", power_cut)
        with pytest.raises(SystemError):
            make_trainer(tmp_path / "cut", epochs=1).fit()
    resumed, straight = make_trainer(tmp_path / "cut", epochs=1), make_trainer(tmp_path / "straight", epochs=1)
    resumed.resume()
    for trainer in (resumed, straight):
        assert trainer.fit()
    assert checkpoint.checksum(resumed.learner.state_dict()) == checkpoint.checksum(straight.learner.state_dict())


def test_what_a_killed_run_left_unfinished_is_cleared_away(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / ".writing-01234567-last.pt").write_text("half")
    (tmp_path / "notes.txt").write_text("the user's")
    with folder.alone():
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_processes_do_not_train_in_one_run_folder(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path).alone(),
        pytest.raises(CheckpointError, match="another process is training in this run folder"),
        RunFolder(tmp_path).alone(),
    ):
        pass
    with RunFolder(tmp_path).alone():
        pass


def damaged(file: Path, seed: int) -> bytes:
    """The content of a file with one bit turned."""
    content, draw = bytearray(file.read_bytes()), random.Random(seed)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def test_a_checkpoint_with_a_turned_bit_is_refused_or_as_it_was(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=1)
    trainer.fit()
    file = tmp_path / "run" / "last.pt"
    whole, refused, other = checkpoint.checksum(checkpoint.read(file)), 0, tmp_path / "damaged.pt"
    for seed in range(200):
        other.write_bytes(damaged(file, seed))
        try:
            assert checkpoint.checksum(checkpoint.read(other)) == whole  # a bit that nothing depends on
        except CheckpointError as error:
            assert str(other) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 100
    for length in (0, 1, 100, file.stat().st_size // 2, file.stat().st_size - 1):
        other.write_bytes(file.read_bytes()[:length])
        with pytest.raises(CheckpointError):
            checkpoint.read(other)


def test_weights_changed_by_hand_are_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path / "run", epochs=1).fit()
    content = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    content["network"]["layers.0.bias"][0] += 1
    torch.save(content, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match=r"changed\.pt: a damaged checkpoint"):
        rff.load(tmp_path / "changed.pt")


def test_where_the_last_checkpoint_is_damaged_the_one_before_is_offered_and_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TINY, "--set=model.lr_schedule=step", "--epochs=3"]
    assert main(MNIST, [*arguments, f"--output-dir={tmp_path / 'straight'}"]) == 0
    kept: list[Path] = []

    def keep_former(path: Path, *arguments: Any, **more: Any) -> None:
        kept.append(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", keep_former)  # as if the run had been cut off after its last epoch
        assert main(MNIST, [*arguments, f"--output-dir={tmp_path / 'cut'}"]) == 0
    folder = run_folder(tmp_path / "cut")
    (folder / "last.pt").write_bytes((folder / "last.pt").read_bytes()[:5000])
    capsys.readouterr()
    assert main(MNIST, [f"--resume={folder}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder / 'last.pt'}: not a readable checkpoint") and error.count("\n") == 1
    assert error.endswith(f"; the one before it is whole: go on from it with --resume {folder / 'former.pt'}\n")
    assert main(MNIST, [f"--resume={folder / 'former.pt'}"]) == 0
    assert "after 2 epochs" in capsys.readouterr().out
    assert same_weights(folder, run_folder(tmp_path / "straight"))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A disk that is full for the files of these names."""
    full: set[str] = set()
    replace = Path.replace

    def full_replace(self: Path, target: Path) -> Path:
        if target.name in full:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full_replace)
    return full


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path: Path, disk: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=3)
    trainer.console = Console()
    disk |= {"last.pt", "best.pt", "metrics.jsonl"}
    end_epoch = trainer._end_epoch
    ends = 0

    def freed_later() -> Any:
        nonlocal ends
        ends += 1
        if ends == 3:
            disk.clear()
        return end_epoch()

    trainer._end_epoch = freed_later  # type: ignore[method-assign]
    assert trainer.fit() and trainer.saved
    output = capsys.readouterr().out
    assert f"not saved   {tmp_path / 'run/last.pt'}: can't be written (No space left on device)" in output
    straight = make_trainer(tmp_path / "straight", epochs=3)
    straight.fit()
    assert checkpoint.checksum(straight.learner.state_dict()) == checkpoint.checksum(trainer.learner.state_dict())
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 3
    assert not list((tmp_path / "run").glob(".writing*"))


def test_best_weights_that_could_not_be_written_outlive_the_process(tmp_path: Path, disk: set[str]) -> None:
    straight, cut = make_trainer(tmp_path / "straight", epochs=4), make_trainer(tmp_path / "cut", epochs=4)
    straight.fit()
    disk.add("best.pt")
    assert not cut.folder or (cut.fit() and not cut.saved and not cut.folder.best.exists())
    disk.clear()
    resumed = make_trainer(tmp_path / "cut", epochs=4)
    resumed.resume()
    resumed.load_best()
    best = checkpoint.read(tmp_path / "straight/best.pt")
    assert best["epoch"] == resumed.progress.best_epoch
    weights = {name: tensor.cpu() for name, tensor in resumed.network.state_dict().items()}
    assert checkpoint.checksum(weights) == checkpoint.checksum(best["network"])
    resumed.require_saved()
    assert checkpoint.checksum(checkpoint.read(tmp_path / "cut/best.pt")["network"]) == checkpoint.checksum(best["network"])


def test_what_was_cut_off_between_two_files_leaves_nothing_behind(tmp_path: Path) -> None:
    last, former = tmp_path / "last.pt", tmp_path / "former.pt"
    writing.write_text(last, "one")
    writing._copy(last, former)  # and then it was killed
    writing.write_atomically(last, lambda file: file.write_text("two"), former)
    assert (last.read_text(), former.read_text()) == ("two", "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["former.pt", "last.pt"]


def test_a_disk_that_stays_full_ends_with_the_result_shown_and_one_error(
    tmp_path: Path, disk: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    disk |= {"best.pt", "curves.png"}
    assert main(MNIST, [*TINY, f"--output-dir={tmp_path}"]) == 2
    output = capsys.readouterr()
    assert "% right" in output.out and "not saved   " in output.out and "Traceback" not in output.err
    assert output.err == f"error: {run_folder(tmp_path) / 'best.pt'}: can't be written (No space left on device)\n"
    disk.add("config.toml")
    assert main(MNIST, [*TINY, f"--output-dir={tmp_path / 'other'}"]) == 2
    assert capsys.readouterr().err.endswith("config.toml: can't be written (No space left on device)\n")


def losses(**where: float) -> torch.Tensor:
    """(3 timesteps, 2 layers); losses(t1_layer2=nan)."""
    grid = torch.ones(3, 2)
    for name, value in where.items():
        grid[int(name[1]), int(name[-1]) - 1] = value
    return grid


def test_divergence_is_named_where_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(epoch=4, batch=10)
    for _ in range(5):
        watch.add(losses())
    with pytest.raises(DivergenceError, match=r"^epoch 4, batch 16: .* loss of layer 2 at label timestep 1 is not finite"):
        watch.add(losses(t1_layer2=torch.inf, t2_layer1=torch.nan))
    seldom = Watch(epoch=1, batch=0)
    monkeypatch.setattr(seldom, "look", lambda: None)  # as on a GPU, where it looks later
    for loss in (losses(), losses(t2_layer1=torch.nan), losses(t0_layer1=torch.nan), losses()):
        seldom.add(loss)
    with pytest.raises(DivergenceError, match=r"^epoch 1, batch 2: .* loss of layer 1 at label timestep 2"):
        Watch.look(seldom)


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every training diverges in its eleventh batch at a learning rate above 0.003."""
    train_batch = Learner.train_batch
    seen: dict[int, int] = {}

    def poisoned(self: Learner, *arguments: Any) -> BatchMetrics:
        seen[id(self)] = seen.get(id(self), 0) + 1
        metrics = train_batch(self, *arguments)
        if self.learning_rate > 3e-3 and seen[id(self)] > 10:
            metrics.loss[1, 0] = torch.nan
        return metrics

    monkeypatch.setattr(Learner, "train_batch", poisoned)


@pytest.mark.usefixtures("diverging")
def test_on_request_a_divergence_leads_back_to_the_last_checkpoint_with_a_smaller_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"epochs": 3, "ff_adam": {"learning_rate": 1e-2}, "lr_schedule": "step"}
    with pytest.raises(DivergenceError, match=r"epoch 2, batch 1: .* layer 1 at label timestep 1"):
        make_trainer(tmp_path / "stop", **options).fit()
    trainer = make_trainer(tmp_path / "retry", on_divergence="retry", **options)
    trainer.console = Console()
    assert trainer.fit() and trainer.progress.rate_factor == 0.25
    assert [round(metrics.learning_rate, 6) for metrics in trainer.history] == [0.01, 0.0025, 0.0025]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("diverged")]
    told = "diverged    in epoch 2, batch 1; back to the last checkpoint, with learning rates times"
    assert lines == [f"{told} 0.5", f"{told} 0.25"]
    resumed = make_trainer(tmp_path / "retry", on_divergence="retry", **(options | {"epochs": 4}))
    resumed.resume()
    assert resumed.fit() and resumed.history[-1].learning_rate == pytest.approx(0.0025)
    hopeless = options | {"ff_adam": {"learning_rate": 1.0}}
    with pytest.raises(DivergenceError):
        make_trainer(tmp_path / "hopeless", on_divergence="retry", **hopeless).fit()


def train_in(parent: Path, number: int) -> None:
    torch.set_num_threads(1)
    assert main(MNIST, [*TINY, f"--output-dir={parent}", f"--seed={number}"]) == 0


def test_runs_that_start_together_have_folders_of_their_own(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=train_in, args=(tmp_path / "together", number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    folders = list((tmp_path / "together").iterdir())
    assert len(folders) == 3
    seeds = {json.loads((folder / "summary.json").read_text())["seed"]: folder for folder in folders}
    assert seeds.keys() == {0, 1, 2}
    train_in(tmp_path / "alone", 1)
    assert same_weights(seeds[1], run_folder(tmp_path / "alone"))


def resident() -> int:
    """Memory of this process in pages."""
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say how much memory a process has")
def test_two_thousand_batches_need_no_more_memory_than_the_first() -> None:
    network = rff.build(small_settings(ff_optimizer="adam", should_replace_neg_data=True, dropout=0.1))
    learner = rff.Learner(network)
    inputs, labels = clusters(20)

    def work(batches: int) -> None:
        for number in range(batches):
            learner.train_batch(inputs, labels)
            if number % 10 == 0:
                network.predict(inputs)

    work(200)
    before = resident()
    work(2000)
    assert resident() < 1.01 * before
