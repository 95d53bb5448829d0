"""The state of the fused path: all patterns in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.layers import LocalModule
from RecurrentFF.model.processes import Exchange
from RecurrentFF.model.state import State


class FusedState(State):
    """A `State` whose patterns are views into one tensor (units of all layers and classes, candidates, batch).

    There are two such tensors: all layers read one while each writes its block of the other, and `advance` swaps them. Of
    a block that is the same for all candidates, only the first candidate's part is used.

    Args:
        layers: the hidden layers, bottom to top, with those of other processes.
        modules: the local modules of this process. Those that learn beside the layers have patterns in tensors of their own.
        candidates: the largest number of candidates.
        batch: the number of samples.
        classes: the size of the label block.
        compute_dtype: the type of the patterns.
        device: where they are.
        exchange: brings the patterns of blocks that other processes have; None if this process has all.

    Attributes:
        rows: the rows of each block in the tensor; the input has none.
        inactive: names of the layers that have no activity yet, and so drive nothing.
        static: true if the input is the same at all timesteps since `reset`.
        static_z: for each layer the bias and the drive of a static input, (units, candidates or 1, batch), as long as its
            weights are the same.
    """

    def __init__(
        self,
        layers: Sequence[LocalModule],
        modules: Sequence[LocalModule],
        candidates: int,
        batch: int,
        classes: int,
        compute_dtype: torch.dtype,
        device: torch.device,
        exchange: Exchange | None = None,
    ) -> None:
        super().__init__(modules, batch, compute_dtype, exchange)
        self.layers = tuple(layers)
        sizes = {layer.name: layer.units for layer in layers} | {"y": classes}
        edges = pairwise(accumulate(sizes.values(), initial=0))
        self.rows = {name: slice(*edge) for name, edge in zip(sizes, edges, strict=True)}
        self.inactive: frozenset[str] = frozenset()
        self.static = False
        self.static_z: dict[str, Tensor] = {}
        self._previous_patterns = torch.empty(sum(sizes.values()), candidates, batch, dtype=compute_dtype, device=device)
        self._next_patterns = torch.empty_like(self._previous_patterns)

    def reset(self, draws: BatchDraws | None = None) -> None:
        """Start a sequence, see `State.reset`."""
        self._previous_patterns[:, :1].zero_()
        self.static, self.static_z, self.timestep = False, {}, 0
        for module in self.modules:
            state = module.initial_state(self.batch, self.compute_dtype, draws)
            rows = self.rows.get(module.name)
            pattern = state.pattern if rows is None else self._previous_patterns[rows, :1]
            self.blocks[module.name] = state._replace(pattern=pattern)
            self.patterns[module.name] = pattern
        self.inactive = frozenset(layer.name for layer in self.layers)
        if self.exchange is not None:
            for name in self.exchange.begin(self.batch, self.compute_dtype, is_training=draws is not None):
                self.patterns[name] = self._previous_patterns[self.rows[name], :1]

    def clamp(self, x: Tensor, y: Tensor, *, static: bool = False) -> None:
        """Set input and label for the next timestep, see `State.clamp`."""
        if not (static and self.static):
            self.patterns["x"], self.static, self.static_z = x.to(self.compute_dtype), static, {}
        label = self._previous_patterns[self.rows["y"], : y.shape[1]]
        label.copy_(y)
        self.patterns["y"] = label
        self._expect()

    def read(self, names: Sequence[str]) -> Tensor:
        """The patterns of neighboring blocks with one number of candidates, as one view."""
        if names[0] == "x":
            return self.patterns["x"]
        rows = slice(self.rows[names[0]].start, self.rows[names[-1]].stop)
        return self._previous_patterns[rows, : self.patterns[names[0]].shape[1]]

    def output(self, name: str, candidates: int) -> Tensor:
        """The place of a layer's pattern after this timestep."""
        return self._next_patterns[self.rows[name], :candidates]

    def advance(self) -> None:
        """End the timestep: what was written is what the layers read at the next one."""
        self.timestep += 1
        for name, block in self._next.items():
            self.blocks[name] = block
            self.patterns[name] = block.pattern
        self._next.clear()
        if self.exchange is not None:
            for name, pattern in self.exchange.received().items():
                self.patterns[name] = self.output(name, pattern.shape[1]).copy_(pattern)
        self._previous_patterns, self._next_patterns = self._next_patterns, self._previous_patterns
        self.inactive = frozenset()

    def _masked(self, pattern: Tensor, mask: Tensor) -> Tensor:
        """A pattern under activity dropout, in its place: it is a view that other layers read."""
        return pattern.mul_(mask)

    def hidden_pattern(self, names: Sequence[str]) -> Tensor:
        """The patterns of these modules, one below the other; a view where that is possible."""
        everything = list(names) == [layer.name for layer in self.layers]
        same = len({self.patterns[name].shape[1] for name in names}) == 1
        return self.read(names) if everything and same else super().hidden_pattern(names)
