"""A run's folder."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path

from RecurrentFF.errors import CheckpointError, SettingsError


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
