"""Noticing that a training's numbers are no longer finite, soon and without waiting for the device at every batch."""

from __future__ import annotations

import torch
from torch import Tensor

from RecurrentFF.errors import DivergenceError


class Watch:
    """Looks over the losses of an epoch's batches. What it finds stays on the device until it is asked for.

    Args:
        epoch: counted from 1, for the message.
        batch: how many of its batches are done.
    """

    SELDOM = 50
    """Batches between two looks at a GPU, each of which waits for it; a CPU's numbers are looked at after every batch."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.epoch = epoch
        self.batch = batch
        self._found: Tensor | None = None  # (iterations, layers) of the first batch with a loss that is not finite, true there
        self._batch = torch.zeros(())  # its number

    def add(self, loss: Tensor) -> None:
        """A batch's losses, (iterations, layers). Raises DivergenceError as `look`."""
        self.batch += 1
        found = ~torch.isfinite(loss)
        if self._found is None:
            self._found, self._batch = torch.zeros_like(found), self._batch.to(loss.device)
        seen = self._found.any()
        self._found = torch.where(seen, self._found, found)
        self._batch = torch.where(seen, self._batch, self.batch)
        if loss.device.type == "cpu" or self.batch % self.SELDOM == 0:
            self.look()

    def look(self) -> None:
        """Raise DivergenceError, naming where it began, if a loss was not finite."""
        if self._found is not None and self._found.any():
            timestep, layer = self._found.nonzero()[0].tolist()  # the earliest timestep, and its lowest layer
            raise DivergenceError(
                f"epoch {self.epoch}, batch {int(self._batch)}: the training has diverged, the loss of layer {layer + 1} "
                f'at label timestep {timestep} is not finite; use a smaller learning rate, or training.on_divergence = "retry" '
                "(the last checkpoint is from before)"
            )
