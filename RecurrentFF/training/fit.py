"""Train a network from Python, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Dataset, LoaderDataset, Splits, TensorDataset
from RecurrentFF.data.task import LoaderTask, Task, TensorTask
from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.learner import Learner, Observer
from RecurrentFF.model.negatives import NegativeSource
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective
from RecurrentFF.training.callbacks import Callback, default_callbacks
from RecurrentFF.training.callbacks.checkpoints import load_best
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.run import run_training
from RecurrentFF.training.schedules import Schedule
from RecurrentFF.training.trainer import Trainer

Data = Task | tuple[Any, Any] | TensorDataset | torch.utils.data.Dataset[Any] | Iterable[Sequence[Any]]
"""A Task; a pair (samples, labels) of tensors or arrays; a data set; or a DataLoader or list of batches.

A batch is a pair (samples, labels), or (samples, labels, mask).
"""


def fit(
    network: Network,
    data: Data | None = None,
    *,
    validation: Data | None = None,
    epochs: int | None = None,
    output_dir: str | Path | None = None,
    quiet: bool = False,
    objective: Objective | str | None = None,
    negatives: NegativeSource | str | None = None,
    optimizer: Any = None,
    schedule: Schedule | str | None = None,
    callbacks: Sequence[Callback] = (),
    observers: Sequence[Observer] = (),
) -> list[EpochMetrics]:
    """Train a network, with newly initialized optimizers. It has the weights of the best epoch afterwards.

    The best epoch is that of the highest validation accuracy, or the last one without validation data.

    Args:
        network: the network, trained in place. What is given here in place of its settings is recorded in them.
        data: the training data; the data set that the settings name if left out. A Task has its own validation data. A pair
            (samples, labels) is split into batches of `batch_size` in a new order every epoch. A loader yields batches
            (samples, labels), or (samples, labels, mask). For a network with a task, samples are raw, and the task's transform
            is applied. Otherwise they are network inputs, (batch, input_size) or (timesteps, batch, input_size). Labels are
            (batch,), or (label_timesteps, batch), and the mask is (timesteps, batch), for sequences that end before the last
            timestep (`Learner.train_batch` describes it).
        validation: data of the same kind. Its accuracy is reported after every epoch. Its labels must be (samples,) or (batch,).
        epochs: the number of epochs.
        output_dir: the folder in which a run folder with configuration, metrics, checkpoints and pictures is created. By default
            nothing is written.
        quiet: print nothing.
        objective: the loss as a function of badness.
        negatives: the source of negative candidates.
        optimizer: the optimizer of the layers: an `Optimizer`, its name, or a class of torch.optim or a `functools.partial` of
            one.
        schedule: the schedule of the learning rate.
        callbacks: called at the events of the training, after those that the settings ask for.
        observers: called at the timesteps of every batch.

    Returns:
        The metrics of every epoch.

    Raises:
        InputError: shapes or labels don't match the network.
        SettingsError: an argument is invalid, the settings ask for files and `output_dir` is missing, or there are no data.
        CallbackError: a callback has failed.
        DivergenceError: the loss or the weights are NaN or infinite.
        OutputError: the best weights could not be written to the run folder. The network is trained nevertheless.
        KeyboardInterrupt: the training was interrupted. The network keeps what it has learned.
    """
    given = {"epochs": epochs, "objective": objective, "negatives": negatives, "optimizer": optimizer, "schedule": schedule}
    changes = {name: value for name, value in given.items() if value is not None}
    if changes:
        network.settings = network.settings.with_arguments(**changes)
    task = _task(network, data, validation)
    folder = RunFolder.create(Path(output_dir).expanduser(), "fit") if output_dir is not None else None
    trainer = Trainer(
        network,
        task,
        [*default_callbacks(network.settings, folder), *callbacks],
        learner=Learner(network, observers=observers),
        console=Console(quiet),
    )
    if folder is not None:
        with folder.lock():
            finished = run_training(trainer, folder)
    else:
        trainer.compile()
        finished = trainer.fit()
        if finished:
            load_best(trainer)
    if not finished:
        raise KeyboardInterrupt(f"after {trainer.progress.epoch} epochs and {trainer.progress.batch} batches")
    return trainer.history


def _task(network: Network, data: Data | None, validation: Data | None) -> Task | Splits:
    """The data of a training: a task that transforms raw samples, or data sets of network inputs."""
    if data is None:
        task: Task | None = network.settings.data.task(network.settings.transform)
        if task is None:
            raise SettingsError("fit: the settings name no data set; pass data=(samples, labels), or set data.name")
        return task
    if isinstance(data, Task):
        if validation is not None:
            raise InputError("validation: a task has validation data of its own; give them to the task, as validation=…")
        return data
    return _task_of_samples(network, _unwrapped(data, network), None if validation is None else _unwrapped(validation, network))


def _task_of_samples(network: Network, data: Any, validation: Any) -> Task | Splits:
    """The data of a training from pairs or loaders."""
    own = network.task
    if own is None:
        return Splits(_dataset(data, network), _dataset(validation, network) if validation is not None else None)
    facts: dict[str, Any] = {
        "classes": own.classes,
        "transform": own.transform,
        "validation": validation,
        "name": own.name,
    }
    if _is_pair(data):
        return TensorTask(data[0], data[1], **facts)
    return LoaderTask(data, input_shape=own.input_shape, **facts)


def _unwrapped(data: Any, network: Network) -> Any:
    """Data as a pair, or as a loader. A data set of torch is loaded in a new order every epoch, which the seed determines."""
    if isinstance(data, TensorDataset):
        return data.inputs, data.labels
    if isinstance(tensors := getattr(data, "tensors", None), tuple):  # torch's own TensorDataset
        return tensors
    if isinstance(data, torch.utils.data.Dataset) and hasattr(data, "__len__"):
        generator = torch.Generator().manual_seed(network.settings.training.seed)
        return torch.utils.data.DataLoader(data, network.settings.training.batch_size, shuffle=True, generator=generator)
    return data


def _is_pair(data: Any) -> bool:
    """True for (samples, labels); false for a loader, or a list of batches.

    Raises:
        InputError: it is (samples, labels, mask).
    """
    arrays = isinstance(data, tuple | list) and all(hasattr(array, "shape") or isinstance(array, list) for array in data)
    if isinstance(data, tuple) and arrays and len(data) == 3:
        raise InputError(
            "data: expected (inputs, labels), not (inputs, labels, mask); pass sequences as a list of such batches, or as a "
            "DataLoader"
        )
    return isinstance(data, tuple | list) and arrays and len(data) == 2 and not _is_batch(data[0])


def _is_batch(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) in (2, 3) and all(hasattr(item, "shape") for item in value)


def _dataset(data: Any, network: Network) -> Dataset:
    """A data set of network inputs. Tensors are moved to the network's device; a loader's batches are not."""
    if not _is_pair(data):
        return LoaderDataset(data)
    inputs, labels = (torch.as_tensor(array) for array in data)
    if not inputs.is_floating_point():
        raise InputError(f"inputs of type {inputs.dtype}: expected floating point, scaled to about unit mean square")
    dataset = TensorDataset(inputs.to(network.device, network.dtype), labels.to(network.device))
    _require_match(dataset.inputs, dataset.labels, network)
    return dataset


def _require_match(inputs: Tensor, labels: Tensor, network: Network) -> None:
    if inputs.shape[1] != network.input_size:
        raise InputError(f"inputs have {inputs.shape[1]} features, but the network's input_size is {network.input_size}")
    lowest, highest = int(labels.min()), int(labels.max())
    if not 0 <= lowest <= highest < network.num_classes:
        raise InputError(f"labels run from {lowest} to {highest}; expected 0 to {network.num_classes - 1}")
