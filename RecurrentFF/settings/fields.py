"""What the sections of the configuration are made of: types of their values, and the rules that all of them keep."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def as_tuple(value: object) -> object:
    """TOML arrays arrive as lists; the tree is immutable and holds tuples."""
    return tuple(as_tuple(item) for item in value) if isinstance(value, list) else value


def as_flag(value: object) -> object:
    """Old files write switches as 0 and 1 as well as false and true."""
    return bool(value) if type(value) is int and value in (0, 1) else value


def as_switch(value: object) -> object:
    """A flag that may be left to the program."""
    value = as_flag(value)
    if value != "auto" and not isinstance(value, bool):
        raise ValueError('expected "auto", true or false')
    return value


def as_device(name: str) -> str:
    """The name of a device, whether or not this machine has it."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError('expected "auto", "cpu", "cuda", "cuda:N" (N a number) or "mps"')
    return name


def as_directions(directions: int) -> int:
    """None, or enough for a direction and both its neighbours to lie within half a circle."""
    if directions != 0 and not 4 <= directions <= 64:
        raise ValueError("expected 0 (none) or 4 to 64, for instance 8")
    return directions


Flag = Annotated[bool, BeforeValidator(as_flag)]
Pair = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Strict types (an int may stand for a float), no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
