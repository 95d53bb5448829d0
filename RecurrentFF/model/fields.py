r"""Receptive fields: which inputs, and which of its peers, a unit of the first layer reads.

The units stand in rows on a square grid, which is laid over the (square) image so that the fields of the outermost units end at
its border:

    unit k stands in row ⌊k / g⌋ and column k mod g, where g = ⌈√units⌉
    its field begins at pixel round(row · (side − field) / (g − 1)), and so for columns, and has field × field pixels

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
    grid = math.ceil(math.sqrt(units))
    unit = torch.arange(units)
    position = torch.stack([unit // grid, unit % grid], 1)
    return (position * ((side - field) / max(1, grid - 1))).round().long()


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
