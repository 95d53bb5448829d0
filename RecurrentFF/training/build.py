"""Build a network from a configuration."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from RecurrentFF.data.task import Task, require_task
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.settings.user_paths import with_absolute_paths
from RecurrentFF.streams import note_once
from RecurrentFF.training import devices
from RecurrentFF.training.memory import require_memory


def build(settings: Settings | str | Path | None = None, /, *, task: Task | None = None, **arguments: Any) -> Network:
    """Build a new network, on the device and in the precision of its settings.

    It starts from the weights of a checkpoint if the settings name one by `weights`.

    Args:
        settings: the configuration, the path of a TOML file, or the name of a recipe, such as "mnist_fast". The default is the
            default configuration.
        task: the data that the network is for: its shape, transform and classes. The default is the data set that the settings
            name. Without either, the network takes network inputs, and needs `input_size` and `num_classes`.
        arguments: single keys and components, which override `settings`. Example:
            `build(input_size=784, num_classes=10, hidden_sizes=[200, 200], objective="pairwise", device="cpu")`.

    Returns:
        The network. Its `settings` name the device and the precision that were chosen for "auto", and its `task` has the
        transform that `predict` applies.

    Raises:
        SettingsError: a key or a value is invalid, input_size or num_classes is missing or not that of the task, the task has
            another transform than the argument `transform`, or training needs more memory than the device has.
        DeviceError: this machine does not have the device.
        CheckpointError: the checkpoint with the weights can't be read, or is that of another network.
    """
    if isinstance(settings, str | Path):
        settings = Settings.from_file(settings)
    elif not isinstance(settings, Settings | None):
        found = type(settings).__name__
        raise SettingsError(f"build: expected Settings, the path of a TOML file, or the name of a recipe, not {found}; "
                            "for a dictionary, use Settings.from_dict")  # fmt: skip
    settings = with_absolute_paths((settings or Settings()).with_arguments(**arguments))
    if task is not None and arguments.get("transform") is not None and settings.transform is not None:
        _require_same(settings.transform, task)
    network, weights = build_untrained(settings, None if task is None else require_task(task)), settings.training.weights
    if weights is not None:
        from RecurrentFF.training import checkpoint  # imported late, since that module builds networks, too

        file = checkpoint.best_in(Path(weights))
        checkpoint.load_weights(network, checkpoint.read(file), file, any_circuit=True)
    return network


def build_untrained(settings: Settings, task: Task | None = None) -> Network:
    """Build a new network with initial weights, whether or not the settings name a checkpoint with others.

    Args:
        settings: the configuration.
        task: the data that the network is for; None for the data set that the settings name.

    Raises:
        SettingsError, DeviceError: as for `build`.
    """
    task = settings.data.task(settings.transform) if task is None else task
    settings = settings.model_copy(update={"device": devices.resolve(settings.device)})
    if task is not None:
        settings = _for_task(settings, task)
    elif settings.transform is not None:
        raise SettingsError("transform: there is no data to transform; name a data set (data.name), or pass task=…")
    if settings.network.input_size is not None and settings.network.num_classes is not None:
        require_memory(settings, torch.device(settings.device.device))
    _note_late_inputs(settings)
    _note_unseen_inputs(settings)
    network = Network(settings, compute_dtype=devices.compute_dtype(settings.device)).to(settings.device.device)
    network.task = None if task is None else task.without_data()
    return network


def _note_late_inputs(settings: Settings) -> None:
    """Tell the user, in one line, if the latent code of a generative circuit can't depend on the input."""
    circuit, network = settings.generative, settings.network
    if circuit is not None and circuit.reads_activity and network.prelabel_timesteps < network.input_delay:
        note_once(
            f"network.prelabel_timesteps = {network.prelabel_timesteps}: the input needs {network.input_delay} to reach the top "
            "layer, so that the latent code of the generative circuit can't depend on it; set at least that many"
        )


def _note_unseen_inputs(settings: Settings) -> None:
    """Tell the user, in one line, if a layer of a network with class groups predicts before the input has reached it."""
    network = settings.network
    last, delay = network.prelabel_timesteps + settings.prediction_window[1] + 1, network.input_delay
    if network.class_groups and last < delay:
        note_once(
            f"network.prelabel_timesteps = {network.prelabel_timesteps}: the input needs {delay} timesteps to reach the top "
            f"layer, but a prediction ends after {last}, so that upper layers neither learn nor predict from it; set more "
            'timesteps, or network.update_order = "bottom_up"'
        )


def _require_same(transform: Transform, task: Task) -> None:
    """Check that a transform is that of a task, besides options that are left out, which are fitted.

    Raises:
        SettingsError: it is another one.
    """
    own = task.transform
    options: list[str] = [field.name for field in fields(transform)] if is_dataclass(transform) else []
    if type(transform) is type(own) and all(getattr(transform, o) in (None, getattr(own, o)) for o in options):
        return
    raise SettingsError(
        f"transform = {transform}: the task '{task.name}' has a transform of its own, {own}; leave it out here, or make the task "
        "with it, as in TensorTask(samples, labels, transform=…)"
    )


def _for_task(settings: Settings, task: Task) -> Settings:
    """The settings with the sizes and the transform of a task.

    Raises:
        SettingsError: the settings have another size.
    """
    sizes = {"input_size": task.input_size, "num_classes": task.num_classes}
    for key, size in sizes.items():
        given = getattr(settings.network, key)
        if given not in (None, size):
            raise SettingsError(f"network.{key} = {given}, but {task.name} has {size}; leave it out")
    return settings.with_arguments(**sizes, **({} if task.transform is None else {"transform": task.transform}))
