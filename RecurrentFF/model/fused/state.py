"""The state of the fused path: all patterns in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from RecurrentFF.model.layers import LocalModule
from RecurrentFF.model.state import State


class FusedState(State):
    """A `State` whose patterns are views into one tensor (units of all layers and classes, candidates, batch).

    There are two such tensors: all layers read one while each writes its block of the other, and `advance` swaps them. Of
    a block that is the same for all candidates, only the first candidate's part is used.

    Args:
        layers: the hidden layers, bottom to top.
        others: modules that learn beside the layers, whose patterns are tensors of their own.
        candidates: the largest number of candidates.
        batch: the number of samples.
        classes: the size of the label block.
        compute_dtype: the type of the patterns.
        device: where they are.

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
        others: Sequence[LocalModule],
        candidates: int,
        batch: int,
        classes: int,
        compute_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__([*layers, *others], batch, compute_dtype)
        self.layers = tuple(layers)
        sizes = {layer.name: layer.units for layer in layers} | {"y": classes}
        edges = pairwise(accumulate(sizes.values(), initial=0))
        self.rows = {name: slice(*edge) for name, edge in zip(sizes, edges, strict=True)}
        self.inactive: frozenset[str] = frozenset()
        self.static = False
        self.static_z: dict[str, Tensor] = {}
        self._previous_patterns = torch.empty(sum(sizes.values()), candidates, batch, dtype=compute_dtype, device=device)
        self._next_patterns = torch.empty_like(self._previous_patterns)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Start a sequence, see `State.reset`."""
        self._previous_patterns[:, :1].zero_()
        self.static, self.static_z = False, {}
        for module in self.modules:
            state = module.initial_state(self.batch, self.compute_dtype, generator)
            rows = self.rows.get(module.name)
            pattern = state.pattern if rows is None else self._previous_patterns[rows, :1]
            self.blocks[module.name] = state._replace(pattern=pattern)
            self.patterns[module.name] = pattern
        self.inactive = frozenset(layer.name for layer in self.layers)

    def clamp(self, x: Tensor, y: Tensor, *, static: bool = False) -> None:
        """Set input and label for the next timestep, see `State.clamp`."""
        if not (static and self.static):
            self.patterns["x"], self.static, self.static_z = x.to(self.compute_dtype), static, {}
        label = self._previous_patterns[self.rows["y"], : y.shape[1]]
        label.copy_(y)
        self.patterns["y"] = label

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
        for name, block in self._next.items():
            if self.pattern_masks is not None and name in self.pattern_masks:
                block.pattern.mul_(self.pattern_masks[name])
            self.blocks[name] = block
            self.patterns[name] = block.pattern
        self._next.clear()
        self._previous_patterns, self._next_patterns = self._next_patterns, self._previous_patterns
        self.inactive = frozenset()

    def hidden_pattern(self, names: Sequence[str]) -> Tensor:
        """The patterns of these modules, one below the other; a view where that is possible."""
        everything = list(names) == [layer.name for layer in self.layers]
        same = len({self.patterns[name].shape[1] for name in names}) == 1
        return self.read(names) if everything and same else super().hidden_pattern(names)
