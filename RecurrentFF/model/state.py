"""The network's activity between two timesteps."""

from __future__ import annotations

import torch
from torch import Tensor

from RecurrentFF.model.dynamics import Connection
from RecurrentFF.model.topology import Topology


class State:
    """Every layer's activity, and the blocks [n(h_1); …; n(h_L); y] and x that the layers read.

    There are two stacks of blocks: all layers read `now` while each writes its block of `following`, and `advance` swaps them.
    That is the synchronous update.

    A batch is looked at under several labels at once. Until the label has come down to a layer, its activity is the same under
    all of them, and is computed once: `differing` says which blocks are not.

    Args:
        topology: widths of the blocks.
        labels: under how many labels the batch is shown.
        batch: samples.
        dtype: of the activity h_1..h_L, each (n_l, labels, batch), or (n_l, 1, batch) while it is the same under all labels.
        operand_dtype: of `now` and its successor, (height, labels, batch): the room is used again and again. Of blocks that
            are the same under all labels, only the first label's part is kept up to date.
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
        self.differing: set[int] = set()
        """Numbers of the blocks that may differ between the labels."""
        self.silent: frozenset[int] = frozenset()
        """Numbers of the blocks that have no activity yet: the hidden layers' at rest."""
        self._following = torch.empty_like(self.now)

    def rest(self) -> None:
        """A network at rest, before there is any label."""
        self.now[:, :1].zero_()
        widths = [self.topology.widths[layer] for layer in self.topology.hidden]
        self.activity = [torch.zeros(width, 1, self.now.shape[2], dtype=self.dtype, device=self.now.device) for width in widths]
        self.differing = set()
        self.silent = frozenset(self.topology.hidden)

    def part(self) -> None:
        """From now on, every layer may go its own way under each label: for dropout, which is drawn for each."""
        labels = self.now.shape[1]
        self.now.copy_(self.now[:, :1].clone())  # which lies in the same memory
        self.activity = [h.expand(-1, labels, -1) for h in self.activity]
        self.differing = set(self.topology.hidden)

    def clamp(self, x: Tensor, y: Tensor) -> None:
        """Hold the input at x (batch, data_size), and the label at y, (C, labels, batch) or one for all, which (C, 1, batch)
        takes in."""
        self.input = as_source(x, self.now.dtype)
        label, labels = self.topology.label, y.shape[1]
        self.now[self.topology.rows(label), :labels] = y
        self.differing = self.differing | {label} if labels > 1 else self.differing - {label}

    def connections(self, layer: int, *, merged: bool = True, skip_silent: bool = False) -> tuple[Connection, ...]:
        """What a layer reads at this timestep, as `Topology.connections` has it; if `skip_silent`, without what is at rest and so
        drives nothing."""
        silent = self.silent if skip_silent else frozenset()
        return self.topology.connections(layer, merged=merged, differing=frozenset(self.differing), silent=silent)

    def read(self, connection: Connection) -> Tensor:
        """What comes in through a connection: (columns, labels, batch), or (columns, 1, batch) where it is the same under all
        labels."""
        if connection.state is None:
            assert self.input is not None, "no input is clamped"
            return self.input
        return self.now[connection.state, :1] if connection.shared else self.now[connection.state]

    def differs(self, layer: int) -> bool:
        """Whether a layer's activity may differ between the labels after this timestep."""
        return layer in self.topology.readers(self.differing)

    def following(self, layer: int) -> Tensor:
        """Where hidden layer `layer` (1..L) writes its normalised activity after this timestep: (n_l, labels, batch), or
        (n_l, 1, batch) where that is the same under all labels."""
        block = self._following[self.topology.rows(layer)]
        return block if self.differs(layer) else block[:, :1]

    def advance(self) -> None:
        """End the timestep: what was written is what the layers read next. Input and label are to be clamped anew."""
        if self.audible is not None:
            self._following *= self.audible
        self.now, self._following = self._following, self.now
        self.differing = self.topology.readers(self.differing)
        self.silent = frozenset()

    @property
    def hidden_pattern(self) -> Tensor:
        """(n_1 + … + n_L, labels, batch): the normalised activity of all hidden layers, a view."""
        return self.now[self.topology.rows(1, self.topology.label - 1)]


def as_source(x: Tensor, dtype: torch.dtype) -> Tensor:
    """An input (batch, data_size) as a layer reads it, (data_size, 1, batch): the same under all labels."""
    return x.to(dtype).T.unsqueeze(1)
