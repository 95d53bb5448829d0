"""The folder of one run."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from RecurrentFF.atomic_files import remove_unfinished
from RecurrentFF.errors import CheckpointError, SettingsError


class RunFolder:
    """Paths of the files in the folder of one run.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.curves = path / "curves.png"
        self.timesteps = path / "timesteps.png"
        self.samples = path / "samples.png"
        self.profile = path / "profile.json"
        self.best = path / "best.pt"
        self.last = path / "last.pt"
        self.previous = path / "former.pt"
        """The checkpoint that was saved before `last`."""

    @classmethod
    def create(cls, parent: Path, name: str) -> RunFolder:
        """Create a new folder `name-DATE-TIME-number` in `parent`. No other run has the same folder.

        Raises:
            SettingsError: the folder can't be created.
        """
        path = parent / f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise SettingsError(f"--output-dir {parent}: no run folder can be created there ({error.strerror})") from None
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """Open the folder of an earlier run.

        Raises:
            CheckpointError: the folder has no checkpoint to resume from.
        """
        folder = cls(path)
        if not folder.last.is_file():
            raise CheckpointError(f"{path}: not a run folder to resume, it has no {folder.last.name}")
        return folder

    def remove(self) -> None:
        """Remove the folder with all files in it, as far as possible. It is meant for a run that has trained nothing."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder against other processes, as a context manager. Unfinished files of a killed process are removed.

        Raises:
            CheckpointError: another process is training in this folder.
        """
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)  # the system releases the lock when the process ends or is killed
        try:
            with contextlib.suppress(OSError):  # some file systems, mostly network ones, have no such locks
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise CheckpointError(
                        f"{self.path}: another process is training in this run folder; wait until it ends"
                    ) from None
            remove_unfinished(self.path)
            yield
        finally:
            os.close(descriptor)
