"""The search for examples that fail, in processes of its own, so that it survives those that crash or never end."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import HypothesisException

import RecurrentFF
from tools.fuzz.contract import ContractError
from tools.fuzz.target import Target

EXAMPLES_PER_ROUND = 200
"""The number of examples until hypothesis begins with a new seed."""
SHRINK_SECONDS = 20.0
"""The longest time in which hypothesis shrinks an example that failed, in seconds."""
GRACE_SECONDS = 60.0
"""The time after which a process that should have ended is killed, in seconds."""
PACKAGE = Path(RecurrentFF.__file__).parent
"""The folder of this package."""
RUNNING = "running"
"""The name of the file with the present example, which is left over by a process that crashes."""


@dataclass
class Find:
    """An example that failed."""

    target: str
    place: str
    """The kind of the error, and the line of this package that raised it. Examples of one place count as one."""
    error: str
    example: bytes
    trace: str = ""

    def write(self, folder: Path) -> Path:
        """Write the example and its traceback into the folder of the target. Returns the path of the example."""
        home = folder / self.target
        home.mkdir(parents=True, exist_ok=True)
        file = home / hashlib.sha256(self.place.encode()).hexdigest()[:8]
        file.write_bytes(self.example)
        file.with_suffix(".txt").write_text(f"{self.place}\n{self.error}\n\n{self.trace}", encoding="utf-8", errors="replace")
        return file


@dataclass
class Outcome:
    """The result of a search."""

    examples: int = 0
    seconds: float = 0.0
    finds: list[Find] = field(default_factory=list)
    mistake: str = ""
    """The traceback of an error in the search itself, which is a mistake in this tool."""


@dataclass(frozen=True)
class Budget:
    """The limit of a search, without the shrinking of what it finds."""

    seconds: float
    """The time in seconds."""
    examples: float = float("inf")
    """The number of examples."""


class _SliceOver(BaseException):
    """The end of the time of a search. It is no Exception, so that hypothesis does not take it for a failure."""


class _Search:
    """A search in this process.

    Args:
        target: the target.
        budget: the time, or the number of examples, after which it ends.
        known: the places of former finds, which are passed over.
        running: the file for the present example.
    """

    def __init__(self, target: Target, budget: Budget, known: set[str], running: Path) -> None:
        self.target, self.budget, self.known, self.running = target, budget, known, running
        self.deadline = time.monotonic() + budget.seconds
        self.examples = 0
        self.found: Find | None = None
        self.stop_shrinking = float("inf")

    @property
    def is_over(self) -> bool:
        """True after the time, or the number of examples, that the search has."""
        return time.monotonic() > self.deadline or self.examples >= self.budget.examples

    def round(self, number: int) -> None:
        """Try examples until one fails, whose place is not known, and shrink it; or until the round or the time is over."""
        self.found, self.stop_shrinking = None, float("inf")
        decorated = settings(
            max_examples=EXAMPLES_PER_ROUND, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False, verbosity=Verbosity.quiet, print_blob=False,
        )(given(self.target.examples())(self._one))  # fmt: skip
        try:
            seed(number)(decorated)()
        except (Exception, _SliceOver) as error:  # hypothesis raises the error of the smallest example, or its own
            if self.found is None and not isinstance(error, _SliceOver):
                raise
        if self.found is not None:
            self.known.add(self.found.place)

    def _one(self, example: bytes) -> None:
        if self.is_over if self.found is None else time.monotonic() > self.stop_shrinking:
            raise _SliceOver
        self.examples += 1
        self.running.write_bytes(example)
        try:
            self.target.check(example)
        except HypothesisException:
            raise
        except Exception as error:
            find = Find(self.target.name, place_of(error), f"{type(error).__name__}: {str(error)[:500]}", example,
                        "".join(traceback.format_exception(error)[-12:]))  # fmt: skip
            if find.place in self.known or (self.found is not None and find.place != self.found.place):
                return
            if self.found is None:
                self.stop_shrinking = time.monotonic() + SHRINK_SECONDS
            self.found = find
            raise


def place_of(error: BaseException) -> str:
    """The kind of an error, and the last line of this package in its traceback; for a broken contract also that of its cause."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)]
    words = [error.kind if isinstance(error, ContractError) else type(error).__name__]
    words += [f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"] if frames else []
    words += [f"({place_of(error.__cause__)})"] if isinstance(error, ContractError) and error.__cause__ is not None else []
    return " ".join(words)


def search(target: Target, budget: Budget, number: int, known: set[str], folder: Path) -> Outcome:
    """Search in a process of its own.

    Args:
        target: the target.
        budget: the time, or the number of examples.
        number: the seed.
        known: the places of former finds, which are passed over.
        folder: the folder of the finds.

    Raises:
        RuntimeError: examples can't be made.
    """
    target.examples()  # imports and valid samples are made once, before the process is forked
    folder.mkdir(parents=True, exist_ok=True)
    running = folder / f"{RUNNING}-{target.name}"
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    started = time.monotonic()
    process: Any = context.Process(target=_work, args=(target, budget, number, known, running, sender))  # type: ignore[attr-defined]
    process.start()
    sender.close()
    outcome = _received(receiver, budget.seconds + SHRINK_SECONDS + GRACE_SECONDS)
    if outcome is None:
        outcome = Outcome(1, finds=[_crash(process, target.name, running)])
    process.join()
    running.unlink(missing_ok=True)
    outcome.seconds = time.monotonic() - started
    if outcome.mistake:
        raise RuntimeError(f"{target.name}: the examples can't be made\n{outcome.mistake}")
    return outcome


def _received(receiver: Connection, seconds: float) -> Outcome | None:
    """The outcome that a process sends; None if it ends before, or sends nothing for a time."""
    try:
        return receiver.recv() if receiver.poll(seconds) else None
    except EOFError:
        return None


def _crash(process: Any, name: str, running: Path) -> Find:
    """The example of a process that has crashed, or still runs, which is ended here."""
    process.join(1.0)
    reason = "no answer, and no reaction to a signal" if process.exitcode is None else f"exit code {process.exitcode}"
    process.kill()
    return Find(name, f"the process ended ({reason})", reason, running.read_bytes() if running.exists() else b"")


def _work(target: Target, budget: Budget, number: int, known: set[str], running: Path, sender: Connection) -> None:
    """Search in rounds, and send the outcome."""
    work = _Search(target, budget, set(known), running)
    outcome = Outcome()
    try:
        while not work.is_over:
            work.round(number)
            number += 1
            outcome.finds += [] if work.found is None else [work.found]
    except Exception:
        outcome.mistake = traceback.format_exc()
    outcome.examples = work.examples
    sender.send(outcome)
