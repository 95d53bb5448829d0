"""The watch of the other processes: which of them has failed, was killed, or does not answer.

torch.distributed itself notices only that a connection is closed, or that an operation takes too long, in some of the processes.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import tempfile
import threading
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from RecurrentFF.distributed.group import Activity
from RecurrentFF.distributed.signs import Sign, Signs
from RecurrentFF.errors import ProcessError
from RecurrentFF.launch import Launch, error_line, is_new, set_membership
from RecurrentFF.streams import write_line

FAILURE = 2
"""The exit code of a process that ends because another one has failed."""

GRACE = 2.0
"""The seconds in which an operation of the main thread ends by itself after another process has failed."""

_TICK = 0.2
_EXCHANGE_SECONDS = 2.0  # for one exchange of signs that something waits for


class Watch:
    """A thread that watches the other processes. If the main thread waits for one that has failed, it ends this process.

    Args:
        launch: what `torchrun` has told.
        activity: what the main thread does.
        timeout: the seconds after which a process that does not answer has failed.
        join_seconds: the seconds within which all processes must have come.

    Attributes:
        folder: the folder of the run, for the message about a failure; empty if there is none.
        has_trained: true after the first batch, without which there is nothing to resume.
    """

    def __init__(self, launch: Launch, activity: Activity, timeout: float, join_seconds: float) -> None:
        self.launch = launch
        self.activity = activity
        self.timeout = timeout
        self.join_seconds = join_seconds
        self.folder = ""
        self.has_trained = False
        self._sign = Sign.of_this_process()
        self._signs = Signs(launch, self._present, join_seconds)
        self._joined = False
        self._suspects = False  # true after an operation has failed: then a process without a sign for a few seconds has ended
        self._seconds = 0.0  # during which this process was itself at work
        self._latest: dict[int, tuple[int, float]] = {}
        self._gone: dict[int, int] = {}
        self._operation = (0, 0.0)
        self._lost_at = 0.0
        self._overdue: set[int] = set()
        self._claim: Path | None = None

    def start(self) -> None:
        """Begin to exchange signs of life, and to watch."""
        self.activity.explain = self._explain
        set_membership(self)
        atexit.register(self._at_exit)
        self._signs.start()
        threading.Thread(target=self._run, name="watch of other processes", daemon=True).start()

    # ---------------------------------------------------------------- for the main thread

    def wait_for_all(self) -> None:
        """Wait until all processes have come.

        Raises:
            ProcessError: some of them have not, or one has failed.
        """
        end = time.monotonic() + self.join_seconds
        while len(self._signs.others) < self.launch.count - 1:
            if self.activity.lost is not None:
                raise ProcessError(self.activity.lost)
            if self._signs.failure or time.monotonic() > end:
                raise ProcessError(self._not_joined())
            time.sleep(0.02)
        self._joined = True

    def training(self, *, begins: bool) -> None:
        """Begin or end a training. After its end, other processes may end, too."""
        if self._sign.state in ("trains", "rests"):
            self._sign.state = "trains" if begins else "rests"
            self._signs.exchange_now(0 if begins else _EXCHANGE_SECONDS)

    def loss(self, seconds: float) -> str | None:
        """Wait for the message about another process that has failed; None if there is none within these seconds."""
        end = time.monotonic() + seconds
        while self.activity.lost is None and time.monotonic() < end and self._sign.state == "trains":
            if not self._joined:
                return self._not_joined()
            time.sleep(0.02)
        return self.activity.lost

    def announce(self, state: str, text: str) -> None:
        """Tell the others that this process ends.

        Args:
            state: "failed", "lost" or "interrupted".
            text: why.
        """
        self._sign.state, self._sign.text = state, text
        self._signs.exchange_now(_EXCHANGE_SECONDS)

    def claim(self) -> bool:
        """True in the first process of this host that asks."""
        host = self._signs.others.get(0, self._sign)  # of this training: process 0, if it is known
        file = Path(tempfile.gettempdir()) / f"RecurrentFF-{self.launch.port}-{host.pid}"
        try:
            is_first = is_new(file)
        except OSError:
            return True
        if is_first:
            self._claim = file
        return is_first

    # ---------------------------------------------------------------- in the thread

    def _run(self) -> None:
        """Watch the other processes, and end this one if its main thread does not end by itself."""
        before = time.monotonic()
        while True:
            time.sleep(_TICK)
            now = time.monotonic()
            self._seconds += min(now - before, 5 * _TICK)  # not the time for which this process was stopped, as by Ctrl-Z
            before = now
            if self.activity.lost is None and self._sign.state == "trains":
                self._set_lost(self._finding())
            elif self.activity.lost is not None and self._seconds - self._lost_at > self._patience():
                with error_line() as is_own:
                    if is_own:
                        write_line(f"error: {self.activity.lost}", "stderr")
                self._let_others_end()
                os._exit(FAILURE)

    def _patience(self) -> float:
        """The seconds in which the main thread may learn of a failure. Process 0 may be writing a checkpoint meanwhile."""
        if self.activity.told:
            return math.inf
        return GRACE if self.activity.waits or self.launch.rank > 0 else max(GRACE, self.timeout)

    def _set_lost(self, finding: str | None) -> None:
        if finding is not None:
            self._lost_at = self._seconds
            self.activity.lost = finding
            self._sign.state, self._sign.text = "lost", finding  # so that all processes have the same words

    def _finding(self) -> str | None:
        """The message about processes that have failed; None if there is none."""
        others, answers = dict(self._signs.others), self._signs_arrive()
        for rank, sign in others.items():
            if sign.state == "lost":
                return sign.text
            if sign.state in ("failed", "interrupted"):
                return self._end_of(rank, sign)
        gone = [rank for rank, sign in others.items() if self._has_gone(rank, sign)]
        if gone:
            ended = all(others[rank].state == "rests" for rank in gone)
            return self._message(gone, "ended without this training" if ended else "was killed, or has crashed")
        self._overdue = {rank for rank, sign in others.items() if self._is_overdue(rank, sign)}
        if self._signs.failure or (self._overdue and not answers):
            return self._store_message() if self._joined else None
        if self._overdue:
            return self._message(self._overdue, self._no_answer())
        return self._stuck(others)

    def _has_gone(self, rank: int, sign: Sign) -> bool:
        """True if a process has ended without a word. Its last words are read before this is said."""
        if not sign.has_gone(self._sign.machine) or (sign.state == "rests" and not self._waits_for(GRACE)):
            return False
        first = self._gone.setdefault(rank, self._signs.begun)
        return self._signs.done > first or bool(self._signs.failure) or self._seconds - self._latest[-1][1] > GRACE

    def _is_overdue(self, rank: int, sign: Sign) -> bool:
        count, since = self._latest.get(rank, (-1, 0.0))
        if sign.count != count:
            self._latest[rank] = sign.count, self._seconds
            return False
        return sign.state != "rests" and self._seconds - since > self._limit

    @property
    def _limit(self) -> float:
        """The seconds without a sign after which a process has failed."""
        return min(self.timeout, 6 * self._signs.seconds) if self._suspects else self.timeout

    def _signs_arrive(self) -> bool:
        """False if the store has not answered for as long as a process may be without a sign."""
        done, since = self._latest.get(-1, (-1, 0.0))
        if done != self._signs.done:
            self._latest[-1] = self._signs.done, self._seconds
            return True
        return self._seconds - since < self._limit - 2 * self._signs.seconds

    def _stuck(self, others: dict[int, Sign]) -> str | None:
        """The message about the processes for which this one has waited too long."""
        if not self._waits_for(self.timeout):
            return None
        working = [rank for rank, sign in others.items() if not sign.waits]
        fewest = min(sign.operations for sign in others.values())
        return self._message(working or [rank for rank, sign in others.items() if sign.operations == fewest], self._no_answer())

    def _waits_for(self, seconds: float) -> bool:
        """True if the main thread has waited in one operation for so long."""
        number, since = self._operation
        if not self.activity.waits or number != self.activity.operations:
            self._operation = self.activity.operations, self._seconds
            return False
        return self._seconds - since > seconds

    # ---------------------------------------------------------------- messages

    def _explain(self, reason: str) -> str:
        """The message about a failed operation: which process has failed. The evidence may come a moment later."""
        self._suspects = True
        self._signs.exchange_now(_EXCHANGE_SECONDS)
        message = self.loss(self._limit + GRACE)
        if message is None:
            self._set_lost(message := f"the connection to another process was lost ({reason}){self._advice()}")
        return message

    def _end_of(self, rank: int, sign: Sign) -> str:
        if sign.state == "interrupted":
            return f"{self._name(rank)} was interrupted{self._advice()}"
        return f"{self._name(rank)} has failed: {sign.text}"

    def _message(self, ranks: Collection[int], what: str) -> str:
        names = [self._name(rank) for rank in sorted(ranks)[:3]]
        if len(ranks) > 3:
            names.append(f"{len(ranks) - 3} more")
        text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        plural = what if len(names) == 1 else what.replace("was ", "were ").replace("has ", "have ")
        return f"{text} {plural}{self._advice()}"

    def _no_answer(self) -> str:
        return f"has not answered for {self._limit:g} s (distributed.timeout)" if not self._suspects else "can't be reached"

    def _store_message(self) -> str:
        if not self.launch.has_agent:
            return self._message([0], self._no_answer() if not self._signs.failure else "has ended, or can't be reached")
        place = f"{self.launch.address}:{self.launch.port}"
        return f"torchrun, with the store at {place}, has ended, or does not answer{self._advice()}"

    def _not_joined(self) -> str:
        place, come = f"{self.launch.address}:{self.launch.port}", sorted([self.launch.rank, *self._signs.others])
        own, count = f"process {self.launch.rank} of {self.launch.count}", self.launch.count
        if not self._signs.is_connected:
            reason = f" ({self._signs.failure})" if self._signs.failure else ""
            advice = "start process 0, and check MASTER_ADDR and MASTER_PORT"
            return f"{own} can't reach process 0 at {place}{reason}; {advice}"
        missing = [str(rank) for rank in range(count) if rank not in come]
        which = f"process {missing[0]} is missing" if len(missing) == 1 else f"processes {', '.join(missing[:5])} are missing"
        return f"{own} has waited for the others at {place}, but {which}; start all {count} of them"

    def _name(self, rank: int) -> str:
        sign = self._signs.others.get(rank)
        return f"process {rank}" + ("" if sign is None or sign.host == self._sign.host else f" on {sign.host}")

    def _advice(self) -> str:
        if self.launch.restarts < self.launch.max_restarts:
            return "; torchrun starts all processes again"
        return f"; continue with: rff resume {self.folder}" if self.folder and self.has_trained else ""

    # ---------------------------------------------------------------- this process

    def _present(self) -> Sign:
        """The present sign of this process."""
        activity, sign = self.activity, self._sign
        sign.count += 1
        sign.operations, sign.waits = activity.operations, activity.waits
        return replace(sign)

    def _let_others_end(self) -> None:
        """Wait a moment until others have learned of a failure, if this process is the host of what they need for that."""
        hosts = self._claim is not None or (self.launch.rank == 0 and not self.launch.has_agent)
        end = time.monotonic() + 2 * GRACE
        while hosts and self._sign.state not in ("trains", "rests") and time.monotonic() < end:
            hosts = any(
                not sign.has_gone(self._sign.machine)
                for rank, sign in self._signs.others.items()
                if self._is_near(sign) or (sign.state == "trains" and rank not in self._overdue)
            )
            time.sleep(0.02)
        if self._claim is not None and not hosts:  # otherwise a late one would say it again
            with contextlib.suppress(OSError):
                self._claim.unlink()

    def _is_near(self, sign: Sign) -> bool:
        return sign.machine == self._sign.machine

    def _at_exit(self) -> None:
        """Tell the others about the end of a program that has ended in a training, and leave the group of torch.distributed."""
        if os.getpid() != self._sign.pid:  # a forked process has copies of the handlers
            return
        if self._sign.state == "trains":
            self.announce("failed", "the program has ended before the training was complete")
        self._let_others_end()
        if self._sign.state == "rests" and torch.cuda.is_available():  # nccl warns without this call
            with contextlib.suppress(Exception):
                dist.destroy_process_group()
