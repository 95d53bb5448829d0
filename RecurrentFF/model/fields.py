r"""Receptive fields: which inputs, and which of its peers, a unit of the first layer reads.

The units stand in g = ⌈√units⌉ rows of g or nearly as many, which are laid over the (square) image so that the fields of the
outermost units end at its border:

    the field of unit k of a row's n begins at column round(k · (side − field) / (n − 1)), and so for the row among the g rows,
    and has field × field pixels

A unit reads the peers whose fields begin less than `lateral` pixels from its own, in rows and in columns. Other connections,
those from the layer above among them, are full. What is not connected has a weight of exactly zero, always.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from RecurrentFF.errors import SettingsError


def image_side(data_size: int, field: int) -> int:
    """The side of a square image of so many pixels. Raises SettingsError if it isn't square, or smaller than the field."""
    side = math.isqrt(data_size)
    if side * side != data_size:
        raise SettingsError(f"model.receptive_field = {field}: needs square images, but an input has {data_size} values")
    if field > side:
        raise SettingsError(f"model.receptive_field = {field}: images are only {side} pixels wide; set it to at most that")
    return side


def origins(units: int, side: int, field: int) -> Tensor:
    """Row and column of the pixel at which each unit's field begins: (units, 2) integers."""
    rows = math.isqrt(units - 1) + 1
    first = torch.arange(rows + 1) * units // rows  # the first unit of each row
    row = torch.arange(rows).repeat_interleave(first.diff())
    place, last = torch.arange(units) - first[row], (first.diff() - 1)[row]
    position = torch.stack([row / max(1, rows - 1), place / last.clamp(min=1)], 1)
    return (position * (side - field)).round().long()


def forward_field(units: int, data_size: int, field: int) -> Tensor:
    """(units, data_size), true where a unit reads a pixel. Raises SettingsError as `image_side`."""
    side = image_side(data_size, field)
    pixels = torch.stack([torch.arange(data_size) // side, torch.arange(data_size) % side], 1)
    offset = pixels - origins(units, side, field).unsqueeze(1)
    return ((offset >= 0) & (offset < field)).all(2)


def lateral_field(units: int, data_size: int, field: int, lateral: int) -> Tensor:
    """(units, units), true where a unit reads another, or itself. Raises SettingsError as `image_side`."""
    begins = origins(units, image_side(data_size, field), field)
    return ((begins.unsqueeze(1) - begins).abs() < lateral).all(2)
