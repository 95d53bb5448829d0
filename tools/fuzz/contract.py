"""The contract of every reader: it returns, or it raises a named error in one readable line, within limits of time and memory."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

from RecurrentFF.errors import MAX_MESSAGE, RecurrentFFError

Result = TypeVar("Result")

MAX_SECONDS = 10.0
"""The longest processor time of a call, in seconds. Time of the processor, so that a busy machine changes nothing."""
MAX_MEMORY = 512 * 2**20
"""The largest increase of the resident memory during a call, in bytes."""
MAX_ADDRESSES = 4 * 2**30
"""The largest increase of the reserved memory during a call, in bytes. It protects the machine."""
OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "unable to allocate", "memoryerror", "out of memory")
"""Parts of the messages of libraries that have reached `MAX_ADDRESSES`. An error that repeats them has not prevented that."""


class ContractError(Exception):
    """An answer of a reader that breaks the contract, although it raised nothing or an error of this package.

    Args:
        kind: what is wrong, in words that are the same for all examples of this mistake.
        detail: what is wrong in this example.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


class _TimeUp(BaseException):
    """The end of the time. It is no Exception, so that no reader takes it for a damaged file."""


def answer(call: Callable[[], Result], *places: str) -> Result | None:
    """Call a reader, and check that it keeps the contract.

    Args:
        call: a function without arguments.
        places: texts of which the message of an error must contain one, such as the path of the file; none for any message.

    Returns:
        The result of the call; None after an error that keeps the contract.

    Raises:
        ContractError: the call takes too much time or memory, or its error says too little or too much.
        Exception: any error of the call that is not a `RecurrentFFError`.
    """
    try:
        with time_limit(MAX_SECONDS), memory_limit():
            return call()
    except _TimeUp as late:
        raise ContractError(f"no answer in {MAX_SECONDS:g} s of processor time") from late
    except RecurrentFFError as error:
        require_readable(error, places)
        return None


def require_readable(error: RecurrentFFError, places: tuple[str, ...]) -> None:
    """Check the message of an error.

    Raises:
        ContractError: it is empty, not printable, too long, without any of the places, or a sign that memory has run out.
    """
    text = str(error)
    mistakes = {
        "an error of no particular class": type(error) is RecurrentFFError,
        "a message that is not one printable line": not text.strip() or not text.isprintable(),
        "a message that is too long": len(text) > 1.5 * MAX_MESSAGE,
        "a message that names no place": bool(places) and not any(place in text for place in places),
        "an attempt to use too much memory": any(words in text.lower() for words in OUT_OF_MEMORY),
    }
    for kind, wrong in mistakes.items():
        if wrong:
            raise ContractError(kind, f"{type(error).__name__}: {text!r}") from error


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after a time of the processor. Does nothing outside the main thread, and on Windows."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _TimeUp

    former = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # again each second, since a destructor swallows all errors
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, former)


@contextlib.contextmanager
def memory_limit() -> Iterator[None]:
    """Check how much memory the block takes, on Linux.

    Raises:
        ContractError: the peak of the resident memory has grown by more than `MAX_MEMORY`.
    """
    if not Path("/proc/self/clear_refs").exists():
        yield
        return
    import resource

    former = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory("VmSize") + MAX_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit if former[1] < 0 else min(limit, former[1]), former[1]))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)
        grown = memory("VmHWM") - before
        if grown > MAX_MEMORY:
            raise ContractError("too much memory", f"{grown / 2**20:,.0f} MiB")


def memory(name: str) -> int:
    """A number of bytes in the system's description of this process: "VmSize", "VmRSS" or its peak, "VmHWM"."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
