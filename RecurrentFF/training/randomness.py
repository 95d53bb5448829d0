"""The random order of the samples in an epoch."""

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
