"""The network's activity between two timesteps."""

from __future__ import annotations

import torch
from torch import Tensor

from RecurrentFF.model.topology import Topology


class State:
    """Every layer's activity, and the one row of blocks [x | n(h_1) | … | n(h_L) | y] that the layers read.

    There are two such rows: all layers read `now` while each writes its block of `following`, and `advance` swaps them. That
    is the synchronous update.

    Args:
        topology: widths of the blocks.
        activity: h_1..h_L, each (rows, n_l).
        now: (rows, width) in the type of the matrix products' operands.
    """

    def __init__(self, topology: Topology, activity: list[Tensor], now: Tensor) -> None:
        self.topology = topology
        self.activity = activity
        self.now = now
        self._following = torch.empty_like(now)

    @classmethod
    def zeros(cls, topology: Topology, rows: int, dtype: torch.dtype, operand_dtype: torch.dtype, device: torch.device) -> State:
        """A network at rest."""
        activity = [torch.zeros(rows, topology.widths[layer], dtype=dtype, device=device) for layer in topology.hidden]
        return cls(topology, activity, torch.zeros(rows, topology.width, dtype=operand_dtype, device=device))

    def repeat(self, times: int) -> State:
        """The same activity `times` over, one copy of all rows after another, to go on under different labels."""
        return State(self.topology, [h.repeat(times, 1) for h in self.activity], self.now.repeat(times, 1))

    def clamp(self, x: Tensor, y: Tensor) -> None:
        """Hold the input at x (batch, data_size), the same for every copy of the batch, and the label at y (rows, C) or (C,)."""
        copies = self.now.view(-1, x.shape[0], self.now.shape[1])
        copies[..., self.topology.columns(0)] = x
        self.now[:, self.topology.columns(self.topology.label)] = y

    def write(self, layer: int, h: Tensor, normalised: Tensor) -> None:
        """Set the activity that hidden layer `layer` (1..L) has after this timestep."""
        self.activity[layer - 1] = h
        self._following[:, self.topology.columns(layer)] = normalised

    def advance(self) -> None:
        """End the timestep: what was written is what the layers read next. Input and label are to be clamped anew."""
        self.now, self._following = self._following, self.now

    @property
    def hidden_pattern(self) -> Tensor:
        """(rows, n_1 + … + n_L): the normalised activity of all hidden layers, a view."""
        return self.now[:, self.topology.columns(1, self.topology.label - 1)]
