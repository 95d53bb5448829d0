"""Kinds of connections: what a configuration says about them, and how the connections of a layer are made from it.

A kind of your own is a dataclass with one method, `make`. Registered, it can be named in a configuration:

    [[network.connections]]
    name = "low_rank"
    sources = ["lateral"]
    rank = 16
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field

from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.model.initialization import Kind, initial_weight
from RecurrentFF.registry import Component, register

Shape = int | tuple[int, int, int]


class Place(NamedTuple):
    """A layer for which a connection is made, and what it reads through that connection."""

    layer: str
    """The name of the layer."""
    shape: Shape
    """The number of units of the layer, or (channels, height, width)."""
    sources: dict[str, int]
    """The number of features or units of each block that is read, by name, from the input to the label."""
    kinds: dict[str, Kind]
    """The direction of each source: "forward", "lateral", "backward" or "label"."""
    sizes: dict[str, int]
    """The number of features or units of every block of the network."""
    dtype: torch.dtype
    """The type of the weights."""
    generator: torch.Generator
    """The source of the initial weights, on the CPU."""
    planes: Mapping[str, tuple[int, int, int]] = MappingProxyType({})
    """The channels, height and width of those layers below this one that have a plane, by name."""

    @property
    def units(self) -> int:
        """The number of units of the layer."""
        return self.sizes[self.layer]

    @property
    def forward(self) -> list[str]:
        """The sources below the layer."""
        return [source for source, kind in self.kinds.items() if kind == "forward"]

    @property
    def top_down(self) -> list[str]:
        """The sources above the layer, whose drive has a minus sign."""
        return [source for source, kind in self.kinds.items() if kind in ("backward", "label")]

    def initial_weight(self, source: str) -> torch.Tensor:
        """Initial dense weights from a source, (units, features), with the scale of its direction."""
        return initial_weight(self.kinds[source], (self.units, self.sources[source]), self.dtype, self.generator)


Sources = tuple[Literal["forward", "lateral", "backward", "label"], ...]
Layers = tuple[Annotated[int, Field(ge=1)], ...]


@dataclass(frozen=True)
class ConnectionKind(Component, ABC, kind="connection"):
    """A kind of connection with its options, from which it makes the connections of a layer.

    Attributes:
        needs_images: true if the input must be square images.
        shares_weights: true if there are far fewer weights than units × features: units share them, or there are none.
    """

    layers: Layers = ()
    """Numbers of the hidden layers that it serves, from 1; all of them if it is empty."""
    sources: Sources = ()
    """The directions that it serves: "forward", "lateral", "backward" (from a layer above) and "label"; all if it is empty."""
    needs_images: ClassVar[bool] = False
    shares_weights: ClassVar[bool] = False

    def shape(self, place: Place) -> Shape:
        """The shape of a layer that it serves: by default the one that is there."""
        return place.shape

    def layer_options(self) -> dict[str, Any]:
        """Options of a `Layer` that it serves, by name: by default none beside those of the configuration."""
        return {}

    @abstractmethod
    def make(self, place: Place) -> list[Connection]:
        """The connections of a layer, with their initial weights. They must drive it from all sources of the place.

        Raises:
            SettingsError: they don't fit the layer or its sources.
        """

    def values_kept(self, features: int, timesteps: int) -> int:
        """The numbers that a connection keeps of a source in a sequence, for each sample and candidate.

        By default 0; a check before a training counts them.

        Args:
            features: the features or units of the source.
            timesteps: the length of the sequence.
        """
        return 0

    @property
    def weights_per_value(self) -> int:
        """The weights of a unit for each feature of a source, which the check before a training counts: 1 by default."""
        return 1

    def serves(self, number: int, kind: Kind) -> bool:
        """True if it serves this direction of the hidden layer of this number, from 1."""
        return (not self.layers or number in self.layers) and (not self.sources or kind in self.sources)


@register("connection", "dense")
@dataclass(frozen=True)
class DenseKind(ConnectionKind):
    """One full connection from all sources, [W_f | W_lat | −W_b]. It serves what no other kind does."""

    def make(self, place: Place) -> list[Connection]:
        """One `Dense` connection, whose weights from above have the sign of the equations, a minus."""
        return [Dense(place.sources, place.units, top_down=place.top_down, weight=torch.cat(signed_weights(place), 1))]


@register("connection", "none")
@dataclass(frozen=True)
class NoConnection(ConnectionKind):
    """No connection: the layers that it serves do not read these sources."""

    sources: Sources = ("lateral",)
    """The directions that are not read: by default, a layer does not read its own activity."""
    shares_weights: ClassVar[bool] = True

    def check(self) -> None:
        """Check that the sources are named, for a layer must read something."""
        if not self.sources:
            raise ValueError('sources = []: name those that are not read, for instance sources = ["lateral"]')

    def make(self, place: Place) -> list[Connection]:
        """No connections."""
        return []


def signed_weights(place: Place) -> list[torch.Tensor]:
    """Initial dense weights from each source, (units, features); those from above are negated."""
    blocks = []
    for source in place.sources:
        block = place.initial_weight(source)
        blocks.append(block.neg_() if source in place.top_down else block)
    return blocks
