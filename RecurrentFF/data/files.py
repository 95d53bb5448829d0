"""The content of a data file that a user names, of limited size."""

from __future__ import annotations

from pathlib import Path

from RecurrentFF.errors import DataError
from RecurrentFF.paths import kind_of, read_bytes, require_file


def read_data_file(path: Path, limit: int) -> bytes:
    """Read a regular file. A pipe or a device is refused, because it may have no end.

    Args:
        path: the file.
        limit: the largest size that is read, in bytes.

    Raises:
        DataError: there is no such file, it is larger than the limit, or it can't be read.
    """
    return read_bytes(path, DataError, limit)


def require_data_file(path: Path) -> None:
    """Check that there is a regular file.

    Raises:
        DataError: there is none.
    """
    require_file(path, DataError)


def require_folder(path: Path, remedy: str) -> None:
    """Check that there is a folder.

    Args:
        path: the folder.
        remedy: what to do if there is none, for the message.

    Raises:
        DataError: there is none.
    """
    kind = kind_of(path, DataError)
    if kind != "folder":
        raise DataError(f"{path}: {'no such folder' if kind is None else 'not a folder'}; {remedy}")
