"""The parts of a task's samples: those for validation and test, which are drawn at random or given by themselves."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from RecurrentFF.data.dataset import LoaderDataset, is_dataset
from RecurrentFF.data.panels import ranks_in_class
from RecurrentFF.data.raw import is_pair
from RecurrentFF.errors import DataError, InputError
from RecurrentFF.tensors import errors_at

Part = Any
"""A part of the data: a fraction in 0..1, a number of samples, separate data, or None for no such part.

Separate data are (samples, labels), or a loader of such batches; or a data set of network inputs and class numbers.
"""

_PART = "expected a fraction in 0..1, a whole number of samples, (samples, labels), or None for none"

S = TypeVar("S", bound="Samples")


class Samples(Protocol):
    """Samples that have a number, and of which some can be selected."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self: S, index: slice | Tensor) -> S:
        """Return some of the samples: a slice, or those of the given numbers."""


def first_samples(samples: S, part: str, count: int | None) -> S:
    """Return the first samples of a part; all of them if `count` is 0 or None.

    Raises:
        DataError: there are fewer.
    """
    if count and count > len(samples):
        raise DataError(f"{part}_samples = {count}, but the task has {len(samples)} {part} samples; lower it")
    return samples[: count or len(samples)]


def sizes_and_data(parts: Mapping[str, Part]) -> tuple[dict[str, float | int], dict[str, Any]]:
    """Divide parts into the sizes of those to draw and the data of the others. Parts of None or 0 samples are left out.

    Raises:
        InputError: a part is neither a number, nor (samples, labels), nor a loader.
    """
    sizes: dict[str, float | int] = {}
    data: dict[str, Any] = {}
    for name, part in parts.items():
        if isinstance(part, bool):
            raise InputError(f"{name} = {part}: {_PART}")
        if isinstance(part, Integral):
            sizes[name] = int(part)
        elif isinstance(part, Real):
            sizes[name] = float(part)
        elif part is not None:
            data[name] = part
            if not (is_pair(part) or is_dataset(part)):
                with errors_at(name):
                    LoaderDataset(part)  # refuses what is no loader
    return {name: size for name, size in sizes.items() if size != 0}, data


def draw_parts(samples: S, sizes: Mapping[str, float | int], seed: int, labels: Tensor | None = None) -> dict[str, S]:
    """Draw parts of the samples at random. Each part keeps the order of the samples; the rest is the part "train".

    With labels, every class has its share of each part, rounded so that the sizes stay those that were asked for. A class without
    a sample in a part is served first, the largest one before the others; so each has one, if the part is as large as the number
    of classes. One sample of each class remains for the rest, as long as that is possible.

    Args:
        samples: all samples.
        sizes: the size of each part, as a fraction or a number.
        seed: the seed of the draw.
        labels: the class numbers, (n,); None for a draw that does not depend on classes.

    Raises:
        InputError: a size is invalid.
        DataError: no samples remain for training.
    """
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    parts = {}
    for name, size in sizes.items():
        if not size >= 0 or (isinstance(size, float) and size >= 1):  # NaN is neither
            raise InputError(f"{name} = {size}: {_PART}")
        count = max(1, round(size * len(samples))) if isinstance(size, float) else size
        if labels is not None:
            order = _by_share(order, labels[order], count)
        parts[name], order = samples[order[:count].sort().values], order[count:]
        if len(order) == 0:
            raise DataError(f"{name} = {size} leaves none of the {len(samples)} samples for training; lower it")
    return {"train": samples[order.sort().values] if parts else samples} | parts


def _by_share(order: Tensor, labels: Tensor, count: int) -> Tensor:
    """Reorder sample numbers (n,), whose class numbers are `labels`, so that the first `count` have each class by its share."""
    seats = torch.tensor(_shares(torch.bincount(labels).tolist(), count))
    chosen = ranks_in_class(labels) < seats[labels]
    return torch.cat([order[chosen], order[~chosen]])


def _shares(sizes: list[int], count: int) -> list[int]:
    """Divide a number of samples among classes of these sizes, one after the other, by the method of Webster and Sainte-Laguë.

    The next sample is that of the class with the highest size / (2 · samples so far + 1), after classes that have none so far,
    and before classes of which one sample remains.
    """
    shares = [0] * len(sizes)

    def turn(number: int) -> tuple[bool, bool, float, int]:
        share = shares[number]
        return share >= sizes[number] - 1, share > 0, -sizes[number] / (2 * share + 1), number

    turns = [turn(number) for number, size in enumerate(sizes) if size]
    heapq.heapify(turns)
    for _ in range(min(count, sum(sizes))):
        number = turns[0][3]
        shares[number] += 1
        if shares[number] < sizes[number]:
            heapq.heapreplace(turns, turn(number))
        else:
            heapq.heappop(turns)
    return shares
