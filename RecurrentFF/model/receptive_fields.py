r"""Receptive fields: which inputs, and which of its peers, a unit of the first layer reads.

The units are arranged in g = ⌈√units⌉ rows of about g units each. The grid is laid over the square image so that the
fields of the outermost units end at its border. A field is a square of field × field pixels. For unit k of the n units
in a row, it begins at column round(k · (side − field) / (n − 1)); rows are placed likewise.

A unit reads the peers whose fields begin less than `lateral` pixels from its own, in both directions. All other
connections, for instance those from the layer above, are full. A weight outside a field is always exactly zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.connection_kinds import ConnectionKind, Layers, Place, signed_weights
from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.registry import register


@register("connection", "receptive_field")
@dataclass(frozen=True)
class ReceptiveField(ConnectionKind):
    """Receptive fields: each unit of the first layer reads a square patch of the image, and the peers near it."""

    layers: Layers = (1,)
    """The first hidden layer, which reads the image."""
    side: Annotated[int, Field(ge=1)] = 8
    """The side of the square image patch that a unit reads, in pixels."""
    lateral: Annotated[int, Field(ge=0)] = 0
    """The limit of lateral connections, in pixels; 0 means no limit.

    A unit reads those whose receptive fields are displaced from its own by less than this, both across and down.
    """
    needs_images = True

    def check(self) -> None:
        """Check that only the first layer is asked for."""
        if self.layers != (1,):
            raise ValueError("receptive fields are in the first hidden layer, which reads the image; set layers = [1]")

    def make(self, place: Place) -> list[Connection]:
        """One `Dense` connection whose mask is 0 outside the receptive fields.

        A unit with a fraction of the inputs is driven as strongly as one with all of them.
        """
        masks, blocks = [], signed_weights(place)
        for source, block in zip(place.sources, blocks, strict=True):
            mask = torch.ones(place.units, place.sources[source], dtype=torch.bool)
            if source == "x":
                mask = forward_field(place.units, place.sizes["x"], self.side)
            elif source == place.layer and self.lateral:
                mask = lateral_field(place.units, place.sizes["x"], self.side, self.lateral)
            masks.append(mask.to(place.dtype))
            block *= masks[-1] / masks[-1].mean(1, keepdim=True).sqrt()
        weight, whole_mask = torch.cat(blocks, 1), torch.cat(masks, 1)
        return [Dense(place.sources, place.units, top_down=place.top_down, weight=weight, mask=whole_mask)]


def image_side(data_size: int, field: int) -> int:
    """The side of a square image of `data_size` pixels.

    Raises:
        SettingsError: the image isn't square, or smaller than the field.
    """
    side = math.isqrt(data_size)
    if side * side != data_size:
        raise SettingsError(
            f"receptive_field.side = {field}: needs square images of one channel, but an input has {data_size} values"
        )
    if field > side:
        raise SettingsError(f"receptive_field.side = {field}: images are only {side} pixels wide; set it to at most that")
    return side


def origins(units: int, side: int, field: int) -> Tensor:
    """The row and column of the pixel at which each unit's field begins, (units, 2) integers."""
    rows = math.isqrt(units - 1) + 1
    first = torch.arange(rows + 1) * units // rows  # the first unit of each row
    row = torch.arange(rows).repeat_interleave(first.diff(), output_size=units)
    place, last = torch.arange(units) - first[row], (first.diff() - 1)[row]
    position = torch.stack([row / max(1, rows - 1), place / last.clamp(min=1)], 1)
    return (position * (side - field)).round().long()


def forward_field(units: int, data_size: int, field: int) -> Tensor:
    """The pixels that each unit reads, (units, data_size), true or false. Raises SettingsError as `image_side` does."""
    side = image_side(data_size, field)
    pixels = torch.stack([torch.arange(data_size) // side, torch.arange(data_size) % side], 1)
    offset = pixels - origins(units, side, field).unsqueeze(1)
    return ((offset >= 0) & (offset < field)).all(2)


def lateral_field(units: int, data_size: int, field: int, lateral: int) -> Tensor:
    """The peers that each unit reads, (units, units), true or false. Raises SettingsError as `image_side` does."""
    begins = origins(units, image_side(data_size, field), field)
    return ((begins.unsqueeze(1) - begins).abs() < lateral).all(2)
