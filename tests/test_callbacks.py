"""Callbacks: the order of events, errors, state in checkpoints, and what each one does; baselines in the same training loop."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.benchmarks import run
from RecurrentFF.benchmarks.baseline import BackpropagationLearner, Baseline
from RecurrentFF.benchmarks.baselines import make_baseline
from RecurrentFF.benchmarks.recurrent_baselines import GRU
from RecurrentFF.cli import main
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.errors import CallbackError, DivergenceError, InputError, SettingsError
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.settings import Settings
from RecurrentFF.training import container
from RecurrentFF.training.callbacks import (
    Callback,
    Checkpoints,
    EarlyStopping,
    JsonLines,
    NonFiniteCheck,
    Plots,
    Profiler,
    ProgressConsole,
    Recorder,
    TensorBoard,
    WeightAveraging,
    WeightsAndBiases,
    default_callbacks,
)
from RecurrentFF.training.callbacks.checkpoints import load_best
from RecurrentFF.training.callbacks.recorder import record
from RecurrentFF.training.console import Console
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.run import finish_run, run_training
from RecurrentFF.training.summary import Summary
from RecurrentFF.training.trainer import Trainer
from tests.checkpoints import state_in, weights_in
from tests.helpers import CLASSES, clusters, dense, hidden_layers, small_settings

FOUR_EPOCHS = [0.3, 0.9, 0.5, 0.9]
"""Validation accuracies, of which the second is the best: the fourth only equals it."""


def data(samples: int = 60) -> Splits:
    return Splits(*(TensorDataset(*clusters(number, seed=seed)) for number, seed in ((samples, 2), (30, 3), (30, 4), (30, 2))))


def make_trainer(*callbacks: Callback, splits: Splits | None = None, **arguments: Any) -> Trainer:
    settings = small_settings(**{"epochs": 2, "batch_size": 20, "optimizer": "adam", "dropout": 0.1} | arguments)
    return Trainer(rff.build(settings), splits or data(), callbacks, console=Console(quiet=True))


def run_trainer(path: Path, *callbacks: Callback, splits: Splits | None = None, **arguments: Any) -> Trainer:
    """A trainer with the default callbacks in a folder."""
    path.mkdir(exist_ok=True, parents=True)
    own = default_callbacks(small_settings(**arguments), RunFolder(path))
    return make_trainer(*own, *callbacks, splits=splits, **arguments)


class Recording(Callback):
    """A callback that writes down its calls."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.events = events

    def note(self, event: str) -> None:
        self.events.append(f"{self.name} {event}")

    def setup(self, trainer: Trainer) -> None:
        self.note("setup")

    def on_fit_start(self, trainer: Trainer) -> None:
        self.note("fit start")

    def on_epoch_start(self, trainer: Trainer) -> None:
        self.note(f"epoch start {trainer.progress.epoch}")

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        assert metrics.loss.shape == (3, 3)
        self.note(f"batch {trainer.progress.batch} of {samples}")

    def on_batches_end(self, trainer: Trainer) -> None:
        self.note("batches end")

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        assert metrics is trainer.history[-1]
        self.note(f"epoch end {metrics.epoch}")

    def on_epoch_complete(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        self.note(f"epoch complete {metrics.epoch}")

    def on_fit_end(self, trainer: Trainer, finished: bool) -> None:
        self.note(f"fit end {finished}")

    def close(self, trainer: Trainer) -> None:
        self.note("close")

    def on_summary(self, trainer: Trainer, summary: Summary) -> None:
        self.note(f"summary {summary.best_epoch}")


def test_events_and_callbacks_have_the_documented_order(tmp_path: Path) -> None:
    events: list[str] = []
    trainer = make_trainer(Recording("a", events), Recording("b", events), splits=Splits(TensorDataset(*clusters(30))))
    assert events == ["a setup", "b setup"]
    assert trainer.fit()
    finish_run(trainer, RunFolder(tmp_path))
    order = ["setup", "fit start"]
    for epoch in range(2):
        order += [f"epoch start {epoch}", "batch 1 of 20", "batch 2 of 10", "batches end"]
        order += [f"epoch end {epoch + 1}", f"epoch complete {epoch + 1}"]
    order += ["fit end True", "close", "summary 2"]
    assert events == [f"{name} {event}" for event in order for name in "ab"]


def test_the_settings_determine_the_default_callbacks(tmp_path: Path) -> None:
    def kinds(folder: RunFolder | None, **arguments: Any) -> list[type]:
        return [type(callback) for callback in default_callbacks(small_settings(**arguments), folder)]

    folder = RunFolder(tmp_path)
    assert kinds(None) == [NonFiniteCheck, Checkpoints, ProgressConsole]
    assert kinds(folder) == [NonFiniteCheck, Checkpoints, JsonLines, Plots, ProgressConsole]
    everything = {"weight_averaging": 0.9, "early_stopping": 3, "profile": True, "wandb": True, "tensorboard": True}
    assert kinds(folder, **everything) == [
        NonFiniteCheck,
        WeightAveraging,
        EarlyStopping,
        Checkpoints,
        JsonLines,
        Profiler,
        Plots,
        ProgressConsole,
        WeightsAndBiases,
        TensorBoard,
    ]
    for name in ("profile", "wandb", "tensorboard"):
        with pytest.raises(SettingsError, match=rf"tracking\.{name} = true writes files, .* output_dir"):
            default_callbacks(small_settings(**{name: True}))


EVENTS = [
    "setup", "on_fit_start", "on_epoch_start", "on_batch_end", "on_batches_end", "on_epoch_end", "on_epoch_complete",
    "on_fit_end", "close",
]  # fmt: skip


@pytest.mark.parametrize("event", EVENTS)
def test_an_error_in_a_callback_names_the_callback_the_event_and_the_error(event: str) -> None:
    class Broken(Callback):
        pass

    def fail(*_: Any) -> None:
        raise KeyError("learning rate\nand more")

    setattr(Broken, event, fail)
    events: list[str] = []
    with pytest.raises(CallbackError, match=rf"^Broken\.{event}: KeyError: .*; correct the callback") as caught:
        make_trainer(Recording("a", events), Broken()).fit()
    assert isinstance(caught.value.__cause__, KeyError) and "\n" not in str(caught.value)
    assert event in ("setup", "close") or events[-1] == "a close"


def test_an_error_of_this_library_in_a_users_callback_names_the_callback() -> None:
    class Curious(Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            trainer.network.predict(torch.zeros(2, 3))

    with pytest.raises(CallbackError, match=r"^Curious\.on_epoch_end: InputError: inputs of shape \(2, 3\)"):
        make_trainer(Curious()).fit()


def test_a_callback_may_raise_a_divergence_or_be_interrupted() -> None:
    class Raising(Callback):
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
            raise self.error

    for error in (DivergenceError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            make_trainer(Raising(error)).fit()


def test_a_divergence_is_found_by_the_check_alone() -> None:
    class Infinite(Callback):
        def on_epoch_start(self, trainer: Trainer) -> None:
            next(trainer.network.parameters()).data[0] = torch.inf

    with pytest.raises(DivergenceError, match=r"^epoch 1, batch 1: "):
        make_trainer(Infinite(), NonFiniteCheck()).fit()
    assert make_trainer(Infinite(), epochs=1).fit()

    class InfiniteAfterwards(Callback):
        def on_batches_end(self, trainer: Trainer) -> None:
            dense(hidden_layers(trainer.network)[0]).weight[0, 0] = torch.inf

    with pytest.raises(DivergenceError, match=r"^epoch 1: the training has diverged, weight_norm of layer 1 is inf; use a "):
        make_trainer(InfiniteAfterwards(), NonFiniteCheck()).fit()


def test_a_callback_can_restore_an_earlier_state_after_a_divergence() -> None:
    class Restore(Callback):
        errors = 0

        def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
            if not self.errors:
                raise DivergenceError("once")

        def on_divergence(self, trainer: Trainer, error: DivergenceError) -> bool:
            self.errors += 1
            trainer.progress.batch = 0
            return True

    restore = Restore()
    assert make_trainer(restore).fit() and restore.errors == 1


class Counter(Callback):
    """A callback with state."""

    def __init__(self, stop_at: int = 0) -> None:
        self.batches = 0
        self.stop_at = stop_at

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        self.batches += 1
        if self.batches == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches, "history": [torch.tensor(self.batches), {"note": "text"}]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.batches = state["batches"]
        assert state["history"][0] == self.batches


def test_a_resumed_run_has_the_state_of_its_callbacks(tmp_path: Path) -> None:
    first = run_trainer(tmp_path, Counter(stop_at=4), Counter())
    assert not first.fit()
    saved = state_in(tmp_path).callbacks
    assert saved["Counter"]["batches"] == saved["Counter 2"]["batches"] == 4
    counters = Counter(), Counter()
    resumed = run_trainer(tmp_path, *counters)
    resumed.resume(tmp_path / "last.safetensors")
    assert [counter.batches for counter in counters] == [4, 4]
    assert resumed.fit() and [counter.batches for counter in counters] == [6, 6]
    without = run_trainer(tmp_path)  # callbacks may be left out
    without.resume(tmp_path / "last.safetensors")


def test_a_state_that_a_checkpoint_can_not_hold_is_refused(tmp_path: Path) -> None:
    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"list": [1, {"path": tmp_path}]}

    with pytest.raises(CallbackError, match=r"^Odd\.state_dict: has a PosixPath; give dense tensors, numbers"):
        run_trainer(tmp_path, Odd()).fit()

    class Older(Counter):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.batches = state["count"]

    run_trainer(tmp_path, Older()).fit()
    with pytest.raises(
        CallbackError, match=r"last\.safetensors: Older\.load_state_dict: KeyError: 'count'; the checkpoint has another state"
    ):
        run_trainer(tmp_path, Older()).resume(tmp_path / "last.safetensors")


@pytest.mark.parametrize("batch", [3, 4, 7], ids=lambda batch: f"batch_{batch}")
def test_a_run_resumed_after_a_kill_has_what_a_callback_changed_at_the_end_of_an_epoch(tmp_path: Path, batch: int) -> None:
    class Kill(Counter):
        def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
            self.batches += 1
            if self.batches == batch:
                raise KeyboardInterrupt  # nothing is saved after it

    class Shrink(Callback):
        """A change of the weights that depends on the number of epochs."""

        epochs = 0

        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            self.epochs += 1
            for parameter in trainer.network.parameters():
                parameter.data *= 1 - 0.1 * self.epochs

        def state_dict(self) -> dict[str, Any]:
            return {"epochs": self.epochs}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.epochs = state["epochs"]

    whole, resumed = run_trainer(tmp_path / "whole", Shrink(), epochs=3), Shrink()
    assert whole.fit()
    with pytest.raises(KeyboardInterrupt):
        run_trainer(tmp_path / "part", Kill(), Shrink(), epochs=3).fit()
    part = run_trainer(tmp_path / "part", resumed, epochs=3)
    part.resume(tmp_path / "part/last.safetensors")
    assert resumed.epochs == part.progress.epoch
    assert part.fit() and resumed.epochs == 3
    weights = [{name: weight.cpu() for name, weight in trainer.network.state_dict().items()} for trainer in (whole, part)]
    assert container.checksum(weights[0]) == container.checksum(weights[1])


@pytest.mark.parametrize("in_folder", [True, False])
def test_the_best_weights_are_those_that_were_evaluated(tmp_path: Path, in_folder: bool) -> None:
    class Erase(Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            for parameter in trainer.network.parameters():
                parameter.data.zero_()

    folder = RunFolder(tmp_path) if in_folder else None
    trainer = make_trainer(*default_callbacks(small_settings(), folder), Erase(), epochs=1)
    trainer.fit()
    assert not any(parameter.any() for parameter in trainer.network.parameters())
    load_best(trainer)
    assert trainer.splits.validation is not None
    assert accuracy(trainer.network, trainer.splits.validation) == trainer.history[0].validation_accuracy
    assert any(parameter.any() for parameter in trainer.network.parameters())


def test_the_text_of_an_error_in_a_callback_is_one_short_line(tmp_path: Path) -> None:
    class Talkative(Counter):
        failing = "state_dict"

        def fail(self, event: str) -> None:
            if event == self.failing:
                raise InputError("x" * 1000 + "\nsecond\nthird")

        def setup(self, trainer: Trainer) -> None:
            self.fail("setup")

        def state_dict(self) -> dict[str, Any]:
            self.fail("state_dict")
            return super().state_dict()

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.fail("load_state_dict")

    run_trainer(tmp_path, Counter()).fit()
    callback = Talkative()
    for callback.failing in ("setup", "state_dict", "load_state_dict"):
        with pytest.raises(CallbackError, match=rf"^Talkative\.{callback.failing}: InputError: x+…; ") as caught:
            trainer = run_trainer(tmp_path, callback)
            trainer.load_state_dict(trainer.state_dict() | {"callbacks": {"Talkative": {"batches": 1}}})
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_what_is_not_a_callback_is_refused_with_what_to_do() -> None:
    network, before = rff.build(small_settings()), small_settings()
    cases: list[tuple[Any, str]] = [
        ([Counter], r"callbacks: the class Counter is not a callback; make an object of it: Counter\(\)$"),
        (Counter(), r"callbacks: expected a list; write \[Counter\(…\)\]$"),
        (Counter, r"callbacks: expected a list, not the class Counter$"),
        ([3], r"callbacks: an object of int is not a callback; derive its class from RecurrentFF\.Callback$"),
        ([dict], r"callbacks: the class dict is not a callback; derive its class from RecurrentFF\.Callback$"),
    ]
    for callbacks, message in cases:
        with pytest.raises(SettingsError, match=message):
            Trainer(network, data(), callbacks)
        with pytest.raises(SettingsError, match=message):
            rff.fit(network, clusters(20), epochs=9, callbacks=callbacks, quiet=True)
        assert network.settings == before


@pytest.fixture
def four_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate the validation accuracies of FOUR_EPOCHS."""
    numbers = iter(FOUR_EPOCHS)

    def simulated(network: rff.Network, dataset: Any, **_: Any) -> float:
        return next(numbers) if len(dataset) == 25 else accuracy(network, dataset)

    monkeypatch.setattr("RecurrentFF.training.trainer.accuracy", simulated)


def splits_to_simulate() -> Splits:
    return data()._replace(validation=TensorDataset(*clusters(25)), train_subset=None)


@pytest.mark.usefixtures("four_epochs")
@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (3, 5)])
def test_early_stopping_completes_the_run(
    patience: int, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FOUR_EPOCHS[4:] = [0.1] * 5
    arguments: dict[str, Any] = {"epochs": 9, "early_stopping": patience, "schedule": "step"}
    trainer = run_trainer(tmp_path, splits=splits_to_simulate(), **arguments)
    trainer.console = Console()
    assert run_training(trainer, RunFolder(tmp_path))
    assert len(trainer.history) == epochs and trainer.progress.best_epoch == 2
    output = capsys.readouterr().out
    assert f"ended       after epoch {epochs}: no better validation accuracy since epoch 2\n" in output
    assert "weights     of epoch 2, the best on validation (90.00 %)" in output
    assert not (tmp_path / "former.safetensors").exists()
    resumed = run_trainer(tmp_path, splits=splits_to_simulate(), **arguments)
    resumed.resume(tmp_path / "last.safetensors")
    assert resumed.finished and resumed.fit() and len(resumed.history) == epochs


@pytest.mark.usefixtures("four_epochs")
def test_a_stopped_training_can_be_continued_and_early_stopping_counts_anew(tmp_path: Path) -> None:
    FOUR_EPOCHS[4:] = [0.1] * 9
    arguments: dict[str, Any] = {"early_stopping": 2, "schedule": "step"}
    assert run_trainer(tmp_path, splits=splits_to_simulate(), epochs=9, **arguments).fit()
    continued = run_trainer(tmp_path, splits=splits_to_simulate(), epochs=10, **arguments)
    continued.resume(tmp_path / "last.safetensors")
    assert continued.finished and continued.progress.epoch == 4
    continued.continue_stopped()
    assert not continued.finished and continued.fit()
    assert continued.progress.epoch == 6 and continued.progress.stopped == "no better validation accuracy since epoch 2"


def test_a_stopped_training_that_is_continued_stays_so_after_a_divergence(tmp_path: Path) -> None:
    class Once(Callback):
        def __init__(self) -> None:
            self.raised = False

        def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
            if trainer.progress.epoch == 1 and not self.raised:
                self.raised = True
                raise DivergenceError("once")

    class Stop(Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            trainer.stop("enough")

    arguments: dict[str, Any] = {"epochs": 3, "schedule": "step", "on_divergence": "retry"}
    assert run_trainer(tmp_path, Stop(), **arguments).fit()
    continued = run_trainer(tmp_path, Once(), **arguments)
    continued.resume(tmp_path / "last.safetensors")
    continued.continue_stopped()
    assert continued.fit() and continued.progress.epoch == 3 and continued.progress.retries == 1


def test_resume_with_more_epochs_continues_a_run_that_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Stop(Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            trainer.stop("enough")

    mnist = {"name": "mnist", "train_samples": 200, "validation_samples": 100, "test_samples": 100}
    options: dict[str, Any] = {"data": mnist, "hidden_sizes": [8], "batch_size": 100, "epochs": 2, "device": "cpu"}
    assert run.start(Settings.from_arguments(**options, schedule="step"), tmp_path, callbacks=[Stop()])
    (folder,) = tmp_path.iterdir()
    capsys.readouterr()
    assert run.resume(folder, lambda settings: settings)
    output = capsys.readouterr().out
    assert "after 1 epochs and 0 batches; training is complete (enough), --epochs N above 2 trains longer\n" in output
    assert run.resume(folder, lambda settings: settings.with_arguments(epochs=3))
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]
    assert state_in(folder).progress.stopped == ""


def test_resume_with_the_same_number_of_epochs_trains_the_rest_of_a_stopped_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stop(Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            trainer.stop("enough")

    mnist = {"name": "mnist", "train_samples": 200, "validation_samples": 100, "test_samples": 100}
    options: dict[str, Any] = {"data": mnist, "hidden_sizes": [8], "batch_size": 100, "epochs": 3, "device": "cpu"}
    assert run.start(Settings.from_arguments(**options, schedule="cosine"), tmp_path, callbacks=[Stop()])
    (folder,) = tmp_path.iterdir()
    assert main(["resume", str(folder)]) == 0
    assert "training is complete (enough); --epochs 3 trains the rest\n" in capsys.readouterr().out
    assert main(["resume", str(folder), "--epochs", "3"]) == 0
    assert [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_early_stopping_needs_validation_samples() -> None:
    with pytest.raises(SettingsError, match=r"training\.early_stopping = 2: there are no validation samples"):
        make_trainer(EarlyStopping(2), splits=Splits(TensorDataset(*clusters(20)))).fit()


def test_a_callback_stops_the_training_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    class Impatient(Callback):
        def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
            if trainer.progress.epoch == 1 and trainer.progress.batch == 2:
                trainer.stop("enough")

    trainer = run_trainer(tmp_path, Impatient(), epochs=9)
    assert trainer.fit() and trainer.finished
    assert [metrics.epoch for metrics in trainer.history] == [1, 2]
    assert trainer.history[1].samples_per_second * trainer.history[1].seconds == pytest.approx(40, rel=0.2)
    resumed = run_trainer(tmp_path, epochs=9)
    resumed.resume(tmp_path / "last.safetensors")
    assert resumed.progress.stopped == "enough" and resumed.fit() and len(resumed.history) == 2


def test_a_stop_after_the_checkpoint_is_saved(tmp_path: Path) -> None:
    class Late(Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            trainer.stop("late")

    assert run_trainer(tmp_path, Late(), epochs=5).fit()
    assert state_in(tmp_path).progress.stopped == "late"


@pytest.mark.usefixtures("four_epochs")
def test_without_a_folder_the_best_weights_are_kept_in_memory() -> None:
    weights: list[Tensor] = []

    class Weights(Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            weights.append(next(trainer.network.parameters()).detach().clone())

    trainer = make_trainer(*default_callbacks(small_settings()), Weights(), splits=splits_to_simulate(), epochs=4)
    trainer.fit()
    load_best(trainer)
    assert torch.equal(next(trainer.network.parameters()), weights[1]) and not torch.equal(weights[1], weights[3])


def test_without_checkpoints_the_average_is_the_result() -> None:
    trainer = make_trainer(WeightAveraging(0.9))
    trainer.fit()
    average = next(trainer.evaluated.parameters()).detach().clone()
    assert not torch.equal(next(trainer.network.parameters()), average)
    load_best(trainer)
    assert torch.equal(next(trainer.network.parameters()), average)


def test_metrics_after_the_checkpoint_that_a_run_is_resumed_from_are_removed(tmp_path: Path) -> None:
    run_trainer(tmp_path, epochs=1).fit()
    lines = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(lines + lines)
    resumed = run_trainer(tmp_path, epochs=1)
    resumed.resume(tmp_path / "last.safetensors")
    resumed.fit()
    assert (tmp_path / "metrics.jsonl").read_text() == lines


def test_without_callbacks_nothing_is_printed_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network = rff.build(small_settings(epochs=1))
    assert Trainer(network, data()).fit()
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_labels_that_are_not_classes_are_refused_before_training() -> None:
    for name in ("train", "validation", "test", "train_subset"):
        inputs, labels = clusters(20)
        splits = data()._replace(**{name: TensorDataset(inputs, labels + CLASSES)})
        trainer = make_trainer(splits=splits)
        with pytest.raises(InputError, match=rf"^{name} data: labels run from 5 to 9; expected 0 to 4"):
            trainer.fit()
        assert trainer.progress.is_initial


# ---------------------------------------------------------------- recorder


def test_the_recorder_keeps_activity_and_badness_of_samples(tmp_path: Path) -> None:
    inputs, labels = clusters(4, seed=8)
    recorder = Recorder(inputs, labels, ["h1", "h3"])
    trainer = make_trainer(recorder)
    trainer.fit()
    assert [recording.epoch for recording in recorder.recordings] == [0, 1, 2] and recorder.history == trainer.history
    last = recorder.recordings[-1]
    assert {name: tuple(h.shape) for name, h in last.activity.items()} == {"h1": (5, 9, 4), "h3": (5, 8, 4)}
    over_time = trainer.network.badness_over_time(inputs)
    for name, index in (("h1", 0), ("h3", 2)):
        expected = over_time[:, index, torch.arange(4), labels]
        torch.testing.assert_close(last.badness[name], expected)
        torch.testing.assert_close(last.activity[name][2:].square().mean(1), expected)
    assert not torch.equal(recorder.recordings[1].activity["h1"], last.activity["h1"])
    activity, badness = record(trainer.network, inputs, labels)
    assert list(activity) == list(badness) == ["h1", "h2", "h3"] and torch.equal(activity["h1"], last.activity["h1"])


def test_the_recorder_does_not_change_the_training() -> None:
    trained = []
    for callbacks in ([], [Recorder(*clusters(4, seed=8))]):
        trainer = make_trainer(*callbacks, negatives="readout", weight_averaging=0.0)
        trainer.fit()
        trained.append(torch.cat([parameter.flatten() for parameter in trainer.network.parameters()]))
    assert torch.equal(*trained)


def test_the_recorder_refuses_what_does_not_fit() -> None:
    inputs, labels = clusters(4)
    with pytest.raises(InputError, match="there is no hidden layer h9; the network has h1, h2, h3"):
        make_trainer(Recorder(inputs, labels, ["h9"])).fit()
    with pytest.raises(InputError, match=r"4 inputs but 3 labels"):
        make_trainer(Recorder(inputs, labels[:3])).fit()


# ---------------------------------------------------------------- trackers


class FakeRun:
    """A run of Weights & Biases that keeps what is logged."""

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self.logged: list[dict[str, Any]] = []

    def log(self, record: dict[str, Any], step: int) -> None:
        self.logged.append(record | {"step": step})

    def finish(self) -> None:
        self.logged.append({"finished": True})


@pytest.fixture
def wandb_run(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeRun, dict[str, Any]]:
    """A fake run, and the options that it is started with."""
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    fake, options = FakeRun(), dict[str, Any]()
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    monkeypatch.setattr(wandb, "init", lambda **given: options.update(given) or fake)
    return fake, options


class Lines(Console):
    """A console that keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)


def tracked(path: Path, **arguments: Any) -> tuple[Trainer, list[str]]:
    """A trainer whose only callback is Weights & Biases, and the lines that it prints."""
    path.mkdir(exist_ok=True)
    trainer, console = make_trainer(WeightsAndBiases(path), **arguments), Lines()
    trainer.console = console
    return trainer, console.lines


def test_wandb_receives_one_curve_for_each_layer_and_the_summary(
    tmp_path: Path, wandb_run: tuple[FakeRun, dict[str, Any]]
) -> None:
    fake, options = wandb_run
    trainer, lines = tracked(tmp_path / "run")
    trainer.fit()
    assert lines == [f"wandb       offline, logged to {tmp_path / 'run/wandb'}"]
    assert options["mode"] == "offline" and options["project"] == "RecurrentFF" and options["resume"] is None
    assert options["config"]["network"]["hidden_sizes"] == [9, 5, 8] and options["config"]["optimizer"]["name"] == "adam"
    finish_run(trainer, RunFolder(tmp_path / "run"))
    assert [record.get("step") for record in fake.logged] == [1, 2, None]
    assert fake.summary == json.loads((tmp_path / "run/summary.json").read_text())
    for name in ("badness_pos", "badness_neg", "layer_loss", "weight_norm", "activity_norm", "update_norm"):
        assert {f"{name}/layer_1", f"{name}/layer_3"} <= fake.logged[0].keys()


def test_wandb_heeds_its_environment_variables(
    tmp_path: Path, wandb_run: tuple[FakeRun, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, options = wandb_run
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    tracked(tmp_path / "run")[0].fit()
    assert options["mode"] == "online" and options["project"] == "mine"
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_MODE", "online")  # without a key, wandb would prompt for one
    tracked(tmp_path / "run")[0].fit()
    assert options["mode"] == "offline"


def test_a_resumed_run_continues_that_of_wandb(tmp_path: Path, wandb_run: tuple[FakeRun, dict[str, Any]]) -> None:
    fake, options = wandb_run
    interrupted = run_trainer(tmp_path, Counter(stop_at=4), wandb=True)
    assert not interrupted.fit() and fake.logged[-1] == {"finished": True}
    resumed = run_trainer(tmp_path, wandb=True)
    resumed.resume(tmp_path / "last.safetensors")
    resumed.fit()
    assert options["resume"] == "allow" and options["id"] == tmp_path.name
    assert [record["step"] for record in fake.logged if "step" in record] == [1, 2]


def test_a_failure_of_wandb_to_start_or_to_log_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")

    class Broken(FakeRun):
        def log(self, record: dict[str, Any], step: int) -> None:
            raise ConnectionError("down\nand out")

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(wandb, "init", lambda **_: Broken())
    trainer, lines = tracked(tmp_path / "run")
    assert trainer.fit()
    finish_run(trainer, RunFolder(tmp_path / "run"))
    assert lines[1:] == ["wandb       off, training continues without it (ConnectionError: down)"]

    class Slow(FakeRun):
        def finish(self) -> None:
            threading.Event().wait()

    monkeypatch.setattr(wandb, "init", lambda **_: Slow())
    monkeypatch.setattr(WeightsAndBiases, "SHUTDOWN_TIMEOUT", 0.1)
    trainer, lines = tracked(tmp_path / "run")
    trainer.fit()
    finish_run(trainer, RunFolder(tmp_path / "run"))
    assert lines[-1].startswith("wandb       has not sent everything after 0.1 s")

    def refuse(**_: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(wandb, "init", refuse)
    trainer, lines = tracked(tmp_path / "run")
    assert trainer.fit() and lines == ["wandb       off, training continues without it (SystemExit: 1)"]


def test_without_its_package_a_tracker_prints_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("wandb", "tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard.writer", raising=False)
    trainer = run_trainer(tmp_path, wandb=True, tensorboard=True, epochs=1)
    trainer.console = console = Lines()
    assert trainer.fit()
    finish_run(trainer, RunFolder(tmp_path))
    off = "off, training continues without it: it is not installed (pip install"
    assert [line for line in console.lines if " off," in line] == [f"wandb       {off} wandb)", f"tensorboard {off} tensorboard)"]


def test_tensorboard_receives_the_metrics_of_every_epoch(tmp_path: Path) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = run_trainer(tmp_path, Counter(stop_at=4), tensorboard=True)
    assert not trainer.fit()
    resumed = run_trainer(tmp_path, tensorboard=True)
    resumed.resume(tmp_path / "last.safetensors")
    resumed.fit()
    finish_run(resumed, RunFolder(tmp_path))
    events = module.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = events.Scalars("layer_loss/layer_2")
    assert [event.step for event in losses] == [1, 2]
    assert [event.value for event in losses] == pytest.approx([metrics.layer_loss[1] for metrics in resumed.history])
    assert len(events.Scalars("summary/test_accuracy")) == 1


# ---------------------------------------------------------------- baselines


def baseline_trainer(path: Path, name: str, *callbacks: Callback, **arguments: Any) -> Trainer:
    path.mkdir(exist_ok=True)
    network = rff.build(small_settings(**{"epochs": 3, "batch_size": 20} | arguments))
    model = make_baseline(name, network, data(100))
    own = [*default_callbacks(model.settings, RunFolder(path)), *callbacks]
    learner = BackpropagationLearner(model)
    return Trainer(cast(rff.Network, model), data(100), own, learner=learner, console=Console(quiet=True))


@pytest.mark.parametrize("name", ["logistic", "gru-9"])
def test_a_resumed_baseline_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    uninterrupted = baseline_trainer(tmp_path / "uninterrupted", name)
    assert uninterrupted.fit()
    assert not baseline_trainer(tmp_path / "resumed", name, Counter(stop_at=7)).fit()
    resumed = baseline_trainer(tmp_path / "resumed", name)
    resumed.resume(tmp_path / "resumed/last.safetensors")
    assert (resumed.progress.epoch, resumed.progress.batch) == (1, 2)
    assert resumed.fit()
    for parameter, expected in zip(resumed.network.parameters(), uninterrupted.network.parameters(), strict=True):
        assert torch.equal(parameter, expected)
    assert [m.loss for m in resumed.history] == [m.loss for m in uninterrupted.history]
    assert resumed.progress.best_epoch == uninterrupted.progress.best_epoch
    assert getattr(resumed.network, "baseline", None) == name
    assert name == "logistic" or cast(GRU, resumed.network).recurrent.hidden_size == 9


def test_a_baseline_follows_adam_with_cosine_decay(tmp_path: Path) -> None:
    """The same training, written down plainly."""
    trainer = baseline_trainer(tmp_path, "logistic")
    network = rff.build(small_settings(epochs=3, batch_size=20))
    model: Baseline = make_baseline("logistic", network, data(100))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 15)
    losses = []
    inputs, labels = clusters(100)
    for epoch in range(3):
        generator = torch.Generator().manual_seed(epoch)
        for index in torch.split(torch.randperm(100, generator=generator), 20):
            loss = torch.nn.functional.cross_entropy(model.logits(inputs[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    trainer.fit()
    assert [metrics.loss for metrics in trainer.history] == pytest.approx([sum(losses[i : i + 5]) / 5 for i in (0, 5, 10)])
    for parameter, expected in zip(trainer.network.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected)


def test_a_baseline_has_metrics_console_lines_and_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = baseline_trainer(tmp_path, "gru")
    trainer.console = Console()
    assert run_training(trainer, RunFolder(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and all(
        line["badness_pos"] == line["layer_loss"] == [] and line["pairwise_accuracy"] is None for line in lines
    )
    assert lines[2]["loss"] < lines[0]["loss"] and lines[0]["learning_rate"] > lines[2]["learning_rate"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "best.safetensors", "config.toml", "curves.png", "last.safetensors", "metrics.jsonl", "summary.json"
    }  # fmt: skip
    assert json.loads((tmp_path / "summary.json").read_text())["baseline"] == "gru"
    output = capsys.readouterr().out
    assert "baseline    gru, by backpropagation: " in output and "badness" not in output
    assert "(* best)" in output and "% right" in output


def test_a_baseline_of_a_benchmark_is_resumed_from_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mnist = {"name": "mnist", "train_samples": 300, "validation_samples": 100, "test_samples": 100}
    options: dict[str, Any] = {"data": mnist, "hidden_sizes": [8], "batch_size": 100, "epochs": 2, "device": "cpu"}
    settings = Settings.from_arguments(**options)
    assert run.start(settings, tmp_path / "whole", baseline="logistic")
    assert not run.start(settings, tmp_path / "resumed", baseline="logistic", callbacks=[Counter(stop_at=2)])
    (folder,) = (tmp_path / "resumed").iterdir()
    assert run.resume(folder, lambda settings: settings)
    assert "resumed     after 0 epochs and 2 batches" in capsys.readouterr().out
    (whole,) = (tmp_path / "whole").iterdir()
    assert whole.name.startswith("mnist-logistic-")
    one, other = (weights_in(path) for path in (whole, folder))
    assert container.checksum(one) == container.checksum(other)
    with pytest.raises(SettingsError, match=r"a baseline has its own initial weights"):
        run.start(settings.with_arguments(weights="x.pt"), tmp_path, baseline="gru")
