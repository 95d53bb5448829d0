"""Handle Ctrl-C between two batches instead of in the middle of one."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Ctrl-C, the request to end, and the end of the terminal, which not all systems have."""


class Interruption:
    """A context manager that records the first of Ctrl-C, SIGTERM and SIGHUP in `requested`. A second one has its usual effect.

    A signal that is ignored stays so, as for a program that is started with `nohup`. Only the main thread receives signals: in
    another one, nothing is recorded. A block in a block records a signal for both.

    Args:
        shared: several processes end together. `requested` is then true only when they have agreed, by setting `agreed`.

    Attributes:
        received: true after the first signal.
        agreed: true if the processes have agreed to end.

    Examples:
        >>> with Interruption() as interruption:
        ...     for batch in batches:
        ...         train(batch)
        ...         if interruption.requested:
        ...             break
    """

    def __init__(self, shared: bool = False) -> None:
        self.shared = shared
        self.received = False
        self.agreed = False
        self._previous_handlers: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """True after the first signal, or, with several processes, after the first batch at which all knew of one."""
        return self.agreed if self.shared else self.received

    def __enter__(self) -> Interruption:
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):  # None: a handler that is not one of Python, and can't be restored
                with contextlib.suppress(ValueError):  # not in the main thread, which alone may set a handler
                    signal.signal(number, self._record)
                    self._previous_handlers[number] = handler
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        outer = getattr(self._previous_handlers.get(number), "__self__", None)
        self._restore()
        if isinstance(outer, Interruption):
            outer._record(number, frame)

    def _restore(self) -> None:
        for number, handler in self._previous_handlers.items():
            if signal.getsignal(number) == self._record:  # nobody else has set another handler meanwhile
                signal.signal(number, handler)
        self._previous_handlers.clear()
