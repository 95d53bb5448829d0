"""The random choices of a training, as pure functions of the seed, the epoch and the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def epoch_order(seed: int, epoch: int, samples: int) -> Tensor:
    """The random order of the samples in an epoch, a pure function of the arguments.

    Returns:
        Indices of the samples, of shape (samples,).
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(samples, generator=generator)


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """The seed of a batch's negative labels and dropout masks, a pure function of the arguments.

    A checkpoint therefore needs no state of the random generator, and a run can resume on a device of another kind.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    offset = int(torch.randint(2**62, (), generator=generator))
    return offset ^ batch
