r"""The population code of pen strokes: how much ink the pen draws in each direction at each place.

A move of length ℓ, of direction φ, whose middle is at (u, v), adds to a grid of places and to evenly spaced directions

    a_dij += ℓ · Λ(φ − φ_d) · Λ(u − u_j) · Λ(v − v_i)          Λ(r) = max(0, 1 − |r|), in units of the spacing

so that each move divides its length between two directions and four places (bilinear interpolation). Moves with the pen in the
air add nothing, and neither does a stroke of a single pixel, which has no length. A unit of such a code responds to a stroke in
its preferred direction at its place, as simple cells of the visual cortex do, and as the directionally tuned neurons of the motor
cortex, whose population vector is the direction of a movement (A. Georgopoulos, A. Schwartz and R. Kettner, "Neuronal population
coding of movement direction", Science 1986).

The input of a timestep is the code of its moves, or with `accumulate` that of all moves so far, the drawing that the pen leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.panels import Images, Panel, direction_names, maps_of
from RecurrentFF.data.pen_strokes import StrokeTransform
from RecurrentFF.data.transforms import Prepared
from RecurrentFF.options import Flag
from RecurrentFF.registry import register

DRAWING_RMS = 2.0
"""Root mean square of the code of all moves so far, over the features of a sample.

A larger value than the 1 of an activity makes the input outweigh the lateral drive at first.
"""

MOVE_LEVEL = 4.0
"""The factor of the code of the moves of one timestep. Four moves of one pixel then have a root mean square of about 0.25."""


@register("transform", "population_code")
@dataclass(frozen=True)
class PopulationCode(StrokeTransform):
    """The direction and the place of the moves of a pen as network inputs, of the latest moves or of all moves so far."""

    directions: Annotated[int, Field(ge=3)] = 8
    """The number of directions, evenly spaced over the full circle."""
    grid_size: Annotated[int, Field(ge=2)] = 10
    """The number of places across the image, and as many down."""
    accumulate: Flag = True
    """Show all moves so far at each timestep. If false, a timestep shows its new moves only, and the network must remember."""
    mask_ends: Flag = False
    """Mark timesteps after the last move as invalid. If false, the network computes and learns on with an empty input.

    It needs `accumulate = false`: a drawing stays valid when it is complete.
    """

    def check(self) -> None:
        """Check that a drawing that stays is not masked."""
        if self.mask_ends and (self.accumulate or self.repeat):
            raise ValueError(
                "mask_ends = true: with accumulate or repeat, timesteps after the last move have an input; set those to false"
            )

    @property
    def features(self) -> int:
        """One number for each direction and place."""
        return self.directions * self.grid_size**2

    def encode(self, moves: Tensor, lengths: Tensor, image_shape: tuple[int, int]) -> Prepared:
        """Convert moves to network inputs. See `StrokeTransform.encode`."""
        inputs = self.code(moves, image_shape)
        if self.accumulate:
            inputs = inputs.cumsum_(0)
            rms = inputs.square().mean(2, keepdim=True).sqrt().clamp(min=1e-3)
            return Prepared(inputs.mul_(DRAWING_RMS / rms))
        starts = torch.arange(len(inputs), device=moves.device).unsqueeze(1) * self.moves_per_timestep
        return Prepared(inputs.mul_(MOVE_LEVEL), starts < lengths if self.mask_ends else None)

    def show_inputs(self, inputs: Tensor, mask: Tensor | None, input_shape: tuple[int, ...]) -> list[Panel]:
        """Arrange the places of each direction as an image, see `Transform.show_inputs`."""
        ink = "so far" if self.accumulate else "since the timestep before"
        caption = f"network input: ink drawn {ink} in the direction of the arrow, at {self.grid_size} × {self.grid_size} places"
        maps = maps_of(inputs, self.directions, self.grid_size)
        return [Images(caption, maps, direction_names(self.directions), dark=True)]

    def code(self, moves: Tensor, image_shape: tuple[int, int]) -> Tensor:
        """Return a_dij of the moves of each timestep, (timesteps, n, directions · grid_size²), direction by direction.

        Args:
            moves: (n, timesteps · moves_per_timestep, 4), as from `padded_moves`.
            image_shape: height and width of the images, in pixels.
        """
        path = pen_path(moves)
        spacing = torch.tensor([image_shape[1], image_shape[0]], device=moves.device) / self.grid_size
        place = ((path.middle + 0.5) / spacing - 0.5).clamp(0, self.grid_size - 1)
        angle = torch.atan2(path.step[..., 1], path.step[..., 0]) * (self.directions / (2 * math.pi))
        numbers, weights = [], []
        for direction, near in _neighbors(angle):
            for column, across in _neighbors(place[..., 0], self.grid_size - 1):
                for row, down in _neighbors(place[..., 1], self.grid_size - 1):
                    numbers.append(((direction % self.directions) * self.grid_size + row) * self.grid_size + column)
                    weights.append(path.ink * near * across * down)
        timesteps = moves.shape[1] // self.moves_per_timestep
        number, weight = (torch.stack(parts, 2).view(len(moves), timesteps, -1).transpose(0, 1) for parts in (numbers, weights))
        return weight.new_zeros(timesteps, len(moves), self.features).scatter_add_(2, number, weight)


class PenPath(NamedTuple):
    """The path of a pen, move by move."""

    middle: Tensor
    """The middle of each move, (n, moves, 2): column and row in pixels, from 0."""
    step: Tensor
    """The displacement of each move, (n, moves, 2): right and down, in pixels."""
    ink: Tensor
    """The length of the line that a move draws, (n, moves), in pixels; 0 if the pen is in the air."""


def pen_path(moves: Tensor) -> PenPath:
    """Return the path of moves (n, moves, 4), whose displacements may be fractions of a pixel. Each repetition starts anew."""
    step, lifts, ends = moves[..., :2].float(), moves[..., 2] > 0, moves[..., 3] > 0
    repetition = ends.cumsum(1) - ends.long()  # the number of complete drawings before a move
    total = (step * (repetition == 0).unsqueeze(2)).sum(1, keepdim=True)
    position = step.cumsum(1) - 1 - repetition.unsqueeze(2) * total
    in_air = F.pad(lifts, (1, 0), value=True)[:, :-1]  # a move that leads to the start of a stroke
    return PenPath(position - step / 2, step, step.norm(dim=2) * ~in_air)


def _neighbors(position: Tensor, last: int | None = None) -> list[tuple[Tensor, Tensor]]:
    """Return the two whole numbers that enclose a position, each with its weight Λ; at most `last`, whose other one has none."""
    below = position.floor()
    fraction = position - below
    above = below + 1 if last is None else (below + 1).clamp(max=last)
    return [(below.long(), 1 - fraction), (above.long(), fraction)]
