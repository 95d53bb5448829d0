r"""Oriented-gradient (HOG-like) features: the strength of the image gradient in each direction and each cell of a grid.

    g    = Σ_k r_k · d_k,  r_k ≥ 0               the gradient at a pixel (Sobel filters), decomposed into the two of the evenly
                                                 spaced directions d_k that enclose it
    a_kp = √(mean of r_k around cell p)          the cells form a grid; the means have Gaussian weights
    x    = (a − mean(a)) / std(a)                over all directions and cells of an image; or a / √(mean(a²)), not centered

The features are a histogram of gradient directions in each cell, as in N. Dalal, B. Triggs, "Histograms of oriented gradients
for human detection", 2005. For characters, and with the square root, which gives weak edges more weight beside strong ones, they
were used by C.-L. Liu, K. Nakashima, H. Sako, H. Fujisawa, "Handwritten digit recognition: benchmarking of state-of-the-art
techniques", 2003.

They also resemble the first stages of the visual cortex. The r_k correspond to the responses of simple cells (D. Hubel,
T. Wiesel, "Receptive fields, binocular interaction and functional architecture in the cat's visual cortex", 1962), and the a_kp
to those of cells that tolerate a small displacement of an edge. The last line is a coarse model of divisive normalization
(D. Heeger, "Normalization of cell responses in cat striate cortex", 1992).

The features are fixed: no parameter is learned.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CPU_CHUNK_SIZE = 50
"""Number of images that a CPU processes at once. Their intermediate results fit its cache, which halves the time."""

EPS = 1e-3
"""Constant added to the variance of an image's features before the division by its square root.

The variance is about 0.2 for MNIST. An image with far less contrast keeps smaller features. An empty image has the features 0.
"""

NEGLIGIBLE_WEIGHT = 1e-11
"""Largest magnitude of the filter weights that are set to 0.

This changes the features of MNIST's digits by less than 1e-5. The smallest products would be denormal numbers, of which a CPU
computes one in the time of a dozen others.
"""


class OrientedGradientConfig(NamedTuple):
    """Options of the oriented-gradient features."""

    directions: int
    """Number of gradient directions, evenly spaced over the full circle.

    The gradient points to where the ink increases. At least 4, so that a direction and both its neighbors lie in a half circle.
    """
    grid_size: int
    """Number of grid cells across the image, and as many down."""
    centered: bool = True
    """The subtraction of the mean of an image's features. Without, they are at least 0, and 0 where there is no ink."""


def oriented_gradients(images: Tensor, config: OrientedGradientConfig, *, background: float) -> Tensor:
    """Compute the oriented-gradient features of images.

    Args:
        images: (n, side, side).
        config: number of directions and of grid cells.
        background: value of an empty pixel, and of everything outside the image.

    Returns:
        (n, directions · grid_size²), direction by direction, each in row-major order. The features of an image have mean
        square 1, and mean 0 if they are centered.
    """
    filters = _direction_filters(config.directions, images.dtype, images.device)
    cell_weights = _cell_weights(images.shape[1], config.grid_size, images.dtype, images.device)
    chunk_size = CPU_CHUNK_SIZE if images.device.type == "cpu" else max(1, len(images))
    chunks = torch.split(images, chunk_size)
    features = [cell_weights @ _responses(chunk - background, filters) @ cell_weights.T for chunk in chunks]
    return torch.cat([_normalized(means, config.centered) for means in features])


def moved_oriented_gradients(objects: Tensor, positions: Tensor, side: int, config: OrientedGradientConfig) -> Tensor:
    """Compute the oriented-gradient features of videos, in each of which one object moves on an empty canvas.

    The features are those that `oriented_gradients` gives for the rendered frames, up to rounding. The gradient is computed once
    for each object instead of once for each frame, and only there, which takes about a tenth of the time.

    Args:
        objects: (n, object side, object side), with the value 0 where there is no ink.
        positions: (timesteps, n, 2) integers, down and right, of the object's upper left corner, from 0 to side − object side.
        side: side of the square canvas.
        config: number of directions and of grid cells, and whether features are centered.

    Returns:
        (timesteps, n, directions · grid_size²), as from `oriented_gradients`.
    """
    directions, cells, size = config.directions, config.grid_size, objects.shape[1] + 2  # gradients reach a pixel beyond the ink
    filters = _direction_filters(directions, objects.dtype, objects.device)
    weights = F.pad(_cell_weights(side, cells, objects.dtype, objects.device), (1, 1))  # none outside the canvas
    down = weights.unfold(1, size, 1).transpose(0, 1).contiguous()  # (positions, cells, size)
    right = down.transpose(1, 2).contiguous()
    features = objects.new_empty(*positions.shape[:2], directions * cells**2)
    chunk_size = CPU_CHUNK_SIZE if objects.device.type == "cpu" else max(1, len(objects))
    for chunk in torch.split(torch.arange(len(objects), device=objects.device), chunk_size):
        responses = _responses(F.pad(objects[chunk], [1] * 4), filters).transpose(1, 2)  # (n, rows, directions, columns)
        lines = responses.reshape(len(chunk), -1, size)
        for t, position in enumerate(positions[:, chunk]):
            columns = torch.bmm(lines, right[position[:, 1]]).view(len(chunk), size, -1)
            means = torch.bmm(down[position[:, 0]], columns).view(len(chunk), cells, directions, cells)
            features[t, chunk] = _normalized(means.transpose(1, 2), config.centered)
    return features


def _responses(ink: Tensor, filters: Tensor) -> Tensor:
    """Compute r_k of the module's equations, (n, directions, side, side), from ink (n, side, side)."""
    cross = F.conv2d(ink.unsqueeze(1), filters, padding=1)  # g × d_k: the sign is the side of g on which d_k lies
    return torch.minimum(cross.roll(-1, 1), -cross.roll(1, 1)).clamp(min=0)  # positive if g is between d_k−1 and d_k+1


def _normalized(means: Tensor, centered: bool) -> Tensor:
    """Compute x of the module's equations, (n, directions · grid_size²), from the means of r_k around the cells."""
    features = means.sqrt().flatten(1)
    if centered:
        return F.layer_norm(features, features.shape[1:], eps=EPS)
    return features * torch.rsqrt(features.square().mean(1, keepdim=True) + EPS)


@cache
def _direction_filters(directions: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Compute the filters of g × d_k / sin(angle between neighboring directions), (directions, 1, 3, 3).

    If g lies between d_k and d_k+1, then r_k = g × d_k+1 / (d_k × d_k+1). For any other k, g × d_k+1 or −g × d_k−1 is negative.
    """
    angle = 2 * math.pi / directions
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    angles = angle * torch.arange(directions, dtype=sobel.dtype)[:, None, None]
    filters = (angles.sin() * sobel - angles.cos() * sobel.T) / math.sin(angle)
    return _without_negligible(filters).unsqueeze(1).to(device, dtype)


@cache
def _cell_weights(side: int, grid_size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Compute the Gaussian weights from a line of pixels to the grid cells along it, (grid_size, side); a cell's sum to 1.

    The width of the Gaussian keeps the frequencies that the grid can represent. It suppresses most of the higher ones, which
    would appear as lower ones (aliasing; Liu et al.).
    """
    spacing = side / grid_size
    centers = (torch.arange(grid_size, dtype=torch.float64) + 0.5) * spacing - 0.5
    distance = (torch.arange(side) - centers.unsqueeze(1)) / (math.sqrt(2) * spacing / math.pi)
    return _without_negligible(torch.softmax(-(distance**2) / 2, 1)).to(device, dtype)


def _without_negligible(weights: Tensor) -> Tensor:
    return weights.where(weights.abs() > NEGLIGIBLE_WEIGHT, 0.0)


def tile_maps(features: Tensor, directions: int) -> Tensor:
    """Arrange the feature maps of each image as one picture, as close to a square of maps as possible.

    Args:
        features: (n, directions · grid_size²), as from `oriented_gradients`.
        directions: number of directions.

    Returns:
        (n, height, width). Each map has a border of one pixel above and to the left, of the lowest value of all.
    """
    grid_size, columns = math.isqrt(features.shape[1] // directions), math.isqrt(directions - 1) + 1
    rows = math.ceil(directions / columns)
    padded = F.pad(features - features.min(), (0, (rows * columns - directions) * grid_size**2))
    maps = padded.view(-1, rows, columns, grid_size, grid_size)
    return F.pad(maps, (1, 0, 1, 0)).transpose(2, 3).flatten(3).flatten(1, 2)
