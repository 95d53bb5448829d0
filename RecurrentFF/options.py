"""Value types of options, and the base class of the sections that group them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import core_schema

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import in_words
from RecurrentFF.values import plain


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


def _is_plain(hint: Any) -> bool:
    """True for an annotation of Python's own types; another one, such as that of a tensor, has values of that type."""
    if get_origin(hint) is Annotated:
        return _is_plain(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return True
    inner = [argument for argument in get_args(hint) if argument is not Ellipsis]
    return all(map(_is_plain, inner)) if inner else hint in (bool, int, float, str, type(None), list, tuple, dict)


def _fail_fast(schema: Any) -> None:
    """Let every list end its check at the first mistake, in a schema of pydantic. A long list may have millions of them."""
    if isinstance(schema, dict):
        if schema.get("type") in ("tuple", "list"):
            schema["fail_fast"] = True
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            _fail_fast(part)


class Section(BaseModel):
    """A group of options: immutable, without unknown keys, of strict types (an int is accepted for a float).

    Numbers and texts of numpy, and paths, are converted to Python's own types.

    Raises:
        SettingsError: a key or a value is invalid.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        found: core_schema.CoreSchema = handler(source)
        _fail_fast(found)
        return found

    @model_validator(mode="before")
    @classmethod
    def _with_plain_values(cls, values: Any) -> Any:
        known = cls.model_fields
        if not isinstance(values, Mapping):
            return values
        return {key: plain(value, key) if key in known and _is_plain(known[key].annotation) else value
                for key, value in values.items()}  # fmt: skip

    if not TYPE_CHECKING:  # a type checker knows the keys

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                place = ".".join(str(step) for step in error.errors()[0]["loc"])
                raise SettingsError(in_words(error, type(self)), place) from None

        # So that a section within another one is validated with it, and all mistakes are in one error.
        __init__.__pydantic_base_init__ = True
