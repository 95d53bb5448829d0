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
from RecurrentFF.paths import kind_of, reported

FORMER_SUFFIX = ".pt"
"""The ending of the names of checkpoints in formats 5 to 7."""


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
        self.reconstructions = path / "reconstructions.png"
        self.completions = path / "completions.png"
        self.generated = path / "samples_generated.png"
        self.profile = path / "profile.json"
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.previous = path / "former.safetensors"
        """The checkpoint that was saved before `last`."""
        self.keep_former_best = False
        """True if best.pt of a former format could not be read, and so is not removed."""

    @classmethod
    def create(cls, parent: Path, name: str) -> RunFolder:
        """Create a new folder `name-DATE-TIME-number` in `parent`. No other run has the same folder.

        Raises:
            SettingsError: the folder can't be created.
        """
        path = parent / f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}-{secrets.token_hex(2)}"
        with reported(f"--output-dir {parent}", SettingsError, "no run folder can be created there"):
            path.mkdir(parents=True)
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """Open the folder of an earlier run.

        Raises:
            CheckpointError: the folder has no checkpoint to resume from, or can't be read.
        """
        folder = cls(path)
        if kind_of(folder.last_to_load, CheckpointError) != "file":
            raise CheckpointError(f"{path}: not a run folder to resume, it has no {folder.last.name}")
        return folder

    @property
    def best_to_load(self) -> Path:
        """The checkpoint of the best weights: `best`, or best.pt in the folder of a run of formats 5 to 7."""
        return _present_or_former(self.best)

    @property
    def last_to_load(self) -> Path:
        """The checkpoint of the last state: `last`, or last.pt in the folder of a run of formats 5 to 7."""
        return _present_or_former(self.last)

    @property
    def previous_to_load(self) -> Path:
        """The checkpoint before the last one: `previous`, or former.pt in the folder of a run of formats 5 to 7."""
        return _present_or_former(self.previous)

    def remove_former_files(self) -> None:
        """Remove the checkpoints of formats 5 to 7, after their content was saved in the present format."""
        for file in (self.last, self.previous, *(() if self.keep_former_best else (self.best,))):
            _remove(file.with_suffix(FORMER_SUFFIX))

    def remove_previous(self) -> None:
        """Remove the checkpoint that was saved before the last one."""
        _remove(self.previous)

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
        with reported(self.path, CheckpointError):
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


def _present_or_former(file: Path) -> Path:
    """A checkpoint, or the one of a former format that is there in its place."""
    former = file.with_suffix(FORMER_SUFFIX)
    return former if kind_of(file, CheckpointError) is None and kind_of(former, CheckpointError) else file


def _remove(file: Path) -> None:
    """Remove a file that is no longer needed, as far as possible."""
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)
