"""End a training that no longer improves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RecurrentFF.errors import SettingsError
from RecurrentFF.training.callbacks.base import Callback

if TYPE_CHECKING:
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.trainer import Trainer


class EarlyStopping(Callback):
    """The end of training after a number of epochs without a better validation accuracy. The training is complete then.

    The epochs are counted from the best one. They are counted anew when a training that was stopped is continued, and from the
    start of the readout's epochs (`schedule.readout_epochs`), if there are any: the training does not end before them.

    Args:
        epochs: the number of epochs, at least 1.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_fit_start(self, trainer: Trainer) -> None:
        """Refuse a training without validation samples.

        Raises:
            SettingsError: there are none.
        """
        if trainer.splits.validation is None:
            raise SettingsError(
                f"training.early_stopping = {self.epochs}: there are no validation samples to measure an improvement on; "
                "set aside some, or set training.early_stopping = 0"
            )

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Stop the training if the best epoch is too long ago."""
        progress, settings = trainer.progress, trainer.settings
        readout_epochs = settings.schedule.readout_epochs
        start = settings.training.epochs - readout_epochs if readout_epochs else 0
        if progress.epoch - max(progress.best_epoch, progress.continued_after, start) >= self.epochs:
            trainer.stop(f"no better validation accuracy since epoch {progress.best_epoch}")
