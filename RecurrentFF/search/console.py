"""The console output of a search: a line for each trial, and a progress bar for each epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from RecurrentFF.messages import shown
from RecurrentFF.training.console import Console


class TrialConsole(Console):
    """The console of a trial's training, which shows a progress bar, in a terminal or a notebook, and no lines of its own.

    Args:
        quiet: show nothing at all.

    Attributes:
        title: the words before those of the progress bar, for instance "trial 3".
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.title = ""

    def log(self, text: str) -> None:
        """Ignore a line of a training."""

    def say(self, text: str) -> None:
        """Print a line of the search."""
        super().log(text)

    def start(self, title: str, samples: int, done: int = 0) -> None:
        """Show the progress bar of an epoch."""
        super().start(f"{self.title}, {title}" if self.title else title, samples, done)


def short_names(space: Iterable[str]) -> dict[str, str]:
    """The last part of each key of a space, or the whole key if another one ends in the same way."""
    keys = list(space)
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def shown_value(value: Any) -> str:
    """A value as a text, a number with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else shown(value)
