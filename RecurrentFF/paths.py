"""The paths that a user names.

They are accessed by the functions of this module and of `atomic_files`, or in a block of `reported`, which makes one line of any
OSError.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from RecurrentFF.errors import RecurrentFFError, first_line

Error = type[RecurrentFFError]
"""The class of the error that is raised about a path."""


def reason_of(error: OSError) -> str:
    """The reason of an error of the file system in a few words, such as "Permission denied"."""
    return error.strerror or first_line(error)


@contextlib.contextmanager
def reported(path: str | Path, error: Error, failure: str = "can't be read") -> Iterator[None]:
    """Report an error of the file system in one line, as a context manager around accesses to a path.

    Args:
        path: the path, for the message.
        error: the class of the error to raise.
        failure: what has failed, for the message.

    Raises:
        RecurrentFFError: of the class `error`, after any OSError in the block, or if the path is not one of a file system.

    Examples:
        >>> with reported("absent.txt", DataError):
        ...     Path("absent.txt").read_text()
        Traceback (most recent call last):
        RecurrentFF.errors.DataError: absent.txt: can't be read (No such file or directory)
    """
    _require_possible(path, error, failure)
    try:
        yield
    except OSError as failed:
        raise error(f"{path}: {failure} ({reason_of(failed)})") from None


def _require_possible(path: str | Path, error: Error, failure: str) -> None:
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise error(f"{path}: {failure} (the file system has no such characters)") from None
    if b"\0" in encoded:
        raise error(f"{path}: {failure} (a path has no null characters)")


def expanded(path: str | Path, error: Error, failure: str = "can't be read") -> Path:
    """The path with ~ as the home folder. Every path that a user names goes through this function first.

    Args:
        path: the path, as the user has written it.
        error: the class of the error to raise.
        failure: what has failed if it can't be a path, for the message.

    Raises:
        RecurrentFFError: of the class `error`, if the path is empty, no text, or can't be one, or the user of "~" has no home
            folder.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise error(f"a path of type {type(path).__name__}: {failure} (give a text or a pathlib.Path)")
    if str(path) == "":
        raise error("an empty path, which would be the present folder; write . for that")
    _require_possible(path, error, failure)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise error(f"'{path}': this user has no home folder; write the whole path") from None


def kind_of(path: str | Path, error: Error, failure: str = "can't be read") -> Literal["file", "folder", "other"] | None:
    """The kind of what is at a path: a file, a folder, something else, or None for nothing.

    The arguments are those of `reported`.

    Raises:
        RecurrentFFError: of the class `error`, if that can't be found out, for instance for lack of a permission.
    """
    with reported(path, error, failure):
        try:
            mode = Path(path).stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"


def read_bytes(path: str | Path, error: Error, limit: int | None = None) -> bytes:
    """The content of a regular file. A pipe or a device is refused, because it may have no end.

    Args:
        path: the file.
        error: the class of the error to raise.
        limit: the largest size that is read, in bytes; any size by default.

    Raises:
        RecurrentFFError: of the class `error`, if there is no such file, it is larger than the limit, or it can't be read.
    """
    require_file(path, error)
    with reported(path, error), Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if limit is not None and size > limit else file.read() if limit is None else file.read(limit + 1)
    size = max(size, len(content))
    if limit is not None and size > limit:
        raise error(f"{path}: can't be read (too large: {size:,} bytes, at most {limit:,} are expected)")
    return content


def require_file(path: str | Path, error: Error) -> None:
    """Check that there is a regular file.

    Raises:
        RecurrentFFError: of the class `error`, if there is none.
    """
    kind = kind_of(path, error)
    if kind != "file":
        raise error(f"{path}: can't be read ({_NO_FILE[kind]})")


_NO_FILE = {None: "no such file", "folder": "a folder, not a file", "other": "not a file"}
"""The words about something that is no file, by its kind."""


def read_text(path: str | Path, error: Error, limit: int | None = None) -> str:
    """The content of a text file in UTF-8, without the byte order mark that some editors write at its beginning.

    The arguments are those of `read_bytes`.

    Raises:
        RecurrentFFError: of the class `error`, if it can't be read or is not text.
    """
    try:
        return read_bytes(path, error, limit).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path}: not a text file in UTF-8") from None


def names_in(folder: str | Path, error: Error) -> list[str]:
    """The names of all files and folders in a folder, sorted.

    Raises:
        RecurrentFFError: of the class `error`, if the folder can't be read.
    """
    with reported(folder, error):
        return sorted(path.name for path in Path(folder).iterdir())
