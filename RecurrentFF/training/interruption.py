"""Handle Ctrl-C between two batches instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """A context manager that records the first Ctrl-C or SIGTERM in `requested`. A second signal has its usual effect at once.

    Example:
        >>> with Interruption() as interruption:
        ...     for batch in batches:
        ...         train(batch)
        ...         if interruption.requested:
        ...             break
    """

    def __init__(self) -> None:
        self.requested = False
        """True after the first signal."""
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous_handlers[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers.clear()
