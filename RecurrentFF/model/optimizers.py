"""Optimizers: one for each local module, since an update never looks at another module.

An optimizer in a configuration, or passed from Python, is an `Optimizer`: a learning rate and other options, from which it makes
one of torch.optim for some parameters. `LocalOptimizer` is what updates one module.
"""

from __future__ import annotations

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from RecurrentFF.errors import SettingsError, first_line
from RecurrentFF.model.processes import Reduction
from RecurrentFF.registry import Component, register

LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@functools.cache
def without_compiler(cls: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """A subclass of a class of torch.optim that does the same without an import of torch's compiler.

    Some methods of torch.optim tell the compiler not to look into them, and import it for this at their first call. The import
    takes a second or two, even if nothing is compiled. This package never compiles these methods.
    """
    methods = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    unmarked: dict[str, Any] = {name: inspect.unwrap(getattr(cls, name)) for name in methods}
    plain_step = inspect.unwrap(cls.step)

    @functools.wraps(plain_step)
    def step(self: torch.optim.Optimizer, *arguments: Any, **keywords: Any) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):  # as the marked method does
            return plain_step(self, *arguments, **keywords)

    def reduce(self: Any) -> tuple[Any, ...]:
        return _empty, (cls,), self.__getstate__()

    own = {"__module__": cls.__module__, "__doc__": cls.__doc__, "__reduce__": reduce, "step": step}
    return type(cls.__name__, (cls,), own | unmarked)


def _empty(cls: Any) -> torch.optim.Optimizer:
    """An optimizer of `without_compiler(cls)` without any state, which pickle fills."""
    own: Any = without_compiler(cls)
    empty: torch.optim.Optimizer = own.__new__(own)
    return empty


class Optimizer(Component, ABC, kind="optimizer"):
    """A kind of optimizer with its options.

    Attributes:
        learning_rate: the learning rate, which a schedule multiplies.
    """

    learning_rate: LearningRate

    @abstractmethod
    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """An optimizer for some parameters, with a newly initialized state."""

    @classmethod
    def from_value(cls, value: object) -> Component | None:
        """Convert a class of torch.optim, or a `functools.partial` of one, to the component `Torch`."""
        function: Any = value
        if isinstance(value, functools.partial):
            function = value.func
        options = dict(value.keywords) if isinstance(value, functools.partial) else {}
        if not (isinstance(function, type) and issubclass(function, torch.optim.Optimizer)):
            return None
        positional, name = isinstance(value, functools.partial) and bool(value.args), str(function.__name__)
        if positional or getattr(torch.optim, name, None) is not function:
            raise SettingsError(
                f"optimizer: {name} must be a class of torch.optim, or a functools.partial of one with arguments by "
                "name; for another class write an Optimizer with a method make"
            )
        rate, given = float(options.pop("lr", 1e-3)), {name: option for name, option in options.items() if option is not None}
        return Torch(optimizer=name, learning_rate=rate, options=tuple(given.items()))


@register("optimizer", "rmsprop")
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """The optimizer torch.optim.RMSprop, with a smoothing constant of 0.99."""

    learning_rate: LearningRate = 5e-5
    """The learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The momentum μ; 0 for none."""

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """An optimizer for some parameters."""
        return without_compiler(torch.optim.RMSprop)(list(parameters), lr=self.learning_rate, momentum=self.momentum)


@register("optimizer", "adam")
@dataclass(frozen=True)
class Adam(Optimizer):
    """The optimizer torch.optim.AdamW, with betas of 0.9 and 0.999. The weight decay is decoupled from the gradient."""

    learning_rate: LearningRate = 1e-3
    """The learning rate."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The relative decrease of weights and biases in one update, divided by the learning rate."""

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """An optimizer for some parameters, in one pass over memory where the device has it."""
        parameters = list(parameters)
        fused = parameters[0].device.type in ("cpu", "cuda") and parameters[0].dtype.itemsize in (4, 8)
        return without_compiler(torch.optim.AdamW)(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused)


@register("optimizer", "adadelta")
@dataclass(frozen=True)
class Adadelta(Optimizer):
    """The optimizer torch.optim.Adadelta, with a rho of 0.9."""

    learning_rate: LearningRate = 1.0
    """The learning rate."""

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """An optimizer for some parameters."""
        return without_compiler(torch.optim.Adadelta)(list(parameters), lr=self.learning_rate)


Options = tuple[tuple[str, Any], ...]


@register("optimizer", "torch")
@dataclass(frozen=True)
class Torch(Optimizer):
    """Any optimizer of torch.optim, by the name of its class."""

    optimizer: str = "SGD"
    """The name of a class in torch.optim, for instance "SGD" or "NAdam"."""
    learning_rate: LearningRate = 1e-3
    """The learning rate, which the class calls lr."""
    options: Options = field(default=())
    """The other arguments of the class, as a list of pairs of a name and a value, for instance [["momentum", 0.9]]."""

    def check(self) -> None:
        """Check that torch.optim has the class, and that it takes the options."""
        cls = getattr(torch.optim, self.optimizer, None)
        if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)) or cls is torch.optim.Optimizer:
            raise ValueError(f"torch.optim has no optimizer '{self.optimizer}'; name a class such as 'SGD'")
        parameter = nn.Parameter(torch.ones(2, 2))
        parameter.grad = torch.ones(2, 2)
        try:
            self.make([parameter]).step()
        except (TypeError, ValueError, RuntimeError) as error:  # for instance one that needs a closure
            raise ValueError(f"torch.optim.{self.optimizer} refuses these options ({first_line(error)})") from None

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """An optimizer for some parameters."""
        make = without_compiler(getattr(torch.optim, self.optimizer))
        return make(list(parameters), lr=self.learning_rate, **dict(self.options))


class LocalOptimizer(Protocol):
    """The optimizer of one local module."""

    rate: float
    """The learning rate; it may be set at any time."""

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update the module's parameters from gradients by the parameters' names, in any type."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, except the parameters."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""


class TorchOptimizer:
    """A `LocalOptimizer` by one of torch.optim.

    Args:
        module: the module whose parameters are updated.
        kind: makes the optimizer of these parameters.
        after_step: called after every update.
    """

    def __init__(self, module: nn.Module, kind: Optimizer, after_step: Callable[[], None] | None = None) -> None:
        self.module = module
        self.kind = kind
        self.optimizer = kind.make(module.parameters())
        self.after_step = after_step

    @property
    def rate(self) -> float:
        """The learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    @rate.setter
    def rate(self, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update the module's parameters from gradients by the parameters' names, in any type."""
        for name, parameter in self.module.named_parameters():
            parameter.grad = gradients[name].to(parameter.dtype) if name in gradients else None
        self.optimizer.step()
        if self.after_step is not None:
            self.after_step()

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, except the parameters."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`. Raises ValueError if it is that of another optimizer."""
        load_state(self.optimizer, self.kind, state)


def load_state(optimizer: torch.optim.Optimizer, kind: Optimizer, state: Mapping[str, Any]) -> None:
    """Let an optimizer of torch.optim continue from a saved state, which may be from a stranger.

    The optimizer keeps its own options, which are those of the configuration; it takes learning rates, moments and counters.

    Args:
        optimizer: the optimizer.
        kind: the component that has made it.
        state: the value that `optimizer.state_dict()` has returned.

    Raises:
        ValueError: the state is that of another kind of optimizer, or of other parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own, groups, states = optimizer.state_dict()["param_groups"], state.get("param_groups"), state.get("state")
    if not isinstance(groups, list) or not isinstance(states, dict) or not all(isinstance(group, dict) for group in groups):
        raise ValueError("not the state of an optimizer")
    if [group.get("params") for group in groups] != [group["params"] for group in own]:
        raise ValueError("the state of other parameters")
    rates = [group.get("lr") for group in groups]
    if not all(isinstance(rate, int | float) and math.isfinite(rate) for rate in rates):
        raise ValueError("the state of an optimizer with other learning rates than numbers")
    if type(optimizer).__module__.startswith("torch.optim"):  # one of the user's own may keep anything
        for index, entries in states.items():
            _require_state_of(kind, parameters, index, entries)
    groups = [group | {"lr": rate} for group, rate in zip(own, rates, strict=True)]
    optimizer.load_state_dict({"state": states, "param_groups": groups})


def _require_state_of(kind: Optimizer, parameters: Sequence[nn.Parameter], index: object, entries: object) -> None:
    """Check what an optimizer of torch.optim keeps for one of its parameters: the names, types and shapes of the entries.

    Raises:
        ValueError: it is of another kind of optimizer, or of another parameter.
    """
    if not isinstance(index, int) or index not in range(len(parameters)) or not isinstance(entries, dict):
        raise ValueError("the state of other parameters")
    example = _example_of_state(kind, parameters[index].dim())
    if entries.keys() != example.keys():
        raise ValueError("the state of another kind of optimizer")
    for key, entry in entries.items():
        if not _is_like(entry, example[key]) or _shape(entry) != _scaled(_shape(example[key]), parameters[index].shape):
            raise ValueError(f"the state of an optimizer of other parameters ({key})")


def _is_like(value: object, example: object) -> bool:
    """Check that a value has the type of an example. Any number is like any other."""
    return type(value) is type(example) or (isinstance(value, int | float) and isinstance(example, int | float))


def _shape(value: object) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _scaled(shape: Sequence[int], parameter: Sequence[int]) -> tuple[int, ...]:
    """The shape of an entry for a parameter, from that for an example, which has a length of 2 on each axis."""
    return tuple(size if length == 2 else length for length, size in zip(shape, parameter, strict=True)) if shape else ()


def _example_of_state(kind: Optimizer, axes: int) -> Mapping[str, Any]:
    """The state of an optimizer for a parameter of some axes, after an update of a small one."""
    parameter = nn.Parameter(torch.zeros([2] * axes))
    parameter.grad = torch.zeros([2] * axes)
    optimizer = kind.make([parameter])
    optimizer.step()
    state: Mapping[str, Any] = optimizer.state[parameter]
    return state


class Updates:
    """The updates of one timestep. That of a module waits for the sums of its gradients while the next module computes.

    Args:
        optimizers: the optimizer of each module by name.
    """

    def __init__(self, optimizers: Mapping[str, LocalOptimizer]) -> None:
        self.optimizers = optimizers
        self._waiting: tuple[str, Reduction] | None = None

    def begin(self, name: str, reduction: Reduction) -> None:
        """Update the module before this one, whose sums had time to arrive."""
        self.finish()
        self._waiting = (name, reduction)
        if reduction.is_finished:
            self.finish()

    def finish(self) -> None:
        """Make the update that still waits, if there is one."""
        if self._waiting is not None:
            name, reduction = self._waiting
            self.optimizers[name].step(reduction.wait())
            self._waiting = None
