"""Programs as black boxes: another program computes a function of activity, by the protocol of `black_box_protocol`.

What a program writes to its standard error is kept in a temporary file, whose last line is shown when the program fails.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from RecurrentFF.errors import BlackBoxError, first_line, printable
from RecurrentFF.model.black_box_protocol import HEADER, MAGIC, START, VERSION, frame_header

PATIENCE = 1.0
"""The seconds for which a program may end by itself, before it is killed."""

ADVICE = "messages of the program belong to its standard error"
"""The advice where the output of a program is not the protocol."""

MAX_NAME = 80
"""The number of characters of a command in a message, about; what is longer loses its middle."""


class Program:
    """A program that computes a function of activity. It is started when it is first called, and ended with this object.

    It is also ended when Python exits. A copy, a pickle and a forked process start a program of their own.

    Args:
        command: the program and its arguments. No shell is involved.
        timeout: the seconds within which an answer must come.
        start_timeout: the seconds within which the program must start and write its first 8 bytes.
    """

    def __init__(self, command: Sequence[str], timeout: float, start_timeout: float) -> None:
        self.command = tuple(command)
        self.timeout = timeout
        self.start_timeout = start_timeout
        self._running: _Running | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """The arguments alone; a copy starts a program of its own."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_running", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _running=None, _lock=threading.Lock())

    def __call__(self, rows: Tensor) -> Tensor:
        """The answer of the program, (n, units) float32, to the activity of n samples, (n, units) float32 on the CPU.

        Raises:
            BlackBoxError: the program can't be started, ends, does not answer in time, or gives a wrong answer. It is killed
                then, and another call starts it again.
        """
        if HEADER.size - 4 + 4 * rows.numel() >= 2**32:
            raise BlackBoxError(f"black box {self}: {rows.numel():,} numbers don't fit into a frame; use smaller batches")
        with self._lock:
            try:
                return self._started().answer(rows, self.timeout)
            except BaseException:  # also Ctrl-C, after which the next answer would be that of this request
                self._end()
                raise

    def __str__(self) -> str:
        return printable(shlex.join(self.command), MAX_NAME)

    def end(self) -> None:
        """End the program if it runs. Another call starts it again."""
        with self._lock:
            self._end()

    @property
    def pid(self) -> int | None:
        """The number of the running process; None if there is none."""
        return None if self._running is None else self._running.process.pid

    def _started(self) -> _Running:
        if self._running is not None and self._running.owner != os.getpid():  # after a fork, it is the parent's
            self._running = None
        if self._running is None:
            running = _Running(str(self), self.command)
            self._running = running
            running.finalizer = weakref.finalize(self, _end, running.process, running.owner)
            running.begin(self.start_timeout)
        return self._running

    def _end(self) -> None:
        if self._running is not None and self._running.finalizer is not None:
            self._running.finalizer()
        self._running = None


class _Running:
    """A running program, and its pipes.

    Args:
        name: the command as text, for messages.
        command: the program and its arguments.

    Raises:
        BlackBoxError: it can't be started.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name, self.owner = name, os.getpid()
        self.finalizer: weakref.finalize[Any, Any] | None = None
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the program runs)
        try:
            # A session of its own, so that the programs that it starts can be killed, too. Pipes without buffers, so that
            # nothing is left to flush when the program is gone.
            self.process = subprocess.Popen(
                list(command),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            raise BlackBoxError(f"black box {name}: the program can't be started ({reason}); check its command") from None

    def begin(self, timeout: float) -> None:
        """Exchange the first 8 bytes. Raises BlackBoxError where the program does not follow the protocol."""
        with self._limited(timeout, "started", "start_timeout"):
            self._write(START.pack(MAGIC, VERSION))
            found = self._read(START.size)
        magic, version = START.unpack(found)
        if magic != MAGIC:
            raise self._error(f"the first bytes of its output are {found!r}, not those of the protocol; {ADVICE}")
        if version != VERSION:
            raise self._error(f"it speaks version {version} of the protocol, but this package speaks version {VERSION}")

    def answer(self, rows: Tensor, timeout: float) -> Tensor:
        """The program's answer to a request. Raises BlackBoxError where there is none, or one of another form."""
        header = frame_header(*rows.shape)
        data = bytearray(4 * rows.numel())
        with self._limited(timeout, "answered", "timeout"):
            self._write(header)
            self._write(rows.numpy().astype("<f4").tobytes())
            found = self._read(HEADER.size)
            if found != header:  # not read any further: a wrong length may be of any size
                length, *shape = HEADER.unpack(found)
                if tuple(shape) != rows.shape and length != HEADER.size - 4 + 4 * math.prod(shape):
                    raise self._error(f"its answer begins with {found!r}, which is no header of the protocol; {ADVICE}")
                raise self._error(f"it answered with {length} bytes of shape {tuple(shape)}, expected {tuple(rows.shape)}")
            self._read_into(data)
        answer = torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32).reshape(rows.shape))
        if not answer.isfinite().all() and rows.isfinite().all():
            raise self._error("it answered with numbers that are NaN or infinite")
        return answer

    @contextlib.contextmanager
    def _limited(self, seconds: float, done: str, option: str) -> Iterator[None]:
        """Kill the program after some seconds, which ends any wait for it, and say what it has not done, as a context manager.

        Args:
            seconds: the time that it has.
            done: what it must have done by then.
            option: the name of the option that sets the seconds.
        """
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            _kill(self.process)

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, EOFError):
            if not expired.is_set():
                raise self._gone() from None
        finally:
            timer.cancel()
            timer.join()
        if expired.is_set():
            raise self._error(
                f"it has not {done} within {seconds:g} s; use a longer {option}, or check that it flushes its output"
            )

    def _write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def _read(self, size: int) -> bytes:
        data = bytearray(size)
        self._read_into(data)
        return bytes(data)

    def _read_into(self, data: bytearray) -> None:
        stdout: Any = self.process.stdout
        view = memoryview(data)
        while view:
            count = stdout.readinto(view)
            if not count:
                raise EOFError
            view = view[count:]

    def _gone(self) -> BlackBoxError:
        """The error of a program that has ended, or has closed its pipes."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return self._error("it has closed its input or output")
        how = f"was ended by signal {-code}" if code < 0 else f"has ended with exit code {code}"
        return self._error(f"the program {how}")

    def _error(self, text: str) -> BlackBoxError:
        """An error with the last line that the program has written to its standard error."""
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - 1000))
        lines = self.errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return BlackBoxError(f"black box {self.name}: {text}{f' ({last[:200]})' if last else ''}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, and what it has started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Close the pipes of a program, and kill it if it does not end by itself. In a forked process, only close them."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    if owner != os.getpid():
        return
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()
