"""Normalization of handwritten digits: removes their slant and equalizes their width and height.

Both are measured by the moments of the ink and undone by one affine map (R. G. Casey, "Moment normalization of handprinted
characters", 1970; "deskewing" in Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", 1998).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from RecurrentFF.data.warp import affine_grid, warp

REFERENCE_WIDTH, REFERENCE_HEIGHT = 0.122, 0.196
"""Width and height of the ink after full size normalization: root mean square distances from its center, relative to the side.

They are the means over MNIST's training digits without slant.
"""


class NormalizationConfig(NamedTuple):
    """Options of the normalization; the defaults leave an image unchanged.

    Either option also moves the center of the ink to the center of the image.
    """

    deskew: bool = False
    """Remove the slant: shear the image until horizontal and vertical positions of the ink are uncorrelated."""
    size: float = 0.0
    """Strength of the size normalization, for width and height separately.

    0 leaves the size unchanged, and 1 makes it the reference size. Values between them interpolate the logarithms.
    """


NO_NORMALIZATION = NormalizationConfig()
"""Options that leave every image unchanged."""


def normalize(images: Tensor, config: NormalizationConfig, *, background: float) -> Tensor:
    """Normalize the slant, position and size of the ink of images.

    Args:
        images: (n, side, side), nowhere below the background except by rounding.
        config: the moments to normalize.
        background: value of an empty pixel.

    Returns:
        (n, side, side), bilinearly interpolated. An image without ink stays empty.
    """
    if not any(config):
        return images
    center, width, height, slant = moments(images - background)
    if not config.deskew:
        slant = torch.zeros_like(slant)
    scale_x, scale_y = (width / REFERENCE_WIDTH) ** config.size, (height / REFERENCE_HEIGHT) ** config.size
    matrix_rows = [
        torch.stack([scale_x, slant * scale_y, 2 * center[:, 0]], 1),
        torch.stack([0 * scale_y, scale_y, 2 * center[:, 1]], 1),
    ]
    return warp(images, affine_grid(torch.stack(matrix_rows, 1), images.shape[1]), background)


class Moments(NamedTuple):
    """Moments of the ink of n images. Lengths are relative to the side of the image."""

    center: Tensor
    """Center of gravity, (n, 2): x to the right and y down from the middle of the image."""
    width: Tensor
    """Root mean square horizontal distance of the ink from its slanted axis, (n,)."""
    height: Tensor
    """Root mean square vertical distance of the ink from its center, (n,)."""
    slant: Tensor
    """Shear of the ink, (n,): displacement of its axis to the right for one unit down."""


def moments(ink: Tensor) -> Moments:
    """Measure the center, width, height and slant of the ink. Without ink, all are zero or the smallest possible value.

    Args:
        ink: (n, side, side), nowhere negative except by rounding.
    """
    side, ink = ink.shape[1], ink.clamp(min=0)  # rounding may put the background below zero
    position = (torch.arange(side, dtype=ink.dtype, device=ink.device) + 0.5) / side - 0.5
    total = ink.sum((1, 2)).clamp(min=torch.finfo(ink.dtype).tiny)
    profile_x, profile_y = ink.sum(1) / total[:, None], ink.sum(2) / total[:, None]
    x, y = profile_x @ position, profile_y @ position
    dx, dy = position - x[:, None], position - y[:, None]
    smallest = (1 / side) ** 2 / 12  # the variance within a pixel: no ink is thinner
    xx, yy = (profile_x * dx**2).sum(1), (profile_y * dy**2).sum(1).clamp(min=smallest)
    xy = (torch.einsum("nyx,nx->ny", ink, dx) * dy).sum(1) / total
    slant = xy / yy
    return Moments(torch.stack([x, y], 1), (xx - slant * xy).clamp(min=smallest).sqrt(), yy.sqrt(), slant)
