"""The metrics of a run as a file of JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import write_metrics

if TYPE_CHECKING:
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.trainer import Trainer


class JsonLines(Callback):
    """The file metrics.jsonl, with the metrics of each epoch as one JSON object a line.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_fit_start(self, trainer: Trainer) -> None:
        """Make the file agree with the checkpoint that a run is resumed from."""
        if trainer.history:
            self._write(trainer)

    def on_epoch_complete(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Write the metrics of all epochs."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        trainer.try_save(lambda: write_metrics(self.folder.metrics, trainer.history))
