"""A target of fuzzing: the examples, and the check of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass(frozen=True)
class Target:
    """A reader of files or arguments of other people."""

    name: str
    """The name on the command line, and of the folder of its cases."""
    examples: Callable[[], st.SearchStrategy[bytes]]
    """A function that makes the strategy of examples. Several files or arguments are one JSON text, as `parts` describes."""
    check: Callable[[bytes], None]
    """A function that reads an example. It raises an error if the reader breaks the contract."""
