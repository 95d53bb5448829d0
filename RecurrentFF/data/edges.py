r"""Images as the first cells of the visual cortex report them: not how dark each place is, but which edges run through it.

    g    = Σ_k r_k · d_k,  r_k ≥ 0               the gradient at a pixel (by Sobel's filters), along the two of the evenly spread
                                                 directions d_k that it lies between
    a_kp = √(mean of r_k around place p)         the places form a grid; the means are weighted by a Gaussian
    x    = (a − mean(a)) / std(a)                over all directions and places of an image

r_k are the responses of simple cells (D. Hubel, T. Wiesel, "Receptive fields, binocular interaction and functional architecture
in the cat's visual cortex", 1962), a those of cells that don't mind quite where an edge runs, and the last line is a crude
stand-in for how they rein each other in (D. Heeger, "Normalization of cell responses in cat striate cortex", 1992). As features
of characters, and with the root, which makes weak edges count beside strong ones: C.-L. Liu, K. Nakashima, H. Sako, H. Fujisawa,
"Handwritten digit recognition: benchmarking of state-of-the-art techniques", 2003. Nothing in it is learned.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

PART = 50
"""Images that a CPU works on at once: what they become in between fits its cache, which halves the time."""

FAINT = 1e-3
"""Added to the variance that is made one (0.2 for MNIST): an image of far less contrast stays fainter, and an empty one 0."""

NEGLIGIBLE = 1e-11
"""Weights that are left out, which changes the activities of MNIST's digits by less than 1e-5: the products of the smallest would
be denormal numbers, of which a CPU makes one while it makes a dozen others."""


class Edges(NamedTuple):
    """What is told apart."""

    directions: int
    """In which there is more and more ink, evenly spread over the full circle; at least 4, so that a direction and both its
    neighbours lie within half of it."""
    places: int
    """Across, and as many down."""


def edges(images: Tensor, how: Edges, *, background: float) -> Tensor:
    """Which edges run where.

    Args:
        images: (n, side, side).
        how: they are told apart.
        background: value of an empty pixel, and of all outside the image.

    Returns:
        (n, directions · places²), direction by direction, row by row, each image with mean 0 and mean square 1.
    """
    filters = _filters(how.directions, images.dtype, images.device)
    means = _gaussian_means(images.shape[1], how.places, images.dtype, images.device)
    at_once = PART if images.device.type == "cpu" else max(1, len(images))
    return torch.cat([_standardised_activity(part - background, filters, means) for part in torch.split(images, at_once)])


def _standardised_activity(ink: Tensor, filters: Tensor, means: Tensor) -> Tensor:
    """x, (n, directions · places²), of ink (n, side, side)."""
    across = F.conv2d(ink.unsqueeze(1), filters, padding=1)  # g × d_k: positive where d_k lies to the one side of g
    along = torch.minimum(across.roll(-1, 1), -across.roll(1, 1)).clamp(min=0)  # r_k: between d_k−1 and d_k+1, and how far
    activity = (means @ along @ means.T).sqrt().flatten(1)
    return F.layer_norm(activity, activity.shape[1:], eps=FAINT)


@cache
def _filters(directions: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What gives g × d_k / sin(the angle between neighbours): (directions, 1, 3, 3).

    With g between d_k and d_k+1, r_k = g × d_k+1 / (d_k × d_k+1): for any other k, one of g × d_k+1 and −g × d_k−1 is negative.
    """
    angle = 2 * math.pi / directions
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    turned = angle * torch.arange(directions, dtype=sobel.dtype)[:, None, None]
    filters = (turned.sin() * sobel - turned.cos() * sobel.T) / math.sin(angle)
    return _without_negligible(filters).unsqueeze(1).to(device, dtype)


@cache
def _gaussian_means(side: int, places: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weights that lead from a row of pixels to the places along it, (places, side); each place's add up to one.

    The width keeps what so few places can tell, and little of finer things that would look like coarser ones (Liu et al.).
    """
    spacing = side / places
    centres = (torch.arange(places, dtype=torch.float64) + 0.5) * spacing - 0.5
    far = (torch.arange(side) - centres.unsqueeze(1)) / (math.sqrt(2) * spacing / math.pi)
    return _without_negligible(torch.softmax(-(far**2) / 2, 1)).to(device, dtype)


def _without_negligible(weights: Tensor) -> Tensor:
    return weights.where(weights.abs() > NEGLIGIBLE, 0.0)


def tiled(found: Tensor, directions: int) -> Tensor:
    """The maps of each image, (n, directions · places²), side by side and below each other, as nearly square as they go:
    (n, height, width), with the lowest value between them."""
    places, columns = math.isqrt(found.shape[1] // directions), math.isqrt(directions - 1) + 1
    rows = -(-directions // columns)
    maps = F.pad(found - found.min(), (0, (rows * columns - directions) * places**2)).view(-1, rows, columns, places, places)
    return F.pad(maps, (1, 0, 1, 0)).transpose(2, 3).flatten(3).flatten(1, 2)
