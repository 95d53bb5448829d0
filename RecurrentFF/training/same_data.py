"""The check that all processes of a training have the same data, in the same order."""

from __future__ import annotations

import math
import zlib

from torch import Tensor

from RecurrentFF.data.dataset import Batch, Splits
from RecurrentFF.distributed.group import Group
from RecurrentFF.errors import InputError

NAMES = {"train": "training", "validation": "validation", "train_subset": "training subset"}
"""The data sets that decide about a training, with their names for the user."""

TOLERANCE = 1e-4
"""The relative difference of inputs that different processors may have."""


def facts_about(splits: Splits) -> dict[str, int]:
    """The number of samples of each data set, and a checksum of its labels where these are known as a tensor."""
    facts: dict[str, int] = {}
    for field, name in NAMES.items():
        dataset = getattr(splits, field)
        facts[f"{name} samples"] = 0 if dataset is None else len(dataset)
        labels = getattr(dataset, "labels", None)
        if isinstance(labels, Tensor):
            facts[f"{name} labels"] = checksum(labels)
    return facts


def checksum(numbers: Tensor) -> int:
    """A checksum of whole numbers."""
    return zlib.crc32(numbers.detach().long().cpu().contiguous().numpy().tobytes())


def require_same_batch(group: Group, batch: Batch) -> None:
    """Check that some processes have read the same batch.

    Args:
        group: the processes.
        batch: the batch that this one has read.

    Raises:
        InputError: they have not. It is raised in all of them.
    """
    found = group.objects((tuple(batch.inputs.shape), checksum(batch.labels), float(batch.inputs.double().sum())))
    shape, labels, total = found[0]
    for rank, (other_shape, other_labels, other_total) in zip(group.ranks, found, strict=True):
        near = math.isclose(total, other_total, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or not math.isfinite(total)
        if other_shape != shape or other_labels != labels or not near:
            raise InputError(
                f"process {rank} has read another batch than process {group.ranks[0]}; let the order and the random changes of a "
                "loader depend on a seed that all processes have"
            )
