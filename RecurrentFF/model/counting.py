"""Which timesteps count: of a sequence that is over before the last one, those that are real."""

from __future__ import annotations

import torch
from torch import Tensor

from RecurrentFF.errors import InputError
from RecurrentFF.settings import Settings


def label_timesteps(mask: Tensor | None, batch: int, settings: Settings, like: Tensor) -> Tensor:
    """1 where a timestep with the label counts, else 0: (iterations, batch).

    Args:
        mask: (timesteps, batch), true where the input is real, as `Network.sequence` has timesteps; None where all count.
        like: the result is of its type and on its device.

    Raises:
        InputError: the shape doesn't fit.
    """
    if mask is None:
        return torch.ones((), dtype=like.dtype, device=like.device).expand(settings.data_config.iterations, batch)
    mask = torch.as_tensor(mask)
    if mask.shape != (settings.timesteps, batch):
        raise InputError(
            f"mask of shape {tuple(mask.shape)}: expected ({settings.timesteps}, {batch}), true where an input counts"
        )
    return mask[settings.model.prelabel_timesteps :].bool().to(like)


def window_weights(counts: Tensor, window: tuple[int, int]) -> Tensor:
    """How much each timestep of the prediction window weighs, (timesteps of the window, batch): the same for all that count, one
    in sum. A sequence that is over before the window begins is judged by the whole window.

    Args:
        counts: (iterations, batch), from `label_timesteps`.
        window: its first and last timestep.
    """
    shown = counts[window[0] : window[1] + 1]
    shown = torch.where(shown.sum(0) > 0, shown, torch.ones_like(shown))
    return shown / shown.sum(0)
