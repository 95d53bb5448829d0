"""The network's activity between two timesteps."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from RecurrentFF.model.dynamics import Connection
from RecurrentFF.model.topology import Topology


class State:
    """Every layer's activity, and the blocks [n(h_1) | … | n(h_L) | y] and x that the layers read.

    There are two rows of blocks: all layers read `now` while each writes its block of `following`, and `advance` swaps them. That
    is the synchronous update.

    Args:
        topology: widths of the blocks.
        labels: under how many labels the batch is shown.
        batch: samples.
        dtype: of the activity h_1..h_L, each (labels, batch, n_l); there is none before `spread`, or `at_rest`.
        operand_dtype: of `now` and its successor, (labels, batch, width): the room is used again and again.
    """

    def __init__(
        self, topology: Topology, labels: int, batch: int, dtype: torch.dtype, operand_dtype: torch.dtype, device: torch.device
    ) -> None:
        self.topology = topology
        self.dtype = dtype
        self.activity: list[Tensor] = []
        self.now = torch.empty(labels, batch, topology.width, dtype=operand_dtype, device=device)
        self.input: Tensor | None = None
        self._following = torch.empty_like(self.now)

    def at_rest(self) -> State:
        """A network at rest under one label, in the room of the first label."""
        one = copy.copy(self)
        one.now, one._following = self.now[:1].zero_(), self._following[:1]
        widths = [self.topology.widths[layer] for layer in self.topology.hidden]
        one.activity = [torch.zeros(*one.now.shape[:2], width, dtype=self.dtype, device=self.now.device) for width in widths]
        return one

    def spread(self, one: State) -> None:
        """Go on under all labels from the activity that there is under one."""
        self.now.copy_(one.now.clone())  # which may lie in the same memory
        self.activity = [h.repeat(len(self.now), 1, 1) for h in one.activity]

    def clamp(self, x: Tensor, y: Tensor) -> None:
        """Hold the input at x (batch, data_size), and the label at y, which (labels, batch, C) takes in."""
        self.input = x.to(self.now.dtype)
        self.now[..., self.topology.columns(self.topology.label)] = y

    def read(self, connection: Connection, labels: int | None = None) -> Tensor:
        """What comes in through a connection, under the first `labels` labels or all: (labels, batch, columns), or the input
        (batch, data_size)."""
        if connection.state is None:
            assert self.input is not None, "no input is clamped"
            return self.input
        return self.now[:labels, :, connection.state]

    def following(self, layer: int) -> Tensor:
        """Where hidden layer `layer` (1..L) writes its normalised activity after this timestep: (labels, batch, n_l)."""
        return self._following[..., self.topology.columns(layer)]

    def advance(self) -> None:
        """End the timestep: what was written is what the layers read next. Input and label are to be clamped anew."""
        self.now, self._following = self._following, self.now

    @property
    def hidden_pattern(self) -> Tensor:
        """(labels, batch, n_1 + … + n_L): the normalised activity of all hidden layers, a view."""
        return self.now[..., self.topology.columns(1, self.topology.label - 1)]
