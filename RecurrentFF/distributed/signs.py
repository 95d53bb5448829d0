"""Signs of life: what every process tells the others about itself, by the store through which they have found each other."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from RecurrentFF.errors import first_line
from RecurrentFF.launch import Launch

SECONDS = 0.5
"""The seconds between two signs of life. They are more with more than 64 processes, for which one store works."""


@dataclass
class Sign:
    """The sign of life of a process."""

    host: str
    """The name of its host."""
    machine: str
    """The identity of the machine and of its process numbers: containers may have the host's name, but numbers of their own."""
    pid: int
    """Its process number there."""
    count: int = 0
    """The number of this sign, by which others see that the process lives."""
    operations: int = 0
    """The number of operations of torch.distributed so far."""
    waits: bool = False
    """True if the process waits for others in one of them."""
    state: str = "trains"
    """"trains"; "rests" after a training; "failed" by an error of its own; "lost", since another has failed; "interrupted"."""
    text: str = ""
    """The error of a failed process, or the message of a lost one about the other."""

    @classmethod
    def of_this_process(cls) -> Sign:
        """The first sign of this process."""
        parts = []
        for file in ("/proc/self/ns/pid", "/proc/sys/kernel/random/boot_id"):  # only Linux has them
            with contextlib.suppress(OSError):
                path = Path(file)
                parts.append(str(path.readlink()) if path.is_symlink() else path.read_text().strip())
        host = socket.gethostname()
        return cls(host, " ".join([host, *parts]), os.getpid())

    def has_gone(self, machine: str) -> bool:
        """True if the process is known to have ended: it is of this machine, and there is no such process."""
        if self.machine != machine or sys.platform == "win32":  # where the call below would end the process
            return False
        try:
            os.kill(self.pid, 0)
        except OSError as error:
            return isinstance(error, ProcessLookupError)
        try:  # a process that has ended is there until its parent asks for its exit code
            state = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except (OSError, IndexError):
            return False
        return state in (b"Z", b"X")


class Signs:
    """The exchange of signs of life, in a thread of its own, since the store may not answer.

    Args:
        launch: what `torchrun` has told.
        own: makes the present sign of this process.
        join_seconds: the seconds within which the store must be reached.
    """

    def __init__(self, launch: Launch, own: Callable[[], Sign], join_seconds: float) -> None:
        self.launch = launch
        self.own = own
        self.join_seconds = join_seconds
        self.seconds = SECONDS * max(1.0, launch.count / 64)
        self.others: dict[int, Sign] = {}
        """The latest sign of each other process that has come."""
        self.begun = self.done = 0
        """The number of exchanges that have begun, and that of those that are complete."""
        self.is_connected = False
        self.failure = ""
        """Why the store can't be reached any more."""
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin to exchange signs."""
        threading.Thread(target=self._run, name="signs of life", daemon=True).start()

    def _run(self) -> None:
        """Exchange signs until the store fails, or the process ends."""
        try:
            store = client(self.launch, self.join_seconds)
            self.is_connected = True
            while True:
                self._exchange(store)
                self._wake.wait(self.seconds)
                self._wake.clear()
        except Exception as error:
            self.failure = first_line(error)

    def exchange_now(self, seconds: float) -> bool:
        """Exchange signs at once, and wait for that.

        Args:
            seconds: how long to wait at most.

        Returns:
            True if the present sign of this process has been sent, and those of the others are there.
        """
        number = self.begun + 1  # an exchange that has begun already may have the former sign
        self._wake.set()
        end = time.monotonic() + seconds
        while self.done < number and not self.failure and time.monotonic() < end:
            time.sleep(0.01)
            if self.begun < number:
                self._wake.set()
        return self.done >= number

    def _exchange(self, store: Store) -> None:
        self.begun += 1
        begun, own = self.begun, self.own()
        store.set(self._key(self.launch.rank), json.dumps(asdict(own)))
        missing = [rank for rank in range(self.launch.count) if rank not in self.others and rank != self.launch.rank]
        ranks = [*self.others, *(rank for rank in missing if store.check([self._key(rank)]))]
        if ranks:
            contents = store.multi_get([self._key(rank) for rank in ranks])
            self.others |= {rank: Sign(**json.loads(content)) for rank, content in zip(ranks, contents, strict=True)}
        self.done = begun

    @staticmethod
    def _key(rank: int) -> str:
        return f"sign/{rank}"


def server(launch: Launch) -> TCPStore | None:
    """Start the store for all processes, if it is this process that does so.

    Raises:
        RuntimeError: the port can't be used.
    """
    if launch.has_agent or launch.rank > 0:
        return None
    return TCPStore(launch.address, launch.port, None, True, wait_for_workers=False)


def client(launch: Launch, seconds: float) -> Store:
    """A connection to the store, with names of their own for every start of the processes.

    Args:
        launch: what `torchrun` has told.
        seconds: the seconds within which the store must be reached. One that is reached, but does not answer, is waited for.

    Raises:
        RuntimeError: it can't be reached.
    """
    store = TCPStore(launch.address, launch.port, None, False, timedelta(seconds=seconds), wait_for_workers=False)
    return PrefixStore(f"RecurrentFF/{launch.restarts}", store)
