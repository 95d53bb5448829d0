"""Read checkpoints of formats 5 to 7, which were pickles in a zip archive, and translate their content to the present form.

They are read in bounds: only the objects that this package wrote into them are made, all sizes are those that the file has, and
what is nested or shared too often is refused before it is walked through.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.errors import CheckpointError, first_line
from RecurrentFF.paths import reported
from RecurrentFF.training import format_5
from RecurrentFF.training.container import MAX_DEPTH, checksum

FORMATS = (5, 6, 7)
"""The formats that are translated."""

MAX_VALUES = 10**6
"""Maximum number of dictionaries, lists, tensors and plain values in a checkpoint."""

STORAGES = ("BFloat16", "Bool", "Byte", "Double", "Float", "Half", "Int", "Long")
"""The types of tensors that may be in a file."""

OBJECTS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    *(f"torch {storage}Storage" for storage in STORAGES),
}
"""The classes and functions that the pickle of a checkpoint may name: those of dictionaries and ordinary tensors."""

NAMING = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""The further operations of a pickle that make an object of a class. No checkpoint has them."""

TRAINING = ("learner", "progress", "totals", "history", "average", "best", "callbacks")
"""The entries that are the state of a training."""


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a former format.

    Returns:
        Its content, in the present form.

    Raises:
        CheckpointError: the file is not such a checkpoint, is damaged, or holds other objects than this package wrote.
    """
    with reported(path, CheckpointError):
        size = path.stat().st_size
        _require_ordinary_archive(path, size)
        try:
            with path.open("rb") as file:  # a path would let torch choose a reader by the ending of the name
                content = torch.load(file, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a damaged file can raise any error, but never runs code
            raise CheckpointError(f"{path}: not a readable checkpoint ({first_line(error)})") from None
    try:
        _require_bounds(content, size)
    except ValueError as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from None
    number = content.get("format") if isinstance(content, dict) else None
    if type(number) is not int:
        raise CheckpointError(f"{path}: not a checkpoint of RecurrentFF")
    if number not in FORMATS:
        raise CheckpointError(f"{path}: a checkpoint of format {number}, which this version does not read")
    if content.pop("checksum", None) != checksum(content):
        raise CheckpointError(f"{path}: a damaged checkpoint, its content does not match its checksum")
    try:
        return _translated(content)
    except Exception as error:  # the content can have any form, so that any error can arise
        raise CheckpointError(f"{path}: not a readable checkpoint of format {number} ({first_line(error)})") from None


def _require_ordinary_archive(path: Path, size: int) -> None:
    """Check the archive before anything in it is unpacked: entries without compression, and a pickle of known objects.

    Raises:
        CheckpointError: it is not an archive of such entries.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
                raise CheckpointError(f"{path}: not a readable checkpoint (its entries are compressed, or larger than the file)")
            pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
            named = {name for entry in pickles for name in _named_objects(archive.read(entry))}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({first_line(error)})") from None
    if len(pickles) != 1 or not named <= OBJECTS:
        other = next(iter(sorted(named - OBJECTS)), "no objects at all")
        raise CheckpointError(
            f"{path}: not a readable checkpoint (not a file of this library, or one that would run code: it names {other})"
        )


def _named_objects(content: bytes) -> set[str]:
    """The classes and functions that a pickle names, found without running it.

    Raises:
        ValueError: it is not a pickle.
    """
    operations = [(operation.name, argument) for operation, argument, _ in pickletools.genops(content)]
    return {str(argument) if name == "GLOBAL" else name for name, argument in operations if name == "GLOBAL" or name in NAMING}


def _require_bounds(content: Any, size: int) -> None:
    """Check nesting, sharing, and the memory of all tensors, without recursion.

    Args:
        content: the content of a file.
        size: the size of the file in bytes.

    Raises:
        ValueError: a bound is exceeded, or something is not a value of a checkpoint.
    """
    remaining: list[tuple[Any, int]] = [(content, 0)]
    values = memory = 0
    while remaining:
        value, depth = remaining.pop()
        values += 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            raise ValueError("its dictionaries and lists are nested or shared too often")
        if isinstance(value, dict):
            remaining += [(key, MAX_DEPTH) for key in value]
            remaining += [(entry, depth + 1) for entry in value.values()]
        elif isinstance(value, list | tuple):
            remaining += [(entry, depth + 1) for entry in value]
        elif isinstance(value, Tensor):
            memory += value.numel() * value.itemsize
        elif not isinstance(value, str | int | float | None):
            raise ValueError(f"it holds a {type(value).__name__}")
    if memory > size:
        raise ValueError("its tensors are larger than the file")


def _translated(content: dict[str, Any]) -> dict[str, Any]:
    """The content in the present form: the state of the training is a part of its own."""
    if "settings" not in content or "network" not in content:
        raise ValueError("it has no settings or no weights")
    if any(not isinstance(content.get(name, {}), dict) for name in ("network", "learner", "totals", "progress")):
        raise ValueError("a part of it is no dictionary")
    content = format_5.translate(content) if content["format"] == 5 else dict(content)
    training = {name: content.pop(name) for name in TRAINING if name in content}
    if not training.get("best"):
        training.pop("best", None)
    if not training.get("average"):
        training.pop("average", None)
    known = {name: content.pop(name) for name in ("format", "settings", "task", "own_modules", "network", "epoch", "metrics")
             if name in content}  # fmt: skip
    return known | {"training": training or None, "extra": content}
