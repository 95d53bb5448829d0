"""Messages about mistakes in a configuration, in the terms of the file that its author wrote."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Sequence
from datetime import date, time
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def nearest(key: str, known: Any) -> str:
    """Suggest a correction of an unknown key: the most similar known key, or all known keys if none is similar."""
    close = difflib.get_close_matches(key, list(known), n=1) if len(key) <= MAX_KEY else []
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"


MAX_KEY = 100
"""The maximum number of characters of a key that is compared with others; the time of a comparison grows with its square."""

_MESSAGES = {
    "bool_type": "expected true or false (or 1 or 0)",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "string_type": "expected text",
    "tuple_type": "expected a list, such as [1, 2]",
    "model_type": "expected a section with keys of its own",
    "dict_type": "expected a section with keys of its own",
    "missing": "expected a list with one more number",
}
"""Messages by pydantic's type of error, in place of pydantic's own messages, which name Python types instead of TOML's."""

_RANGES = {
    "greater_than": ("gt", "a number above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "a number below"),
    "less_than_equal": ("le", "at most"),
}
"""For each type of error about a range, the name of the limit in its context, and the words before it."""


def in_words(error: ValidationError, root: type[BaseModel], place: str = "") -> str:
    """Describe the first mistake that pydantic found, in one line that names the key, the value and what is allowed.

    Args:
        error: pydantic's error.
        root: the class of the section that was validated, from which the keys in `error` lead down.
        place: the path of that section in the configuration, empty for the whole configuration.

    Returns:
        The message, with the number of further mistakes, if there are any.
    """
    first, *others = error.errors()
    inner = [str(step) for step in first["loc"]]
    path = [*([place] if place else []), *inner]
    if first["type"] == "extra_forbidden":
        section = _section_at(inner[:-1], root)
        text = f"unknown key '{shortened('.'.join(path))}'{nearest(path[-1], section.model_fields)}"
    elif first["type"] == "value_error" and len(path) < 2:
        text = str(first["ctx"]["error"])  # a check across keys, whose message names them
    else:
        reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else _reason(first)
        text = f"{shortened('.'.join(path))} = {shown(first['input'])}: {reason}"
    return text + (f" (and {len(others)} more)" if others else "")


def _reason(error: Any) -> str:
    """The reason of a mistake, from one entry of pydantic's list."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _RANGES:
        key, words = _RANGES[kind]
        return f"expected {words} {context[key]:g}"
    if kind in ("too_short", "too_long"):
        short = kind == "too_short"
        limit = context["min_length" if short else "max_length"]
        entries = f"{limit:,} {'entry' if limit == 1 else 'entries'} instead of {context['actual_length']:,}"
        return f"expected a longer list, of at least {entries}" if short else f"expected a shorter list, of at most {entries}"
    return _MESSAGES.get(kind, str(error["msg"]))


def shown(value: object) -> str:
    """Return a value in the spelling of a TOML file, in one line of limited length, whatever it is."""
    return one_line(_SHORT.repr(value))


class _Short(reprlib.Repr):
    """A spelling of values that leaves out what is long or deep before it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 8
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = self.maxarray = self.maxdeque = 40
        self.maxstring = self.maxother = self.maxlong = 200

    def repr_bool(self, value: bool, level: int) -> str:
        return str(value).lower()

    def repr_tuple(self, value: tuple[object, ...], level: int) -> str:
        return self.repr_list(list(value[: self.maxlist + 1]), level)

    def repr_date(self, value: date, level: int) -> str:
        return value.isoformat()

    repr_datetime = repr_date

    def repr_time(self, value: time, level: int) -> str:
        return value.isoformat()

    def repr_int(self, value: int, level: int) -> str:
        return repr(value) if value.bit_length() <= 512 else f"a number of {value.bit_length():,} bits"


_SHORT = _Short()


def one_line(text: str, length: int = 120) -> str:
    """Return a text in one line of at most about `length` characters, with an ellipsis in place of what is left out."""
    words = " ".join(text[: 10 * length].split())
    return words if len(words) <= length and len(text) <= 10 * length else f"{words[:length]}…"


def shortened(text: str, length: int = 200) -> str:
    """Return a text, such as a key, without its end if it is long."""
    return text if len(text) <= length else f"{text[:length]}…"


def _section_at(path: Sequence[str], root: type[BaseModel]) -> type[BaseModel]:
    """Return the section class at the end of a path of section names."""
    section = root
    for name in path:
        annotation = section.model_fields[name].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return section
