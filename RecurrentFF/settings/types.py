"""Value types of the configuration, and the base class of its sections."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def as_tuple(value: object) -> object:
    """Convert a list, and the lists in it, to tuples. TOML arrays arrive as lists, and the configuration is immutable."""
    return tuple(as_tuple(item) for item in value) if isinstance(value, list) else value


def as_flag(value: object) -> object:
    """Convert 0 and 1 to a bool. Files of the original project write switches as numbers."""
    return bool(value) if type(value) is int and value in (0, 1) else value


def as_switch(value: object) -> object:
    """Convert a switch with three positions: on, off, or "auto", which lets the program choose."""
    value = as_flag(value)
    if value != "auto" and not isinstance(value, bool):
        raise ValueError('expected "auto", true or false')
    return value


def as_device(name: str) -> str:
    """Check the spelling of a device's name. The device itself need not exist on this machine."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError('expected "auto", "cpu", "cuda", "cuda:N" (N a number) or "mps"')
    return name


def as_odd(size: int) -> int:
    """Accept the size of a kernel that has a center."""
    if size % 2 == 0:
        raise ValueError("expected an odd number, for instance 3")
    return size


def as_directions(directions: int) -> int:
    """Check a number of gradient directions: 0, or at least 4, so that two neighboring directions are at most 90° apart."""
    if directions != 0 and not 4 <= directions <= 64:
        raise ValueError("expected 0 (none) or 4 to 64, for instance 8")
    return directions


Flag = Annotated[bool, BeforeValidator(as_flag)]
Pair = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A section of the configuration: immutable, without unknown keys, of strict types (an int is accepted for a float).

    A key may have older names, its aliases, which files, overrides and arguments may use. Only its current name is written.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def aliases(cls) -> dict[str, str]:
        """The older names of this section's keys, each with the current name."""
        return {
            alias: name
            for name, field in cls.model_fields.items()
            if isinstance(field.validation_alias, AliasChoices)
            for alias in field.validation_alias.choices
            if isinstance(alias, str) and alias != name
        }

    @model_validator(mode="before")
    @classmethod
    def _name_each_key_once(cls, values: Any) -> Any:
        for alias, name in cls.aliases().items():
            if isinstance(values, dict) and alias in values and name in values:
                raise ValueError(f"{alias} is an older name of {name}, and both are set; remove {alias}")
        return values
