"""The base class of callbacks: the events of a training, and their order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest

if TYPE_CHECKING:
    from RecurrentFF.errors import DivergenceError
    from RecurrentFF.model.learner import BatchMetrics
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.summary import Summary
    from RecurrentFF.training.trainer import Trainer


class Callback:
    """A callback: it acts at the events of a training. Override those of interest; by default they do nothing.

    The order of the events:

        setup                  once, when the trainer is made
        on_fit_start           once for each call of fit, which may continue an earlier training
            on_epoch_start     for each epoch
                on_batch_end   for each batch
            on_batches_end     when no further batch of the epoch follows: all are done, or training was interrupted
            on_epoch_end       when the epoch is evaluated; not after an interruption
            on_epoch_complete  when all callbacks have done their work of on_epoch_end: the state is saved
        on_fit_end             when all epochs are done, or training was stopped or interrupted
        close                  at the very end of fit, also after an error
        on_summary             when the best weights were tested; the last event of a run

    At each event the callbacks are called in the order of the trainer's list. After `on_divergence`, which can follow any
    event of an epoch, training continues with `on_epoch_start` or ends with the error.

    A callback may call `trainer.stop(reason)`, which ends the training after the current batch or epoch. It may change the
    weights of `trainer.network` in `on_batch_end`, `on_epoch_start` and `on_epoch_end`, but not the metrics it is given. A change
    in `on_epoch_end` is part of the state that a run is resumed from, but not of the best weights: those are the weights that
    were evaluated. The learning rates are set anew at each batch: change `trainer.progress.rate_factor`, which multiplies all
    of them.

    With several processes, all of them call their callbacks; `trainer.group.is_first` tells the one that writes. A prediction
    within an epoch must be made by all of them alike. Where the layers are divided, the weights of other processes' layers are
    up to date from the end of the epoch's batches on: change only those of `network.processes.own(…)` before that.

    An error in a callback ends the training with a CallbackError that names the callback and the event.

    Examples:
        >>> class Stopwatch(Callback):
        ...     def on_epoch_end(self, trainer, metrics):
        ...         if trainer.progress.seconds > 3600:
        ...             trainer.stop("an hour is over")
    """

    def setup(self, trainer: Trainer) -> None:
        """Called when the trainer is made, before a checkpoint is loaded. `trainer.evaluated` may be replaced here."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Called when training begins or continues. `trainer.progress` tells which."""

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Called before the first batch of an epoch, or before the first remaining one of an interrupted epoch."""

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        """Called after each batch.

        Args:
            trainer: the trainer. `trainer.progress.batch` is the number of finished batches of this epoch.
            metrics: the measurements of the batch, on the network's device: only reading them synchronizes with it.
            samples: the number of samples of the batch.
        """

    def on_batches_end(self, trainer: Trainer) -> None:
        """Called when no further batch of the epoch follows, before it is evaluated."""

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Called when an epoch is evaluated. `metrics` is the last entry of `trainer.history`."""

    def on_epoch_complete(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Called after `on_epoch_end` of all callbacks, to save what they have left. Change neither weights nor a state here."""

    def on_divergence(self, trainer: Trainer, error: DivergenceError) -> bool:
        """Called when the loss or the weights are not finite.

        Returns:
            True if the callback has restored an earlier state, so that training can continue. If none has, the error is raised.
        """
        return False

    def on_fit_end(self, trainer: Trainer, finished: bool) -> None:
        """Called when training ends without an error.

        Args:
            trainer: the trainer.
            finished: True if training is complete, False if it was interrupted and can be resumed.
        """

    def close(self, trainer: Trainer) -> None:
        """Called at the very end of fit, also after an error, to release what the callback holds open."""

    def on_summary(self, trainer: Trainer, summary: Summary) -> None:
        """Called when the best weights are loaded and tested: the last event of a run."""

    def state_dict(self) -> dict[str, Any]:
        """The state that a resumed training needs: tensors, numbers, strings, and lists and dictionaries of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`. Called after a checkpoint was loaded, if it has a state of this callback."""


def require_callbacks(callbacks: Iterable[Callback]) -> list[Callback]:
    """Check the callbacks that a user gives.

    Args:
        callbacks: a list of callbacks.

    Returns:
        The callbacks as a list.

    Raises:
        SettingsError: it is not a list, or something in it is not a callback, for instance a class instead of an object of it.
    """
    if isinstance(callbacks, Callback):
        raise SettingsError(f"callbacks: expected a list; write [{type(callbacks).__name__}(…)]")
    if not isinstance(callbacks, Iterable):
        raise SettingsError(f"callbacks: expected a list, not {_described(callbacks)}")
    found = list(callbacks)
    for callback in found:
        if not isinstance(callback, Callback):
            raise SettingsError(f"callbacks: {_described(callback)} is not a callback{_advice(callback)}")
        for name in dir(callback):
            if name.startswith("on_") and not hasattr(Callback, name):
                events = [event for event in dir(Callback) if event.startswith("on_")]
                raise SettingsError(f"callbacks: {type(callback).__name__}.{name} is no event{nearest(name, events)}")
    return found


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of {type(value).__name__}"


def _advice(value: object) -> str:
    if isinstance(value, type) and issubclass(value, Callback):
        return f"; make an object of it: {value.__name__}()"
    return "; derive its class from RecurrentFF.Callback"
