"""Training images made anew in every epoch: shifted, rotated, scaled, bent and partly covered, each in its own way.

All distortions of an image are one displacement of its pixels, drawn from (seed, sample number, epoch) and applied to a whole
batch at once on its device: an affine map, and a smooth random field for the bending (P. Simard, D. Steinkraus, J. Platt, "Best
practices for convolutional neural networks applied to visual document analysis", 2003).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.dataset import Batch, TensorDataset
from RecurrentFF.data.edges import Edges, edges
from RecurrentFF.data.moments import NOTHING_UNDONE, Normalisation, normalise
from RecurrentFF.data.randomness import random_numbers
from RecurrentFF.data.warping import affine_grid, warp

FIELD = 5
"""Knots of the bending's random field, in each direction."""


class Distortion(NamedTuple):
    """How far each distortion goes at most; 0 is none of it."""

    shift: int = 0
    """Pixels, in both directions; whole ones if nothing else moves the pixels."""
    rotation: float = 0.0
    """Degrees, either way."""
    scaling: float = 0.0
    """Share by which both sides grow or shrink: 0.1 is 10 %."""
    bending: float = 0.0
    """Pixels that the random field moves a knot, in both directions."""
    cutout: int = 0
    """Side of a square that is covered with background, in pixels."""


def distort(
    images: Tensor,
    how: Distortion,
    samples: Tensor,
    *,
    seed: int,
    epoch: int,
    background: float,
    normalisation: Normalisation = NOTHING_UNDONE,
) -> Tensor:
    """The images, each distorted in its own way, a pure function of the arguments.

    Args:
        images: (n, side, side).
        samples: (n,) their numbers.
        background: value of what comes in from outside.
        normalisation: what is undone after the pixels have moved (shifts, in any case), before a square is covered.

    Returns:
        (n, side, side).
    """
    side = images.shape[1]
    drawn = random_numbers(seed, "distortion", samples, epoch, 6 + 2 * FIELD**2)
    if how.shift or how.rotation or how.scaling or how.bending:
        grid = _affine_grid(how, drawn, side)
        if how.bending:
            knots = drawn[:, 6:].view(-1, 2, FIELD, FIELD) * (2 * how.bending / side)
            between = _interpolation(side).to(knots)
            grid = grid + (between @ knots @ between.T).permute(0, 2, 3, 1)
        images = warp(images, grid, background)
    images = normalise(images, normalisation, background=background)
    if how.cutout:
        images = torch.where(_square(how.cutout, drawn[:, 4:6], side), background, images)
    return images


def _affine_grid(how: Distortion, drawn: Tensor, side: int) -> Tensor:
    """Where each pixel of the new image is in the old one, (n, side, side, 2) in −1..1."""
    shift = drawn[:, :2] * how.shift
    if not (how.rotation or how.scaling or how.bending):
        steps = 2 * how.shift + 1  # whole pixels, all equally likely
        shift = ((drawn[:, :2] + 1) / 2 * steps).floor().clamp(max=steps - 1) - how.shift
    angle, scale = drawn[:, 2] * math.radians(how.rotation), 1 / (1 + drawn[:, 3] * how.scaling)  # the map leads from new to old
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [torch.stack([cosine, -sine, 2 * shift[:, 0] / side], 1), torch.stack([sine, cosine, 2 * shift[:, 1] / side], 1)]
    return affine_grid(torch.stack(rows, 1), side)


@cache
def _interpolation(side: int) -> Tensor:
    """What leads from a row of knots to the pixels between them, by cubic interpolation: (side, FIELD)."""
    knots = torch.eye(FIELD).view(FIELD, 1, FIELD, 1)
    return F.interpolate(knots, (side, 1), mode="bicubic", align_corners=True).view(FIELD, side).T.contiguous()


def _square(width: int, centre: Tensor, side: int) -> Tensor:
    """True in a square of that width about centres (n, 2) in −1..1, (n, side, side)."""
    pixels = torch.arange(side, device=centre.device)
    corner = ((centre + 1) / 2 * (side - width + 1)).floor().clamp(max=side - width).unsqueeze(2)
    down, across = ((pixels >= corner) & (pixels < corner + width)).unbind(1)
    return down.unsqueeze(2) & across.unsqueeze(1)


class DistortedImages:
    """Square images, row by row, that are distorted anew in every epoch.

    Args:
        images: as they are.
        how: they are distorted.
        seed: of the distortions, with an image's number and the epoch.
        background: value of an empty pixel.
        normalisation: what is undone, as in `distort`.
        seen_as: edges that are told apart in the images made; None leaves them pixels.
    """

    def __init__(
        self,
        images: TensorDataset,
        how: Distortion,
        *,
        seed: int,
        background: float,
        normalisation: Normalisation = NOTHING_UNDONE,
        seen_as: Edges | None = None,
    ) -> None:
        self.images = images
        self.how = how
        self.normalisation = normalisation
        self.seen_as = seen_as
        self.seed = seed
        self.background = background

    def __len__(self) -> int:
        return len(self.images)

    def batch_count(self, size: int) -> int:
        """How many batches of `size` samples there are; the last may be smaller."""
        return self.images.batch_count(size)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Batches of `size` samples, in the given order of sample numbers, else as they stand."""
        order = torch.arange(len(self)) if order is None else order
        numbers = torch.split(order.to(self.images.labels.device), size)
        for samples, (inputs, labels, _) in zip(numbers, self.images.batches(size, order), strict=False):
            side = math.isqrt(inputs.shape[1])
            yield Batch(self._made(inputs.view(-1, side, side), samples, epoch), labels)

    def _made(self, images: Tensor, samples: Tensor, epoch: int) -> Tensor:
        """The inputs that images (n, side, side) become."""
        made = distort(
            images,
            self.how,
            samples,
            seed=self.seed,
            epoch=epoch,
            background=self.background,
            normalisation=self.normalisation,
        )
        return made.flatten(1) if self.seen_as is None else edges(made, self.seen_as, background=self.background)
