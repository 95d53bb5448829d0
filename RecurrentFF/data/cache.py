"""The folder in which this package keeps what it has traced, downloaded or measured, so that it need not do so again."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import tempfile
from pathlib import Path

import platformdirs

from RecurrentFF.streams import note_once


def cache_folder(name: str) -> Path | None:
    """Return a folder below the user's cache folder. It need not exist yet.

    A user without a home folder, as in some containers, has a folder of temporary files instead. A note names it.

    Args:
        name: the name of the folder below the cache folder.

    Returns:
        The folder, or None if there is no folder of temporary files either.
    """
    with contextlib.suppress(RuntimeError, OSError, ValueError, KeyError):
        folder = platformdirs.user_cache_path("RecurrentFF")
        if folder.is_absolute():  # some versions of platformdirs return "~/.cache" for lack of a home folder
            return folder / name
    temporary = _temporary_folder()
    return None if temporary is None else temporary / name


@functools.cache  # so that a process makes one folder only
def _temporary_folder() -> Path | None:
    """Return a folder among the temporary files that only this user can write to, and tell the user about it."""
    try:
        folder = Path(tempfile.gettempdir()) / f"RecurrentFF-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not _is_own_folder(folder):
            folder = Path(tempfile.mkdtemp(prefix="RecurrentFF-"))
    except OSError:
        note_once("this user has no home folder, and there is no folder for temporary files: nothing is cached")
        return None
    note_once(f"this user has no home folder; what is traced, downloaded or measured is cached in {folder}")
    return folder


def _is_own_folder(folder: Path) -> bool:
    """Tell if a path is a folder, not a link to one, that belongs to this user and that nobody else can write to."""
    found = folder.lstat()
    if not hasattr(os, "getuid"):  # on Windows, the folder of temporary files is the user's own
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
