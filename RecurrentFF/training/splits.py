"""The data sets of a training, from a task."""

from __future__ import annotations

from itertools import islice

import torch

from RecurrentFF.data.dataset import Dataset, LoaderDataset, Splits, require_batch
from RecurrentFF.data.relabeled import RelabeledDataset
from RecurrentFF.data.source import Own
from RecurrentFF.data.task import Task
from RecurrentFF.errors import InputError
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.streams import note_once
from RecurrentFF.tensors import as_labels, check_labels, errors_at


def matching_task(task: Task, network: Network) -> Task:
    """The task with the network's transform and class numbers. It is made that of the network if it has none.

    Raises:
        InputError: its samples or classes are not those of the network.
    """
    if network.task is not None:
        task = task.adapted_to(network.task)
    found, expected = (task.input_size, task.num_classes), (network.input_size, network.num_classes)
    if found != expected:
        raise InputError(
            f"the task '{task.name}' has {found[0]} inputs and {found[1]} classes, but the network {expected[0]} and "
            f"{expected[1]}; build the network with input_size={found[0]}, num_classes={found[1]}"
        )
    if network.task is None:
        network.task = task.without_data()
    return task


def load_splits(task: Task, settings: Settings, device: torch.device) -> Splits:
    """Load the data sets of a task, as network inputs.

    Args:
        task: a task with data.
        settings: the configuration, which determines the numbers of samples, unless the data are passed from Python.
        device: the device of the data.

    Raises:
        DataError: the data can't be read, or there are too few samples.
    """
    data = settings.data  # a data set that the configuration names knows its numbers of samples
    sizes = {name: getattr(data, name) for name in ("train_samples", "validation_samples", "test_samples")}
    return task.splits(
        device=device,
        seed=settings.training.seed,
        timesteps=settings.timesteps,
        train_subset_samples=settings.training.train_accuracy_samples,
        **(sizes if isinstance(data, Own) else {}),
    )


def check_splits(splits: Splits, network: Network) -> None:
    """Check the data of a training before the first batch, as far as they can be seen without an iteration over all of them.

    These are the labels of data in memory, and the first batch of other data that the training evaluates; all batches of a list.
    A look at a loader leaves the sources of randomness in this process as they were. A DataLoader starts its workers for it.

    Args:
        splits: the data. The first training batch is not looked at: the learner refuses it before it learns.
        network: the network, or a baseline.

    Raises:
        InputError: inputs or labels don't fit the network, where the message begins with the name of the data; or all training
            sequences end before the label is shown.
    """
    if isinstance(network, Network):
        _check_lengths(splits.train, network.settings.network.prelabel_timesteps)
    for name, dataset in splits._asdict().items():
        if isinstance(known := getattr(dataset, "labels", None), torch.Tensor):
            with errors_at(f"{name} data"):  # of any shape: training labels may change over time
                check_labels(as_labels(known).cpu().flatten(), known.numel(), network.num_classes)
            continue
        if dataset is None or name == "train":
            continue
        looked_at = dataset.looked_at() if isinstance(dataset, LoaderDataset) else islice(dataset.batches(1), 1)
        with errors_at(f"{name} data"):
            for number, (inputs, labels, mask) in enumerate(map(require_batch, looked_at), start=1):
                with errors_at(f"batch {number}"):
                    check_labels(as_labels(labels), inputs.shape[-2], network.num_classes)
                    if isinstance(network, Network):
                        network.input_sequence(inputs, mask)


def _check_lengths(train: Dataset, prelabel_timesteps: int) -> None:
    """Tell the user how many training sequences in memory end before the label is shown. A loader's are unknown.

    Raises:
        InputError: all of them do.
    """
    mask = getattr(train.dataset if isinstance(train, RelabeledDataset) else train, "mask", None)
    if not isinstance(mask, torch.Tensor):
        return
    samples = mask.shape[1]
    ended = samples - int(mask[prelabel_timesteps:].any(0).sum())
    text = (
        f"{ended} of {samples} training sequences end before the label is shown, and nothing is learned from them; lower "
        f"network.prelabel_timesteps, which is {prelabel_timesteps}"
    )
    if ended == samples:
        raise InputError(text)
    if ended:
        note_once(text)
