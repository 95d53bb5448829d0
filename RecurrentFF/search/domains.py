"""The values that a key may have in a search: a number between two bounds, or one of a few choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from RecurrentFF import toml
from RecurrentFF.options import Flag, Section, as_tuple
from RecurrentFF.values import plain

if TYPE_CHECKING:
    from optuna.trial import Trial

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Float(Section):
    """A number between two bounds, both included."""

    type: Literal["float"] = "float"
    """The type, as a file of a search space names it."""
    low: Finite
    """The lowest value."""
    high: Finite
    """The highest value."""
    log: Flag = False
    """Draw the logarithm of the value evenly, as suits learning rates. It needs a `low` above 0."""
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The distance between neighboring values; left out, all numbers between the bounds."""

    @model_validator(mode="after")
    def _check(self) -> Float:
        _check_range(self.low, self.high, self.log, self.step)
        if self.log and self.step is not None:
            raise ValueError("step: leave it out with log = true")
        return self

    def ends(self) -> list[tuple[str, Any]]:
        """The values that a configuration must accept, each with its name."""
        return [("low", self.low), ("high", self.high)]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Let Optuna choose a value."""
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def value_of(self, parameter: Any) -> Any:
        """The value of the configuration that a parameter in Optuna's storage stands for."""
        return float(parameter)

    def draw(self, random: Random) -> Any:
        """Draw a value at random."""
        if self.step is not None:
            return self.low + self.step * random.randint(0, round((self.high - self.low) / self.step))
        if self.log:
            return min(self.high, max(self.low, math.exp(random.uniform(math.log(self.low), math.log(self.high)))))
        return random.uniform(self.low, self.high)


class Int(Section):
    """A whole number between two bounds, both included."""

    type: Literal["int"] = "int"
    """The type, as a file of a search space names it."""
    low: int
    """The lowest value."""
    high: int
    """The highest value."""
    log: Flag = False
    """Draw the logarithm of the value evenly, as suits numbers of units. It needs a `low` of at least 1."""
    step: Annotated[int, Field(gt=0)] = 1
    """The distance between neighboring values."""

    @model_validator(mode="after")
    def _check(self) -> Int:
        _check_range(self.low, self.high, self.log, self.step)
        if self.log and self.step != 1:
            raise ValueError("step: leave it out with log = true")
        return self

    def ends(self) -> list[tuple[str, Any]]:
        """The values that a configuration must accept, each with its name."""
        return [("low", self.low), ("high", self.high)]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Let Optuna choose a value."""
        return trial.suggest_int(key, self.low, self.high, step=self.step, log=self.log)

    def value_of(self, parameter: Any) -> Any:
        """The value of the configuration that a parameter in Optuna's storage stands for."""
        return int(parameter)

    def draw(self, random: Random) -> Any:
        """Draw a value at random."""
        return random.randrange(self.low, self.high + 1, self.step)


def _plain_choices(value: object) -> object:
    return tuple(plain(choice) for choice in value) if isinstance(value, list | tuple) else value


class Categorical(Section):
    """One of a few choices, of any type that a configuration has: numbers, text, booleans, lists, and tables of components."""

    type: Literal["categorical"] = "categorical"
    """The type, as a file of a search space names it."""
    choices: Annotated[Sequence[Any], BeforeValidator(_plain_choices), Field(min_length=1, max_length=1000)]
    """The values. Optuna stores a list or a table as its text in TOML."""

    @model_validator(mode="after")
    def _check(self) -> Categorical:
        labels = [_label(choice) for choice in self.choices]
        twice = next((label for number, label in enumerate(labels) if label in labels[:number]), None)
        if twice is not None:
            raise ValueError(f"choices: {twice!r} is listed twice; name each once")
        return self

    def ends(self) -> list[tuple[str, Any]]:
        """The values that a configuration must accept, each with its name."""
        return [(f"choices[{number}]", choice) for number, choice in enumerate(self.choices)]

    def suggest(self, trial: Trial, key: str) -> Any:
        """Let Optuna choose a value."""
        return self.value_of(trial.suggest_categorical(key, [_label(choice) for choice in self.choices]))

    def value_of(self, parameter: Any) -> Any:
        """The value of the configuration that a parameter in Optuna's storage stands for."""
        return next(choice for choice in self.choices if _label(choice) == parameter)

    def draw(self, random: Random) -> Any:
        """Draw a value at random."""
        return random.choice(self.choices)


Domain = Float | Int | Categorical
"""The values that a key may have in a search."""

DOMAINS: dict[str, type[Domain]] = {"float": Float, "int": Int, "categorical": Categorical}
"""The classes of domains by the type that a file names."""


def _label(choice: Any) -> Any:
    """A choice as Optuna stores it: a number, a text or a boolean itself, anything else as its text in TOML.

    Raises:
        ValueError: TOML has no such type.
    """
    if isinstance(choice, str | int | float):
        return choice
    try:
        return toml.value_text(as_list(choice))
    except TypeError:
        raise ValueError(
            f"choices: a configuration can't hold a {type(choice).__name__}; use numbers, text, booleans, lists and tables"
        ) from None


def as_list(value: Any) -> Any:
    """Convert a tuple, and the tuples in it, to lists, which TOML has."""
    return [as_list(item) for item in value] if isinstance(as_tuple(value), tuple) else value


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    """Check the bounds of a number.

    Raises:
        ValueError: they are in the wrong order, or don't fit the other options.
    """
    if low > high:
        raise ValueError(f"low = {low}, high = {high}: low must be at most high")
    if log and low <= 0:
        raise ValueError(f"low = {low}: expected a number above 0 with log = true")
    if step is not None and (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise ValueError(f"high = {high}: must be low = {low} plus a multiple of step = {step}")
