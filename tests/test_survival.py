"""Runs that are killed, run out of disk space, diverge, or run at the same time as others."""

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
import safetensors.torch
import torch

import RecurrentFF as rff
from RecurrentFF import atomic_files
from RecurrentFF.benchmarks import run
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.errors import CheckpointError, DivergenceError, OutputError
from RecurrentFF.model.learner import BatchMetrics, Learner
from RecurrentFF.model.optimizers import Adam
from RecurrentFF.settings import Settings
from RecurrentFF.training import checkpoint, container
from RecurrentFF.training.callbacks import Callback, Checkpoints, default_callbacks
from RecurrentFF.training.callbacks.divergence import NonFiniteLossCheck
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.checkpoints import content_of, state_in, weights_in
from tests.helpers import clusters, small_settings

EPOCHS = 12
KILLS = 12


def make_trainer(path: Path, **arguments: Any) -> Trainer:
    """A trainer with all kinds of state: optimizer moments, dropout, the readout, averaged weights, and a schedule."""
    options: dict[str, Any] = {"optimizer": "adam", "schedule": "cosine", "dropout": 0.1, "weight_averaging": 0.8}
    options |= {"epochs": EPOCHS, "negatives": "readout", "batch_size": 20, "test_every_epoch": True}
    settings = small_settings(**(options | arguments))
    splits = Splits(*(TensorDataset(*clusters(samples, seed=seed)) for samples, seed in ((200, 2), (60, 3), (60, 4), (60, 2))))
    path.mkdir(exist_ok=True)
    callbacks = default_callbacks(settings, RunFolder(path))
    return Trainer(rff.build(settings), splits, callbacks, console=Console(quiet=True))


def checkpoints(trainer: Trainer) -> Checkpoints:
    found = trainer.callbacks.find(Checkpoints)
    assert found is not None
    return found


def tiny_mnist(**arguments: Any) -> Settings:
    """A training of seconds on MNIST."""
    mnist = {"name": "mnist", "train_samples": 1000, "validation_samples": 200, "test_samples": 200}
    options: dict[str, Any] = {"data": mnist, "hidden_sizes": [16, 12], "batch_size": 100, "epochs": 2, "device": "cpu"}
    return Settings.from_arguments(**(options | {"train_accuracy_samples": 100, "schedule": "cosine"} | arguments))


def run_folder(parent: Path) -> Path:
    (folder,) = parent.iterdir()
    return folder


def same_weights(folder: Path, other: Path) -> bool:
    best = [container.checksum(weights_in(path)) for path in (folder, other)]
    return best[0] == best[1]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(path: Path, moment: str, seconds: float) -> None:
    """Start or resume the run in `path`, and kill the process after `seconds`, or at a write of a file."""
    torch.set_num_threads(1)
    writes = int(seconds * 10)  # number of writes before the one at which the process is killed

    def killing(function: Callable[..., None]) -> Callable[..., None]:
        """Wrap a function so that the process is killed after one of its calls."""
        count = iter(range(10**6))

        def call(*arguments: Any) -> None:
            last_call = next(count) == writes
            function(*arguments)
            if last_call:
                if moment == "in the middle of a file":
                    file: Path = arguments[0]
                    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
                die()

        return call

    if moment == "after a time":
        threading.Timer(seconds, die).start()
    elif moment == "in the middle of a file":
        Path.write_bytes = killing(Path.write_bytes)  # type: ignore[method-assign, assignment, arg-type]
    elif moment == "before a file has its final name":
        os.fsync = killing(os.fsync)
    elif moment == "between two files":
        atomic_files._copy = killing(atomic_files._copy)
    trainer, folder = make_trainer(path), RunFolder(path)
    with folder.lock():
        if folder.last.exists():
            trainer.resume(folder.last)
        trainer.fit()


def without_times(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_run_killed_many_times_has_the_same_result_as_an_uninterrupted_run(tmp_path: Path) -> None:
    make_trainer(tmp_path / "uninterrupted").fit()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_survival"])
    moments = ["after a time", "in the middle of a file", "before a file has its final name", "between two files"]
    generator, killed = random.Random(1), 0
    for number in range(KILLS):
        arguments = (tmp_path / "killed", moments[number % len(moments)], generator.uniform(0, 0.35))
        process = context.Process(target=train_until_killed, args=arguments)
        process.start()
        process.join(60)
        killed += process.exitcode == -signal.SIGKILL
        for file in (tmp_path / "killed").glob("[!.]*.safetensors"):
            checkpoint.read(file)  # complete, whenever the process was killed
    assert killed > KILLS / 2  # the other processes finished the training before they were killed
    resumed = make_trainer(tmp_path / "killed")
    resumed.resume(tmp_path / "killed/last.safetensors")
    assert resumed.fit()
    expected, last = (content_of(tmp_path / name / "last.safetensors") for name in ("uninterrupted", "killed"))
    assert container.checksum(expected["network"]) == container.checksum(last["network"])
    for key in ("learner", "average", "best", "totals"):
        assert container.checksum(expected["training"][key]) == container.checksum(last["training"][key]), key
    best = [container.checksum(weights_in(tmp_path / name)) for name in ("uninterrupted", "killed")]
    assert best[0] == best[1] == container.checksum(state_in(tmp_path / "killed").best)
    assert without_times(tmp_path / "uninterrupted/metrics.jsonl") == without_times(tmp_path / "killed/metrics.jsonl")


def test_a_run_killed_in_its_first_batch_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def power_cut(*_: Any) -> None:
        raise SystemError

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "train_batch", power_cut)
        with pytest.raises(SystemError):
            make_trainer(tmp_path / "killed", epochs=1).fit()
    resumed = make_trainer(tmp_path / "killed", epochs=1)
    uninterrupted = make_trainer(tmp_path / "uninterrupted", epochs=1)
    resumed.resume(tmp_path / "killed/last.safetensors")
    for trainer in (resumed, uninterrupted):
        assert trainer.fit()
    assert container.checksum(resumed.learner.state_dict()) == container.checksum(uninterrupted.learner.state_dict())


def test_unfinished_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / ".writing-01234567-last.safetensors").write_text("half")
    (tmp_path / "notes.txt").write_text("the user's")
    with folder.lock():
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_folder_that_another_process_trains_in_is_refused(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path).lock(),
        pytest.raises(CheckpointError, match="another process is training in this run folder"),
        RunFolder(tmp_path).lock(),
    ):
        pass
    with RunFolder(tmp_path).lock():
        pass


def flip_bit(file: Path, seed: int) -> bytes:
    """The content of a file with one random bit flipped."""
    content, generator = bytearray(file.read_bytes()), random.Random(seed)
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(content)


def test_a_checkpoint_with_a_flipped_bit_is_refused_or_has_unchanged_content(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=1)
    trainer.fit()
    file = tmp_path / "run" / "last.safetensors"
    expected, refused, other = container.checksum(content_of(file)), 0, tmp_path / "damaged.pt"
    for seed in range(200):
        other.write_bytes(flip_bit(file, seed))
        try:
            assert (
                checkpoint.read(other) and container.checksum(content_of(other)) == expected
            )  # the bit has no influence on the content
        except CheckpointError as error:
            assert str(other) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 100
    for length in (0, 1, 100, file.stat().st_size // 2, file.stat().st_size - 1):
        other.write_bytes(file.read_bytes()[:length])
        with pytest.raises(CheckpointError):
            checkpoint.read(other)


def test_a_checkpoint_with_manually_changed_weights_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path / "run", epochs=1).fit()
    file = tmp_path / "run" / "best.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors["network/layers.h1.bias"][0] += 1
    with safetensors.safe_open(file, "pt") as opened:
        safetensors.torch.save_file(tensors, file, opened.metadata())
    with pytest.raises(CheckpointError, match=r"best\.safetensors: a damaged checkpoint"):
        rff.load(file)


def test_the_error_about_a_damaged_checkpoint_names_the_previous_one_which_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny_mnist(schedule="step", epochs=3)
    assert run.start(settings, tmp_path / "uninterrupted")

    def keep_file(path: Path, *arguments: Any, **options: Any) -> None:
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", keep_file)  # the state of a run that is killed after its last epoch
        assert run.start(settings, tmp_path / "killed")
    folder = run_folder(tmp_path / "killed")
    (folder / "last.safetensors").write_bytes((folder / "last.safetensors").read_bytes()[:5000])
    with pytest.raises(CheckpointError) as caught:
        run.resume(folder, lambda settings: settings)
    error = str(caught.value)
    assert error.startswith(f"{folder / 'last.safetensors'}: not a readable checkpoint") and "\n" not in error
    assert error.endswith(
        f"; the previous checkpoint is complete: resume from it with: rff resume {folder / 'former.safetensors'}"
    )
    capsys.readouterr()
    assert run.resume(folder / "former.safetensors", lambda settings: settings)
    assert "after 2 epochs" in capsys.readouterr().out
    assert same_weights(folder, run_folder(tmp_path / "uninterrupted"))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A simulated full disk: writing a file fails if its name is in the returned set."""
    full: set[str] = set()
    replace = Path.replace

    def full_replace(self: Path, target: Path) -> Path:
        if target.name in full:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full_replace)
    return full


def test_a_disk_that_is_temporarily_full_does_not_change_the_result(
    tmp_path: Path, disk: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=3)
    trainer.console = Console()
    disk |= {"last.safetensors", "best.safetensors", "metrics.jsonl"}

    class FreeDisk(Callback):
        def on_epoch_start(self, trainer: Trainer) -> None:
            if trainer.progress.epoch == 2:
                disk.clear()

    trainer.callbacks.append(FreeDisk())
    assert trainer.fit() and trainer.saved
    output = capsys.readouterr().out
    assert f"not saved   {tmp_path / 'run/last.safetensors'}: can't be written (No space left on device)" in output
    undisturbed = make_trainer(tmp_path / "undisturbed", epochs=3)
    undisturbed.fit()
    assert container.checksum(undisturbed.learner.state_dict()) == container.checksum(trainer.learner.state_dict())
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 3
    assert not list((tmp_path / "run").glob(".writing*"))


def test_best_weights_that_could_not_be_written_are_restored_on_resume(tmp_path: Path, disk: set[str]) -> None:
    undisturbed, full = (make_trainer(tmp_path / name, epochs=4) for name in ("undisturbed", "full"))
    undisturbed.fit()
    disk.add("best.safetensors")
    assert full.fit() and not full.saved and not (tmp_path / "full/best.safetensors").exists()
    disk.clear()
    resumed = make_trainer(tmp_path / "full", epochs=4)
    resumed.resume(tmp_path / "full/last.safetensors")
    checkpoints(resumed).load_best(resumed)
    best = checkpoint.read(tmp_path / "undisturbed/best.safetensors")
    assert best.epoch == resumed.progress.best_epoch
    weights = {name: tensor.cpu() for name, tensor in resumed.network.state_dict().items()}
    assert container.checksum(weights) == container.checksum(best.network)
    checkpoints(resumed).require_saved(resumed)
    assert container.checksum(weights_in(tmp_path / "full")) == container.checksum(best.network)


def test_a_write_after_a_kill_between_two_files_leaves_no_extra_file(tmp_path: Path) -> None:
    last, previous = tmp_path / "last.safetensors", tmp_path / "former.safetensors"
    atomic_files.write_text(last, "one")
    atomic_files._copy(last, previous)  # the process is killed after this step
    atomic_files.write_atomically(last, lambda file: file.write_text("two"), previous)
    assert (last.read_text(), previous.read_text()) == ("two", "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["former.safetensors", "last.safetensors"]


def test_on_a_disk_that_stays_full_the_result_is_printed_and_the_run_ends_with_one_error(
    tmp_path: Path, disk: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    disk |= {"best.safetensors", "curves.png"}
    with pytest.raises(OutputError) as caught:
        run.start(tiny_mnist(), tmp_path)
    output = capsys.readouterr()
    assert "% right" in output.out and "not saved   " in output.out and "Traceback" not in output.err
    assert str(caught.value) == f"{run_folder(tmp_path) / 'best.safetensors'}: can't be written (No space left on device)"
    disk.add("config.toml")
    with pytest.raises(OutputError, match=r"config\.toml: can't be written \(No space left on device\)"):
        run.start(tiny_mnist(), tmp_path / "other")


def losses(**changed: float) -> torch.Tensor:
    """Losses of 1 for 3 timesteps and 2 layers, with some changed: losses(t1_layer2=nan)."""
    loss = torch.ones(3, 2)
    for name, value in changed.items():
        loss[int(name[1]), int(name[-1]) - 1] = value
    return loss


def test_a_divergence_error_names_the_first_batch_timestep_and_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = NonFiniteLossCheck(epoch=4, batch=10)
    for _ in range(5):
        on_cpu.add(losses())
    with pytest.raises(DivergenceError, match=r"^epoch 4, batch 16: .* loss of layer 2 at label timestep 1 is not finite"):
        on_cpu.add(losses(t1_layer2=torch.inf, t2_layer1=torch.nan))
    on_gpu = NonFiniteLossCheck(epoch=1, batch=0)
    monkeypatch.setattr(on_gpu, "check", lambda: None)  # on a GPU the check is later
    for loss in (losses(), losses(t2_layer1=torch.nan), losses(t0_layer1=torch.nan), losses()):
        on_gpu.add(loss)
    with pytest.raises(DivergenceError, match=r"^epoch 1, batch 2: .* loss of layer 1 at label timestep 2"):
        NonFiniteLossCheck.check(on_gpu)


@pytest.fixture
def diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every training diverge after its tenth batch if the learning rate is above 0.003."""
    train_batch = Learner.train_batch
    batches: dict[int, int] = {}

    def train_and_diverge(self: Learner, *arguments: Any) -> BatchMetrics:
        batches[id(self)] = batches.get(id(self), 0) + 1
        metrics = train_batch(self, *arguments)
        if self.learning_rate > 3e-3 and batches[id(self)] > 10:
            metrics.loss[1, 0] = torch.nan
        return metrics

    monkeypatch.setattr(Learner, "train_batch", train_and_diverge)


@pytest.mark.usefixtures("diverging")
def test_with_on_divergence_retry_training_resumes_from_the_last_checkpoint_with_half_the_learning_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"epochs": 3, "optimizer": Adam(learning_rate=1e-2), "schedule": "step"}
    with pytest.raises(DivergenceError, match=r"epoch 2, batch 1: .* layer 1 at label timestep 1"):
        make_trainer(tmp_path / "stop", **options).fit()
    trainer = make_trainer(tmp_path / "retry", on_divergence="retry", **options)
    trainer.console = Console()
    assert trainer.fit() and trainer.progress.rate_factor == 0.25
    assert [round(metrics.learning_rate, 6) for metrics in trainer.history] == [0.01, 0.0025, 0.0025]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("diverged")]
    message = "diverged    in epoch 2, batch 1; back to the last checkpoint, with learning rates times"
    assert lines == [f"{message} 0.5", f"{message} 0.25"]
    resumed = make_trainer(tmp_path / "retry", on_divergence="retry", **(options | {"epochs": 4}))
    resumed.resume(tmp_path / "retry/last.safetensors")
    assert resumed.fit() and resumed.history[-1].learning_rate == pytest.approx(0.0025)
    hopeless = options | {"optimizer": Adam(learning_rate=1.0)}
    with pytest.raises(DivergenceError):
        make_trainer(tmp_path / "hopeless", on_divergence="retry", **hopeless).fit()


@pytest.mark.usefixtures("diverging")
def test_on_divergence_retry_works_without_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"epochs": 3, "batch_size": 20, "schedule": "step", "weight_averaging": 0.8}
    settings = small_settings(**options, optimizer=Adam(learning_rate=1e-2), on_divergence="retry")
    history = rff.fit(rff.build(settings), clusters(200), validation=clusters(60, seed=3))
    assert [round(metrics.learning_rate, 6) for metrics in history] == [0.01, 0.0025, 0.0025]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("diverged")]
    assert [line.rpartition(" ")[2] for line in lines] == ["0.5", "0.25"]
    hopeless = settings.with_arguments(optimizer=Adam(learning_rate=1.0))
    with pytest.raises(DivergenceError, match=r"use a smaller learning rate; it was halved 5 times already$"):
        rff.fit(rff.build(hopeless), clusters(200), quiet=True)
    with pytest.raises(DivergenceError, match=r'use a smaller learning rate, or training\.on_divergence = "retry"$'):
        rff.fit(rff.build(hopeless.with_arguments(on_divergence="stop")), clusters(200), quiet=True)


@pytest.mark.usefixtures("diverging")
def test_a_retry_returns_to_the_same_state_in_memory_and_in_a_file(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 3, "optimizer": Adam(learning_rate=1e-2), "on_divergence": "retry"}
    in_file, in_memory = (make_trainer(tmp_path / name, **options) for name in ("file", "memory"))
    checkpoints(in_memory).folder = None
    for trainer in (in_file, in_memory):
        assert trainer.fit() and trainer.progress.retries == 2
    assert container.checksum(in_file.learner.state_dict()) == container.checksum(in_memory.learner.state_dict())
    weights = [{name: weight.cpu() for name, weight in t.network.state_dict().items()} for t in (in_file, in_memory)]
    assert container.checksum(weights[0]) == container.checksum(weights[1])


@pytest.mark.usefixtures("diverging")
def test_retries_are_counted_whatever_a_callback_makes_of_the_learning_rate(tmp_path: Path) -> None:
    class Factor(Callback):
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def on_epoch_start(self, trainer: Trainer) -> None:
            trainer.progress.rate_factor = self.factor if trainer.progress.retries == 0 else trainer.progress.rate_factor

    low = make_trainer(tmp_path / "low", epochs=3, optimizer=Adam(learning_rate=0.5), on_divergence="retry", schedule="step")
    low.callbacks.append(Factor(0.01))  # 0.005, which diverges; half of it does not
    assert low.fit() and (low.progress.retries, low.progress.rate_factor) == (1, 0.005)

    class Restore(Factor):
        def on_epoch_start(self, trainer: Trainer) -> None:
            trainer.progress.rate_factor = self.factor

    high = make_trainer(tmp_path / "high", epochs=3, on_divergence="retry", optimizer=Adam(learning_rate=0.5), schedule="step")
    high.callbacks.append(Restore(1.0))
    with pytest.raises(DivergenceError, match="halved 5 times already"):
        high.fit()


def train_in(parent: Path, number: int) -> None:
    torch.set_num_threads(1)
    assert run.start(tiny_mnist(seed=number), parent)


def test_runs_that_start_at_the_same_time_have_separate_folders(tmp_path: Path) -> None:
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
    train_in(tmp_path / "single", 1)
    assert same_weights(seeds[1], run_folder(tmp_path / "single"))


def resident() -> int:
    """The resident memory of this process, in pages."""
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system has no /proc/self/statm")
def test_memory_does_not_grow_in_a_thousand_batches() -> None:
    tiny: dict[str, Any] = {"hidden_sizes": [5], "prelabel_timesteps": 1, "label_timesteps": 1}
    network = rff.build(small_settings(optimizer="adam", negatives="readout", dropout=0.1, **tiny))
    learner = rff.Learner(network)
    inputs, labels = clusters(200)

    def work(batches: int) -> None:
        for number in range(batches):
            learner.train_batch(inputs, labels)
            if number % 10 == 0:
                network.predict(inputs)

    work(200)
    before = resident()
    work(1000)
    assert resident() - before < 400  # pages of 4 KiB, so less than 2 KiB for each batch


@pytest.mark.usefixtures("diverging")
def test_the_error_about_a_divergence_says_what_is_kept(tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": Adam(learning_rate=1.0), "schedule": "step"}
    with pytest.raises(DivergenceError, match=r'on_divergence = "retry" \(the last checkpoint was saved before\)$'):
        make_trainer(tmp_path / "stop", **options).fit()
    with pytest.raises(DivergenceError, match=r"halved 5 times already \(the last checkpoint was saved before\)$"):
        make_trainer(tmp_path / "retry", **options, on_divergence="retry").fit()


def test_best_weights_of_an_epoch_that_diverges_at_its_end_are_forgotten(tmp_path: Path) -> None:
    class Once(Callback):
        def __init__(self) -> None:
            self.raised, self.kept = False, list[Any]()

        def on_epoch_start(self, trainer: Trainer) -> None:
            self.kept.append(checkpoints(trainer)._best)

        def on_epoch_end(self, trainer: Trainer, metrics: Any) -> None:
            if not self.raised:
                self.raised = True
                raise DivergenceError("once")

    trainer, once = make_trainer(tmp_path, epochs=2, on_divergence="retry", schedule="step"), Once()
    trainer.callbacks.append(once)
    assert trainer.fit() and once.kept[:2] == [None, None] and once.kept[2] is not None


@pytest.mark.parametrize("choice", ["stop", "retry"])
def test_the_last_state_is_in_memory_only_if_a_retry_may_need_it(tmp_path: Path, choice: str) -> None:
    trainer = make_trainer(tmp_path, epochs=1, on_divergence=choice)
    checkpoints(trainer).folder = None
    assert trainer.fit() and (checkpoints(trainer)._last is not None) == (choice == "retry")


def test_a_retry_without_a_folder_may_return_to_the_state_that_was_resumed_from(tmp_path: Path) -> None:
    class Once(Callback):
        raised = False

        def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
            if not self.raised:
                self.raised = True
                raise DivergenceError("once")

    options: dict[str, Any] = {"schedule": "step", "on_divergence": "retry"}
    assert make_trainer(tmp_path, epochs=1, **options).fit()
    trainer = make_trainer(tmp_path, epochs=2, **options)
    trainer.resume(tmp_path / "last.safetensors")
    checkpoints(trainer).folder = None
    trainer.callbacks.append(Once())
    assert trainer.fit() and (trainer.progress.epoch, trainer.progress.retries) == (2, 1)
