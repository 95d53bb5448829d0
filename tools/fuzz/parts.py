"""Examples of several files or arguments, as one JSON text."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path


def packed(files: Mapping[str, bytes]) -> bytes:
    """Files as one example: an object of names and contents, in which each character stands for a byte."""
    return json.dumps({name: content.decode("latin-1") for name, content in files.items()}, indent=1).encode()


def unpacked(example: bytes) -> dict[str, bytes]:
    """The files of an example, the inverse of `packed`."""
    return {name: content.encode("latin-1") for name, content in json.loads(example).items()}


@cache
def _home(process: int) -> Path:
    """A folder of this process, which is removed when it ends."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    _folders.append(folder)
    return Path(folder.name)


_folders: list[tempfile.TemporaryDirectory[str]] = []


def folder_with(files: Mapping[str, bytes]) -> Path:
    """The temporary folder of this process, with these files and no others. Folders in it stay."""
    home = _home(os.getpid())
    for file in home.iterdir():
        if file.is_file():
            file.unlink()
    for name, content in files.items():
        (home / name).write_bytes(content)
    return home
