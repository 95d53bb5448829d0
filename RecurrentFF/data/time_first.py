"""Pairs and loaders whose sequences have the batch axis first, of which `LoaderDataset` and the network read time first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from RecurrentFF.data.raw import is_pair
from RecurrentFF.errors import InputError
from RecurrentFF.layouts import time_first
from RecurrentFF.tensors import errors_at


def time_first_data(data: Any) -> Any:
    """Exchange the first two axes of the sequences in a pair (samples, labels), or mark a loader as one with the batch first.

    Args:
        data: the pair or the loader; None, and what has its own layout, such as a task, are returned unchanged.
    """
    if data is None or hasattr(data, "batches") or hasattr(data, "make_splits"):
        return data
    if is_pair(data):
        return time_first(data[0], None)[0], data[1]
    return BatchFirst(data)


@dataclass(frozen=True)
class BatchFirst:
    """A loader, or a list of batches, with the batch axis first. `LoaderDataset` takes it in place of a loader."""

    loader: Iterable[Sequence[Any]]
    """Batches (inputs, labels) or (inputs, labels, mask), where inputs are (batch, timesteps, ...), the mask is (batch,
    timesteps), and labels that change over time are (batch, label_timesteps)."""


def parts_of(batch: Any, number: int, batch_first: bool) -> tuple[Any, Any, Any]:
    """Return the inputs, the labels, and the mask or None of a batch, with time first.

    Args:
        batch: (inputs, labels) or (inputs, labels, mask).
        number: the number of the batch, from 1, for the error.
        batch_first: whether it has the batch axis first.

    Raises:
        InputError: it has another form.
    """
    if not (isinstance(batch, tuple | list) and len(batch) in (2, 3)):
        raise InputError(f"batch {number} of type {type(batch).__name__}: expected (inputs, labels) or (inputs, labels, mask)")
    inputs, labels, mask = (*batch, None) if len(batch) == 2 else batch
    if not batch_first:
        return inputs, labels, mask
    with errors_at(f"batch {number}"):
        inputs, mask = time_first(inputs, mask)
        if getattr(labels, "ndim", 1) == 2 and labels.shape[1] > 1:
            if labels.shape[0] != inputs.shape[1]:
                shape = tuple(labels.shape)
                raise InputError(f"labels of shape {shape}: with batch_first=True expected (batch, label_timesteps)")
            labels = labels.T
    return inputs, labels, mask
