"""Local modules: blocks of the network that learn from what they alone know. `Layer` is the hidden layer.

A local module has two phases, which the training loop calls one after the other at every timestep:

    after  = module.step(read, before, context)                              the next activity
    result = module.local_gradients(read, before, after, context, learning)  what to learn from it

`read` holds the patterns that other blocks had at the previous timestep. A module never sees another one's error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from RecurrentFF.model import functional
from RecurrentFF.model.activations import ACTIVATIONS, Activation
from RecurrentFF.model.connections import Connection, Masks, Memory
from RecurrentFF.model.functional import Reduction
from RecurrentFF.model.objectives import Objective


class BlockState(NamedTuple):
    """A block between two timesteps."""

    activity: Tensor
    """The activity h, (units, candidates or 1, batch)."""
    pattern: Tensor
    """The normalized activity n(h), which other blocks read, in the compute dtype."""
    drive: Tensor | None = None
    """The drive z that led to the activity, (units, candidates or 1, batch); None before the first timestep."""
    badness: Tensor | None = None
    """The badness, (candidates or 1, batch); None before the first timestep."""
    memory: tuple[Memory, ...] = ()
    """The memory of each connection."""


class StepContext(NamedTuple):
    """The circumstances of one timestep."""

    damping: float
    """The damping factor d."""
    masks: Sequence[Masks] | None = None
    """Dropout factors for each connection, from `LocalModule.draw_masks`; None without dropout."""


class LearningContext(NamedTuple):
    """The circumstances of one timestep at which modules learn."""

    objective: Objective
    """The loss as a function of badness."""
    sample_weight: Tensor
    """The weight of each sample in the loss, (batch,): 1/batch, or 0 where a sequence has ended."""
    input_gradient: bool = False
    """True if modules that read the input shall compute ∂loss/∂x."""


class LocalResult(NamedTuple):
    """The outcome of one timestep at which a module learns."""

    loss: Tensor
    """The loss, ()."""
    badness: Tensor
    """The badness, (candidates, batch), the positive candidate first; (1, batch) where it is the same for all."""
    gradients: dict[str, Tensor]
    """∂loss/∂parameter by the parameter's name; empty where there is nothing to learn."""
    input_gradient: Tensor | None = None
    """∂loss/∂x, (features, candidates or 1, batch); None where it was not asked for, or x is not read."""


class LocalModule(nn.Module, ABC):
    """A block that learns from what it alone knows.

    Attributes:
        name: the block's name.
        units: the number of units.
        reads: names of the blocks that it reads.
    """

    name: str
    units: int
    reads: tuple[str, ...]

    @abstractmethod
    def initial_state(self, candidates: int, batch: int, compute_dtype: torch.dtype) -> BlockState:
        """The state of zero activity, before the first timestep of a sequence."""

    def draw_masks(self, candidates: int, batch: int, generator: torch.Generator) -> Sequence[Masks] | None:
        """Dropout factors of one training timestep, for each connection; None for a module without dropout."""
        return None

    @abstractmethod
    def step(self, read: Mapping[str, Tensor], before: BlockState, context: StepContext) -> BlockState:
        """The state after one timestep, from the patterns of the previous one.

        Args:
            read: the pattern of each block that the module reads, (units, candidates or 1, batch).
            before: the module's own state.
            context: damping and dropout of this timestep.
        """

    @abstractmethod
    def local_gradients(
        self, read: Mapping[str, Tensor], before: BlockState, after: BlockState, context: StepContext, learning: LearningContext
    ) -> LocalResult:
        """Loss and gradients of the module's own objective at the timestep that led from `before` to `after`."""

    def apply_constraints(self) -> None:
        """Restore the constraints on the parameters after they were loaded."""


class Layer(LocalModule):
    """A hidden layer: the sum of its connections' drives, an activation, and badness to learn from.

    Args:
        name: the block's name, which a lateral connection has among its sources.
        shape: the number of units; or (channels, height, width), where the units of a channel share their bias.
        connections: the sum of their drives and the bias is z.
        activation: a name of `activations.ACTIVATIONS`, or an `Activation`.
        epsilon: ε of the normalized activity.
        badness: the "mean" or the "sum" of the squared activities.
        dropout: probability that a unit misses one of its drives at a training timestep.
        peer_normalization: λ, how strongly each unit's running mean activity is drawn to the layer's mean; 0 for none.
        hard_example_fraction: the fraction of a batch, that of the steepest loss, that gradients are computed from.
        dtype: the type of bias and activity.

    Attributes:
        connections: the connections, whose parameters are the layer's weights.
        bias: (units,) or (channels,).
        running_activity: (units,) for peer normalization; None without.
    """

    connections: Sequence[Connection]
    running_activity: Tensor | None

    def __init__(
        self,
        name: str,
        shape: int | tuple[int, int, int],
        connections: Iterable[Connection],
        *,
        activation: str | Activation = "leaky_relu",
        epsilon: float = 1e-8,
        badness: Reduction = "mean",
        dropout: float = 0.0,
        peer_normalization: float = 0.0,
        hard_example_fraction: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.name = name
        channels, *plane = (shape,) if isinstance(shape, int) else shape
        self.units_per_bias = 1 if not plane else plane[0] * plane[1]
        self.units = channels * self.units_per_bias
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        self.epsilon = epsilon
        self.reduction: Reduction = badness
        self.dropout = dropout
        self.peer_normalization = peer_normalization
        self.hard_example_fraction = hard_example_fraction
        self.connections = nn.ModuleList(connections)  # type: ignore[assignment]
        self.reads = tuple(dict.fromkeys(source for connection in self.connections for source in connection.sources))
        self.bias = nn.Parameter(torch.zeros(channels, dtype=dtype), requires_grad=False)
        running = torch.zeros(self.units, dtype=dtype) if peer_normalization else None
        self.register_buffer("running_activity", running)

    def initial_state(self, candidates: int, batch: int, compute_dtype: torch.dtype) -> BlockState:
        """The state of zero activity, the same for all candidates."""
        activity = torch.zeros(self.units, 1, batch, dtype=self.bias.dtype, device=self.bias.device)
        memory = tuple(connection.initial_memory(candidates, batch) for connection in self.connections)
        return BlockState(activity, activity.to(compute_dtype), memory=memory)

    def draw_masks(self, candidates: int, batch: int, generator: torch.Generator) -> Sequence[Masks] | None:
        """Dropout factors of 0 or 1/(1 − dropout) for every drive of each connection, (units, candidates, batch)."""
        if self.dropout == 0:
            return None
        keep, shape = 1 - self.dropout, (self.units, candidates, batch)

        def mask() -> Tensor:
            ones = torch.empty(shape, dtype=self.bias.dtype, device=self.bias.device)
            return ones.bernoulli_(keep, generator=generator).div_(keep)

        return [[mask() for _ in range(connection.dropout_masks)] for connection in self.connections]

    def step(self, read: Mapping[str, Tensor], before: BlockState, context: StepContext) -> BlockState:
        """z = Σ drives + b, h' = (1 − d)·h + d·activation(z), n(h'), and the badness of h'. See `LocalModule.step`."""
        z, memories = self.unit_bias[:, None, None], []
        for index, connection in enumerate(self.connections):
            reads, memory = [read[source] for source in connection.sources], before.memory[index]
            if context.masks is None:
                drive, memory = connection(reads, memory)
            else:
                drive, memory = connection.masked_forward(reads, context.masks[index], memory)
            z = z + drive
            memories.append(memory)
        h = functional.next_activity(z, before.activity, context.damping, self.activation)
        mean_square = functional.mean_square(h)
        pattern = functional.normalize(h, mean_square, self.epsilon).to(before.pattern.dtype)
        return BlockState(h, pattern, z, functional.badness(h, mean_square, self.reduction), tuple(memories))

    def local_gradients(
        self, read: Mapping[str, Tensor], before: BlockState, after: BlockState, context: StepContext, learning: LearningContext
    ) -> LocalResult:
        """The three factors ∂loss/∂badness, ∂badness/∂h' and ∂h'/∂z, then the gradients of every connection and the bias."""
        h, z, badness = after.activity, after.drive, after.badness
        assert z is not None and badness is not None, "the layer has not made a timestep"
        positive, negative = functional.split_candidates(badness)
        loss = (learning.sample_weight * learning.objective.loss(positive, negative).mean(0)).sum()
        if self.has_nothing_to_learn(len(badness), learning.objective):
            return LocalResult(loss, badness, {})
        gradients = learning.objective.gradients(positive, negative)
        grad_badness = learning.sample_weight * functional.join_gradients(*gradients, len(badness))
        grad_h = functional.activity_gradient(grad_badness, h, self.reduction)
        if self.running_activity is not None:
            running = functional.update_running_activity(self.running_activity, h, learning.sample_weight)
            grad_h = grad_h + functional.peer_gradient(running, h, learning.sample_weight, self.peer_normalization)
        grad_z = functional.drive_gradient(grad_h, z, context.damping, self.activation).to(before.pattern.dtype)
        grad_input = self._input_gradient(read, before, grad_z, context) if learning.input_gradient else None
        count = self.hard_examples(h.shape[2])
        if count is not None and len(badness) > 1:  # the other samples contribute nothing
            chosen = functional.hardest_samples(grad_badness, count)
            grad_z = grad_z * torch.zeros_like(grad_z[0, 0]).index_fill(0, chosen, 1)
        return LocalResult(loss, badness, self._parameter_gradients(read, before, grad_z, context), grad_input)

    def has_nothing_to_learn(self, candidates: int, objective: Objective) -> bool:
        """True if the gradients would cancel: all candidates have the same badness, and the objective only ranks them."""
        return candidates == 1 and objective.ranks_only and not self.peer_normalization

    def hard_examples(self, batch: int) -> int | None:
        """The number of samples that gradients are computed from; None for all."""
        return None if self.hard_example_fraction == 1 else max(1, round(self.hard_example_fraction * batch))

    def connection_weights(self) -> Tensor:
        """A copy of all weights of the connections, as one vector."""
        return torch.cat([p.detach().flatten() for connection in self.connections for p in connection.parameters()])

    @property
    def unit_bias(self) -> Tensor:
        """The bias of every unit, (units,)."""
        return self.bias if self.units_per_bias == 1 else self.bias.repeat_interleave(self.units_per_bias)

    def apply_constraints(self) -> None:
        """Restore the constraints on the connections' parameters after they were loaded."""
        for connection in self.connections:
            connection.apply_constraint()

    def _parameter_gradients(
        self, read: Mapping[str, Tensor], before: BlockState, grad_z: Tensor, context: StepContext
    ) -> dict[str, Tensor]:
        """The gradient of each parameter by its name in `named_parameters`."""
        gradients: dict[str, Tensor] = {}
        for index, connection in enumerate(self.connections):
            reads, memory = [read[source] for source in connection.sources], before.memory[index]
            if context.masks is None:
                own = connection.gradients(reads, grad_z, memory)
            else:
                own = connection.masked_gradients(reads, grad_z, context.masks[index], memory)
            gradients |= {f"connections.{index}.{name}": gradient for name, gradient in own.items()}
        bias = functional.bias_gradient(grad_z, self.bias.dtype)
        return gradients | {"bias": bias.view(-1, self.units_per_bias).sum(1)}

    def _input_gradient(
        self, read: Mapping[str, Tensor], before: BlockState, grad_z: Tensor, context: StepContext
    ) -> Tensor | None:
        """∂loss/∂x through all connections that read the input; None where none does."""
        total = None
        for index, connection in enumerate(self.connections):
            reads = [read[source] for source in connection.sources]
            for position, source in enumerate(connection.sources):
                if source == "x":
                    grad_drive = grad_z
                    if context.masks is not None:
                        masks = context.masks[index]
                        grad_drive = (masks[position if len(masks) > 1 else 0] * grad_z).to(grad_z.dtype)
                    gradient = connection.source_gradient(position, reads, grad_drive, before.memory[index])
                    total = gradient if total is None else total + gradient
        return total
