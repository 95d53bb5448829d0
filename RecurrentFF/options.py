"""Value types of options, and the base class of the sections that group them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


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


Flag = Annotated[bool, BeforeValidator(as_flag)]
Pair = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A group of options: immutable, without unknown keys, of strict types (an int is accepted for a float)."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
