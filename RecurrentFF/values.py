"""The values that a configuration may hold: what can be written to TOML and read again, in Python's own types."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import shortened, shown
from RecurrentFF.toml import MAX_TEXT

MAX_DEPTH = 32
"""The maximum depth of lists, sections and components within each other."""

MAX_SIZE = MAX_TEXT
"""The maximum number of values in a configuration and of characters in its texts and keys, all together."""

MAX_VALUES = 2**20
"""The maximum number of values that are looked at one by one. A list of numbers only is looked at as a whole."""


def require_values(tree: Any, place: str = "") -> None:
    """Check that a configuration can hold a value, before anything walks through it.

    Args:
        tree: a value, also nested: dictionaries, lists, tuples, and dataclasses such as components.
        place: the path of the value in the configuration, empty for the whole configuration.

    Raises:
        SettingsError: it is nested too deeply or too large, a number does not fit in 64 bits, or a text is not in Unicode.
    """
    _Walk(place, converts=False).visit(tree)


def plain(value: Any, place: str = "") -> Any:
    """Convert a value to Python's own types.

    Args:
        value: a value, also nested in dictionaries, lists and tuples. Numbers and texts of numpy, paths, and members of
            enumerations are converted; a value of any other type is left unchanged.
        place: as for `require_values`.

    Returns:
        The same, of dict, list, tuple, str, int, float and bool.

    Raises:
        SettingsError: as for `require_values`.
    """
    return _Walk(place, converts=True).visit(value)


class _Walk:
    """A walk through a value of bounded size, also if it contains itself.

    Args:
        place: the path of the value in the configuration.
        converts: return the values in Python's own types; otherwise, they are checked only.
    """

    def __init__(self, place: str, *, converts: bool) -> None:
        self.steps = [place] if place else []
        self.converts = converts
        self.size = self.visits = 0

    def visit(self, value: Any, step: str = "", depth: int = 0) -> Any:
        """Check a value, and return it, converted or unchanged.

        Args:
            value: the value.
            step: the last step of its path: a key with a dot before it, or an index in brackets.
            depth: the number of values that it is in.
        """
        self.steps.append(step)
        if depth > MAX_DEPTH:
            raise self._error(f": nested more than {MAX_DEPTH} levels deep; use fewer")
        found = of_python(value)
        result = found if self.converts else value
        self.visits += 1
        self._count(1)
        if isinstance(found, str):
            self._require_text(found)
        elif isinstance(found, int):
            self._require_64_bits(found)
        elif isinstance(found, Mapping):
            items = {self._key(key): self.visit(item, f".{key}", depth + 1) for key, item in found.items()}
            result = items if self.converts else value
        elif type(found) in (list, tuple) and _has_numbers_only(found):
            self._count(len(found))
        elif type(found) in (list, tuple):
            entries = [self.visit(item, f"[{index}]", depth + 1) for index, item in enumerate(found)]
            result = type(found)(entries) if self.converts else value
        elif is_dataclass(found) and not isinstance(found, type):
            for field in fields(found):
                self.visit(getattr(found, field.name, None), f".{field.name}", depth + 1)
        self.steps.pop()
        return result

    def _key(self, key: object) -> str:
        name = of_python(key)
        if not isinstance(name, str):
            raise self._error(f": the key {shown(key)} is a {type(key).__name__}; expected text")
        self._require_text(name, "the key ")
        return name

    def _require_text(self, text: str, kind: str = "") -> None:
        self._count(len(text))
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self._error(f": {kind}{shown(text)} has characters that UTF-8 does not have; use others") from None

    def _require_64_bits(self, number: int) -> None:
        if not -(2**63) <= number < 2**63:
            raise self._error(f" = {shown(number)}: expected a whole number of 64 bits, from -2^63 to 2^63 - 1")

    def _count(self, size: int) -> None:
        self.size += size
        if self.size > MAX_SIZE:
            raise self._error(f": a configuration holds at most {MAX_SIZE:,} values and characters; use fewer")
        if self.visits > MAX_VALUES:
            raise self._error(f": a configuration holds at most {MAX_VALUES:,} values besides lists of numbers; use fewer")

    def _error(self, words: str) -> SettingsError:
        place = "".join(self.steps).lstrip(".")
        return SettingsError(f"{shortened(place) or 'the configuration'}{words}", place)


def _has_numbers_only(values: Sequence[Any]) -> bool:
    """Check if there is nothing but Python's own floats and whole numbers of 64 bits. It is a matter of speed."""
    kinds = set(map(type, values))
    return kinds <= {int, float} and (kinds == {float} or all(-(2**63) <= value < 2**63 for value in values))


def of_python(value: Any) -> Any:
    """Convert a number, a text or a path to Python's own type; a value of any other type, such as an array, is left unchanged.

    Args:
        value: any object. A number may be one of numpy, or an array or a tensor without axes.
            A device or a type of torch is converted to its name.
    """
    if value is None or type(value) in (bool, int, float, str, dict, list, tuple):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        with contextlib.suppress(OverflowError):  # a fraction may be larger than any float
            return float(value)
    if isinstance(value, str):
        return str.__str__(value)  # str(value) is another text for a member of an enumeration
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if type(value).__module__ == "torch" and type(value).__name__ in ("device", "dtype"):
        return str(value).removeprefix("torch.")
    if type(value).__module__.partition(".")[0] in ("numpy", "torch") and getattr(value, "shape", None) == ():
        with contextlib.suppress(RuntimeError):  # a tensor without data
            return value.tolist()
    return value
