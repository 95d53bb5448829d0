"""The network's activity between two timesteps."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from RecurrentFF.model.dynamics import Connection
from RecurrentFF.model.topology import Topology


class State:
    """Every layer's activity, and the blocks [n(h_1); …; n(h_L); y] and x that the layers read.

    There are two stacks of blocks: all layers read `now` while each writes its block of `following`, and `advance` swaps them.
    That is the synchronous update.

    Args:
        topology: widths of the blocks.
        labels: under how many labels the batch is shown.
        batch: samples.
        dtype: of the activity h_1..h_L, each (n_l, labels, batch); there is none before `spread`, or `at_rest`.
        operand_dtype: of `now` and its successor, (height, labels, batch): the room is used again and again.
    """

    def __init__(
        self, topology: Topology, labels: int, batch: int, dtype: torch.dtype, operand_dtype: torch.dtype, device: torch.device
    ) -> None:
        self.topology = topology
        self.dtype = dtype
        self.activity: list[Tensor] = []
        self.now = torch.empty(topology.height, labels, batch, dtype=operand_dtype, device=device)
        self.input: Tensor | None = None
        self.audible: Tensor | None = None
        """(height, 1, batch) factors of what is read from now on, for activity dropout; None for all as it is."""
        self._following = torch.empty_like(self.now)

    def at_rest(self) -> State:
        """A network at rest under one label, in the room of the first label."""
        one = copy.copy(self)
        one.now, one._following = self.now[:, :1].zero_(), self._following[:, :1]
        widths = [self.topology.widths[layer] for layer in self.topology.hidden]
        one.activity = [torch.zeros(width, *one.now.shape[1:], dtype=self.dtype, device=self.now.device) for width in widths]
        return one

    def spread(self, one: State) -> None:
        """Go on under all labels from the activity that there is under one."""
        self.now.copy_(one.now.clone())  # which may lie in the same memory
        self.activity = [h.repeat(1, self.now.shape[1], 1) for h in one.activity]

    def clamp(self, x: Tensor, y: Tensor) -> None:
        """Hold the input at x (batch, data_size), and the label at y, which (C, labels, batch) takes in."""
        self.input = as_source(x, self.now.dtype)
        self.now[self.topology.rows(self.topology.label)] = y

    def read(self, connection: Connection, labels: int | None = None) -> Tensor:
        """What comes in through a connection, under the first `labels` labels or all: (columns, labels, batch), or the input
        (data_size, 1, batch)."""
        if connection.state is None:
            assert self.input is not None, "no input is clamped"
            return self.input
        return self.now[connection.state, :labels]

    def following(self, layer: int) -> Tensor:
        """Where hidden layer `layer` (1..L) writes its normalised activity after this timestep: (n_l, labels, batch)."""
        return self._following[self.topology.rows(layer)]

    def advance(self) -> None:
        """End the timestep: what was written is what the layers read next. Input and label are to be clamped anew."""
        if self.audible is not None:
            self._following *= self.audible
        self.now, self._following = self._following, self.now

    @property
    def hidden_pattern(self) -> Tensor:
        """(n_1 + … + n_L, labels, batch): the normalised activity of all hidden layers, a view."""
        return self.now[self.topology.rows(1, self.topology.label - 1)]


def as_source(x: Tensor, dtype: torch.dtype) -> Tensor:
    """An input (batch, data_size) as a layer reads it, (data_size, 1, batch): the same under all labels."""
    return x.to(dtype).T.unsqueeze(1)
