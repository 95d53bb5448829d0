"""The two ways to compute a timestep: the plain path, which any module can take, and the fused one for speed.

The plain path calls a module's `step` and `local_gradients` and is what to read. `fused.FusedPath` computes the same
for layers that consist of one `Dense` connection; the tests hold both against the float64 reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from RecurrentFF.model.layers import LearningContext, LocalModule, LocalResult, StepContext
from RecurrentFF.model.optimizers import LocalOptimizer, Optimizer, TorchOptimizer
from RecurrentFF.model.processes import ONE_PROCESS, Processes
from RecurrentFF.model.state import State

Hook = Callable[[LocalModule], object]
"""A function that is called with a module."""


class ComputePath(Protocol):
    """A way to compute the timesteps of a network."""

    compute_dtype: torch.dtype
    """The type of the patterns. It may change between two sequences."""

    def new_state(self, candidates: int, batch: int, processes: Processes = ONE_PROCESS) -> State:
        """An uninitialized state for up to this number of candidates, of the modules that this process has."""

    def begin(self, modules: Sequence[LocalModule]) -> None:
        """Prepare for a sequence of these modules. Called before its first timestep; parameters may have changed since."""

    def step(self, module: LocalModule, state: State, context: StepContext) -> Tensor | None:
        """Compute a timestep of a module, without learning, and store it in the state.

        Args:
            module: the module.
            state: of the whole network.
            context: damping and dropout.

        Returns:
            The badness, (candidates or 1, batch); None of a module that has none.
        """

    def learn(self, module: LocalModule, state: State, context: StepContext, learning: LearningContext) -> LocalResult:
        """Compute a timestep of a module and its local gradients, and store it in the state."""

    def optimizer(self, module: LocalModule, optimizer: Optimizer) -> LocalOptimizer:
        """The optimizer of a module."""


class PlainPath:
    """The phases of every module, one after the other. See `ComputePath` for its methods.

    Args:
        modules: the network's local modules.
        compute_dtype: the type of the patterns that modules read from each other.
        bottom_up: modules read what those before them have computed in the same timestep, see `State`.
    """

    def __init__(self, modules: Sequence[LocalModule], compute_dtype: torch.dtype, *, bottom_up: bool = False) -> None:
        self.modules = modules
        self.compute_dtype = compute_dtype
        self.bottom_up = bottom_up

    def new_state(self, candidates: int, batch: int, processes: Processes = ONE_PROCESS) -> State:
        """An uninitialized state."""
        own = processes.own(self.modules)
        return State(own, batch, self.compute_dtype, processes.exchange(), bottom_up=self.bottom_up)

    def begin(self, modules: Sequence[LocalModule]) -> None:
        """Prepare nothing."""

    def step(self, module: LocalModule, state: State, context: StepContext) -> Tensor | None:
        """Compute a timestep of a module, without learning."""
        after = module.step(state.patterns, state.blocks[module.name], context)
        state.store(module.name, after)
        return after.badness

    def learn(self, module: LocalModule, state: State, context: StepContext, learning: LearningContext) -> LocalResult:
        """Compute a timestep of a module and its local gradients."""
        before, patterns = state.blocks[module.name], state.patterns
        after = module.step(patterns, before, context)
        state.store(module.name, after)
        return module.local_gradients(patterns, before, after, context, learning)

    def optimizer(self, module: LocalModule, optimizer: Optimizer) -> LocalOptimizer:
        """The optimizer of torch.optim for a module."""
        return TorchOptimizer(module, optimizer)
