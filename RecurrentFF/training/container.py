"""The container of checkpoints: nested dictionaries and lists of tensors and plain values, as one safetensors file.

The tensors are those of the safetensors file, named by their path, such as "network/readout.bias". All else is JSON in the file's
metadata, where {"$tensor": name} stands for a tensor. Such a file holds no code. Its tensors take no more memory than the file
has bytes, since safetensors refuses a file whose declared sizes do not add up to its own, and no tensor is used twice. The JSON
is bounded in size, number of values and depth.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from RecurrentFF.errors import CheckpointError, described
from RecurrentFF.paths import reported

MAX_DEPTH = 32
"""Maximum depth of nested dictionaries and lists. An optimizer's state has a depth of about 6."""

MAX_TEXT = 2**26
"""Maximum number of characters of the JSON."""

MAX_VALUES = 2**22
"""Maximum number of values in the JSON, about."""

TYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
    torch.bool,
)  # fmt: skip
"""The types of tensors that a checkpoint may hold."""

CONTENT, CHECKSUM = "content", "checksum"
"""The entries of the metadata: the JSON, and the checksum of the JSON and of all tensors."""


def pack(content: Mapping[str, Any], **facts: str) -> bytes:
    """Write content as the bytes of a file. (A function that writes a file itself would replace pipes, and choose its own mode.)

    Args:
        content: tensors, numbers, texts, booleans and None in dictionaries, lists and tuples. The keys are texts or numbers.
        facts: further entries of the metadata.

    Raises:
        CheckpointError: the content has another type, is nested too deeply, or has too many values besides tensors.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_encoded(content, "", tensors))
    if _is_too_large(text):
        raise CheckpointError(f"a checkpoint holds at most {MAX_VALUES:,} values besides tensors; put long lists into tensors")
    metadata = facts | {CONTENT: text, CHECKSUM: _file_checksum(text, tensors)}
    return safetensors.torch.save(_unshared(tensors), metadata)


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
        if _is_too_large(text):
            raise CheckpointError(f"{path}: not a readable checkpoint (more than {MAX_VALUES:,} values besides tensors)")
        try:
            content = _decoded(json.loads(text), tensors)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{path}: a damaged checkpoint ({described(error)})") from None
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


def unsupported(value: object, depth: int = 0) -> str | None:
    """Describe the first object in nested dictionaries and lists that a checkpoint can't hold; None if there is none.

    Args:
        value: the value.
        depth: the number of dictionaries and lists around it.
    """
    if depth > MAX_DEPTH:
        return f"more than {MAX_DEPTH} levels of dictionaries and lists"
    if isinstance(value, dict):
        keys = next((f"a key of type {type(key).__name__}" for key in value if not isinstance(key, str | int | float)), None)
        return keys or next((wrong for entry in value.values() if (wrong := unsupported(entry, depth + 1))), None)
    if isinstance(value, list | tuple):
        return next((wrong for entry in value if (wrong := unsupported(entry, depth + 1))), None)
    if not isinstance(value, Tensor):
        return None if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.device.type == "meta":
        return "a tensor that is sparse, nested, quantized or without data"
    return None if value.dtype in TYPES else f"a tensor of type {value.dtype}"


def _is_too_large(text: str) -> bool:
    return len(text) > MAX_TEXT or sum(map(text.count, ",[{")) > MAX_VALUES


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with copies of those that share memory, which safetensors refuses."""
    memories = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    return {
        name: tensor.clone() if memories[tensor.untyped_storage().data_ptr()] > 1 else tensor for name, tensor in tensors.items()
    }


def _file_checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    return checksum([text, {name: tensors[name] for name in sorted(tensors)}])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file, as a context manager. The name of a file may have bytes that are not UTF-8, a link's has not.

    Raises:
        CheckpointError: it is not one.
    """
    with TemporaryDirectory(prefix="recurrentff-") if not str(path).isprintable() else nullcontext() as folder:
        name = path
        if folder is not None:
            name = Path(folder, "checkpoint")
            name.symlink_to(path.absolute())
        try:
            file = safe_open(name, framework="pt", device="cpu")
        except SafetensorError as error:
            raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from None
        with file:
            yield file


def _encoded(value: Any, path: str, tensors: dict[str, Tensor], depth: int = 0) -> Any:
    """A value as JSON has it. Its tensors are added to `tensors`."""
    wrong = unsupported(value, depth) if depth == 1 else None
    if wrong:
        raise CheckpointError(f"{path}: a checkpoint can't hold {wrong}; use dense tensors, numbers, texts, and lists and "
                              "dictionaries of them")  # fmt: skip
    if isinstance(value, Tensor):
        name = path
        while name in tensors:  # two keys may give the same path, such as 1 and "1"
            name += "'"
        tensors[name] = value.detach().cpu().contiguous()
        return {"$tensor": name}
    if isinstance(value, dict):
        entries = [
            (key, _encoded(entry, f"{path}/{key}" if path else str(key), tensors, depth + 1)) for key, entry in value.items()
        ]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in entries):
            return dict(entries)
        return {"$items": [[key, entry] for key, entry in entries]}
    if isinstance(value, list | tuple):
        listed = [_encoded(entry, f"{path}/{index}", tensors, depth + 1) for index, entry in enumerate(value)]
        return {"$tuple": listed} if isinstance(value, tuple) else listed
    return value


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
