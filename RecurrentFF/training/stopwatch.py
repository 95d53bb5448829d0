"""Measure durations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """A stopwatch that starts when it is created."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Elapsed time in seconds since the stopwatch was created."""
        return time.perf_counter() - self._start


class TimeOfParts:
    """The time that a training spends in each of its parts. What is in no part is the part "other".

    Args:
        start: a stopwatch that the program has started before; its time so far is the part "start". None to begin now.
    """

    def __init__(self, start: Stopwatch | None = None) -> None:
        self._seconds = {} if start is None else {"start": start.seconds}
        self._parts, self._clock = ["other"], Stopwatch()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of a block to a part, as a context manager. A part within another is counted alone, to the inner one."""
        self._count()
        self._parts.append(name)
        try:
            yield
        finally:
            self._count()
            self._parts.pop()

    def seconds(self) -> dict[str, float]:
        """The seconds of each part so far, the longest first. Their sum is the time since the start."""
        self._count()
        return dict(sorted(self._seconds.items(), key=lambda entry: -entry[1]))

    def _count(self) -> None:
        """Add the time since the last call to the present part."""
        part, clock = self._parts[-1], Stopwatch()
        self._seconds[part] = self._seconds.get(part, 0.0) + self._clock.seconds
        self._clock = clock
