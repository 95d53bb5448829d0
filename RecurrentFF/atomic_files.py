"""Atomic writing of files: under its final name, a file is always complete, even if the program is killed or the disk is full."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from RecurrentFF.errors import OutputError

_PREFIX = ".writing-"
"""The first characters of the names of incomplete files."""


def write_atomically(path: Path, write: Callable[[Path], object], previous: Path | None = None) -> None:
    """Call `write` on a temporary file beside `path`, then rename it to `path` in one step.

    Args:
        path: the final name; a file that exists there is replaced.
        write: a function that writes the content to the path that it is given.
        previous: the new name of the file that is at `path` now; None discards it. At every moment, a complete file is at `path`.

    Raises:
        OutputError: writing failed; the file at `path` is unchanged.
    """
    temporary = _temporary_name(path)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # the content must be on the disk before its name
        if previous is not None and path.exists():
            _copy(path, previous)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer reports a missing folder or a full disk as RuntimeError
        reason = (isinstance(error, OSError) and error.strerror) or str(error).strip().partition("\n")[0][:120]
        raise OutputError(f"{path}: can't be written ({reason})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically.

    Raises:
        OutputError: writing failed; the file at `path` is unchanged.
    """

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def remove_unfinished(folder: Path) -> None:
    """Remove the incomplete files of a folder, left by a program that was killed while it was writing."""
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _temporary_name(path: Path) -> Path:
    return path.with_name(f"{_PREFIX}{secrets.token_hex(4)}-{path.name}")


def _copy(path: Path, to: Path) -> None:
    """Give `to` the content of `path` atomically, as a hard link to the same file where the file system supports that."""
    second = _temporary_name(to)
    try:
        try:
            os.link(path, second)
        except OSError:
            shutil.copyfile(path, second)
        second.replace(to)
    finally:
        with contextlib.suppress(OSError):
            second.unlink(missing_ok=True)  # it still exists after an error, or if `to` was already the same file
