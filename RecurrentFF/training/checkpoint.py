"""Save and load checkpoints.

A checkpoint is one file with the configuration, the task, which is the form of the samples and their transform, and the weights.
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

from RecurrentFF import toml
from RecurrentFF.atomic_files import write_atomically
from RecurrentFF.data.task import Task
from RecurrentFF.errors import CheckpointError, RecurrentFFError, SettingsError
from RecurrentFF.messages import nearest
from RecurrentFF.model.network import Network
from RecurrentFF.registry import HOMES, tree_of
from RecurrentFF.settings import Settings
from RecurrentFF.training import format_5
from RecurrentFF.training.build import build

FORMAT = 7
"""Version number of the file format. Files of formats 5 and 6 are translated, files of other versions refused."""

BEST = "best.pt"
"""The name of the checkpoint of a run's best weights in the run's folder."""


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
        "task": None if network.task is None else network.task.to_tree(),
        "own_modules": network.has_own_modules,
        "network": {name: tensor.cpu() for name, tensor in (weights or network.state_dict()).items()},
        **extra,
    }
    content["checksum"] = checksum(content)
    write_atomically(Path(path), lambda file: torch.save(content, file), previous)


def load(path: str | Path, device: str | torch.device = "auto", *, network: Network | None = None, **components: Any) -> Network:
    """Load the network in a checkpoint, with its task. Code in the file is never run, and no plugin is imported.

    Args:
        path: the checkpoint, or the folder of a run, whose best.pt is loaded.
        device: the device of the network, "auto" for the best one of this machine.
        network: an existing network that takes the weights and the task, in place of a new one on `device`. It is needed for a
            network that was made with modules of its own, which a checkpoint does not hold.
        components: components in place of those that the file names, such as objective=Hinge() or activation=Softsign(). They
            are needed for a class that is not registered here.

    Returns:
        The network, in the precision of its settings.

    Raises:
        CheckpointError: the file is not a checkpoint, is damaged, names a component that is not registered here, or holds the
            weights of a network with modules of its own.
        DeviceError: this machine does not have the device.
    """
    path = Path(path).expanduser()
    path = path / BEST if path.is_dir() else path
    content = read(path)
    if network is not None:
        own_task = task(content, path, components)
        load_weights(network, content, path, components)
    else:
        if content.get("own_modules"):
            raise CheckpointError(
                f"{path}: the network has modules of its own, which the file does not hold; make it again with "
                "Network(settings, modules=…), and load its weights with load(path, network=network)"
            )
        own_task = task(content, path, components)
        network = build(settings(content, path, components), task=own_task, device=str(device))
        load_weights(network, content, path, components)
    network.task = own_task
    return network


def settings(content: dict[str, Any], path: str | Path, components: Mapping[str, Any] | None = None) -> Settings:
    """Parse the configuration in a checkpoint's content. No plugin is imported.

    Args:
        content: the checkpoint's content.
        path: its path, for error messages.
        components: components in place of those that the file names, by "objective", "activation" and so on.

    Raises:
        CheckpointError: the configuration is invalid, or names a component that is not registered.
    """
    known = [*(kind for kind in HOMES if kind != "connection"), "connections"]
    for name in components or {}:
        if name not in known:
            raise CheckpointError(f"load: there is no component '{name}'{nearest(name, known)}")
    try:
        tree = toml.loads(content["settings"])
        if content["format"] < 7:  # those formats have built-in components only
            return Settings.from_dict(tree, str(path)).with_arguments(**(components or {}))
        for name, component in (components or {}).items():
            home = tree.setdefault("network", {}) if name in ("activation", "connections") else tree
            home[name] = component
        return Settings.from_dict(tree, str(path))
    except toml.TOMLDecodeError as error:
        raise CheckpointError(f"{path}: its settings are not valid TOML ({error})") from None
    except SettingsError as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def task(content: dict[str, Any], path: str | Path, components: Mapping[str, Any] | None = None) -> Task | None:
    """The task in a checkpoint's content; of an older format, that of its configuration. None if there is none.

    Raises:
        CheckpointError: it is invalid, or names a transform that is not registered.
    """
    transform = (components or {}).get("transform")
    if content["format"] < 7:
        own = settings(content, path, components)
        former: Task | None = own.data.task(own.transform)
        return former
    if content.get("task") is None:
        return None
    tree = content["task"] if transform is None else content["task"] | {"transform": transform}
    try:
        return Task.from_tree(tree)
    except RecurrentFFError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its task can't be read ({_first_line(error)})") from None


def load_weights(
    network: Network, content: dict[str, Any], path: str | Path, components: Mapping[str, Any] | None = None
) -> None:
    """Load the weights in a checkpoint's content into a network.

    Raises:
        CheckpointError: the weights are those of another architecture.
    """
    weights = content["network"]
    expected, found = ({name: tuple(tensor.shape) for name, tensor in state.items()} for state in (network.state_dict(), weights))
    saved_settings = settings(content, path, components)
    if expected != found or _differ(_features(saved_settings), _features(network.settings)):
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
    if not isinstance(content, dict) or content.get("format") not in (5, 6, FORMAT):
        found = content.get("format") if isinstance(content, dict) else None
        kind = f"a checkpoint of format {found}" if isinstance(found, int) else "not a checkpoint of RecurrentFF"
        raise CheckpointError(f"{path}: {kind}; this version reads formats 5 to {FORMAT}")
    network = content.get("network")
    if not isinstance(content.get("settings"), str) or not isinstance(network, dict) or not all(map(_is_plain, network.values())):
        raise CheckpointError(f"{path}: a checkpoint without a network's settings or weights")
    if content.pop("checksum", None) != checksum(content):
        raise CheckpointError(f"{path}: a damaged checkpoint, its content does not match its checksum")
    if content["format"] > 5:
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
    network, residuals = settings.network, settings.network.residual_connections
    widths = "-".join(str(n) for n in (network.input_size, *network.hidden_sizes, network.num_classes))
    kinds = [tree_of(connection)["name"] for connection in network.connections]
    features = _features(settings)
    transform = features.pop("name", "")
    options = ", ".join(f"{key} {value}" for key, value in features.items())
    return (
        widths
        + (f" with connections of kind {', '.join(kinds)}" if kinds else "")
        + (f" on {transform}" if transform else "")
        + (f" ({options})" if options else "")
        + (f" with residual connections {[list(pair) for pair in residuals]}" if residuals else "")
    )


def _features(settings: Settings) -> dict[str, Any]:
    """The options of the transform that decide what an input means; empty if the network takes the inputs as given."""
    corrections = ("deskew", "size_normalization", "mean", "std")
    tree = {} if settings.transform is None else tree_of(settings.transform)
    return {key: value for key, value in tree.items() if key not in corrections}


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one) and bool(other) and one != other


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120]
