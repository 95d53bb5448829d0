"""Checkpoints: one file with the configuration, the weights and, for resuming, everything else that the run depends on."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import toml
import torch

from RecurrentFF.errors import CheckpointError
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training.devices import operand_dtype, resolve
from RecurrentFF.training.files import write_atomically

FORMAT = 1


def build(settings: Settings | None = None, /, **arguments: Any) -> Network:
    """A new network on the device of its settings.

    Args:
        settings: the configuration, or leave it out and name single keys of it: `build(data_size=784, num_classes=10,
            hidden_sizes=[200, 200], device="cpu", seed=1)`.

    Raises:
        SettingsError, DeviceError.
    """
    settings = (settings or Settings()) if not arguments else Settings.from_arguments(**arguments)
    device = resolve(settings.device)
    return Network(settings, operand_dtype=operand_dtype(device)).to(device.device)


def save(network: Network, path: str | Path, **extra: Any) -> None:
    """Write a network, with its settings, to a file that `load` reads. `extra` is stored beside it. Atomic."""
    content = {
        "format": FORMAT,
        "settings": network.settings.to_toml(),
        "network": {name: tensor.cpu() for name, tensor in network.state_dict().items()},
        **extra,
    }
    write_atomically(Path(path), lambda file: torch.save(content, file))


def load(path: str | Path, device: str = "auto") -> Network:
    """The network in a checkpoint, in its precision, on a device of this machine. Never runs code from the file.

    Raises:
        CheckpointError: the file is no checkpoint. DeviceError: there is no such device.
    """
    content = read(path)
    settings = Settings.from_dict(toml.loads(content["settings"]), str(path))
    network = build(settings.override([f"device.device={device}"]))
    load_weights(network, path)
    return network


def load_weights(network: Network, path: str | Path) -> None:
    """Give a network the weights of a checkpoint. Raises CheckpointError if they are of another architecture."""
    weights = read(path)["network"]
    own = network.state_dict()
    for name in own.keys() | weights.keys():
        expected, found = (tuple(t[name].shape) if name in t else None for t in (own, weights))
        if expected != found:
            raise CheckpointError(
                f"{path}: weights of another architecture, {name} is {found or 'missing'} there and "
                f"{expected or 'missing'} here; use the hidden_sizes, residual_connections and data set of that run"
            )
    network.load_state_dict(weights)


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Raises CheckpointError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0][:120]
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version of RecurrentFF (format {FORMAT})")
    return content
