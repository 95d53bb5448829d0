"""Checkpoints of a training: the last state, from which it can be resumed, and the best weights."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from RecurrentFF.errors import DivergenceError
from RecurrentFF.training import checkpoint
from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.files import RunFolder

if TYPE_CHECKING:
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.trainer import Progress, Trainer

MAX_RETRIES = 5
"""Maximum number of retries after divergences, with on_divergence = "retry"."""


class Checkpoints(Callback):
    """The checkpoints of a run: last.pt before the first batch, after each epoch and at an interruption; best.pt.

    A file that can't be written does not end the training: the best weights then stay in memory and in last.pt. The best weights
    are those that were evaluated, without what callbacks change in `on_epoch_end`; last.pt has these changes.

    Args:
        folder: the run's folder. With None nothing is written, and the best weights are kept in memory; with `retries`, the last
            state, too.
        retries: how often training may continue from the last state with half the learning rate after a divergence.
    """

    def __init__(self, folder: RunFolder | None, retries: int = 0) -> None:
        self.folder = folder
        self.retries = retries
        self._best: dict[str, Tensor] | None = None  # the best epoch's weights until best.pt is written
        self._last: dict[str, Any] | None = None  # the last state, without a folder
        self._saved_progress: Progress | None = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Save the state, so that a run that is killed at any moment can be resumed, unless last.pt already has it."""
        progress = trainer.progress
        if progress.is_initial or progress.is_continued or self.folder is None:
            self._save_last(trainer)

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Copy the weights if they are the best, before other callbacks change those of the network."""
        if trainer.progress.best_epoch == metrics.epoch:
            self._best = {name: tensor.clone() for name, tensor in trainer.evaluated.state_dict().items()}

    def on_epoch_complete(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Save the state, and the best weights if they are new."""
        self._save_last(trainer)

    def on_divergence(self, trainer: Trainer, error: DivergenceError) -> bool:
        """Return to the last state with half the learning rate, unless retries are off or used up."""
        retries, factor = trainer.progress.retries + 1, trainer.progress.rate_factor / 2
        if retries > self.retries or (self.folder is None and self._last is None):
            return False
        self._best = None  # the last state has it
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
        """Save the state if it has changed since the last time. A finished run needs no former.pt."""
        if trainer.progress != self._saved_progress and not trainer.progress.is_initial:
            self._save_last(trainer)
        if finished and trainer.saved and self.folder is not None:
            self.folder.previous.unlink(missing_ok=True)

    def load_best(self, trainer: Trainer) -> None:
        """Load the weights of the best epoch into the network.

        Raises:
            CheckpointError: best.pt is missing or damaged.
        """
        if self._best is not None:
            trainer.network.load_state_dict(self._best)
        elif self.folder is not None:
            checkpoint.load_weights(trainer.network, checkpoint.read(self.folder.best), self.folder.best)

    def require_saved(self, trainer: Trainer) -> None:
        """Try once more to save the best weights, if they are not saved yet.

        Raises:
            OutputError: they can't be written.
        """
        if self.folder is not None and self._best is not None:
            checkpoint.save(trainer.network, self.folder.best, weights=self._best, epoch=trainer.progress.best_epoch)
            self._best = None

    def state_dict(self) -> dict[str, Any]:
        """The best weights, if they are not in best.pt."""
        return self._best or {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the best weights that could not be written."""
        self._best = state

    def _save_last(self, trainer: Trainer) -> None:
        """Write last.pt: all the state that the next batch depends on, and the sums of the current epoch.

        Without a folder the state is kept in memory, if a retry may need it.
        """
        if self.folder is None:
            if self.retries:
                self._last = copy.deepcopy({"network": trainer.network.state_dict(), **trainer.state_dict()})
            return
        folder = self.folder
        self._save_best(trainer, folder)
        state = trainer.state_dict()
        written = trainer.try_save(lambda: checkpoint.save(trainer.network, folder.last, previous=folder.previous, **state))
        trainer.saved = written and self._best is None
        self._saved_progress = replace(trainer.progress)

    def _save_best(self, trainer: Trainer, folder: RunFolder) -> None:
        """Write the best epoch's weights to best.pt. If that fails, they stay in memory and in the last checkpoint."""
        if self._best is not None:
            best, metrics = self._best, asdict(trainer.history[trainer.progress.best_epoch - 1])
            extra: dict[str, Any] = {"epoch": trainer.progress.best_epoch, "metrics": metrics}
            if trainer.try_save(lambda: checkpoint.save(trainer.network, folder.best, weights=best, **extra)):
                self._best = None


def load_best(trainer: Trainer) -> None:
    """Load the weights of the best epoch into the trainer's network; without Checkpoints, those that are evaluated now.

    Raises:
        CheckpointError: best.pt is missing or damaged.
    """
    checkpoints = trainer.callbacks.find(Checkpoints)
    if checkpoints is not None and trainer.progress.best_epoch:
        checkpoints.load_best(trainer)
    else:
        trainer.network.load_state_dict(trainer.evaluated.state_dict())
