"""Save and load checkpoints.

A checkpoint is one file with the configuration and the weights.
The checkpoint of a run also has all the state that resuming needs.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.atomic_files import write_atomically
from RecurrentFF.errors import CheckpointError
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training import format_5
from RecurrentFF.training.build import build

FORMAT = 6
"""Version number of the file format. Files of format 5 are translated, files of other versions refused."""


def save(
    network: Network, path: str | Path, *, weights: dict[str, Tensor] | None = None, previous: Path | None = None, **extra: Any
) -> None:
    """Write a network and its settings to a file that `load` reads.

    The write is atomic: afterwards the file is either complete or unchanged. It contains a checksum of its content.

    Args:
        network: the network to save.
        path: the file to write.
        weights: a state dictionary to save instead of the network's current one.
        previous: the path that keeps the checkpoint which is now at `path`. By default that checkpoint is overwritten.
        extra: further entries of the file: tensors, numbers, strings, and lists and dictionaries of them.

    Raises:
        OutputError: the file can't be written.
    """
    content = {
        "format": FORMAT,
        "settings": network.settings.to_toml(),
        "own_modules": network.has_own_modules,
        "network": {name: tensor.cpu() for name, tensor in (weights or network.state_dict()).items()},
        **extra,
    }
    content["checksum"] = checksum(content)
    write_atomically(Path(path), lambda file: torch.save(content, file), previous)


def load(path: str | Path, device: str = "auto", *, network: Network | None = None) -> Network:
    """Load the network in a checkpoint. Code in the file is never run.

    Args:
        path: the checkpoint.
        device: the device of the network, "auto" for the best one of this machine.
        network: an existing network that takes the weights, in place of a new one on `device`. It is needed for a network
            that was made with modules of its own, which a checkpoint does not hold.

    Returns:
        The network, in the precision of its settings.

    Raises:
        CheckpointError: the file is not a checkpoint, is damaged, or holds the weights of a network with modules of its own.
        DeviceError: this machine does not have the device.
    """
    content = read(path)
    if network is None:
        if content.get("own_modules"):
            raise CheckpointError(
                f"{path}: the network has modules of its own, which the file does not hold; make it again with "
                "Network(settings, modules=…), and load its weights with load(path, network=network)"
            )
        network = build(settings(content, path), device=device)
    load_weights(network, content, path)
    return network


def settings(content: dict[str, Any], path: str | Path) -> Settings:
    """Parse the configuration in a checkpoint's content. Error messages name `path` as its source."""
    return Settings.from_toml(content["settings"], str(path))


def load_weights(network: Network, content: dict[str, Any], path: str | Path) -> None:
    """Load the weights in a checkpoint's content into a network.

    Raises:
        CheckpointError: the weights are those of another architecture.
    """
    weights = content["network"]
    expected, found = ({name: tuple(tensor.shape) for name, tensor in state.items()} for state in (network.state_dict(), weights))
    saved_settings = settings(content, path)
    if expected != found or _input(saved_settings) != _input(network.settings):
        saved, own = _architecture(saved_settings), _architecture(network.settings)
        detail = f" ({_first_difference(found, expected)})" if saved == own else ""
        raise CheckpointError(f"{path}: weights of another architecture, {saved}; this network is {own}{detail}")
    network.load_state_dict(weights)
    for module in network.local_modules:
        module.apply_constraints()  # the weights may come from a network without receptive fields


def read(path: str | Path) -> dict[str, Any]:
    """Read the content of a checkpoint, with its tensors on the CPU.

    Raises:
        CheckpointError: the file does not exist, is not a checkpoint of this version, or is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: not a readable checkpoint (not a file of this library, or a file that would run code)"
        ) from None
    except Exception as error:  # reading a damaged file can raise any error, but never runs code from the file
        raise CheckpointError(f"{path}: not a readable checkpoint ({_first_line(error)})") from None
    if not isinstance(content, dict) or content.get("format") not in (5, FORMAT):
        raise CheckpointError(f"{path}: not a checkpoint of this version of RecurrentFF (format {FORMAT})")
    network = content.get("network")
    if not isinstance(content.get("settings"), str) or not isinstance(network, dict) or not all(map(_is_plain, network.values())):
        raise CheckpointError(f"{path}: a checkpoint without a network's settings or weights")
    if content.pop("checksum", None) != checksum(content):
        raise CheckpointError(f"{path}: a damaged checkpoint, its content does not match its checksum")
    if content["format"] == FORMAT:
        return content
    try:
        return format_5.translate(content)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint of format 5 ({_first_line(error)})") from None


def checksum(content: Any) -> str:
    """The SHA-256 digest of nested dictionaries and lists of tensors, numbers and strings. The order of the entries matters."""
    digest = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            digest.update(f"dictionary {len(value)}".encode())
            for key, entry in value.items():
                feed(key)
                feed(entry)
        elif isinstance(value, list | tuple):
            digest.update(f"list {len(value)}".encode())
            for entry in value:
                feed(entry)
        else:
            digest.update(f"{type(value).__name__} {value!r}".encode())

    feed(content)
    return digest.hexdigest()


def _first_difference(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    """Describe the first tensor whose shape in the file is not that in the network."""
    name = next(name for name in [*expected, *found] if expected.get(name) != found.get(name))
    return f"{name}: {found.get(name, 'absent')} in the file, {expected.get(name, 'absent')} here"


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _architecture(settings: Settings) -> str:
    data, residuals = settings.data_config, settings.model.residual_connections
    widths = "-".join(str(n) for n in (data.data_size, *settings.model.hidden_sizes, data.num_classes))
    convolution = " with a convolution" if settings.model.convolution is not None else ""
    return (
        widths
        + convolution
        + _input(settings)
        + (f" with residual connections {[list(pair) for pair in residuals]}" if residuals else "")
    )


def _input(settings: Settings) -> str:
    """Describe the preprocessing of the input, or return "" if there is none."""
    directions, cells = settings.data_config.edge_directions, settings.data_config.edge_places
    return f" on oriented-gradient features of {directions} directions at {cells} × {cells} grid cells" if directions else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120]
