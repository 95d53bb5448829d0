"""Standard output and standard error: the one place that writes to them. Whatever happens to these streams, no run ends with it.

A stream may be closed before the program starts or later, its disk may be full, its reader or its terminal may be gone, its
encoding may lack characters, and in a notebook it is an object of another program.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

from RecurrentFF.errors import OutputError, printable

Name = Literal["stdout", "stderr"]
"""The name of a stream in `sys`."""

NAMES: dict[Name, str] = {"stdout": "standard output", "stderr": "standard error"}
"""The streams, with their names for the user."""

_noted: set[str] = set()
"""The topics of `note_once`. All that is said once in a process is remembered here, and nowhere else."""


def write_line(text: str, stream: Name = "stdout") -> bool:
    """Write one line. If standard output fails, this is said once on standard error, unless the stream is closed.

    Args:
        text: the line, without its end. Control characters, and those that the stream's encoding lacks, are written as escapes.
        stream: standard output or standard error.

    Returns:
        False if the line could not be written. No error is raised.
    """
    failure = _write(f"{printable(text, len(text))}\n", stream)
    if failure and stream == "stdout":
        note_once(f"standard output can't be written ({failure}); the program continues without its lines")
    return failure is None


def note_once(text: str, topic: str = "") -> None:
    """Tell the user something in a line on standard error, once in a process.

    Args:
        text: the text, without "note:".
        topic: what is said only once; by default, this text.
    """
    topic = topic or text
    if topic not in _noted:
        _noted.add(topic)
        _write(f"note: {printable(text)}\n", "stderr")


def write_output(text: str, end: str = "\n") -> None:
    """Write the result that a command was called for to standard output.

    Args:
        text: the text. Characters that the stream's encoding lacks are written as escapes.
        end: the end of the text.

    Raises:
        OutputError: it can't be written. A stream that is closed, or a pipe without a reader, is no error: nobody reads it.
    """
    failure = _write(f"{text}{end}", "stdout")
    if failure:
        raise OutputError(f"standard output can't be written ({failure})")


def is_terminal(stream: Name) -> bool:
    """Check if a stream is a terminal. A stream that does not tell is none."""
    try:
        return bool(getattr(sys, stream).isatty())
    except Exception:
        return False


class QuietStream:
    """Standard output or standard error as a file for other libraries, such as `tqdm(file=QuietStream("stderr"))`.

    Writing to it, flushing it, and asking whether it is a terminal never raise an error. It writes to what `sys.stdout` or
    `sys.stderr` is at that moment.

    Args:
        stream: standard output or standard error.
    """

    def __init__(self, stream: Name = "stderr") -> None:
        self.stream: Name = stream

    @property
    def encoding(self) -> str:
        """The encoding of the stream, "ascii" if it has none."""
        return _encoding(getattr(sys, self.stream, None))

    def write(self, text: str) -> int:
        """Write a text, as far as possible.

        Returns:
            The number of its characters.
        """
        _write(text, self.stream)
        return len(text)

    def flush(self) -> None:
        """Do nothing: a text is flushed when it is written."""

    def isatty(self) -> bool:
        """Check if the stream is a terminal."""
        return is_terminal(self.stream)

    def fileno(self) -> int:
        """The number of the stream's file, by which tqdm asks for the width of the terminal.

        Raises:
            OSError: the stream has no such number.
        """
        try:
            return int(getattr(sys, self.stream).fileno())
        except Exception:
            raise OSError(f"{NAMES[self.stream]} has no file number") from None


def replace_closed() -> None:
    """Let the null device take the places of standard streams that were closed when the program started. For commands only.

    Otherwise, the next file that is opened would have the number of standard error, and messages of libraries would be written
    into it.
    """
    for number in range(3):
        if not _is_open(number):
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    for name in NAMES:
        if getattr(sys, name, None) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 (stays open until the process ends)


def discard_unwritten() -> None:
    """Flush both streams, and drop what can't be written. For the end of commands.

    Otherwise, Python would try it once more when the process ends, and change the exit code.
    """
    for name in NAMES:
        target = getattr(sys, name, None)
        try:
            if target is not None and not getattr(target, "closed", False):
                target.flush()
        except Exception:
            _discard(target)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _write(text: str, stream: Name) -> str | None:
    """Write a text, and flush it.

    Returns:
        None if it is written; else the reason in a few words, which is empty if nobody reads the stream.
    """
    target = getattr(sys, stream, None)
    if target is None or getattr(target, "closed", False) is True:
        return ""
    try:
        try:
            target.write(text)
        except UnicodeEncodeError:
            encoding = _encoding(target)
            target.write(text.encode(encoding, "backslashreplace").decode(encoding))
        flush = getattr(target, "flush", None)
        if flush is not None:
            flush()
    except BrokenPipeError:  # as in `rff config --keys | head`; such a pipe never has a reader again
        _discard(target)
        return ""
    except OSError as error:
        return error.strerror or type(error).__name__
    except Exception as error:
        return type(error).__name__
    return None


def _encoding(target: Any) -> str:
    """The encoding of a stream, "ascii" if it has none that Python knows."""
    encoding: Any = getattr(target, "encoding", None)
    try:
        "".encode(encoding)
    except (LookupError, TypeError):
        return "ascii"
    return str(encoding)


def _discard(target: Any) -> None:
    """Let the null device take the place of the file of a stream."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        try:
            os.dup2(null, target.fileno())
        finally:
            os.close(null)
    except Exception:
        return  # the stream has no file: it is an object of another program
