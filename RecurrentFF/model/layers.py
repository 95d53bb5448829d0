"""Local modules: blocks of the network that learn from what they alone know. `Layer` is the hidden layer.

A local module has two phases at every timestep:

    after  = module.step(patterns, before, context)                              the next activity
    result = module.local_gradients(patterns, before, after, context, learning)  what to learn from it

`patterns` holds the normalized activities of all blocks: those of the previous timestep, and with bottom-up updates the new ones
of the modules before it. A module never sees another one's error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from RecurrentFF.model import functional
from RecurrentFF.model.activations import Activation, LeakyReLU
from RecurrentFF.model.connections import Connection, Masks, Memory
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.functional import Reduction
from RecurrentFF.model.learning_rule import Hyperparameters, activate, hardest_samples, loss_gradients, loss_of
from RecurrentFF.model.normalization import BatchNormalization, Normalized
from RecurrentFF.model.objectives import Objective
from RecurrentFF.model.processes import WHOLE, BatchShare
from RecurrentFF.registry import make

if TYPE_CHECKING:  # its module is above this one
    from RecurrentFF.model.optimizers import Optimizer


class BlockState(NamedTuple):
    """A block between two timesteps."""

    activity: Tensor
    """The activity h, (units, candidates or 1, batch)."""
    pattern: Tensor
    """The normalized activity n(h), which other blocks read, in the compute dtype."""
    z: Tensor | None = None
    """The pre-activation that led to the activity, (units, candidates or 1, batch); None where it was not kept."""
    badness: Tensor | None = None
    """The badness, (candidates or 1, batch); None before the first timestep, and of modules that have none."""
    memory: tuple[Memory, ...] = ()
    """The memory of each connection."""
    normalized: Normalized | None = None
    """The normalized sum of the drives that led to the activity; None without batch normalization."""


class StepContext(NamedTuple):
    """The circumstances of one timestep."""

    damping: float
    """The damping factor d."""
    masks: Sequence[Masks] | None = None
    """Dropout factors for each connection, from `LocalModule.draw_masks`; None without dropout."""
    timestep: int = 0
    """The number of the timestep in the sequence, from 0."""
    uses_batch: bool = False
    """True where batch normalization uses the mean and the variance of the batch, that is, where the module learns."""


class LearningContext(NamedTuple):
    """The circumstances of one timestep at which modules learn."""

    objective: Objective
    """The loss as a function of badness."""
    sample_weight: Tensor
    """The weight of each sample in the loss, (batch,): 1/batch, or 0 where a sequence has ended."""
    input_gradient: bool = False
    """True if modules that read the input shall compute ∂loss/∂x."""
    is_first: bool = False
    """True at the first timestep with the label, at which the patterns that are read are those before the label."""
    is_static: bool = True
    """True if the input is the same at all timesteps of the sequence."""
    labels: Tensor | None = None
    """The class number of each sample, (batch,), which label-free training shows to no layer; None if it is unknown."""
    share: BatchShare = WHOLE
    """The part of the batch that this process has, over whose samples the sums of the gradients are."""
    negatives: int = 1
    """The number of negative candidates of each sample."""


class LocalResult(NamedTuple):
    """The outcome of one timestep at which a module learns."""

    loss: Tensor
    """The loss, ()."""
    badness: Tensor | None
    """The badness, (candidates, batch), the positive one first; (1, batch) if all have the same; None of a module without."""
    gradients: Mapping[str, Tensor]
    """∂loss/∂parameter by the parameter's name; empty where there is nothing to learn."""
    input_gradient: Tensor | None = None
    """∂loss/∂x, (features, candidates or 1, batch); None where it was not asked for, or x is not read."""


class LocalModule(nn.Module, ABC):
    """A block that learns from what it alone knows.

    Attributes:
        name: the block's name.
        units: the number of units.
        sources: names of the blocks that it reads.
        is_hidden_layer: true for a layer with badness. Its badness counts in predictions and metrics, and the readout reads
            its pattern. False for a module that only learns beside the layers, for instance a generative circuit.
        only_learns: true for a module that makes no timestep but those at which it learns, since no other module reads it.
        reduction: how badness is computed from the squared activities.
        optimizer: the optimizer of the module; None for that of the configuration.
    """

    name: str
    units: int
    sources: tuple[str, ...]
    is_hidden_layer: bool = True
    only_learns: bool = False
    reduction: Reduction = "mean"
    optimizer: Optimizer | None = None

    @abstractmethod
    def initial_state(self, batch: int, compute_dtype: torch.dtype, draws: BatchDraws | None) -> BlockState:
        """The state of zero activity, before the first timestep of a sequence; the same for all candidates.

        Args:
            batch: the number of samples.
            compute_dtype: the type of the pattern.
            draws: the random numbers of a training sequence; None in a prediction.
        """

    def draw_masks(self, candidates: int, draws: BatchDraws) -> Sequence[Masks] | None:
        """Dropout factors of one training timestep, for each connection; None for a module without dropout."""
        return None

    @abstractmethod
    def step(self, patterns: Mapping[str, Tensor], before: BlockState, context: StepContext) -> BlockState:
        """The state after one timestep, from the patterns of the previous one.

        Args:
            patterns: the pattern of each block by name, (units, candidates or 1, batch).
            before: the module's own state.
            context: damping and dropout of this timestep.
        """

    @abstractmethod
    def local_gradients(
        self,
        patterns: Mapping[str, Tensor],
        before: BlockState,
        after: BlockState,
        context: StepContext,
        learning: LearningContext,
    ) -> LocalResult:
        """Loss and gradients of the module's own objective at the timestep that led from `before` to `after`."""

    def weight_vector(self) -> Tensor:
        """A copy of all weights as one vector, for their norm and its change; biases are left out."""
        own = self.named_parameters()
        weights = [p.detach().flatten() for name, p in own if name not in ("bias", "normalization.gain")]
        return torch.cat(weights) if weights else torch.zeros(0)

    def apply_constraints(self) -> None:
        """Restore the constraints on the parameters after they were loaded."""


class Layer(LocalModule):
    """A hidden layer: the sum of its connections' drives, an activation, and badness to learn from.

    Args:
        name: the block's name. A connection that has it among its sources is lateral.
        shape: the number of units; or (channels, height, width), where the units of a channel share their bias.
        connections: the sum of their drives and the bias is z.
        activation: an `Activation`, or the name of one; a leaky ReLU if left out.
        epsilon: ε of the normalized activity.
        badness: the "mean" or the "sum" of the squared activities.
        position_exponent: q of the power mean over positions that is badness; 1 for the mean. See `functional.position_badness`.
        dropout: probability that a unit misses one of its drives at a training timestep.
        peer_normalization: λ, how strongly each unit's running mean activity is drawn to the layer's mean; 0 for none.
        hard_example_fraction: the fraction of a batch, that of the steepest loss, that gradients are computed from.
        time_constants: the range of the units' time constants, see `functional.damping_rates`; None for 1 in all units.
        classes: the number of groups into which the units, or the channels, are divided, one for each class. The badness of a
            candidate is then that of its class's group. None for no groups.
        normalized_timesteps: normalize the sum of the drives over the samples of a batch, with statistics for each of this number
            of timesteps, see `normalization`; 0 for no normalization.
        dtype: the type of bias and activity.

    Attributes:
        shape: (units,) or (channels, height, width).
        connections: the connections, whose parameters are the layer's weights.
        bias: (units,) or (channels,).
        running_activity: (units,) for peer normalization; None without.
        rates: (units, 1, 1) 1/τ of each unit; None without time constants.
        normalization: the gain and the statistics of batch normalization; None without.

    Raises:
        ValueError: the units, or the channels, can't be divided into groups of equal size; or badness shall be both that of a
            group and a power mean over positions.
    """

    connections: Sequence[Connection]
    running_activity: Tensor | None
    rates: Tensor | None

    def __init__(
        self,
        name: str,
        shape: int | tuple[int, int, int],
        connections: Iterable[Connection],
        *,
        activation: str | Activation | None = None,
        epsilon: float = 1e-8,
        badness: Reduction = "mean",
        position_exponent: float = 1.0,
        dropout: float = 0.0,
        peer_normalization: float = 0.0,
        hard_example_fraction: float = 1.0,
        time_constants: tuple[float, float] | None = None,
        classes: int | None = None,
        normalized_timesteps: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.name = name
        self.shape = (shape,) if isinstance(shape, int) else shape
        channels, *plane = self.shape
        self.units_per_bias = 1 if not plane else plane[0] * plane[1]
        self.units = channels * self.units_per_bias
        if classes is not None and channels % classes:
            kind = "channels" if plane else "units"
            raise ValueError(f"{name}: {channels} {kind} can't be divided into equal groups for {classes} classes")
        if classes is not None and position_exponent != 1:
            raise ValueError(f"{name}: position_exponent = {position_exponent} with class groups; use 1")
        self.classes = classes
        self.activation: Activation = LeakyReLU() if activation is None else make("activation", activation, "activation")
        self.epsilon = epsilon
        self.reduction: Reduction = badness
        self.position_exponent = position_exponent
        self.dropout = dropout
        self.peer_normalization = peer_normalization
        self.hard_example_fraction = hard_example_fraction
        self.connections = nn.ModuleList(connections)  # type: ignore[assignment]
        self.sources = tuple(dict.fromkeys(source for connection in self.connections for source in connection.sources))
        self.bias = nn.Parameter(torch.zeros(channels, dtype=dtype), requires_grad=False)
        running = torch.zeros(self.units, dtype=dtype) if peer_normalization else None
        self.register_buffer("running_activity", running)
        rates = time_constants and functional.damping_rates(*time_constants, channels, self.units_per_bias).to(dtype)
        self.register_buffer("rates", rates, persistent=False)
        self.normalization = None
        if normalized_timesteps:
            self.normalization = BatchNormalization(channels, self.units_per_bias, normalized_timesteps, dtype)

    def extra_repr(self) -> str:
        """The number or the shape of the units, and the activation."""
        return f"units={self.units if len(self.shape) == 1 else self.shape}, activation={self.activation}"

    def hyperparameters(self, damping: float) -> Hyperparameters:
        """The hyperparameters of a timestep with this damping factor."""
        fixed = self.epsilon, self.activation, self.reduction, self.peer_normalization
        factor = damping if self.rates is None else damping * self.rates
        of_plane = self.hard_example_fraction, self.units_per_bias, self.position_exponent
        return Hyperparameters(factor, *fixed, *of_plane, self.classes is not None)

    def initial_state(self, batch: int, compute_dtype: torch.dtype, draws: BatchDraws | None) -> BlockState:
        """The state of zero activity, see `LocalModule.initial_state`."""
        activity = torch.zeros(self.units, 1, batch, dtype=self.bias.dtype, device=self.bias.device)
        memory = tuple(connection.initial_memory(activity, draws) for connection in self.connections)
        return BlockState(activity, activity.to(compute_dtype), memory=memory)

    def draw_masks(self, candidates: int, draws: BatchDraws) -> Sequence[Masks] | None:
        """Dropout factors of 0 or 1/(1 − dropout) for every drive of each connection, (units, candidates, batch)."""
        if self.dropout == 0:
            return None

        def mask() -> Tensor:
            return draws.dropout(f"dropout {self.name}", self.dropout, self.units, candidates, dtype=self.bias.dtype)

        return [[mask() for _ in range(connection.dropout_masks)] for connection in self.connections]

    def step(self, patterns: Mapping[str, Tensor], before: BlockState, context: StepContext) -> BlockState:
        """z = Σ drives + b, h' = (1 − d)·h + d·activation(z), n(h'), and the badness of h'. See `LocalModule.step`."""
        z, memories = self.unit_bias[:, None, None], []
        if self.normalization is not None:
            z = torch.zeros_like(z)  # the bias comes after the normalization
        for index, connection in enumerate(self.connections):
            reads, memory = [patterns[source] for source in connection.sources], before.memory[index]
            if context.masks is None:
                drive, memory = connection(reads, memory)
            else:
                drive, memory = connection.masked_forward(reads, context.masks[index], memory)
            z = z + drive
            memories.append(memory)
        normalized = None
        if self.normalization is not None:
            normalized = self.normalization.normalize(z, context.timestep, is_training=context.uses_batch)
            z = self.normalization.pre_activation(normalized, self.bias)
        hyper = self.hyperparameters(context.damping)
        h, pattern, badness = activate(z, before.activity, hyper, patterns.get("y"))
        return BlockState(h, pattern.to(before.pattern.dtype), z, badness, tuple(memories), normalized)

    def local_gradients(
        self,
        patterns: Mapping[str, Tensor],
        before: BlockState,
        after: BlockState,
        context: StepContext,
        learning: LearningContext,
    ) -> LocalResult:
        """The gradients of every connection and the bias, from the three factors. See `LocalModule.local_gradients`."""
        h, z, badness = after.activity, after.z, after.badness
        assert z is not None and badness is not None, "the layer has not made a timestep"
        if self.has_nothing_to_learn(len(badness), learning.objective):
            return LocalResult(loss_of(badness, learning), badness, {})
        hyper = self.hyperparameters(context.damping)
        running, dtype = self.running_activity, before.pattern.dtype
        loss, grad_badness, grad_z = loss_gradients(z, h, badness, hyper, learning, running, patterns.get("y"))
        grad_input = None
        if learning.input_gradient:
            grad_input = self._input_gradient(patterns, before, after, self._drive_gradient(grad_z, after).to(dtype), context)
        if hyper.hard_example_fraction < 1 and len(badness) > 1:  # the other samples contribute nothing
            chosen = hardest_samples(grad_badness, hyper, learning)
            grad_z = grad_z * torch.zeros_like(grad_z[0, 0]).index_fill(0, chosen, 1)
        gradients = self._parameter_gradients(patterns, before, after, grad_z, context)
        return LocalResult(loss, badness, gradients, grad_input)

    def _drive_gradient(self, grad_z: Tensor, after: BlockState) -> Tensor:
        """∂loss/∂(sum of the drives): ∂loss/∂z, unless the sum is normalized."""
        if self.normalization is None or after.normalized is None:
            return grad_z
        return self.normalization.drive_gradient(grad_z, after.normalized)

    def has_nothing_to_learn(self, candidates: int, objective: Objective) -> bool:
        """True if the gradients would cancel: all candidates have the same badness, and the objective only ranks them."""
        return candidates == 1 and objective.ranks_only and not self.peer_normalization

    @property
    def unit_bias(self) -> Tensor:
        """The bias of every unit, (units,)."""
        return self.bias if self.units_per_bias == 1 else self.bias.repeat_interleave(self.units_per_bias)

    def apply_constraints(self) -> None:
        """Restore the constraints on the connections' parameters after they were loaded."""
        for connection in self.connections:
            connection.apply_constraint()

    def _parameter_gradients(
        self, patterns: Mapping[str, Tensor], before: BlockState, after: BlockState, grad_z: Tensor, context: StepContext
    ) -> dict[str, Tensor]:
        """The gradient of each parameter by its name in `named_parameters`."""
        gradients = {"bias": self._bias_gradient(grad_z.to(before.pattern.dtype))}
        if self.normalization is not None and after.normalized is not None:
            gradients["normalization.gain"] = self.normalization.gain_gradient(grad_z, after.normalized)
        grad_drive = self._drive_gradient(grad_z, after).to(before.pattern.dtype)
        for index, connection in enumerate(self.connections):
            reads, memories = [patterns[source] for source in connection.sources], (before.memory[index], after.memory[index])
            if context.masks is None:
                own = connection.gradients(reads, grad_drive, *memories)
            else:
                own = connection.masked_gradients(reads, grad_drive, context.masks[index], *memories)
            gradients |= {f"connections.{index}.{name}": gradient for name, gradient in own.items()}
        return gradients

    def _bias_gradient(self, grad_z: Tensor) -> Tensor:
        """∂loss/∂b, (channels,)."""
        return functional.bias_gradient(grad_z, self.bias.dtype).view(-1, self.units_per_bias).sum(1)

    def _input_gradient(
        self, patterns: Mapping[str, Tensor], before: BlockState, after: BlockState, grad_drives: Tensor, context: StepContext
    ) -> Tensor | None:
        """∂loss/∂x through all connections that read the input; None where none does."""
        total = None
        for index, connection in enumerate(self.connections):
            reads, memories = [patterns[source] for source in connection.sources], (before.memory[index], after.memory[index])
            masks = None if context.masks is None else context.masks[index]
            for position in (position for position, source in enumerate(connection.sources) if source == "x"):
                grad_drive = connection.masked_gradient(grad_drives, masks, position)
                gradient = connection.source_gradient(position, reads, grad_drive, *memories)
                total = gradient if total is None else total + gradient
        return total
