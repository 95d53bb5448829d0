"""The start of this process by `torchrun`, its end together with the others, and the one of them that speaks about an error.

Importing this module does not import torch.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from RecurrentFF.errors import ProcessError, RecurrentFFError, described, lacks_memory

PATIENCE = 1.5
"""The seconds in which a process that is told to end finds out whether this is because another one has failed."""


@dataclass(frozen=True)
class Launch:
    """The facts that `torchrun` tells a process by environment variables."""

    rank: int
    """The number of this process, from 0."""
    count: int
    """The number of processes."""
    local_rank: int
    """The number of this process on its host, and of its GPU."""
    address: str
    """The host of the store, by which processes find each other."""
    port: int
    """The port of the store."""
    restarts: int = 0
    """The number of times that all processes have been started again after a failure."""
    max_restarts: int = 0
    """The number of times that `torchrun` starts them again at most."""
    has_agent: bool = False
    """True if the store is that of `torchrun`; otherwise, process 0 is its host."""
    folder: Path | None = None
    """A folder that `torchrun` has made for this start of the processes of this host."""

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Launch | None:
        """Read the variables; None if this is the only process.

        Raises:
            ProcessError: one is missing, or no number.
        """
        found = os.environ if variables is None else variables
        if found.get("WORLD_SIZE", "1") == "1":
            return None
        try:
            rank, count, port = (int(found[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
            local_rank = int(found.get("LOCAL_RANK", rank))
            restarts, most = (int(found.get(f"TORCHELASTIC_{name}", "0")) for name in ("RESTART_COUNT", "MAX_RESTARTS"))
            address = found["MASTER_ADDR"]
        except KeyError as error:
            raise ProcessError(f"WORLD_SIZE is set, but not {error.args[0]}; start several processes with torchrun") from None
        except ValueError as error:
            raise ProcessError(f"the variables of torchrun are no numbers ({error}); start several processes with it") from None
        if not 0 <= rank < count:
            raise ProcessError(f"RANK = {rank}, but there are {count} processes (WORLD_SIZE), numbered from 0")
        file = found.get("TORCHELASTIC_ERROR_FILE")  # its folder is that of the process, in that of all processes
        folder = None if file is None else Path(file).parent.parent
        has_agent = found.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return cls(rank, count, local_rank, address, port, restarts, most, has_agent, folder)


def is_first() -> bool:
    """True in the process that writes and speaks for all: number 0, or the only one."""
    launch = Launch.from_environment()
    return launch is None or launch.rank == 0


class Membership(Protocol):
    """The membership of this process in a group of processes, as far as its end is concerned."""

    def loss(self, seconds: float) -> str | None:
        """Wait for the message about another process that has failed; None if there is none within these seconds."""

    def announce(self, state: str, text: str) -> None:
        """Tell the other processes that this one ends, and why."""

    def claim(self) -> bool:
        """True in the first process of this host that asks."""


class _Ending:
    """The end of this process."""

    membership: Membership | None = None
    speaks: bool | None = None
    announced = False
    has_printed = False
    lock = threading.Lock()


def set_membership(membership: Membership) -> None:
    """Remember the membership of this process, which has joined the others."""
    _Ending.membership = membership


def speaks() -> bool:
    """True if this process prints the line about an error: on each host the first that asks, or the only one."""
    if _Ending.speaks is None:
        launch = _known()
        if launch is None:
            return True
        _Ending.speaks = _claim(launch)
    return _Ending.speaks


@contextlib.contextmanager
def error_line() -> Iterator[bool]:
    """Tell whether the caller prints the line about an error, as a context manager around the printing.

    In one of several processes, only the first caller does: the main thread may learn of a failure while the watch of the other
    processes prints it. The watch ends the process after that, and so waits until the line is printed.
    """
    with _Ending.lock:
        is_first = _known() is None or not _Ending.has_printed
        _Ending.has_printed = True
        yield is_first and speaks()


def _known() -> Launch | None:
    """The facts that `torchrun` tells; None without it, or if they are invalid."""
    try:
        return Launch.from_environment()
    except ProcessError:
        return None


def _claim(launch: Launch) -> bool:
    if launch.folder is not None:
        with contextlib.suppress(OSError):
            return is_new(launch.folder / "RecurrentFF-speaks")
    return _Ending.membership is None or _Ending.membership.claim()


def is_new(file: Path) -> bool:
    """Create an empty file, and return whether it did not exist.

    Raises:
        OSError: it can't be created.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return False
    return True


def has_announced() -> bool:
    """True if an error has ended a training of this program, of which the other processes know."""
    return _Ending.announced


def announce(error: BaseException) -> None:
    """Tell the other processes that this one ends with an error. Only the first call does so."""
    if _Ending.announced or _known() is None:
        return
    _Ending.announced = True
    speaks()  # before the others know of it, so that the process with the error has the first word
    if _Ending.membership is not None:
        _Ending.membership.announce(*_state(error))


def _state(error: BaseException) -> tuple[str, str]:
    """The state of a process that ends with an error, and its words for the others."""
    if isinstance(error, ProcessError):
        return "lost", str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", ""
    if lacks_memory(error):
        return "failed", "not enough memory"
    return "failed", str(error) if isinstance(error, RecurrentFFError) else described(error)


class _Terminated(BaseException):
    """The request to end, which `torchrun` also sends after another process has failed."""


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """A command, at whose error or interruption the other processes end, too, as a context manager.

    With several processes, SIGTERM and SIGHUP are like Ctrl-C, unless they come because another process has failed. Nothing is
    changed for a single process.

    Raises:
        ProcessError: another process has failed.
    """
    if _known() is None:
        yield
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # before torch is imported: no traces of closed connections
    try:
        with _signals_raised():
            yield
    except _Terminated:
        ending = _of_another() or KeyboardInterrupt()
        announce(ending)
        raise ending from None
    except BaseException as error:
        announce(error)
        raise


def ended(code: int) -> int:
    """End a command of several processes with an exit code. A single process returns the code.

    The program ends without the destructors of C++: at that moment, threads of torch.distributed may still run, and their end
    would abort the process.
    """
    if _known() is None:
        return code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # nobody may read it
            stream.flush()
    os._exit(code)


def _of_another() -> ProcessError | None:
    """The error about another process, for which this one is told to end."""
    message = None if _Ending.membership is None else _Ending.membership.loss(PATIENCE)
    return None if message is None else ProcessError(message)


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """Raise an exception at the first of the signals whose usual effect is to end the process without a word."""
    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not in the main thread
                before[number] = signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) == _raise:
                signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise _Terminated
