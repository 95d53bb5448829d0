"""Functions of black boxes: what a connection may read its sources through. None of them needs a derivative.

A function of your own is one class with one method:

    @register("black_box", "sign")
    @dataclass(frozen=True)
    class Sign(BlackBoxFunction):
        def apply(self, values, draws):
            return values.sign()

A plain Python function of a batch, (n, units) → (n, units), can be passed as an object, `BlackBoxKind(function=my_function)`.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.errors import BlackBoxError, first_line
from RecurrentFF.model.black_box_processes import Program
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.registry import Component, register


class Draws(NamedTuple):
    """The randomness of one source at one timestep.

    In training every sample has draws of its own, which `BatchDraws` gives. In a prediction they are a fixed function
    of layer, source and timestep, the same for all samples, so that a prediction can be repeated, and does not depend on the
    other samples of its batch. Candidates always share their draws: what is compared under two labels is the same otherwise.
    """

    batch: BatchDraws | None
    """The random numbers of a training batch; None in a prediction."""
    seed: int = 0
    """The seed of a prediction's draws, and the purpose of those of a training."""

    def uniform(self, values: Tensor) -> Tensor:
        """Numbers from 0 to 1, without 1, float32. Their shape is (units, 1, batch), or (units, 1, 1) in a prediction."""
        if self.batch is not None:
            return self.batch.uniform(f"black box {self.seed}", len(values), 1)
        return torch.rand(len(values), 1, 1, generator=self._generator(), dtype=torch.float32).to(values.device)

    def normal(self, values: Tensor) -> Tensor:
        """Numbers from the standard normal distribution, in the shape and type of `uniform`."""
        if self.batch is not None:
            return self.batch.normal(f"black box {self.seed}", len(values), 1)
        return torch.randn(len(values), 1, 1, generator=self._generator(), dtype=torch.float32).to(values.device)

    def _generator(self) -> torch.Generator:
        """The generator of a prediction, on the CPU, so that all devices have the same numbers."""
        return torch.Generator().manual_seed(self.seed)


class AppliedFunction(Protocol):
    """The function of one connection, which may own a running program."""

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """The values that are read, as for `BlackBoxFunction.apply`."""


class BlackBoxFunction(Component, ABC, kind="black_box"):
    """A function of the activity of a block, for a black-box connection.

    A connection checks the result: its shape, and that it is finite where the activity is.
    """

    also_from: ClassVar[str] = "a Python callable (not a class), "
    always_finite: ClassVar[bool] = False
    """True if finite activity is known to give finite results. They are not checked then, which would wait for a GPU.

    It is not inherited by a class that has an `apply` or a `for_connection` of its own.
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own = vars(cls)
        if "always_finite" not in own and ("apply" in own or "for_connection" in own):
            cls.always_finite = False

    @abstractmethod
    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """The values that are read in place of the normalized activity, in its shape. They are converted to its type.

        Args:
            values: (units, candidates or 1, batch) normalized activity, in the compute dtype. It must not be changed in place.
            draws: the source of randomness.
        """

    def for_connection(self) -> AppliedFunction:
        """The function for a new connection, which may have a state: by default this one, which has none."""
        return self

    @classmethod
    def from_value(cls, value: object) -> Component | None:
        """Take any Python callable of a batch as a function. Classes are none."""
        return python_function(value) if callable(value) and not isinstance(value, type) else None


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@register("black_box", "spikes")
@dataclass(frozen=True)
class Spikes(BlackBoxFunction):
    """Stochastic spikes: a unit is read as 1/scale with the probability scale · n(h), clipped to 0..1, and else as 0.

    The mean of what is read is n(h) itself, where that is between 0 and 1/scale. Activity below zero has no spikes.
    """

    always_finite: ClassVar[bool] = True
    scale: Positive = 0.5
    """The probability of a spike for each unit of normalized activity, whose root mean square over a layer is 1."""

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """Spikes of the height 1/scale, or 0."""
        rate = self.scale * _at_least_float32(values)
        spikes: Tensor = rate > draws.uniform(values)
        return spikes.to(values.dtype) / self.scale


@register("black_box", "quantization")
@dataclass(frozen=True)
class Quantization(BlackBoxFunction):
    """Uniform quantization: the nearest of 2^bits values, equally spaced from low to high; what is outside is clipped."""

    always_finite: ClassVar[bool] = True
    bits: Annotated[int, Field(ge=1, le=4)] = 2
    """The number of bits of a value."""
    low: Finite = 0.0
    """The least value, in units of the root mean square of a layer's activity."""
    high: Finite = 2.0
    """The greatest value, in the same units."""

    def check(self) -> None:
        """Check that there is a range."""
        _check_range(self.low, self.high)

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """The nearest of the values."""
        step = (self.high - self.low) / (2**self.bits - 1)
        number = ((_at_least_float32(values).clamp(self.low, self.high) - self.low) / step).round()
        quantized: Tensor = self.low + step * number
        return quantized.to(values.dtype)


@register("black_box", "noise")
@dataclass(frozen=True)
class Noise(BlackBoxFunction):
    """Additive Gaussian noise, drawn anew at every timestep."""

    always_finite: ClassVar[bool] = True
    std: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """The standard deviation of the noise, in units of the root mean square of a layer's activity."""

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """The activity, and the noise added to it."""
        exact = _at_least_float32(values)
        return (exact + self.std * draws.normal(values).to(exact.dtype)).to(values.dtype)


@register("black_box", "table")
@dataclass(frozen=True)
class Table(BlackBoxFunction):
    """A lookup table: the range from low to high has an equal section for each value, which is read for all activity in it.

    What is below the range is read as the first value, and what is above as the last one.
    """

    always_finite: ClassVar[bool] = True
    values: Annotated[tuple[Finite, ...], Field(min_length=1)] = (0.0, 0.5, 1.0, 2.0)
    """The values, from the lowest activity to the highest."""
    low: Finite = 0.0
    """The lower end of the range, in units of the root mean square of a layer's activity."""
    high: Finite = 2.0
    """The upper end of the range, in the same units."""

    def check(self) -> None:
        """Check that there is a range."""
        _check_range(self.low, self.high)

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """The value of each section."""
        position = (_at_least_float32(values) - self.low) / (self.high - self.low) * len(self.values)
        number = position.nan_to_num(0.0).clamp(0, len(self.values) - 1).floor().long()
        return torch.tensor(self.values, dtype=values.dtype, device=values.device)[number]


def _check_range(low: float, high: float) -> None:
    if not low < high or not math.isfinite(high - low):
        raise ValueError(f"low = {low:g}, high = {high:g}: expected a range, with low below high")


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


# ---------------------------------------------------------------- functions outside of the package


class PythonFunction(BlackBoxFunction):
    """The common base of functions made from Python callables by `python_function`."""

    always_finite: ClassVar[bool] = True  # `apply` checks it
    function: Callable[[Tensor], Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PythonFunction) and self.function == other.function

    def __hash__(self) -> int:
        return hash((type(self).__module__, type(self).__qualname__))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return python_function, (self.function,)

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """The result of the callable for a copy of the activity, one row for each sample and candidate.

        Raises:
            BlackBoxError: it returns something else than finite numbers of the same shape.
        """
        rows = _rows(values)
        found = checked(self.function(rows.clone()), rows, type(self).__qualname__, finite=True)
        return _blocks(found.to(values.dtype), values)


def python_function(function: Callable[[Tensor], Any]) -> PythonFunction:
    """A Python callable as the function of a black box.

    A checkpoint records its module and name, never its code: the callable must be passed again to load the network.

    Args:
        function: takes (n, units) normalized activity, float32 (float64 in a network of that type), one row for each sample
            and candidate; returns finite numbers of that shape, as a tensor or an array. It may do anything in between.
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    module = getattr(function, "__module__", None) or getattr(type(function), "__module__", None) or "python"
    name = str(getattr(named, "__qualname__", "function"))
    namespace = {"__module__": str(module), "__qualname__": name, "__annotations__": {}, "function": staticmethod(function)}
    cls: Any = type(name, (PythonFunction,), namespace)
    # A dataclass without a comparison of its own: two are the same if their callables are.
    made: PythonFunction = dataclass(frozen=True, eq=False)(cls)()
    return made


@dataclass(frozen=True)
class ProgramFunction(BlackBoxFunction, ABC):
    """The common base of functions that another program computes, by the protocol of `black_box_protocol`.

    A class of your own returns the command from `command_line`, and can be registered. A checkpoint then holds its name, and
    never a command, so that to load and use a checkpoint runs no program that you have not named.
    """

    always_finite: ClassVar[bool] = True  # `Program` checks it
    timeout: Positive = 10.0
    """The seconds within which the program must answer."""
    start_timeout: Positive = 30.0
    """The seconds within which the program must start, and write the first bytes of the protocol."""

    @abstractmethod
    def command_line(self) -> Sequence[str]:
        """The program and its arguments."""

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """The answer of a program that runs for this call alone. A connection keeps its program, see `for_connection`."""
        applied = self.for_connection()
        try:
            return applied.apply(values, draws)
        finally:
            applied.program.end()

    def for_connection(self) -> RunningProgram:
        """A program of the connection's own, which starts when it is first needed."""
        return RunningProgram(Program(self.command_line(), self.timeout, self.start_timeout))


@dataclass(frozen=True)
class ChildProcess(ProgramFunction):
    """A function that another program computes, passed as an object: `ChildProcess(command=("python3", "program.py"))`.

    It has no name in a configuration. Pass it again to load a checkpoint, or register a `ProgramFunction` of your own.
    """

    command: tuple[str, ...] = ()
    """The program and its arguments."""

    def check(self) -> None:
        """Check that there is a command."""
        if not self.command:
            raise ValueError("command is empty; name the program and its arguments")

    def command_line(self) -> Sequence[str]:
        """The command."""
        return self.command


class RunningProgram:
    """The program of one connection.

    Args:
        program: the program, which starts when it is first called.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        """The program's answer, see `BlackBoxFunction.apply`. Raises BlackBoxError if it fails."""
        return _blocks(self.program(_rows(values).float().cpu()).to(values.device, values.dtype), values)


def checked(found: Any, values: Tensor, name: str, *, finite: bool) -> Tensor:
    """The result of a function for some values, as a tensor of their shape and type, on their device.

    Args:
        found: what the function has returned.
        values: the argument of the function.
        name: the name of the function, for messages.
        finite: check that the result is finite where all values are.

    Raises:
        BlackBoxError: it is something else than real numbers of that shape, or it is not finite.
    """
    try:
        result = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = "None" if found is None else type(found).__name__
        raise BlackBoxError(
            f"black box {name}: returned {kind}, expected a tensor or an array of numbers ({first_line(error)})"
        ) from None
    if result.shape != values.shape or result.is_complex():
        kind = f"{tuple(result.shape)} {str(result.dtype).removeprefix('torch.')}"
        raise BlackBoxError(
            f"black box {name}: returned {kind}, expected real numbers of the shape of its argument, {tuple(values.shape)}"
        )
    result = result.detach().to(values.device, values.dtype)
    if finite and not result.isfinite().all() and values.isfinite().all():
        raise BlackBoxError(f"black box {name}: returned numbers that are NaN or infinite")
    return result


def _rows(values: Tensor) -> Tensor:
    """(units, candidates, batch) → (candidates · batch, units), float32 or float64."""
    return _at_least_float32(values.detach()).flatten(1).T.contiguous()


def _blocks(rows: Tensor, like: Tensor) -> Tensor:
    """(candidates · batch, units) → (units, candidates, batch), the shape of `like`."""
    return rows.T.reshape(like.shape)


def seed_of(seed: int, source: str, timestep: int) -> int:
    """The seed of a prediction's draws for a source at a timestep, from that of the connection."""
    return zlib.crc32(f"{seed} {source} {timestep}".encode())
