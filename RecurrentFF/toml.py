"""Read and write TOML: with the standard library (tomli before Python 3.11) and tomli_w. Any text is read, or refused quickly."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import tomli_w

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_TEXT = 2**26
"""The maximum number of characters of a text that is read. The means of a million features have a third of that."""

MAX_COUNTS = {",": 2**22, ".": 2**22, "\n": 2**22, "=": 2**19, "[": 2**19, "{": 2**19}
"""The maximum number of those characters, on which the time to read a text depends: it stays below half a minute."""

_TOKEN = re.compile(
    r"""
    \"{3} (?:[^\\]|\\.?)*? (?:\"{3}|\Z) | '{3} .*? (?:'{3}|\Z)   # a string of several lines
    | \" (?:[^\"\\\n]|\\.?)* \"? | ' [^'\n]* '?                  # a string
    | \# [^\n]*                                                  # a comment
    """,
    re.DOTALL | re.VERBOSE,
)
"""A string or a comment. One that does not end reaches to the end, so that each character is looked at once."""

_LONG_KEY = re.compile(r"(?<![\w-])(?:[\w-]+[ \t]*\.[ \t]*){100}")
"""A key of many parts. Outside of strings and comments, nothing else has more than one dot."""


class TOMLDecodeError(ValueError):
    """A text that is not TOML."""


class TooLargeError(TOMLDecodeError):
    """A text that may be TOML, but is too large, or nested too deeply, or has a number of too many digits."""


def loads(text: str) -> dict[str, Any]:
    """Read TOML.

    Args:
        text: the text, of which a byte order mark at the beginning is ignored.

    Returns:
        Nested dictionaries.

    Raises:
        TOMLDecodeError: the text is not TOML, or beyond a limit. No other error is raised, whatever the text.
    """
    if not isinstance(text, str):
        raise TOMLDecodeError(f"expected text, not {type(text).__name__}")
    require_size(text)
    if text.count(".") >= 100 and _LONG_KEY.search(_TOKEN.sub("s", text)):  # the time to read such a key grows with its square
        raise TooLargeError("a key of more than 100 parts")
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise TOMLDecodeError(str(error)) from None
    except RecursionError:
        raise TooLargeError("lists or tables nested too deeply") from None
    except (ValueError, OverflowError):  # Python converts no text of thousands of digits to a number
        raise TooLargeError("a number of too many digits") from None


def require_size(text: str) -> None:
    """Check that a text is within the limits of what is read.

    Raises:
        TooLargeError: it is not.
    """
    if len(text) > MAX_TEXT:
        raise TooLargeError(f"a text of {len(text):,} characters; expected at most {MAX_TEXT:,}")
    for character, most in MAX_COUNTS.items():
        if (count := text.count(character)) > most:
            raise TooLargeError(f"a text with {count:,} times {character!r}; expected at most {most:,}")


def dumps(tree: Mapping[str, Any]) -> str:
    """Write nested dictionaries as TOML.

    Raises:
        TypeError: a value has a type that TOML does not have.
    """
    return tomli_w.dumps(tree)


def value_text(value: Any) -> str:
    """Write a single value as TOML in one line, as it stands after "key =".

    Raises:
        TypeError: the value has a type that TOML does not have.
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key_text(key)} = {value_text(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return dumps({"key": value}).removeprefix("key = ").removesuffix("\n")


def _key_text(key: str) -> str:
    return dumps({key: 0}).removesuffix(" = 0\n")
