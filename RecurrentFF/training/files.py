"""A run's folder."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from RecurrentFF.errors import CheckpointError, SettingsError
from RecurrentFF.writing import remove_unfinished


class RunFolder:
    """The files of one run, by name."""

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
        self.former = path / "former.pt"
        """The checkpoint before the last."""

    @classmethod
    def create(cls, parent: Path, name: str) -> RunFolder:
        """A new folder `name-DATE-TIME-number` in `parent`, which no other run has. Raises SettingsError if it can't be made."""
        path = parent / f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise SettingsError(f"--output-dir {parent}: no run folder can be made there ({error.strerror})") from None
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of an earlier run. Raises CheckpointError if it holds nothing to resume from."""
        folder = cls(path)
        if not folder.last.is_file():
            raise CheckpointError(f"{path}: not a run folder to resume, it has no {folder.last.name}")
        return folder

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other process trains here meanwhile; what a killed one left unfinished is cleared away. Raises CheckpointError if
        another one does."""
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield
            return
        lock = os.open(self.path, os.O_RDONLY)  # the system lets go of it, too, when the process is killed
        try:
            with contextlib.suppress(OSError):  # some file systems, of networks mostly, have no such locks
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise CheckpointError(
                        f"{self.path}: another process is training in this run folder; wait for it to end"
                    ) from None
            remove_unfinished(self.path)
            yield
        finally:
            os.close(lock)
