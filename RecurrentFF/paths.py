"""The paths that a user names: every access to them is here, or in a block of `reported`, which makes one line of any OSError."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from RecurrentFF.errors import RecurrentFFError

Error = type[RecurrentFFError]
"""The class of the error that is raised about a path."""


def reason_of(error: OSError) -> str:
    """The reason of an error of the file system in a few words, such as "Permission denied"."""
    return error.strerror or str(error).strip().partition("\n")[0] or type(error).__name__


@contextlib.contextmanager
def reported(path: str | Path, error: Error, failure: str = "can't be read") -> Iterator[None]:
    """Report an error of the file system in one line, as a context manager around accesses to a path.

    Args:
        path: the path, for the message.
        error: the class of the error to raise.
        failure: what has failed, for the message.

    Raises:
        RecurrentFFError: of the class `error`, after any OSError in the block, or if the path is not one of a file system.

    Example:
        >>> with reported("absent.txt", DataError):
        ...     Path("absent.txt").read_text()
        Traceback (most recent call last):
        RecurrentFF.errors.DataError: absent.txt: can't be read (No such file or directory)
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise error(f"{path}: {failure} (the file system has no such characters)") from None
    if b"\0" in encoded:
        raise error(f"{path}: {failure} (a path has no null characters)")
    try:
        yield
    except OSError as failed:
        raise error(f"{path}: {failure} ({reason_of(failed)})") from None


def expanded(path: str | Path, error: Error) -> Path:
    """The path with ~ as the home folder.

    Raises:
        RecurrentFFError: of the class `error`, if the user of "~" has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise error(f"'{path}': this user has no home folder; write the whole path") from None


def kind_of(path: str | Path, error: Error) -> Literal["file", "folder", "other"] | None:
    """The kind of what is at a path: a file, a folder, something else, or None for nothing.

    Raises:
        RecurrentFFError: of the class `error`, if that can't be found out, for instance for lack of a permission.
    """
    with reported(path, error):
        try:
            mode = Path(path).stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def read_bytes(path: str | Path, error: Error) -> bytes:
    """The content of a file.

    Raises:
        RecurrentFFError: of the class `error`, if it can't be read.
    """
    with reported(path, error):
        return Path(path).read_bytes()


def read_text(path: str | Path, error: Error) -> str:
    """The content of a text file in UTF-8, without the byte order mark that some editors write at its beginning.

    Raises:
        RecurrentFFError: of the class `error`, if it can't be read or is not text.
    """
    try:
        return read_bytes(path, error).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path}: not a text file in UTF-8") from None


def names_in(folder: str | Path, error: Error) -> list[str]:
    """The names of all files and folders in a folder, sorted.

    Raises:
        RecurrentFFError: of the class `error`, if the folder can't be read.
    """
    with reported(folder, error):
        return sorted(path.name for path in Path(folder).iterdir())
