"""Finish a run: evaluate the best weights once on the test set, and write the summary and the plots."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from RecurrentFF.atomic_files import write_text
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.plots import plot_curves, plot_timesteps
from RecurrentFF.training.trainer import Trainer


@dataclass(frozen=True)
class Summary:
    """Results of a finished run. Accuracies are fractions from 0 to 1."""

    test_accuracy: float
    """Accuracy on the test set."""
    validation_accuracy: float | None
    """Accuracy on the validation set after the best epoch, None without validation samples."""
    best_epoch: int
    """Number of the epoch whose weights were tested. Without validation samples this is the last epoch."""
    epochs: int
    """Number of trained epochs."""
    seconds: float
    """Duration of training and evaluation in seconds. A resumed run has the sum of all its sessions."""
    samples_per_second: float
    """Training samples a second, without the evaluation. This is the mean over the epochs."""
    device: str
    """Name of the device."""
    precision: str
    """Precision of matrix products."""
    seed: int
    """Seed of the run."""
    torch: str
    """Version of torch."""


def finish_run(trainer: Trainer, folder: RunFolder) -> Summary:
    """Load the best weights, evaluate them on the test set, write the summary and the plots, and print the results.

    The best weights are those of the epoch with the highest validation accuracy, or the last ones without validation samples.

    Raises:
        CheckpointError: the best weights can't be read.
        OutputError: the trained network could not be saved. This is raised after everything else is done.
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
    trainer.try_save(lambda: write_text(folder.summary, text))
    title = f"{settings.data_config.dataset}: test accuracy {100 * summary.test_accuracy:.2f} % ({folder.path.name})"
    best_epoch, test_accuracy, reduction = summary.best_epoch, summary.test_accuracy, settings.model.badness
    trainer.try_save(lambda: plot_curves(history, title, folder.curves, best_epoch, test_accuracy, reduction))
    if trainer.splits.validation is not None:
        network = trainer.network
        batch = next(iter(trainer.splits.validation.batches(network.samples_at_once)))
        badness, labels = network.badness_over_time(batch.inputs), batch.labels.to(network.device)
        valid = network.valid_timesteps(batch.mask, len(labels))
        window, names = settings.prediction_window, list(network.layers)
        layers = [names.index(name) + 1 for name in network.prediction_layers]
        trainer.try_save(lambda: plot_timesteps(badness, labels, valid, window, layers, folder.timesteps, reduction))
    for line in _lines(summary, folder, len(trainer.splits.test)):
        trainer.console.log(line)
    if trainer.tracker is not None:
        trainer.tracker.finish(asdict(summary))  # last, because it can take up to a minute
    trainer.require_saved()
    return summary


def weights_of(epoch: int, validation_accuracy: float | None) -> str:
    """The output line about the epoch whose weights were tested."""
    reason = "the last" if validation_accuracy is None else f"the best on validation ({100 * validation_accuracy:.2f} %)"
    return f"weights     of epoch {epoch}, {reason}"


def _lines(summary: Summary, folder: RunFolder, test_samples: int) -> list[str]:
    minutes, seconds = divmod(round(summary.seconds), 60)
    correct = 100 * summary.test_accuracy
    files = [path.name for path in sorted(folder.path.iterdir()) if not path.name.startswith(".")]
    return [
        "",
        f"test        {correct:.2f} % right, {100 - correct:.2f} % wrong of {test_samples:,}",
        weights_of(summary.best_epoch, summary.validation_accuracy),
        f"time        {minutes} min {seconds} s; {summary.samples_per_second:,.0f} training samples/s",
        f"results     {folder.path}: {', '.join(files)}",
    ]
