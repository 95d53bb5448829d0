"""Atomic writing of files: under its final name, a file is always complete, even if the program is killed or the disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from RecurrentFF.errors import OutputError, first_line
from RecurrentFF.paths import kind_of, reason_of, reported
from RecurrentFF.streams import note_once

_PREFIX = ".writing-"
"""The first characters of the names of incomplete files."""

_FAILURE = "can't be written"

_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EROFS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""The errors of a file system that has no command to write a file to the disk at once. After others, writing has failed."""


def write_atomically(path: Path, write: Callable[[Path], object], previous: Path | None = None) -> None:
    """Call `write` on a temporary file beside `path`, then rename it to `path` in one step.

    A link is followed. What is neither a file nor a folder, such as a pipe or /dev/stdout, is written directly.

    Args:
        path: the final name; a file that exists there is replaced.
        write: a function that writes the content to the path that it is given. Its name ends like that of `path`.
        previous: the new name of the file that is at `path` now; None discards it. At every moment, a complete file is at `path`.

    Raises:
        OutputError: writing failed; the file at `path` is unchanged.
    """
    kind = kind_of(path, OutputError, _FAILURE)
    if kind == "folder":
        raise OutputError(f"{path}: {_FAILURE} (it is a folder; name a file)")
    try:
        with reported(path, OutputError, _FAILURE):
            if kind == "other":
                write(path)
            else:
                _replace(Path(os.path.realpath(path)) if path.is_symlink() else path, write, previous)
    except OutputError:
        raise
    except Exception as error:  # the writers of other libraries report a full disk or a missing folder by errors of their own
        reason = _reason(error)
        if reason is None:
            raise
        raise OutputError(f"{path}: {_FAILURE} ({reason})") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        OutputError: writing failed; the file at `path` is unchanged.
    """
    write_atomically(path, lambda file: file.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically.

    Raises:
        OutputError: writing failed, or a character is not one of Unicode; the file at `path` is unchanged.
    """
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise OutputError(f"{path}: {_FAILURE} (UTF-8 has no character {text[error.start]!r})") from None
    write_bytes(path, content)


def remove_unfinished(folder: Path) -> None:
    """Remove the incomplete files of a folder, left by a program that was killed while it was writing."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                path.unlink()


def _replace(path: Path, write: Callable[[Path], object], previous: Path | None) -> None:
    temporary = _temporary_name(path)
    try:
        write(temporary)
        _sync(temporary)  # the content must be on the disk before its name
        if previous is not None and path.exists():
            _copy(path, previous)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _reason(error: Exception) -> str | None:
    """The reason of the failure of a writer in a few words; None if the error is not one of writing."""
    text = str(error)
    if "No space left on device" in text:
        return "No space left on device"
    if isinstance(error, RuntimeError) or type(error).__name__ == "SafetensorError":
        return first_line(error)
    return None


def _sync(file: Path) -> None:
    """Write the content of a file to the disk now, if the file system can; if it can't, this is said once."""
    with file.open("rb+") as opened:
        try:
            os.fsync(opened.fileno())
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
            failure = f"this file system can't write to the disk at once ({reason_of(error)})"
            advice = "after a power failure, the last files may be missing"
            note_once(f"{file.parent}: {failure}; {advice}", "a file system can't write at once")


def _sync_folder(folder: Path) -> None:
    """Write the new name of a file to the disk now, where the system can do this."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _temporary_name(path: Path) -> Path:
    """The name of an incomplete file beside a path. It ends like the path, which some writers look at, but is never too long."""
    ending = path.suffix if len(os.fsencode(path.suffix)) < 100 else ""
    return path.with_name(f"{_PREFIX}{secrets.token_hex(4)}{ending}")


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
