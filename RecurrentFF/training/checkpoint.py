"""Checkpoints: one file with the configuration, the weights and, for resuming, everything else that the run depends on."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.errors import CheckpointError
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training.build import build
from RecurrentFF.writing import write_atomically

FORMAT = 5


def save(
    network: Network, path: str | Path, *, weights: dict[str, Tensor] | None = None, former: Path | None = None, **extra: Any
) -> None:
    """Write a network, with its settings, to a file that `load` reads; `extra` is stored beside it.

    The file is written in one step: it is there whole, or as it was before. It carries a checksum of its content.

    Args:
        weights: of the network's state, instead of those that it has now.
        former: where the checkpoint that is at `path` now stays.

    Raises:
        OutputError: it can't be written.
    """
    content = {
        "format": FORMAT,
        "settings": network.settings.to_toml(),
        "network": {name: tensor.cpu() for name, tensor in (weights or network.state_dict()).items()},
        **extra,
    }
    content["checksum"] = checksum(content)
    write_atomically(Path(path), lambda file: torch.save(content, file), former)


def load(path: str | Path, device: str = "auto") -> Network:
    """The network in a checkpoint, in its precision, on a device of this machine. Never runs code from the file.

    Raises:
        CheckpointError: the file is no checkpoint. DeviceError: there is no such device.
    """
    content = read(path)
    network = build(settings(content, path), device=device)
    load_weights(network, content, path)
    return network


def settings(content: dict[str, Any], path: str | Path) -> Settings:
    """The configuration of the network in a checkpoint's content; `path` names it in messages."""
    return Settings.from_toml(content["settings"], str(path))


def load_weights(network: Network, content: dict[str, Any], path: str | Path) -> None:
    """Give a network the weights in a checkpoint's content. Raises CheckpointError if they are of another architecture."""
    weights, own = content["network"], network.state_dict()
    shapes, found = ({name: tuple(tensor.shape) for name, tensor in state.items()} for state in (own, weights))
    theirs = settings(content, path)
    if shapes != found or _input(theirs) != _input(network.settings):
        raise CheckpointError(
            f"{path}: weights of another architecture, {_architecture(theirs)}; this network is {_architecture(network.settings)}"
        )
    network.load_state_dict(weights)
    for layer in network.hidden_layers():
        if layer.field is not None:  # the weights may come from a network without receptive fields
            layer.weight.mul_(layer.field)


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Raises CheckpointError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: not a readable checkpoint (no file of this library, or one that would run code)"
        ) from None
    except Exception as error:  # a damaged file may mean anything to the reader, which never runs code from it
        raise CheckpointError(f"{path}: not a readable checkpoint ({_first_line(error)})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version of RecurrentFF (format {FORMAT})")
    network = content.get("network")
    if not isinstance(content.get("settings"), str) or not isinstance(network, dict) or not all(map(_is_plain, network.values())):
        raise CheckpointError(f"{path}: a checkpoint without a network's settings or weights")
    if content.pop("checksum", None) != checksum(content):
        raise CheckpointError(f"{path}: a damaged checkpoint, its content does not have the checksum it was written with")
    return content


def checksum(content: Any) -> str:
    """SHA-256 of nested dictionaries and lists of tensors, numbers and texts, in their order."""
    digest = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            digest.update(f"dictionary {len(value)}".encode())
            for key, part in value.items():
                feed(key)
                feed(part)
        elif isinstance(value, list | tuple):
            digest.update(f"list {len(value)}".encode())
            for part in value:
                feed(part)
        else:
            digest.update(f"{type(value).__name__} {value!r}".encode())

    feed(content)
    return digest.hexdigest()


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _architecture(settings: Settings) -> str:
    data, residuals = settings.data_config, settings.model.residual_connections
    widths = "-".join(str(n) for n in (data.data_size, *settings.model.hidden_sizes, data.num_classes))
    return widths + _input(settings) + (f" with residual connections {[list(pair) for pair in residuals]}" if residuals else "")


def _input(settings: Settings) -> str:
    """What the network reads, if not pixels or whatever the data set has."""
    directions, places = settings.data_config.edge_directions, settings.data_config.edge_places
    return f" on edges of {directions} directions at {places} × {places} places" if directions else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120]
