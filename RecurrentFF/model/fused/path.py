"""The fused path: the kernels applied to the layers' weights and to the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.model import functional
from RecurrentFF.model.connections import Dense
from RecurrentFF.model.fused.kernels import EAGER, Kernels, LayerInputs
from RecurrentFF.model.fused.state import FusedState
from RecurrentFF.model.layers import (
    BlockState,
    Layer,
    LearningContext,
    LocalModule,
    LocalResult,
    StepContext,
)
from RecurrentFF.model.learning_rule import loss_of
from RecurrentFF.model.optimizers import LocalOptimizer, Optimizer, RMSprop, TorchOptimizer
from RecurrentFF.model.paths import ComputePath, PlainPath
from RecurrentFF.model.processes import ONE_PROCESS, Processes
from RecurrentFF.model.state import State

WEIGHT, BIAS = "connections.0.weight", "bias"
"""The names of the two parameters of a layer that consists of one dense connection."""


class SourceGroup(NamedTuple):
    """Neighboring blocks that a layer reads as one source."""

    names: tuple[str, ...]
    """The names of the blocks."""
    columns: slice
    """Their columns of the layer's weight."""


class FusedPath:
    """The fused path of a network. See `paths.ComputePath` for its methods.

    Args:
        layers: the hidden layers, bottom to top, of which `supports` is true.
        others: modules that learn beside the layers. They take their own phases, as in the plain path.
        classes: the number of classes.
        compute_dtype: the type of the patterns and of the weights in matrix products.

    Attributes:
        kernels: `EAGER` (the default) or `compiled()`.
        compute_weights: for each layer its weight in the compute dtype: a copy, or the weight itself.
    """

    def __init__(self, layers: Sequence[Layer], others: Sequence[LocalModule], classes: int, compute_dtype: torch.dtype) -> None:
        self.layers = tuple(layers)
        self.others = PlainPath(tuple(others), compute_dtype)
        self.classes = classes
        self.compute_dtype = compute_dtype
        self.kernels = EAGER
        self.compute_weights: dict[str, Tensor] = {}
        self._groups_by_case: dict[tuple[object, ...], tuple[SourceGroup, ...]] = {}

    @staticmethod
    def supports(modules: Sequence[LocalModule]) -> bool:
        """True if all modules are layers of one dense connection, whose sources are in the order of the blocks."""
        order = ["x", *(module.name for module in modules), "y"]
        return all(
            type(module) is Layer
            and len(module.connections) == 1
            and type(module.connections[0]) is Dense
            and list(module.connections[0].sources) == [name for name in order if name in module.connections[0].sources]
            and module.units_per_bias == 1
            and module.rates is None
            and module.classes is None
            and module.normalization is None
            for module in modules
        )

    def __getstate__(self) -> dict[str, Any]:
        """The path without compiled kernels, which can't be pickled; a copy from a pickle starts with eager ones."""
        return self.__dict__ | {"kernels": EAGER, "compute_weights": {}}

    def new_state(self, candidates: int, batch: int, processes: Processes = ONE_PROCESS) -> FusedState:
        """An uninitialized state for up to this number of candidates."""
        modules = processes.own([*self.layers, *self.others.modules])
        sizes, device = (candidates, batch, self.classes), self.layers[0].bias.device
        return FusedState(self.layers, modules, *sizes, self.compute_dtype, device, processes.exchange())

    def begin(self, modules: Sequence[LocalModule]) -> None:
        """Convert the weights of these modules to the compute dtype."""
        layers = [module for module in modules if isinstance(module, Layer) and module in self.layers]
        self.compute_weights = {layer.name: _weight(layer).to(self.compute_dtype) for layer in layers}

    def step(self, module: LocalModule, state: State, context: StepContext) -> Tensor | None:
        """Compute a timestep of a module, without learning."""
        return self.others.step(module, state, context) if module in self.others.modules else self._step(module, state, context)

    def _step(self, module: LocalModule, state: State, context: StepContext) -> Tensor:
        assert isinstance(state, FusedState) and isinstance(module, Layer)
        groups = self._groups(module, state, merged=context.masks is None, skip_inactive=context.masks is None)
        kernels = EAGER if state.inactive else self._kernels(groups, state)  # the first timestep has no graph of its own
        bias = module.bias.detach()[:, None, None]
        if state.static and context.masks is None and "x" in module.sources:
            bias, groups = self._static_z(module, state), groups[1:]
        inputs = self._inputs(module, state, groups, context, bias)
        response = kernels.respond(inputs, module.hyperparameters(context.damping))
        state.store(module.name, BlockState(response.h, inputs.output, response.z, response.badness))
        return response.badness

    def learn(self, module: LocalModule, state: State, context: StepContext, learning: LearningContext) -> LocalResult:
        """Compute a timestep of a module and its local gradients, which are empty where there is nothing to learn."""
        if module in self.others.modules:
            return self.others.learn(module, state, context, learning)
        assert isinstance(state, FusedState) and isinstance(module, Layer)
        if module.has_nothing_to_learn(self._candidates(module, state, context), learning.objective):
            badness = self._step(module, state, context)
            return LocalResult(loss_of(badness, learning), badness, {})
        groups = self._groups(module, state, merged=context.masks is None)
        inputs = self._inputs(module, state, groups, context, module.bias.detach()[:, None, None])
        hyper = module.hyperparameters(context.damping)
        here = learning._replace(input_gradient=learning.input_gradient and "x" in module.sources)
        # What a batch in parts sums over all of its samples, in the middle of a timestep, is not compiled.
        in_parts = not learning.share.is_whole and (module.running_activity is not None or hyper.hard_example_fraction < 1)
        kernels = EAGER if in_parts else self._kernels(groups, state)
        learned = kernels.learn(inputs, hyper, here, module.running_activity)
        state.store(module.name, BlockState(learned.h, inputs.output, badness=learned.badness))
        state.static_z.pop(module.name, None)  # the weights are about to change
        mask = _dense(module).mask
        grad_weight = learned.grad_weight if mask is None else learned.grad_weight.mul_(mask)
        return LocalResult(learned.loss, learned.badness, {WEIGHT: grad_weight, BIAS: learned.grad_bias}, learned.grad_input)

    def optimizer(self, module: LocalModule, optimizer: Optimizer) -> LocalOptimizer:
        """The optimizer of a module. It keeps the weight in the compute dtype up to date."""
        if module in self.others.modules:
            return self.others.optimizer(module, optimizer)
        assert isinstance(module, Layer)
        if type(optimizer) is RMSprop:
            return FusedRMSprop(self, module, optimizer.learning_rate, optimizer.momentum)

        def refresh() -> None:
            copy = self.compute_copy(module)
            if copy is not None:
                copy.copy_(_weight(module))

        return TorchOptimizer(module, optimizer, refresh)

    def compute_copy(self, layer: Layer) -> Tensor | None:
        """The copy of a layer's weight in the compute dtype; None where the weight itself is used, or before any sequence."""
        copy = self.compute_weights.get(layer.name)
        return None if copy is None or copy.data_ptr() == _weight(layer).data_ptr() else copy

    def _static_z(self, layer: Layer, state: FusedState) -> Tensor:
        """The bias and the drive of a static input, (units, candidates or 1, batch), computed at the first timestep."""
        if layer.name not in state.static_z:
            weight = self.compute_weights[layer.name][:, _dense(layer).columns["x"]]
            drive = functional.linear_drive(weight, state.patterns["x"])
            state.static_z[layer.name] = layer.bias.detach()[:, None, None] + drive
        return state.static_z[layer.name]

    def _groups(self, layer: Layer, state: FusedState, *, merged: bool, skip_inactive: bool = False) -> tuple[SourceGroup, ...]:
        """The sources of a layer at this timestep: the input, then neighboring blocks with one number of candidates together.

        Args:
            layer: the layer.
            state: says which blocks are the same for all candidates, and which are inactive.
            merged: false keeps every block apart, because dropout masks each drive.
            skip_inactive: leaves out blocks without activity.
        """
        inactive = state.inactive if skip_inactive else frozenset()
        case = (layer.name, merged, inactive, *(state.patterns[source].shape[1] for source in layer.sources))
        if case not in self._groups_by_case:
            order = list(state.rows)
            groups: list[list[str]] = []
            for source in (source for source in layer.sources if source not in inactive):
                last = groups[-1][-1] if groups else "x"
                joins = merged and "x" not in (last, source) and order.index(source) == order.index(last) + 1
                if joins and state.patterns[source].shape[1] == state.patterns[last].shape[1]:
                    groups[-1].append(source)
                else:
                    groups.append([source])
            columns = _dense(layer).columns
            self._groups_by_case[case] = tuple(
                SourceGroup(tuple(group), slice(columns[group[0]].start, columns[group[-1]].stop)) for group in groups
            )
        return self._groups_by_case[case]

    def _inputs(
        self, layer: Layer, state: FusedState, groups: Sequence[SourceGroup], context: StepContext, bias: Tensor
    ) -> LayerInputs:
        weight = self.compute_weights[layer.name]
        return LayerInputs(
            [state.read(group.names) for group in groups],
            [weight[:, group.columns] for group in groups],
            bias,
            state.blocks[layer.name].activity,
            state.output(layer.name, self._candidates(layer, state, context)),
            None if context.masks is None else context.masks[0],
        )

    def _candidates(self, layer: Layer, state: FusedState, context: StepContext) -> int:
        """The number of candidates that a layer's activity has after this timestep, 1 where it is the same for all."""
        masked = 1 if context.masks is None else context.masks[0][0].shape[1]
        return max(masked, state.blocks[layer.name].activity.shape[1], *(state.patterns[s].shape[1] for s in layer.sources))

    def _kernels(self, groups: Sequence[SourceGroup], state: FusedState) -> Kernels:
        """The kernels of a timestep: eager ones while a label is reaching the layer.

        Some sources are then the same for all candidates and others are not. That is so for few timesteps, in ways that are
        not worth a compiled graph each.
        """
        sizes = {state.patterns[group.names[0]].shape[1] for group in groups if group.names[0] != "x"}
        return self.kernels if len(sizes) == 1 else EAGER


def path_of(
    modules: Sequence[LocalModule], classes: int, compute_dtype: torch.dtype, *, fused: bool = True, bottom_up: bool = False
) -> ComputePath:
    """The fused path where the modules allow it, or the plain one.

    Args:
        modules: the network's local modules, bottom to top.
        classes: the number of classes.
        compute_dtype: the type of the patterns.
        fused: false for the plain path in any case.
        bottom_up: modules read what those before them have computed in the same timestep, which the fused path does not have.
    """
    hidden = [module for module in modules if module.is_hidden_layer]
    layers = [module for module in hidden if isinstance(module, Layer)]
    if not fused or bottom_up or not FusedPath.supports(hidden):
        return PlainPath(modules, compute_dtype, bottom_up=bottom_up)
    return FusedPath(layers, [module for module in modules if not module.is_hidden_layer], classes, compute_dtype)


class FusedRMSprop:
    """RMSprop as torch.optim has it, in one pass over memory if the kernels are compiled. See `optimizers.LocalOptimizer`.

    Args:
        path: has the kernels, and the weight in the compute dtype.
        layer: the layer that is updated.
        rate: the learning rate.
        momentum: μ, 0 for none.
    """

    def __init__(self, path: FusedPath, layer: Layer, rate: float, momentum: float) -> None:
        self.path = path
        self.layer = layer
        self.rate = rate
        self.momentum = momentum
        self.squares = [torch.zeros_like(parameter) for parameter in self._parameters()]
        self.velocities = [torch.zeros_like(parameter) for parameter in self._parameters() if momentum]

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update weight and bias, and the weight in the compute dtype."""
        rate = torch.full((), self.rate, dtype=self.layer.bias.dtype, device=self.layer.bias.device)  # no synchronization
        self.path.kernels.rmsprop(
            self._parameters(),
            (gradients[WEIGHT], gradients[BIAS]),
            self.squares,
            self.velocities,
            self.path.compute_copy(self.layer),
            rate,
            self.momentum,
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, except the parameters."""
        return {"squares": self.squares, "velocities": self.velocities, "rate": self.rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`. Raises ValueError if it is that of another optimizer, or of other parameters."""
        pairs = [pair for name in ("squares", "velocities") for pair in zip(getattr(self, name), state[name], strict=True)]
        if any(own.shape != saved.shape for own, saved in pairs):
            raise ValueError("the state of an optimizer of other parameters")
        self.rate = float(state["rate"])
        for own, saved in pairs:
            own.copy_(saved)

    def _parameters(self) -> tuple[Tensor, Tensor]:
        return _weight(self.layer).detach(), self.layer.bias.detach()


def _dense(layer: Layer) -> Dense:
    connection = layer.connections[0]
    assert isinstance(connection, Dense)
    return connection


def _weight(layer: Layer) -> Tensor:
    return _dense(layer).weight
