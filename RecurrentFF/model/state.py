"""The network's activity between two timesteps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from RecurrentFF.model.connections import Masks
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.layers import BlockState, LocalModule, StepContext
from RecurrentFF.model.processes import Exchange


class State:
    """The state of every block for a batch of samples, and the patterns that blocks read from each other.

    All modules read the patterns of the previous timestep; `store` keeps what they become, and `advance` ends the
    timestep. That is the synchronous update. With `bottom_up`, the modules that follow a module read what it has just stored.

    Args:
        modules: the network's local modules.
        batch: the number of samples.
        compute_dtype: the type of the patterns.
        exchange: brings the patterns of blocks that other processes have; None if this process has all.
        bottom_up: what a module stores is read by those that follow it in the same timestep.

    Attributes:
        patterns: for each block what others read: x, the normalized activity n(h) of each layer, y. Each is (features,
            candidates or 1, batch).
        blocks: for each local module its own state.
        pattern_masks: activity dropout, for each layer a factor (units, 1, batch) of its pattern; None without.
        timestep: the number of the running timestep in the sequence, from 0.
        learning: the names of the modules that learn from the batch; none in a prediction.
    """

    def __init__(
        self,
        modules: Sequence[LocalModule],
        batch: int,
        compute_dtype: torch.dtype,
        exchange: Exchange | None = None,
        *,
        bottom_up: bool = False,
    ) -> None:
        self.modules = tuple(modules)
        self.batch = batch
        self.compute_dtype = compute_dtype
        self.patterns: dict[str, Tensor] = {}
        self.blocks: dict[str, BlockState] = {}
        self.pattern_masks: dict[str, Tensor] | None = None
        self.exchange = exchange
        self.bottom_up = bottom_up
        self.timestep = 0
        self.learning: frozenset[str] = frozenset()
        self._next: dict[str, BlockState] = {}

    def reset(self, draws: BatchDraws | None = None) -> None:
        """Start a sequence: no activity, the same for all candidates. The pattern masks stay.

        Args:
            draws: the random numbers of a training sequence; None in a prediction.
        """
        self.timestep = 0
        for module in self.modules:
            self.blocks[module.name] = module.initial_state(self.batch, self.compute_dtype, draws)
        self.patterns = {name: block.pattern for name, block in self.blocks.items()}
        if self.exchange is not None:
            self.patterns |= self.exchange.begin(self.batch, self.compute_dtype, is_training=draws is not None)

    def clamp(self, x: Tensor, y: Tensor, *, static: bool = False) -> None:
        """Set input and label for the next timestep.

        Args:
            x: (features, candidates or 1, batch).
            y: (classes, candidates or 1, batch or 1).
            static: x is the same at all timesteps since `reset`. A fast path may then use again what it has computed of it.
        """
        self.patterns["x"] = x.to(self.compute_dtype)
        self.patterns["y"] = y.to(self.compute_dtype).expand(-1, -1, self.batch)
        self._expect()

    def context(self, name: str, damping: float, masks: Sequence[Masks] | None) -> StepContext:
        """The circumstances of the running timestep for a module, with this damping factor and these dropout masks."""
        return StepContext(damping, masks, self.timestep, uses_batch=name in self.learning)

    @property
    def candidates(self) -> int:
        """The number of candidates that input and label are clamped to."""
        return max(self.patterns["x"].shape[1], self.patterns["y"].shape[1])

    def store(self, name: str, after: BlockState) -> None:
        """Keep the state of a module after the running timestep. Other modules read the previous one, unless `bottom_up`."""
        mask = None if self.pattern_masks is None else self.pattern_masks.get(name)
        if mask is not None:
            after = after._replace(pattern=self._masked(after.pattern, mask))
        self._next[name] = after
        if self.bottom_up:  # in a new dictionary, since the caller may still need the previous one
            self.patterns = self.patterns | {name: after.pattern}
        if self.exchange is not None:
            self.exchange.send(name, after.pattern)

    def advance(self) -> None:
        """End the timestep: what was stored is what the modules read at the next one."""
        self.timestep += 1
        for name, block in self._next.items():
            self.blocks[name] = block
            self.patterns[name] = block.pattern
        self._next.clear()
        if self.exchange is not None:
            self.patterns |= self.exchange.received()

    def _masked(self, pattern: Tensor, mask: Tensor) -> Tensor:
        """A pattern under activity dropout."""
        return pattern * mask

    def _expect(self) -> None:
        """Let the exchange prepare for the patterns after this timestep, now that input and label are clamped."""
        if self.exchange is not None:
            self.exchange.expect({name: self.patterns[name].shape[1] for name in ("x", "y")})

    def hidden_pattern(self, names: Sequence[str]) -> Tensor:
        """The patterns of these modules, one below the other, (units, candidates or 1, batch)."""
        return torch.cat([self.patterns[name] for name in names])
