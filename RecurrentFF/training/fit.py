"""Train a network from Python, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from RecurrentFF.data.dataset import Dataset, LoaderDataset, Splits, TensorDataset, is_dataset
from RecurrentFF.data.loader_task import LoaderTask
from RecurrentFF.data.loading import length_of
from RecurrentFF.data.network_inputs import separate_dataset
from RecurrentFF.data.raw import is_pair, require_one_pair
from RecurrentFF.data.task import Task
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.time_first import time_first_data
from RecurrentFF.distributed import is_first
from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.integrity import require_intact, require_network
from RecurrentFF.model.learner import Learner, Observer
from RecurrentFF.model.negatives import NegativeSource
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective
from RecurrentFF.paths import expanded
from RecurrentFF.settings import Settings
from RecurrentFF.tensors import as_inputs, as_labels
from RecurrentFF.training.callbacks import Callback, default_callbacks
from RecurrentFF.training.callbacks.base import require_callbacks
from RecurrentFF.training.callbacks.checkpoints import load_best
from RecurrentFF.training.callbacks.default import core_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.randomness import epoch_order
from RecurrentFF.training.run import start_training, undone_if_untrained
from RecurrentFF.training.schedules import Schedule
from RecurrentFF.training.trainer import Trainer

Data = Task | tuple[Any, Any] | Dataset | torch.utils.data.Dataset[Any] | Iterable[Sequence[Any]]
"""Training or validation data.

A Task has its own validation data, and is given the network's transform and class numbers. A pair (samples, labels) of tensors or
arrays, or a data set of torch, is split into batches of `batch_size` in a new order every epoch. A DataLoader or list yields
batches (samples, labels), or (samples, labels, mask).

For a network with a task, samples are raw, and the task's transform is applied. Without one, they are network inputs,
(batch, input_size) or (timesteps, batch, input_size). A data set of this library, such as `trainer.splits.train`, always has
network inputs and class numbers.

Labels are (batch,) or (batch, 1), or (label_timesteps, batch) where they change over time, and the mask is (timesteps, batch),
for sequences that end before the last timestep (`Learner.train_batch` describes both). The order of a DataLoader that shuffles
without a generator of its own follows `training.seed`. The first validation batch is looked at before the training begins.
"""

CONTINUE = 'train on from the last weights with rff.fit(rff.load("{folder}/last.safetensors"), …)'
"""The advice after an interruption with `output_dir`. The command line could not resume: it does not have the data."""


class Interrupted(KeyboardInterrupt):
    """The interruption of `fit` by Ctrl-C.

    Args:
        trainer: the trainer that was interrupted.

    Attributes:
        history: the metrics of the finished epochs.
    """

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(f"after {trainer.progress.epoch} epochs and {trainer.progress.batch} batches")
        self.history: list[EpochMetrics] = trainer.history


def fit(
    network: Network,
    data: Data | None = None,
    *others: Any,
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
    batch_first: bool | None = None,
) -> list[EpochMetrics]:
    """Train a network, with newly initialized optimizers. It has the weights of the best epoch afterwards.

    The best epoch is that of the highest validation accuracy, or the last one without validation data. After an error before the
    end of the first batch, the network has its former settings, and no run folder is left.

    Args:
        network: the network, trained in place. What is given here in place of its settings is recorded in them.
        data: a task, a pair, a data set or a loader, see `RecurrentFF.training.fit.Data`; by default, what the settings name.
        others: refused; samples and labels are one argument, a pair.
        validation: data of the same kind. Its accuracy is reported after every epoch. Its labels must be (samples,) or (batch,).
        epochs: the number of epochs.
        output_dir: the folder for a run folder with configuration, metrics, checkpoints and pictures; None writes nothing.
        quiet: print nothing.
        objective: the loss as a function of badness.
        negatives: the source of negative candidates.
        optimizer: that of the layers: an `Optimizer`, its name, a class of torch.optim, or a `functools.partial` of one.
        schedule: the schedule of the learning rate.
        callbacks: called at the events of the training, after those that the settings ask for.
        observers: called at the timesteps of every batch.
        batch_first: true if samples come before time in sequences, masks and labels; None is false, with a warning in doubt.

    Returns:
        The metrics of every epoch.

    Raises:
        InputError: shapes or labels don't match the network, or the network's layers are not those that it was made with.
        SettingsError: an argument is invalid, the settings ask for files and `output_dir` is missing, or there are no data.
        CallbackError: a callback has failed.
        DivergenceError: the loss or the weights are NaN or infinite.
        OutputError: the best weights could not be written to the run folder. The network is trained nevertheless.
        Interrupted: a KeyboardInterrupt, by Ctrl-C, with `history`. The network keeps what it has learned; `fit` again trains on.
    """
    require_intact(require_network(network, "fit(network, data)"))
    require_one_pair("fit", others)
    settings = _with_changes(network.settings, epochs=epochs, objective=objective, negatives=negatives, optimizer=optimizer,
                             schedule=schedule)  # fmt: skip
    own, task = require_callbacks(callbacks), _task(network, data, validation, batch_first)
    writes = is_first() or settings.distributed.mode == "none"  # of several processes, one

    def prepare(folder: RunFolder | None) -> Trainer:
        every = [*(default_callbacks(settings, folder) if writes else core_callbacks(settings)), *own]
        learner = Learner(network, observers=observers)
        return Trainer(network, task, every, learner=learner, console=Console(quiet or not writes))

    return _train(network, settings, prepare, output_dir if writes else None).history


def _with_changes(settings: Settings, **given: Any) -> Settings:
    """The settings with those arguments that are not None."""
    changes = {name: value for name, value in given.items() if value is not None}
    return settings.with_arguments(**changes) if changes else settings


def _train(
    network: Network, settings: Settings, prepare: Callable[[RunFolder | None], Trainer], output_dir: str | Path | None
) -> Trainer:
    """Train a network with the settings in place of its own, and load the best weights.

    Raises:
        Interrupted: the training was interrupted.
    """
    former = network.settings, network.task

    def restore() -> None:
        network.settings, network.task = former

    with undone_if_untrained(restore) as watched:
        network.settings = settings
        if output_dir is not None:
            parent = expanded(output_dir, SettingsError, "the run folder can't be created")
            trainer = start_training(parent, "fit", lambda folder: watched(prepare(folder)), CONTINUE)
        else:
            trainer = watched(prepare(None))
            trainer.compile()
            if trainer.fit():
                load_best(trainer)
    if not trainer.finished:
        raise Interrupted(trainer)
    return trainer


def _task(network: Network, data: Data | None, validation: Data | None, batch_first: bool | None) -> Task | Splits:
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
    parts = [None if part is None else _unwrapped(part, network) for part in (data, validation)]
    return _task_of_samples(network, *(map(time_first_data, parts) if batch_first else parts), batch_first=batch_first)


def _task_of_samples(network: Network, data: Any, validation: Any, *, batch_first: bool | None) -> Task | Splits:
    """The data of a training from pairs, loaders or data sets. A data set has network inputs, also if the network has a task."""
    own = network.task
    if own is None or is_dataset(data):
        return Splits(
            _dataset(data, network, batch_first), None if validation is None else _dataset(validation, network, batch_first)
        )
    facts: dict[str, Any] = {
        "input_shape": own.input_shape,
        "classes": own.classes,
        "transform": own.transform,
        "validation": _dataset(validation, network) if is_dataset(validation) else validation,
        "name": own.name,
    }
    return TensorTask(data[0], data[1], **facts) if is_pair(data) else LoaderTask(data, **facts)


def _unwrapped(data: Any, network: Network) -> Any:
    """Data as a pair, a loader, or a data set of network inputs. A data set of torch is loaded in a new order every epoch.

    Raises:
        InputError: it is (samples, labels, mask).
    """
    if isinstance(tensors := getattr(data, "tensors", None), tuple):  # torch's own TensorDataset
        data = tensors
    elif isinstance(data, torch.utils.data.Dataset) and hasattr(data, "__len__"):
        options = network.settings.training
        generator = torch.Generator().manual_seed(options.seed)  # in place of the global one, which is left alone
        order = _EpochOrder(length_of(data), options.seed)
        return torch.utils.data.DataLoader(data, options.batch_size, sampler=order, generator=generator)
    if isinstance(data, tuple) and len(data) == 3 and all(hasattr(array, "shape") or isinstance(array, list) for array in data):
        raise InputError(
            "data: expected (inputs, labels), not (inputs, labels, mask); pass sequences as a list of such batches, or as a "
            "DataLoader"
        )
    return data


class _EpochOrder(torch.utils.data.Sampler[int]):
    """The order of the samples of an epoch, that of tensors. It does not depend on what else has read the loader.

    Args:
        samples: the number of samples.
        seed: the seed of the training.
    """

    def __init__(self, samples: int, seed: int) -> None:
        self.samples = samples
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        yield from epoch_order(self.seed, self.epoch, self.samples).tolist()


def _dataset(data: Any, network: Network, batch_first: bool | None = None) -> Dataset:
    """A data set of network inputs. Tensors are moved to the network's device; the batches of a loader without a task are not."""
    if isinstance(data, TensorDataset):
        inputs, labels = data.inputs, data.labels
    elif is_dataset(data):
        return data
    elif network.task is not None:
        return separate_dataset(network.task, data, network.device, network.settings.timesteps)
    elif not is_pair(data):
        return LoaderDataset(data, seed=network.settings.training.seed, batch_first=batch_first)
    else:
        inputs, labels = data
    dataset = TensorDataset(as_inputs(inputs).to(network.device, network.dtype), as_labels(labels).to(network.device))
    if dataset.inputs.shape[1] != network.input_size:
        found = dataset.inputs.shape[1]
        raise InputError(f"inputs have {found} features, but the network's input_size is {network.input_size}")
    return dataset
