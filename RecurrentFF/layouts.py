"""The order of the axes of sequences: time comes first in this package, and the samples come first in many programs."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from RecurrentFF.tensors import as_numbers


def time_first(samples: Any, mask: Any) -> tuple[Tensor, Tensor | None]:
    """Exchange the first two axes of sequences (batch, timesteps, ...) and of their mask (batch, timesteps).

    Args:
        samples: the sequences. What has fewer than three axes is left unchanged.
        mask: None without.
    """
    numbers = as_numbers(samples, "inputs")
    valid = None if mask is None else as_numbers(mask, "mask")
    return numbers.transpose(0, 1) if numbers.dim() > 2 else numbers, valid.T if valid is not None and valid.dim() == 2 else valid


def warn_if_ambiguous(inputs: Tensor, batch_first: bool | None) -> None:
    """Warn if a program has not said which axis is time, and the shape of sequences allows both.

    Args:
        inputs: (timesteps, batch, features), or static inputs, which are never ambiguous.
        batch_first: what the program has said; None for nothing.
    """
    if batch_first is None and inputs.dim() == 3 and inputs.shape[0] == inputs.shape[1] > 1:
        warnings.warn(
            f"inputs of shape {tuple(inputs.shape)} are read as (timesteps, batch, features); if the batch axis comes first, "
            "pass batch_first=True, else batch_first=False",
            stacklevel=3,
        )
