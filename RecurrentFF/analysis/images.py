"""Network inputs, weights and raw samples as images."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.panels import Images
from RecurrentFF.data.task import Task
from RecurrentFF.errors import RecurrentFFError
from RecurrentFF.tensors import as_numbers


class Arranged(NamedTuple):
    """Network inputs, or the weights of network inputs, as images."""

    images: Tensor
    """(n, height, width) or, of color images, (n, height, width, 3), on the CPU. NaN between the maps of a sample."""
    maps: tuple[str, ...] = ("",)
    """A title of a few characters for each of the maps that an image consists of, row by row."""


def arranged(features: Tensor, task: Task) -> Arranged | None:
    """Arrange network inputs, or the weights of network inputs, as images, with their values unchanged.

    Args:
        features: (n, features).
        task: the samples of the network.

    Returns:
        The images. Several maps of a sample, as those of oriented gradients, are side by side. None if they are no images.
    """
    features, shape = features.detach().cpu().float(), task.image_shape
    if shape is not None and len(shape) == 3:
        planes = features.view(-1, *shape)
        return Arranged(planes.permute(0, 2, 3, 1) if shape[0] == 3 else planes.mean(1))
    try:
        panels = task.transform.show_inputs(features, None, task.input_shape)
    except Exception:  # a transform of the user, which may expect inputs in a range
        return None
    panel = panels[0] if len(panels) == 1 else None
    if not isinstance(panel, Images) or panel.images.dim() != 5 or panel.images.shape[:2] != (1, len(features)):
        return None
    maps = panel.images[0].float()
    same = maps.numel() == features.numel() and torch.equal(maps.flatten().sort().values, features.flatten().sort().values)
    return Arranged(side_by_side(maps), panel.titles) if same else None


def side_by_side(maps: Tensor) -> Tensor:
    """Arrange the maps (n, maps, height, width) of each sample in rows and columns, with a line of NaN between them."""
    count = maps.shape[1]
    columns = math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    filled = F.pad(maps, (0, 1, 0, 1, 0, rows * columns - count), value=torch.nan)
    grid = filled.view(len(maps), rows, columns, *filled.shape[2:]).transpose(2, 3)
    return grid.flatten(3).flatten(1, 2)[:, :-1, :-1]


def images_of_raw(samples: Any, task: Task, index: Tensor | None = None) -> Tensor | None:
    """Raw samples as images, (n, height, width) or (n, height, width, 3), on the CPU; None if they are none.

    Args:
        samples: raw samples of the task, (n, *input_shape), flattened or not, as numbers of any type.
        task: the samples of the network.
        index: the numbers of the samples to return, (n,); None for all.
    """
    shape = task.input_shape
    if len(shape) not in (2, 3):
        return None
    try:
        values = as_numbers(samples).cpu()
    except RecurrentFFError:
        return None
    if values.dim() < 2 or math.prod(values.shape[1:]) != math.prod(shape):  # for instance videos
        return None
    values = (values if index is None else values[index]).float().reshape(-1, *shape)
    if len(shape) == 2:
        return values
    return _in_color(values) if shape[0] == 3 else values.mean(1)


def images_of_inputs(inputs: Tensor, task: Task) -> Tensor | None:
    """Network inputs (n, features) that are images, as in `images_of_raw`, in the scale of samples where that is possible."""
    samples = task.transform.inverse(inputs)
    found = arranged(inputs if samples is None else samples, task)
    if found is None:
        return None
    return _in_color(found.images.permute(0, 3, 1, 2)) if found.images.dim() == 4 else found.images


def _in_color(planes: Tensor) -> Tensor:
    """Color images (n, 3, height, width) of any scale as (n, height, width, 3) with values in 0..1."""
    low, high = float(planes.min()), float(planes.max())
    if low < 0 or high > 255:
        planes = (planes - low) / max(high - low, 1e-12)
    elif high > 1:
        planes = planes / 255
    return planes.permute(0, 2, 3, 1)
