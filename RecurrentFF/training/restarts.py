"""The run that the processes of `torchrun` continue after `torchrun` has started all of them again (`--max-restarts`)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

from RecurrentFF.atomic_files import write_text
from RecurrentFF.distributed import Session
from RecurrentFF.errors import OutputError
from RecurrentFF.launch import Launch
from RecurrentFF.training.files import RunFolder

FILE = ".launch.json"
"""The file in the folder of a run that names the `torchrun` by which it was started."""


def note_launch(folder: RunFolder, joined: Session | None) -> None:
    """Write into the folder of a run which `torchrun` has started it, if one has. It is also named after a failure.

    Args:
        folder: the folder.
        joined: the membership of this process; None if it is the only one.
    """
    if joined is not None:
        joined.watch.folder = str(folder.path)
        with contextlib.suppress(OutputError):  # the run itself says that its folder can't be written
            write_text(folder.path / FILE, json.dumps(_identity()) + "\n")


def folder_before_restart(parent: Path, launch: Launch) -> Path | None:
    """Return the folder of the run that these processes trained before they were started again.

    Args:
        parent: the folder of the runs' folders.
        launch: what `torchrun` has told this process.

    Folders of these processes without a checkpoint, in which nothing was trained, are removed.

    Returns:
        None at the first start, and if no checkpoint was written.
    """
    if launch.restarts == 0:
        return None
    found = [file.parent for file in parent.glob(f"*/{FILE}") if _content(file) == _identity()]
    folders = [RunFolder(path) for path in found]
    for folder in folders:
        if not folder.last.is_file():
            folder.remove()
    complete = [folder for folder in folders if folder.last.is_file()]
    return max(complete, key=lambda folder: folder.last.stat().st_mtime).path if complete else None


def _identity() -> dict[str, object]:
    """The `torchrun` that has started this process: its name for the run, its host, its process number, and when it began."""
    parent, began = os.getppid(), ""
    with contextlib.suppress(OSError, IndexError):  # only Linux has this file
        began = Path(f"/proc/{parent}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
        began += Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return {"run": os.environ.get("TORCHELASTIC_RUN_ID", ""), "host": socket.gethostname(), "process": parent, "began": began}


def _content(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
