"""Writing files so that none is ever left half-written under its final name, whatever ends the program."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from RecurrentFF.errors import OutputError

_MARK = ".writing-"
"""What the names of unfinished files begin with."""


def write_atomically(path: Path, write: Callable[[Path], object], former: Path | None = None) -> None:
    """Call `write` on a temporary file beside `path`, then move it into place in one step.

    Args:
        former: where the file that is at `path` now stays; there is a whole one under `path` at any moment.

    Raises:
        OutputError: that can't be done; `path` is as it was.
    """
    temporary = _unfinished(path)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # the content is on the disk before the name is
        if former is not None and path.exists():
            _copy(path, former)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer reports a missing folder or a full disk as RuntimeError
        reason = (isinstance(error, OSError) and error.strerror) or str(error).strip().partition("\n")[0][:120]
        raise OutputError(f"{path}: can't be written ({reason})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step. Raises OutputError."""

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def remove_unfinished(folder: Path) -> None:
    """Remove what a program that was killed in the middle of writing has left in a folder."""
    for path in folder.glob(f"{_MARK}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{_MARK}{secrets.token_hex(4)}-{path.name}")


def _copy(path: Path, to: Path) -> None:
    """Have `to` hold what `path` holds, in one step; as a second name of the same file where that can be."""
    second = _unfinished(to)
    try:
        try:
            os.link(path, second)
        except OSError:
            shutil.copyfile(path, second)
        second.replace(to)
    finally:
        with contextlib.suppress(OSError):
            second.unlink(missing_ok=True)  # still there after an error, and where `to` was the same file already
