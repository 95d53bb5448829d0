"""The end of a run: the best weights on the test set, once, and what is left behind for the user."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from RecurrentFF.model.counting import label_timesteps
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.plots import plot_curves, plot_timesteps
from RecurrentFF.training.trainer import Trainer
from RecurrentFF.writing import write_text


@dataclass(frozen=True)
class Summary:
    """What a finished run came to; accuracies are shares, 0 to 1."""

    test_accuracy: float
    validation_accuracy: float | None
    """Of the best epoch; None without validation samples."""
    best_epoch: int
    """Of which the weights are; without validation samples the last one."""
    epochs: int
    seconds: float
    """Training and evaluation, all sessions of the run together."""
    samples_per_second: float
    """In training alone."""
    device: str
    precision: str
    seed: int
    torch: str
    """Its version."""


def conclude(trainer: Trainer, folder: RunFolder) -> Summary:
    """Load the best epoch's weights (without validation samples, the last one's), read the test set, write summary and pictures,
    and tell the user.

    Raises OutputError, after all that, if the trained network could not be saved.
    """
    import torch

    settings, progress, history = trainer.settings, trainer.progress, trainer.history
    assert trainer.splits.test is not None
    trainer.load_best()
    summary = Summary(
        test_accuracy=accuracy(trainer.network, trainer.splits.test),
        validation_accuracy=progress.best_accuracy if trainer.splits.validation is not None else None,
        best_epoch=progress.best_epoch,
        epochs=progress.epoch,
        seconds=round(progress.seconds, 1),
        samples_per_second=round(sum(m.samples_per_second for m in history) / len(history), 1),
        device=settings.device.device,
        precision=settings.device.precision,
        seed=settings.training.seed,
        torch=torch.__version__,
    )
    text = json.dumps(asdict(summary), indent=2) + "\n"
    trainer.attempt(lambda: write_text(folder.summary, text))
    title = f"{settings.data_config.dataset}: test accuracy {100 * summary.test_accuracy:.2f} % ({folder.path.name})"
    trainer.attempt(lambda: plot_curves(history, title, folder.curves, progress.best_epoch, summary.test_accuracy))
    if trainer.splits.validation is not None:
        few, network = next(iter(trainer.splits.validation.batches(trainer.network.predicted_at_once))), trainer.network
        badness, labels = network.badness_over_time(few.inputs), few.labels.to(network.device)
        counts = label_timesteps(few.mask, len(labels), settings, badness)
        window = settings.prediction_window
        trainer.attempt(lambda: plot_timesteps(badness, labels, counts, window, network.judges, folder.timesteps))
    for line in _lines(summary, folder, len(trainer.splits.test)):
        trainer.console.say(line)
    if trainer.tracker is not None:
        trainer.tracker.finish(asdict(summary))  # last, for it may have to wait
    trainer.require_saved()
    return summary


def weights_of(epoch: int, validation_accuracy: float | None) -> str:
    """The line that says which weights were tested."""
    why = "the last" if validation_accuracy is None else f"the best on validation ({100 * validation_accuracy:.2f} %)"
    return f"weights     of epoch {epoch}, {why}"


def _lines(summary: Summary, folder: RunFolder, test_samples: int) -> list[str]:
    minutes, seconds = divmod(round(summary.seconds), 60)
    test = 100 * summary.test_accuracy
    files = [path.name for path in sorted(folder.path.iterdir()) if not path.name.startswith(".")]
    return [
        "",
        f"test        {test:.2f} % right, {100 - test:.2f} % wrong of {test_samples:,}",
        weights_of(summary.best_epoch, summary.validation_accuracy),
        f"time        {minutes} min {seconds} s; {summary.samples_per_second:,.0f} training samples/s",
        f"results     {folder.path}: {', '.join(files)}",
    ]
