"""Checkpoints of a training: the last state, from which it can be resumed, and the best weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from RecurrentFF.errors import CheckpointError, DivergenceError
from RecurrentFF.training import checkpoint
from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.content import forms_of
from RecurrentFF.training.files import RunFolder

if TYPE_CHECKING:
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.progress import Progress
    from RecurrentFF.training.trainer import Trainer

MAX_RETRIES = 5
"""Maximum number of retries after divergences, with on_divergence = "retry"."""


class Checkpoints(Callback):
    """The checkpoints of a run: the last state before the first batch, after each epoch and at an interruption; the best weights.

    The file of the last state has the best weights, too, and is written first: so it is complete by itself, and the two always
    agree. A file that can't be written does not end the training. The best weights are those that were evaluated, without what
    callbacks change in `on_epoch_end`; the last state has these changes.

    Args:
        folder: the run's folder. With None nothing is written, and the best weights are kept in memory; with `retries`, the last
            state, too.
        retries: how often training may continue from the last state with half the learning rate after a divergence.
    """

    def __init__(self, folder: RunFolder | None, retries: int = 0) -> None:
        self.folder = folder
        self.retries = retries
        self._best: dict[str, Tensor] | None = None  # the best epoch's weights
        self._best_written = True  # true if they are in a file of their own
        self._last: dict[str, Any] | None = None  # the last state, without a folder
        self._saved_progress: Progress | None = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Save the state, so that a run that is killed at any moment can be resumed, unless it is saved already."""
        progress = trainer.progress
        if progress.best_epoch and self._best is None and self.folder is not None:
            self._read_best_of_a_former_run(trainer, self.folder)
        if progress.is_initial or progress.is_continued or self.folder is None:
            self._save_last(trainer)

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Copy the weights if they are the best, before other callbacks change those of the network."""
        if trainer.progress.best_epoch == metrics.epoch:
            self._best = {name: tensor.clone() for name, tensor in trainer.evaluated.state_dict().items()}
            self._best_written = False

    def on_epoch_complete(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Save the state, and the best weights if they are new."""
        self._save_last(trainer)

    def on_divergence(self, trainer: Trainer, error: DivergenceError) -> bool:
        """Return to the last state with half the learning rate, unless retries are off or used up."""
        retries, factor = trainer.progress.retries + 1, trainer.progress.rate_factor / 2
        if retries > self.retries or (self.folder is None and self._last is None):
            return False
        self._best, self._best_written = None, True  # the last state has that of its epoch
        if self.folder is not None:
            trainer.resume(self.folder.last)
        else:
            state = copy.deepcopy(self._last or {})  # it may be needed again
            trainer.network.load_state_dict(state.pop("network"))
            trainer.load_state_dict(state)
        trainer.progress.retries, trainer.progress.rate_factor = retries, factor
        place = str(error).partition(":")[0]
        trainer.log(f"diverged    in {place}; back to the last checkpoint, with learning rates times {factor:g}")
        return True

    def on_fit_end(self, trainer: Trainer, finished: bool) -> None:
        """Save the state if it has changed since the last time. A finished run needs no earlier state."""
        if trainer.progress != self._saved_progress and not trainer.progress.is_initial:
            self._save_last(trainer)
        if finished and trainer.saved and self.folder is not None:
            self.folder.remove_previous()

    def load_best(self, trainer: Trainer) -> None:
        """Load the weights of the best epoch into the network."""
        if self._best is not None:
            trainer.network.load_state_dict(self._best)

    def require_saved(self, trainer: Trainer) -> None:
        """Try once more to save the best weights, if they are not saved yet.

        Raises:
            OutputError: they can't be written.
        """
        if self.folder is not None and not self._best_written:
            self._write_best(trainer, self.folder)

    def state_dict(self) -> dict[str, Any]:
        """The best weights."""
        return self._best or {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the best weights of an earlier training. Their file may be missing, or be that of a later epoch."""
        self._best, self._best_written = state, False

    def _save_last(self, trainer: Trainer) -> None:
        """Write all the state that the next batch depends on, with the sums of the current epoch and the best weights.

        Without a folder the state is kept in memory, if a retry may need it.
        """
        if self.folder is None:
            if self.retries:
                self._last = copy.deepcopy({"network": trainer.network.state_dict(), **trainer.state_dict()})
            return
        with trainer.time.part("saving"):
            self._write_last(trainer, self.folder)
        self._saved_progress = replace(trainer.progress)

    def _write_last(self, trainer: Trainer, folder: RunFolder) -> None:
        """Write the last state, and then the best weights, if they are new, to a file of their own."""
        state = trainer.state_dict()
        trainer.saved = trainer.try_save(
            lambda: checkpoint.save(trainer.network, folder.last, previous=folder.previous, training=state)
        )
        if trainer.saved and not self._best_written:  # in this order, so that the file of the best is never of a later epoch
            trainer.saved = trainer.try_save(lambda: self._write_best(trainer, folder))
        if trainer.saved:
            folder.remove_former_files()

    def _write_best(self, trainer: Trainer, folder: RunFolder) -> None:
        """Write the best epoch's weights to a file of their own.

        Raises:
            OutputError: it can't be written.
        """
        epoch = trainer.progress.best_epoch
        metrics = trainer.history[epoch - 1] if epoch else None
        checkpoint.save(trainer.network, folder.best, weights=self._best, epoch=epoch, metrics=metrics)
        self._best_written = True

    def _read_best_of_a_former_run(self, trainer: Trainer, folder: RunFolder) -> None:
        """Read the best weights from their own file, for a last checkpoint of formats 5 to 7, which had them only there.

        If they can't be read, or are those of another epoch, the best epoch is chosen from the following ones.

        Raises:
            CheckpointError: they can't be read, and no epoch follows.
        """
        path, progress = folder.best_to_load, trainer.progress
        try:
            saved = checkpoint.read(path)
            if saved.epoch != progress.best_epoch or forms_of(saved.network) != forms_of(trainer.network.state_dict()):
                raise CheckpointError(f"{path}: not the weights of epoch {progress.best_epoch} of this run")
            self._best = {name: tensor.to(trainer.network.device) for name, tensor in saved.network.items()}
        except CheckpointError as error:
            if trainer.finished:
                raise CheckpointError(f"{error}; the run is complete, and has no other best weights") from None
            folder.keep_former_best = True
            trainer.log(f"note        {error}; the best epoch is chosen from the following ones")
            progress.best_epoch, progress.best_accuracy = 0, -1.0
        self._best_written = False


def load_best(trainer: Trainer) -> None:
    """Load the weights of the best epoch into the trainer's network; without Checkpoints, those that are evaluated now."""
    checkpoints = trainer.callbacks.find(Checkpoints)
    if checkpoints is not None and trainer.progress.best_epoch:
        checkpoints.load_best(trainer)
    else:
        trainer.network.load_state_dict(trainer.evaluated.state_dict())
