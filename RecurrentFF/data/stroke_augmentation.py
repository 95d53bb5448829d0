"""Augmentation of pen strokes: an affine map of the path of the pen, new for each sample in every epoch.

The map is drawn from (seed, sample number, epoch). It is applied to the moves themselves, so that the pen draws the same strokes
in the same order and number of moves, but at other places and in other directions.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.options import Section
from RecurrentFF.random_bits import random_numbers

PURPOSE = "strokes"
"""Name under which the random numbers are drawn. Another name would change the strokes of every seed."""


class StrokeAugmentation(Section):
    """Limits of the random affine map of a training digit's strokes, drawn again in every epoch; 0 turns a part of it off."""

    translate: Annotated[float, Field(ge=0, le=28)] = 0.0
    """The largest translation in both directions, in pixels."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """The largest rotation either way, in degrees."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The largest change of width and height, each by itself, as a fraction of the size."""
    shear: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The largest slant either way, in pixels across for each pixel down."""

    def __bool__(self) -> bool:
        """Return whether any part of the map is on."""
        return any((self.translate, self.rotation, self.scale, self.shear))


NO_STROKE_AUGMENTATION = StrokeAugmentation()
"""Limits that leave every stroke unchanged."""


def augment_moves(moves: Tensor, config: StrokeAugmentation, samples: Tensor, *, seed: int, epoch: int, side: int) -> Tensor:
    """Map the path of each sequence at random, a pure function of the arguments.

    The map is x' = R·S·(x − c) + c + t, where c is the center of the image, R a rotation, S a scaling with a slant, and t a
    translation.

    Args:
        moves: (n, moves, 4), as from `padded_moves`.
        config: limits of the map.
        samples: (n,) sample numbers of the sequences.
        seed: the seed of the run.
        epoch: the epoch number, from 0.
        side: height and width of the image, in pixels.

    Returns:
        (n, moves, 4) float32; the moves themselves, if all limits are 0.
    """
    if not config:
        return moves
    uniform = random_numbers(seed, PURPOSE, samples, epoch, 6)
    angle = uniform[:, 0] * math.radians(config.rotation)
    width, height = (1 + config.scale * uniform[:, 1:3]).unbind(1)
    slanted = torch.stack([width, config.shear * uniform[:, 3], torch.zeros_like(width), height], 1).view(-1, 2, 2)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    matrix = rotation @ slanted
    # The first move of a drawing leads from (−1, −1) to the start, so that it moves with the center, too.
    starts = F.pad(moves[..., 3] > 0, (1, 0), value=True)[:, :-1].unsqueeze(2)
    center = (side - 1) / 2
    mapped = moves[..., :2].float() @ matrix.transpose(1, 2)
    shift = (center + 1) - matrix.sum(2) * (center + 1) + config.translate * uniform[:, 4:6]
    is_move = (moves != 0).any(2, keepdim=True)
    return torch.cat([mapped + starts * is_move * shift.unsqueeze(1), moves[..., 2:].float()], 2)
