"""Marks of the data of a study, by which other data are noticed when the study is continued."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Batch, Dataset, LoaderDataset, Splits, require_batch
from RecurrentFF.data.loading import kept_randomness
from RecurrentFF.tensors import as_labels, as_numbers
from RecurrentFF.training.same_data import checksum

_SAMPLES = 64
"""The number of samples whose inputs are looked at, the first ones of a data set."""

_INPUTS = 100
"""The number of values of these inputs that are kept, at equal distances."""

_TOLERANCE = 0.01
"""The difference of inputs that is accepted, since devices compute them with different rounding: a part of the largest one."""


def marks_of(splits: Splits) -> dict[str, dict[str, Any]]:
    """The marks of the training and the validation samples, as values that JSON holds.

    Args:
        splits: the data. No source of randomness is changed by the look at them.

    Returns:
        For "training" and "validation", the number of "samples", a checksum of the "labels", and some of the "inputs". Data of a
        loader, and others that differ from one reading to the next, have their number only.

    Raises:
        InputError: a data set yields no batches.
    """
    parts = {"training": splits.train, "validation": splits.validation}
    return {name: _marks(dataset) for name, dataset in parts.items() if dataset is not None}


def _marks(dataset: Dataset) -> dict[str, Any]:
    marks: dict[str, Any] = {"samples": len(dataset)}
    if isinstance(dataset, LoaderDataset):
        return marks
    first, again = _first_batch(dataset), _first_batch(dataset)
    known = getattr(dataset, "labels", None)
    if isinstance(known, Tensor):
        marks["labels"] = _checksum(known)
    elif _checksum(first.labels) == _checksum(again.labels):
        marks["labels"] = _checksum(first.labels)
    inputs = _some(first.inputs)
    if inputs == _some(again.inputs):
        marks["inputs"] = inputs
    return marks


def _first_batch(dataset: Dataset) -> Batch:
    with kept_randomness(dataset):
        return require_batch(next(iter(dataset.batches(_SAMPLES)), None))


def _checksum(labels: Any) -> int:
    return checksum(as_labels(labels))


def _some(inputs: Any) -> list[float]:
    values = as_numbers(inputs).flatten()
    places = torch.linspace(0, len(values) - 1, min(_INPUTS, len(values))).long()
    return [float(value) for value in values[places.to(values.device)].cpu().float().nan_to_num()]


def difference(former: Mapping[str, Any], present: Mapping[str, Any]) -> str | None:
    """The first difference between the marks of two data, in words; None if they are those of the same data.

    Args:
        former: the marks of the data of a study.
        present: those of the present data.
    """
    for part in ("training", "validation"):
        before, now = former.get(part) or {}, present.get(part) or {}
        if before.get("samples") != now.get("samples"):
            return f"{before.get('samples', 0)} {part} samples, now {now.get('samples', 0)}"
        if before.get("labels") != now.get("labels"):
            return f"other {part} labels"
        if not _are_close(before.get("inputs"), now.get("inputs")):
            return f"other {part} inputs"
    return None


def _are_close(before: list[float] | None, now: list[float] | None) -> bool:
    if before is None or now is None or len(before) != len(now):
        return before == now
    limit = _TOLERANCE * max(map(abs, before), default=0.0)
    return all(math.isclose(one, other, rel_tol=0, abs_tol=limit) for one, other in zip(before, now, strict=True))
