"""Several processes for tests: forked, so that none of them imports torch anew."""

import atexit
import io
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

SECONDS = 60.0
"""The seconds after which processes that have not ended are killed."""


def free_port() -> int:
    """A port of this machine that no program uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """The variables that torchrun gives a process; none if it is the only one."""
    if count == 1:
        return {}
    facts = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
    return {name: str(value) for name, value in facts.items()}


def in_processes(count: int, work: Callable[..., Any], *arguments: Any, **variables: str) -> list[Any]:
    """Call a function in several processes, with the environment that torchrun gives them.

    Args:
        count: the number of processes; with one, the function is called in a process without torchrun's variables.
        work: the function. Its result must be one that can be pickled.
        arguments: its arguments.
        variables: further environment variables.

    Returns:
        The result of each process.

    Raises:
        AssertionError: one has failed; the message is its traceback.
    """
    context, port = multiprocessing.get_context("fork"), free_port()
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    started = [
        context.Process(target=_work, args=(sender, rank, count, port, variables, work, arguments))
        for rank, (_, sender) in enumerate(pipes)
    ]
    for process in started:
        process.start()
    try:
        results = [_loaded(receiver.recv_bytes()) if receiver.poll(SECONDS) else (False, "no answer") for receiver, _ in pipes]
    finally:
        for process in started:
            process.join(5)
            process.kill()
    failures = [text for succeeded, text in results if not succeeded]
    assert not failures, "\n".join(failures)
    return [result for _, result in results]


def _loaded(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=False)


def _work(
    sender: Connection, rank: int, count: int, port: int, variables: dict[str, str], work: Callable[..., Any], arguments: Any
) -> None:
    os.environ.update(environment(rank, count, port) | variables)
    try:
        result = True, work(*arguments)
    except BaseException:
        result = False, f"process {rank}: {traceback.format_exc()}"
    content = io.BytesIO()
    torch.save(result, content)  # the tensors themselves, and not handles of shared memory, which this process would take with it
    sender.send_bytes(content.getvalue())
    sender.close()
    os._exit(0)


class Started:
    """Processes that a test may kill. They end with the exit code that a function returns, and write into files.

    Args:
        count: the number of processes.
        work: the function, which returns an exit code.
        arguments: its arguments; a list has one for each process.
        folder: the folder of what they print.
        variables: further environment variables.
    """

    def __init__(self, count: int, work: Callable[..., int], *arguments: Any, folder: Path, **variables: str) -> None:
        self.folder = folder
        port = free_port()
        self.codes: dict[int, int] = {}
        self.pids = []
        for rank in range(count):
            own = [argument[rank] if isinstance(argument, list) else argument for argument in arguments]
            self.pids.append(self._start(partial(work, *own), environment(rank, count, port) | variables, rank))

    def _start(self, work: Callable[[], int], variables: dict[str, str], rank: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            atexit._clear()
            os.environ.update(variables)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(self.folder / f"{name}-{rank}", os.O_CREAT | os.O_RDWR | os.O_APPEND), number)
            sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to a process."""
        os.kill(self.pids[rank], number)

    def wait(self, seconds: float = SECONDS, without: int | None = None) -> list[int]:
        """Wait for all processes, except one that is killed afterwards.

        Returns:
            Their exit codes, or a signal's number with a minus sign.

        Raises:
            AssertionError: one has not ended within these seconds. It is killed.
        """
        end = time.monotonic() + seconds
        late = [rank for rank in range(len(self.pids)) if rank not in (*self.codes, without)]
        while late and time.monotonic() < end:
            time.sleep(0.02)
            self._collect(os.WNOHANG)
            late = [rank for rank in late if rank not in self.codes]
        for rank in range(len(self.pids)):
            if rank not in self.codes:
                self.signal(rank, signal.SIGKILL)
        self._collect(0)
        assert not late, f"processes {late} have not ended: {self.errors()}"
        return [self.codes[rank] for rank in range(len(self.pids))]

    def errors(self) -> list[str]:
        """The lines that each process has written to standard error."""
        return [(self.folder / f"err-{rank}").read_text() for rank in range(len(self.pids))]

    def lines(self) -> list[str]:
        """All lines on standard error that are those of this library."""
        return [
            line for line in "".join(self.errors()).splitlines() if line.startswith(("error:", "note:", "interrupted", "Trace"))
        ]

    def _collect(self, options: int) -> None:
        for rank, pid in enumerate(self.pids):
            if rank not in self.codes:
                found, status = os.waitpid(pid, options)
                if found:
                    self.codes[rank] = os.waitstatus_to_exitcode(status)
