"""Image warping: sampling grids of affine maps, and images resampled by a grid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def affine_grid(matrices: Tensor, side: int) -> Tensor:
    """Compute the sampling grid of an affine map for square images, as `warp` takes it.

    The result equals that of `torch.nn.functional.affine_grid`, in a third of the time on a CPU.

    Args:
        matrices: (n, 2, 3), map (x, y, 1) in the new image to (x, y) in the old one; an image spans −1 to 1.
        side: height and width of the images, in pixels.

    Returns:
        (n, side, side, 2), x and y in the old image for each pixel of the new one.
    """
    center = (torch.arange(side, dtype=matrices.dtype, device=matrices.device) + 0.5) * (2 / side) - 1
    grid = matrices.new_empty(len(matrices), side, side, 2)
    for axis, (from_x, from_y, offset) in enumerate(matrices.permute(1, 2, 0).unsqueeze(-1)):
        grid[..., axis] = (from_x * center).unsqueeze(1) + (from_y * center + offset).unsqueeze(2)
    return grid


def warp(images: Tensor, grid: Tensor, background: float) -> Tensor:
    """Resample images at the points of a grid, with bilinear interpolation. Points outside an image give the background.

    Args:
        images: (n, side, side).
        grid: (n, side, side, 2), x and y in the old image, which spans −1 to 1.
        background: value of an empty pixel.

    Returns:
        (n, side, side).
    """
    ink = (images - background).unsqueeze(1)
    return F.grid_sample(ink, grid.to(ink.dtype), mode="bilinear", align_corners=False).squeeze(1) + background
