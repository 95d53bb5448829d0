"""The container of checkpoints: nested dictionaries and lists of tensors and plain values, as one safetensors file.

The tensors are those of the safetensors file, named by their path, such as "network/readout.bias". All else is JSON in the file's
metadata, where {"$tensor": name} stands for a tensor. Such a file holds no code. To read it takes no more memory than the file
has bytes, since safetensors refuses a file whose declared sizes do not add up to its own, and no tensor is used twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from RecurrentFF.errors import CheckpointError
from RecurrentFF.paths import reported

MAX_DEPTH = 32
"""Maximum depth of nested dictionaries and lists. An optimizer's state has a depth of about 6."""

CONTENT, CHECKSUM = "content", "checksum"
"""The entries of the metadata: the JSON, and the checksum of the JSON and of all tensors."""


def write(file: Path, content: Mapping[str, Any], **facts: str) -> None:
    """Write content to a file, not atomically.

    Args:
        file: the file.
        content: tensors, numbers, texts, booleans and None in dictionaries, lists and tuples. The keys are texts or numbers.
        facts: further entries of the metadata.

    Raises:
        CheckpointError: the content has another type, or is nested too deeply.
        OSError, SafetensorError: the file can't be written.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_encoded(content, "", tensors))
    metadata = facts | {CONTENT: text, CHECKSUM: _file_checksum(text, tensors)}
    safetensors.torch.save_file(_unshared(tensors), file, metadata)


def facts_of(path: Path) -> dict[str, str]:
    """The metadata of a file, of which the content is not looked at.

    Raises:
        CheckpointError: it is not a safetensors file, or can't be read.
    """
    with reported(path, CheckpointError), _opened(path) as file:
        return dict(file.metadata() or {})


def unpack(path: Path) -> dict[str, Any]:
    """Read the content of a file, with its tensors on the CPU.

    Raises:
        CheckpointError: it is not such a file, is damaged, or can't be read.
    """
    with reported(path, CheckpointError), _opened(path) as file:
        metadata = file.metadata() or {}
        text, expected = metadata.get(CONTENT, ""), metadata.get(CHECKSUM)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
        if _file_checksum(text, tensors) != expected:
            raise CheckpointError(f"{path}: a damaged checkpoint, its content does not match its checksum")
        try:
            content = _decoded(json.loads(text), tensors)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{path}: a damaged checkpoint ({type(error).__name__}: {error})") from None
        if tensors or not isinstance(content, dict):
            raise CheckpointError(f"{path}: a damaged checkpoint (it has tensors without a place)")
    return content


def checksum(content: Any) -> str:
    """The SHA-256 digest of nested dictionaries and lists of tensors, numbers and texts. The order of the entries matters."""
    digest = hashlib.sha256()
    for part in _parts(content):
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[Any]:
    """The bytes that the checksum of a value depends on."""
    if isinstance(value, Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    elif isinstance(value, dict):
        yield f"dictionary {len(value)}".encode()
        for key, entry in value.items():
            yield from _parts(key)
            yield from _parts(entry)
    elif isinstance(value, list | tuple):
        yield f"list {len(value)}".encode()
        for entry in value:
            yield from _parts(entry)
    else:
        yield f"{type(value).__name__} {value!r}".encode()


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with copies of those that share memory, which safetensors refuses."""
    memories = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    return {
        name: tensor.clone() if memories[tensor.untyped_storage().data_ptr()] > 1 else tensor for name, tensor in tensors.items()
    }


def _file_checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    return checksum([text, {name: tensors[name] for name in sorted(tensors)}])


def _opened(path: Path) -> Any:
    """Open a safetensors file.

    Raises:
        CheckpointError: it is not one.
    """
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from None


def _encoded(value: Any, path: str, tensors: dict[str, Tensor], depth: int = 0) -> Any:
    """A value as JSON has it. Its tensors are added to `tensors`."""
    if depth > MAX_DEPTH:
        raise CheckpointError(f"{path}: a checkpoint holds at most {MAX_DEPTH} levels of dictionaries and lists")
    if isinstance(value, Tensor):
        name = path
        while name in tensors:  # two keys may give the same path, such as 1 and "1"
            name += "'"
        tensors[name] = value.detach().cpu().contiguous()
        return {"$tensor": name}
    if isinstance(value, Mapping):
        entries = [
            (key, _encoded(entry, f"{path}/{key}" if path else str(key), tensors, depth + 1)) for key, entry in value.items()
        ]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in entries):
            return dict(entries)
        return {"$items": [[_encoded(key, path, {}, MAX_DEPTH), entry] for key, entry in entries]}
    if isinstance(value, list | tuple):
        listed = [_encoded(entry, f"{path}/{index}", tensors, depth + 1) for index, entry in enumerate(value)]
        return {"$tuple": listed} if isinstance(value, tuple) else listed
    if isinstance(value, str | int | float | None):
        return value
    raise CheckpointError(
        f"{path}: a checkpoint can't hold a {type(value).__name__}; use tensors, numbers, texts, and lists and dictionaries of "
        "them"
    )


def _decoded(value: Any, tensors: dict[str, Tensor], depth: int = 0) -> Any:
    """The inverse of `_encoded`. The tensors that are used are taken out of `tensors`.

    Raises:
        ValueError, TypeError, KeyError: the value is not what `_encoded` gives.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels of dictionaries and lists")
    if isinstance(value, list):
        return [_decoded(entry, tensors, depth + 1) for entry in value]
    if not isinstance(value, dict):
        return value
    if not any(key.startswith("$") for key in value):
        return {key: _decoded(entry, tensors, depth + 1) for key, entry in value.items()}
    ((key, entry),) = value.items()
    if key == "$tensor":
        return tensors.pop(entry).clone()  # what was read is a view of the file
    if key == "$tuple":
        return tuple(_decoded(item, tensors, depth + 1) for item in entry)
    if key == "$items":
        return {name: _decoded(item, tensors, depth + 1) for name, item in entry}
    raise ValueError(f"unknown entry {key}")
