"""The progress of a run on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.chance import chance_line
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.summary import result_lines

if TYPE_CHECKING:
    from RecurrentFF.errors import DivergenceError
    from RecurrentFF.model.learner import BatchMetrics
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.summary import Summary
    from RecurrentFF.training.trainer import Trainer


class ProgressConsole(Callback):
    """A progress bar for each epoch, a line of metrics after it, and the results at the end, on the trainer's console.

    Args:
        folder: the run's folder, whose files are listed with the results; None if there is none.
    """

    def __init__(self, folder: RunFolder | None = None) -> None:
        self.folder = folder

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Show the progress bar."""
        title = f"epoch {trainer.progress.epoch + 1}/{trainer.settings.training.epochs}"
        trainer.console.start(title, len(trainer.splits.train), trainer.totals.samples)

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        """Advance the progress bar."""
        trainer.console.advance(samples, trainer.totals)

    def on_batches_end(self, trainer: Trainer) -> None:
        """Show that the epoch is being evaluated."""
        trainer.console.evaluating()

    def on_epoch_complete(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Print the line of the epoch, whose checkpoint is saved by now."""
        best = trainer.progress.best_epoch == metrics.epoch
        trainer.console.epoch(metrics, trainer.settings.training.epochs, best)

    def on_divergence(self, trainer: Trainer, error: DivergenceError) -> bool:
        """Remove the progress bar."""
        trainer.console.stop()
        return False

    def on_fit_end(self, trainer: Trainer, finished: bool) -> None:
        """Print why the training has ended before its last epoch, and whether nothing was learned."""
        if trainer.progress.stopped:
            trainer.log(f"ended       after epoch {trainer.progress.epoch}: {trainer.progress.stopped}")
        nothing_learned = chance_line(trainer) if finished else None
        if nothing_learned is not None:
            trainer.log(nothing_learned)

    def close(self, trainer: Trainer) -> None:
        """Remove the progress bar."""
        trainer.console.stop()

    def on_summary(self, trainer: Trainer, summary: Summary) -> None:
        """Print the results."""
        test_samples = 0 if trainer.splits.test is None else len(trainer.splits.test)
        for line in result_lines(summary, test_samples, self.folder, trainer.time.seconds()):
            trainer.log(line)
