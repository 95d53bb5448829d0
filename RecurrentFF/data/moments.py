"""Images without what handwriting adds to a digit's form: its slant, and how wide and tall it is written.

Both are read off the moments of the ink, as a person would straighten a page before reading it, and undone by one map of the
pixels (R. G. Casey, "Moment normalization of handprinted characters", 1970; "deskewing" in Y. LeCun, L. Bottou, Y. Bengio,
P. Haffner, "Gradient-based learning applied to document recognition", 1998).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from RecurrentFF.data.warping import affine_grid, warp

USUAL_WIDTH, USUAL_HEIGHT = 0.122, 0.196
"""Root mean square distance of the ink from its centre, across and down, as a share of the side: of MNIST's training digits
without slant, on average."""


class Normalisation(NamedTuple):
    """What is undone; by default nothing. Either brings the middle of the ink to the middle of the image."""

    deskew: bool = False
    """The slant: lines are shifted until the ink is, on average, as far to the left below as above."""
    size: float = 0.0
    """Of the ink's width and height, each for itself: 0 leaves them, 1 makes them the usual ones, 0.5 goes half of the way (in
    logarithms)."""


NOTHING_UNDONE = Normalisation()


def normalise(images: Tensor, how: Normalisation, *, background: float) -> Tensor:
    """The images with their ink upright, in the middle, and of more equal size.

    Args:
        images: (n, side, side), nowhere below the background but for rounding.
        how: what is undone.
        background: value of an empty pixel.

    Returns:
        (n, side, side), bilinearly interpolated. An image without ink stays empty.
    """
    if not any(how):
        return images
    centre, width, height, slant = moments(images - background)
    if not how.deskew:
        slant = torch.zeros_like(slant)
    across, down = ((spread / usual) ** how.size for spread, usual in ((width, USUAL_WIDTH), (height, USUAL_HEIGHT)))
    rows = [torch.stack([across, slant * down, 2 * centre[:, 0]], 1), torch.stack([0 * down, down, 2 * centre[:, 1]], 1)]
    return warp(images, affine_grid(torch.stack(rows, 1), images.shape[1]), background)


class Moments(NamedTuple):
    """Of the ink of n images; lengths as a share of their side."""

    centre: Tensor
    """(n, 2) of gravity, across and down from the middle"""
    width: Tensor
    """(n,) root mean square distance from the slanted axis, along the lines"""
    height: Tensor
    """(n,) root mean square distance from the centre's line"""
    slant: Tensor
    """(n,) how far the axis leads to the right for each step down"""


def moments(ink: Tensor) -> Moments:
    """Where the ink is, how far it spreads, and how it leans; all of it zero, or the least there can be, where there is none.

    Args:
        ink: (n, side, side), nowhere negative but for rounding.
    """
    side, ink = ink.shape[1], ink.clamp(min=0)  # background that is rounded may lie below it
    place = (torch.arange(side, dtype=ink.dtype, device=ink.device) + 0.5) / side - 0.5
    total = ink.sum((1, 2)).clamp(min=torch.finfo(ink.dtype).tiny)
    columns, lines = ink.sum(1) / total[:, None], ink.sum(2) / total[:, None]
    x, y = columns @ place, lines @ place
    dx, dy = place - x[:, None], place - y[:, None]
    least = (1 / side) ** 2 / 12  # that of the ink within a pixel: nothing is thinner
    xx, yy = (columns * dx**2).sum(1), (lines * dy**2).sum(1).clamp(min=least)
    xy = (torch.einsum("nyx,nx->ny", ink, dx) * dy).sum(1) / total
    slant = xy / yy
    return Moments(torch.stack([x, y], 1), (xx - slant * xy).clamp(min=least).sqrt(), yy.sqrt(), slant)
