"""Save and load checkpoints.

A checkpoint is one safetensors file with the configuration, the task, which is the form of the samples and their transform, and
the weights. The checkpoint of a run also has all the state that resuming needs. `container` has the file format, `content` the
schema that every part is checked against, and `former_formats` reads older files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from RecurrentFF import toml
from RecurrentFF.atomic_files import write_atomically
from RecurrentFF.data.task import Task
from RecurrentFF.errors import CheckpointError, OutputError, RecurrentFFError, SettingsError, described
from RecurrentFF.messages import nearest
from RecurrentFF.model.integrity import require_network
from RecurrentFF.model.network import Network
from RecurrentFF.paths import expanded, kind_of, reported
from RecurrentFF.registry import HOMES
from RecurrentFF.settings import Settings
from RecurrentFF.training import container, former_formats
from RecurrentFF.training.architecture import require_same_forms, require_usable, shapes_of, with_circuit_of
from RecurrentFF.training.build import build_untrained
from RecurrentFF.training.content import Checkpoint, SavedTraining
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import EpochMetrics

FORMAT = 8
"""Version number of the file format. Files of formats 5 to 7 are translated, files of other versions refused."""


def save(
    network: Network,
    path: str | Path,
    *,
    weights: dict[str, Tensor] | None = None,
    previous: Path | None = None,
    epoch: int | None = None,
    metrics: EpochMetrics | None = None,
    training: dict[str, Any] | None = None,
    **extra: Any,
) -> None:
    """Write a network and its settings to a file that `load` reads.

    The write is atomic: afterwards the file is either complete or unchanged. It contains a checksum of its content. It is a
    safetensors file, so that other programs can read the weights: `safetensors.torch.load_file(path)["network/readout.bias"]`.

    Args:
        network: the network to save.
        path: the file to write.
        weights: a state dictionary to save instead of the network's current one.
        previous: the path that keeps the checkpoint which is now at `path`. By default that checkpoint is overwritten.
        epoch: number of the epoch whose weights they are.
        metrics: the metrics of that epoch.
        training: the state of a training, as `content.SavedTraining` has it.
        extra: further entries of the file: tensors, numbers, strings, and lists and dictionaries of them.

    Raises:
        InputError: it is not a network.
        OutputError: the file can't be written.
        CheckpointError: an entry has a type that a checkpoint can't hold, or the network is one that `load` would refuse.
    """
    path = expanded(path, OutputError, "can't be written")
    if training is None and weights is None:
        _require_loadable(require_network(network, "save(network, path)"))
    content = {
        "settings": network.settings.to_toml(),
        "task": None if network.task is None else network.task.to_tree(),
        "own_modules": network.has_own_modules,
        "network": weights or network.state_dict(),
        "epoch": epoch,
        "metrics": None if metrics is None else asdict(metrics),
        "training": training,
        "extra": extra,
    }
    _checked(content | {"format": FORMAT}, "save")  # so that nothing is written that can't be read
    packed = container.pack(content, format=str(FORMAT))
    write_atomically(path, lambda file: file.write_bytes(packed), previous)


def load(path: str | Path, device: str | torch.device = "auto", *, network: Network | None = None, **components: Any) -> Network:
    """Load the network in a checkpoint, with its task. Code in the file is never run, and no plugin is imported.

    Args:
        path: the checkpoint, or the folder of a run, whose best weights are loaded.
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
    if network is not None:
        require_network(network, "load(path, network=network)")
    path = best_in(expanded(path, CheckpointError))
    try:
        saved = read(path)
    except CheckpointError as error:
        run = RunFolder(path.parent)
        if path != run.best or kind_of(run.last, CheckpointError) != "file":
            raise
        raise CheckpointError(f"{error}; rff resume {path.parent} writes it again, from {run.last.name}") from None
    own_task = task(saved, path, components)
    if network is None:
        if saved.own_modules:
            raise CheckpointError(
                f"{path}: the network has modules of its own, which the file does not hold; make it again with "
                "Network(settings, modules=…), and load its weights with load(path, network=network)"
            )
        own_settings = settings(saved, path, components)
        require_own_weights(saved, own_settings, path)
        _require_fitting_task(own_task, own_settings.network.input_size, own_settings.network.num_classes, path)
        try:
            own_settings = own_settings.with_arguments(device=str(device))
            network = build_untrained(own_settings, own_task).to(_type_of(saved))
        except SettingsError as error:
            raise CheckpointError(f"{path}: {error}") from None
    else:
        _require_fitting_task(own_task, network.input_size, network.num_classes, path)
    load_weights(network, saved, path, components)
    source = network.settings.data
    if own_task is not None and source.high_is_dark and source.title == own_task.name and not own_task.high_is_dark:
        own_task = replace(own_task, high_is_dark=True)  # how a task looks in pictures is not saved with it
    network.task = own_task
    return network


def best_in(path: Path) -> Path:
    """The checkpoint at a path, or that of the best weights if the path is the folder of a run."""
    return RunFolder(path).best_to_load if kind_of(path, CheckpointError) == "folder" else path


def last_in(path: Path) -> Path:
    """The checkpoint at a path, or that of the last state if the path is the folder of a run."""
    return RunFolder(path).last_to_load if kind_of(path, CheckpointError) == "folder" else path


def settings(saved: Checkpoint, path: str | Path, components: Mapping[str, Any] | None = None) -> Settings:
    """Parse the configuration in a checkpoint. No plugin is imported.

    Args:
        saved: the checkpoint's content.
        path: its path, for error messages.
        components: components in place of those that the file names, by "objective", "activation" and so on.

    Raises:
        CheckpointError: the configuration is invalid, or names a component that is not registered.
    """
    known = [*(kind for kind in HOMES if kind not in ("connection", "black_box")), "connections"]
    for name in components or {}:
        if name not in known:
            raise CheckpointError(f"load: there is no component '{name}'{nearest(name, known)}")
    try:
        tree = toml.loads(saved.settings)
        if saved.format < 7:  # those formats have built-in components only
            return Settings.from_dict(tree, str(path)).with_arguments(**(components or {}))
        for name, component in (components or {}).items():
            home = tree.setdefault("network", {}) if name in ("activation", "connections") else tree
            home[name] = component
        return Settings.from_dict(tree, str(path))
    except toml.TOMLDecodeError as error:
        raise CheckpointError(f"{path}: its settings are not valid TOML ({error})") from None
    except SettingsError as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def task(saved: Checkpoint, path: str | Path, components: Mapping[str, Any] | None = None) -> Task | None:
    """The task in a checkpoint; of formats 5 and 6, that of its configuration. None if there is none.

    Raises:
        CheckpointError: it is invalid, or names a transform that is not registered.
    """
    transform = (components or {}).get("transform")
    if saved.format < 7:
        own = settings(saved, path, components)
        former: Task | None = own.data.task(own.transform)
        return former
    if saved.task is None:
        return None
    tree = saved.task.model_dump()
    try:
        return Task.from_tree(tree if transform is None else tree | {"transform": transform})
    except RecurrentFFError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path}: its task can't be read ({described(error)})") from None


def require_own_weights(saved: Checkpoint, own: Settings, path: str | Path) -> None:
    """Check that the weights are those of the network that the settings describe, before that network takes any memory.

    Raises:
        CheckpointError: they are not.
    """
    try:
        if len(own.network.hidden_sizes) > len(saved.network):
            raise ValueError("its settings have more layers than it has weights")
        expected = shapes_of(own)
    except (RecurrentFFError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    if expected is not None:
        require_same_forms(saved, own, expected, own, path)


def _require_loadable(network: Network) -> None:
    """Check that a network can be loaded from the file to which it will be saved.

    Raises:
        CheckpointError: its weights are not finite, or not those that its settings describe.
    """
    weights = network.state_dict()
    expected = None if network.has_own_modules else shapes_of(network.settings)
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected is not None and found != expected:
        name = next(name for name in [*found, *expected] if found.get(name) != expected.get(name))
        raise CheckpointError(
            f"save: {name} of the network is not as its settings describe, so that the file could not be loaded; undo the "
            "change, or make a network with Network(settings, modules=…)"
        )
    require_usable(weights, network, "save")


def require_training(saved: Checkpoint, path: str | Path) -> SavedTraining:
    """The state of a training in a checkpoint.

    Raises:
        CheckpointError: there is none.
    """
    if saved.training is None:
        raise CheckpointError(f"{path}: has weights only, no state to resume from; start a new run from it with --weights")
    return saved.training


def load_weights(
    network: Network,
    saved: Checkpoint,
    path: str | Path,
    components: Mapping[str, Any] | None = None,
    *,
    any_circuit: bool = False,
) -> None:
    """Load the weights in a checkpoint into a network.

    Args:
        network: changed in place.
        saved: the checkpoint's content.
        path: its path, for error messages.
        components: components in place of those that the file names.
        any_circuit: true if only one of the two need have a generative circuit. A network whose circuit is not in the file keeps
            its own, and one without a circuit takes the layers alone.

    Raises:
        CheckpointError: the weights are those of another architecture, or of another type.
    """
    expected = network.state_dict()
    if any_circuit:
        saved = saved.model_copy(update={"network": with_circuit_of(network, saved.network)})
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    require_same_forms(saved, settings(saved, path, components), shapes, network.settings, path)
    require_usable(saved.network, network, path)
    network.load_state_dict(saved.network)
    for module in network.local_modules:
        module.apply_constraints()  # the weights may come from a network without receptive fields


def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint, with its tensors on the CPU. Nothing of it is used before all of it is checked.

    Raises:
        CheckpointError: the file does not exist, is not a checkpoint of this version, or is damaged.
    """
    path = Path(path)
    kind = kind_of(path, CheckpointError)
    if kind != "file":
        raise CheckpointError(f"{path}: no such checkpoint" if kind is None else f"{path}: not a file, and so no checkpoint")
    with reported(path, CheckpointError), path.open("rb") as file:
        is_archive = file.read(4) == b"PK\x03\x04"
    if is_archive:
        content = former_formats.read(path)
    else:
        _require_format(container.facts_of(path).get("format"), path)
        content = container.unpack(path) | {"format": FORMAT}
    return _checked(content, path)


def _checked(content: dict[str, Any], path: str | Path) -> Checkpoint:
    """Check content against the schema.

    Raises:
        CheckpointError: it does not fit.
    """
    try:
        return Checkpoint(**content)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(f"{path}: not a valid checkpoint ({_mistake(error)})") from None


def _require_format(found: str | None, path: Path) -> None:
    """Raise CheckpointError, by name, for a file of another format, or of another program."""
    if found is None or not found.isdecimal() or len(found) > 9:
        raise CheckpointError(f"{path}: not a checkpoint of RecurrentFF")
    if int(found) > FORMAT:
        raise CheckpointError(
            f"{path}: a checkpoint of format {found}, of a newer version of RecurrentFF; this version reads formats "
            f"{former_formats.FORMATS[0]} to {FORMAT}; install a newer one"
        )
    if int(found) < FORMAT:
        raise CheckpointError(f"{path}: a damaged checkpoint, since files of format {found} had another form")


def _require_fitting_task(task: Task | None, input_size: int | None, num_classes: int | None, path: Path) -> None:
    """Raise CheckpointError if the inputs and classes of a task are not as many as those of the network."""
    if task is None:
        return
    try:
        found = task.input_size, task.num_classes
    except (RecurrentFFError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its task can't be used ({error})") from None
    if found != (input_size, num_classes):
        raise CheckpointError(
            f"{path}: its task has {found[0]} inputs and {found[1]} classes, but the network has {input_size} and {num_classes}"
        )


def _mistake(error: ValidationError | TypeError) -> str:
    """The first mistake in the content of a checkpoint, without its value, which may be large."""
    if isinstance(error, TypeError):  # an entry whose name is not a text
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else str(first["msg"])
    return f"{place}: {reason}" if place else reason


def _type_of(saved: Checkpoint) -> torch.dtype:
    """The type of the network, which is that of its readout: float64 if it was converted to that, else float32."""
    bias = saved.network.get("readout.bias")
    return torch.float64 if bias is not None and bias.dtype == torch.float64 else torch.float32
