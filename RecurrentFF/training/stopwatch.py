"""Measure durations."""

from __future__ import annotations

import time


class Stopwatch:
    """A stopwatch that starts when it is created."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Elapsed time in seconds since the stopwatch was created."""
        return time.perf_counter() - self._start
