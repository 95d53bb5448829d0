"""Detect a loss that is NaN or infinite, without synchronizing with the device at every batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from RecurrentFF.errors import DivergenceError
from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.callbacks.checkpoints import Checkpoints

if TYPE_CHECKING:
    from RecurrentFF.model.learner import BatchMetrics
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.trainer import Trainer


class NonFiniteCheck(Callback):
    """A check that losses and metrics are finite. It raises DivergenceError where they are not."""

    def __init__(self) -> None:
        self._losses = NonFiniteLossCheck(1, 0)

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Begin with the first batch of the epoch, or the first remaining one."""
        self._losses = NonFiniteLossCheck(trainer.progress.epoch + 1, trainer.progress.batch, advice(trainer))

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        """Check the losses of a batch; on a GPU only now and then."""
        self._losses.add(metrics.loss)

    def on_batches_end(self, trainer: Trainer) -> None:
        """Check the batches that have not been checked."""
        self._losses.check()

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Check the metrics of all layers, and all weights, those of the readout included."""
        require_finite(metrics, advice(trainer))
        wrong = next((name for name, weight in trainer.network.named_parameters() if not weight.isfinite().all()), None)
        if wrong is not None:
            raise DivergenceError(f"epoch {metrics.epoch}: the training has diverged, {wrong} is not finite; {advice(trainer)}")


class NonFiniteLossCheck:
    """A check of the losses of an epoch's batches. The result stays on the device until `check` reads it.

    Args:
        epoch: number of the epoch, from 1, for the error message.
        batch: number of batches that are already done.
        advice: the end of the error message: what the user can do.
    """

    CHECK_INTERVAL = 50
    """Number of batches between two checks on a GPU, since each one synchronizes. On a CPU every batch is checked."""

    def __init__(self, epoch: int, batch: int, advice: str = "use a smaller learning rate") -> None:
        self.epoch = epoch
        self.batch = batch
        self.advice = advice
        # Of the first batch with a non-finite loss: the losses that are not finite, (timesteps, layers), and the batch number.
        self._non_finite: Tensor | None = None
        self._non_finite_batch = torch.zeros(())

    def add(self, loss: Tensor) -> None:
        """Add the losses of a batch, of shape (label timesteps, layers).

        Raises:
            DivergenceError: this was a batch to check, and a loss was not finite.
        """
        self.batch += 1
        non_finite = ~torch.isfinite(loss)
        if self._non_finite is None:
            self._non_finite = torch.zeros_like(non_finite)
            self._non_finite_batch = self._non_finite_batch.to(loss.device)
        found_before = self._non_finite.any()
        self._non_finite = torch.where(found_before, self._non_finite, non_finite)
        self._non_finite_batch = torch.where(found_before, self._non_finite_batch, self.batch)
        if loss.device.type == "cpu" or self.batch % self.CHECK_INTERVAL == 0:
            self.check()

    def check(self) -> None:
        """Check the batches so far. This synchronizes with the device.

        Raises:
            DivergenceError: a loss was not finite. The message names the first batch, timestep and layer.
        """
        if self._non_finite is not None and self._non_finite.any():
            timestep, layer = self._non_finite.nonzero()[0].tolist()  # the earliest timestep, and the lowest layer in it
            raise DivergenceError(
                f"epoch {self.epoch}, batch {int(self._non_finite_batch)}: the training has diverged, the loss of "
                f"layer {layer + 1} at label timestep {timestep} is not finite; {self.advice}"
            )


def advice(trainer: Trainer) -> str:
    """The end of the message about a divergence: what the user can do."""
    checkpoints, retries = trainer.callbacks.find(Checkpoints), trainer.progress.retries
    kept = checkpoints is not None and checkpoints.folder is not None
    saved = " (the last checkpoint was saved before)" if kept else ""
    if trainer.settings.training.on_divergence == "retry":
        halved = f"; it was halved {retries} times already" if retries else ""
        return f"use a smaller learning rate{halved}{saved}"
    return f'use a smaller learning rate, or training.on_divergence = "retry"{saved}'


def require_finite(metrics: EpochMetrics, advice: str) -> None:
    """Check that the metrics of all layers are finite.

    Args:
        metrics: the metrics of an epoch.
        advice: the end of the error message: what the user can do.

    Raises:
        DivergenceError: a metric is NaN or infinite. The message names the first one and its layer.
    """
    for name in ("layer_loss", "badness_pos", "badness_neg", "weight_norm"):
        for layer, value in enumerate(getattr(metrics, name), start=1):
            if not math.isfinite(value):
                raise DivergenceError(
                    f"epoch {metrics.epoch}: the training has diverged, {name} of layer {layer} is {value}; {advice}"
                )
