"""Pairs and loaders whose sequences have the batch axis first, read with the time axis first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from RecurrentFF.data.raw import is_pair
from RecurrentFF.errors import InputError
from RecurrentFF.layouts import time_first


def time_first_data(data: Any) -> Any:
    """Exchange the first two axes of the sequences in a pair (samples, labels), or in the batches of a loader.

    Args:
        data: the pair or the loader; None, and what has its own layout, such as a task, are returned unchanged.
    """
    if data is None or hasattr(data, "batches") or hasattr(data, "make_splits"):
        return data
    if is_pair(data):
        return time_first(data[0], None)[0], data[1]
    return TimeFirst(data)


class TimeFirst(Sequence[Any]):
    """A loader with the batch axis first, read with the time axis first.

    Args:
        loader: batches (inputs, labels) or (inputs, labels, mask), where inputs are (batch, timesteps, ...), the mask is (batch,
            timesteps), and labels that change over time are (batch, label_timesteps).
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        """Return the number of batches, as the loader does. It raises TypeError if the loader does not know."""
        return len(self.loader)

    def __getitem__(self, index: Any) -> Any:
        """Return a batch of a list."""
        return _exchanged(self.loader[index])

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches, with exchanged axes."""
        return map(_exchanged, self.loader)

    @property
    def sampler(self) -> Any:
        """The sampler of the loader; None without."""
        return getattr(self.loader, "sampler", None)


def _exchanged(batch: Any) -> Any:
    """A batch with time first. One of another form is returned unchanged: who reads it refuses it."""
    if not (isinstance(batch, tuple | list) and len(batch) in (2, 3)):
        return batch
    inputs, mask = time_first(batch[0], batch[2] if len(batch) == 3 else None)
    labels = batch[1]
    if getattr(labels, "ndim", 1) == 2 and labels.shape[1] > 1:
        if labels.shape[0] != inputs.shape[1]:
            raise InputError(f"labels of shape {tuple(labels.shape)}: with batch_first=True expected (batch, label_timesteps)")
        labels = labels.T
    return inputs, labels, mask
