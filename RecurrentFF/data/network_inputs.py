"""Data sets of network inputs, made of raw samples by the transform of a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Batch, Dataset, LabeledSamples, LoaderDataset, SequenceDataset, TensorDataset, is_dataset
from RecurrentFF.data.panels import KEPT_SAMPLES, some_of_each_class
from RecurrentFF.data.raw import as_class_names, is_pair
from RecurrentFF.data.task import Task
from RecurrentFF.data.transforms import Prepared, Transform, as_given
from RecurrentFF.errors import InputError
from RecurrentFF.tensors import as_numbers, errors_at


class TransformedLoader(LoaderDataset):
    """A loader's batches, transformed on a device."""

    def __init__(
        self,
        loader: Iterable[Sequence[Any]],
        task: Task,
        device: torch.device,
        timesteps: int | None,
        seed: int | None = None,
    ) -> None:
        super().__init__(loader, seed=seed)
        self.task = task
        self.device = device
        self.timesteps = timesteps

    def _batch(self, samples: Any, labels: Any, mask: Any) -> Batch:
        """Convert a batch as the loader gives it to network inputs and class numbers."""
        valid = None if mask is None else as_numbers(mask, "mask").to(self.device)
        prepared = self.task.prepare(as_numbers(samples).to(self.device), self.timesteps, valid)
        return Batch(prepared.inputs, self.task.class_numbers(labels).to(self.device), prepared.mask if valid is None else valid)

    def _sample_count(self, number: int, samples: Any, labels: Any, mask: Any) -> int:
        with errors_at(f"batch {number}"):
            return len(as_class_names(labels))


def dataset_of(samples: LabeledSamples, transform: Transform, timesteps: int | None) -> Dataset:
    """Make a data set of the network inputs of raw samples, all of them computed at once.

    Args:
        samples: raw samples (n, *input_shape).
        transform: the transform to network inputs.
        timesteps: number of timesteps of a transform to sequences.
    """
    prepared = transform.prepare(as_given(samples.samples, transform), timesteps)
    return prepared_dataset(prepared, samples.labels, samples.samples[some_of_each_class(samples.labels, KEPT_SAMPLES)])


def prepared_dataset(prepared: Prepared, labels: Tensor, kept: Tensor | None = None) -> Dataset:
    """Make a data set of network inputs and class numbers (n,).

    Args:
        prepared: the network inputs.
        labels: the class numbers.
        kept: the raw samples of `samples_to_show`, for pictures; None for none.

    Raises:
        InputError: their numbers differ.
    """
    if prepared.inputs.shape[-2] != len(labels):
        raise InputError(f"{prepared.inputs.shape[-2]} samples and {len(labels)} labels: expected as many of each")
    dataset: TensorDataset | SequenceDataset
    if prepared.inputs.dim() == 2:
        dataset = TensorDataset(prepared.inputs, labels)
    else:
        dataset = SequenceDataset(prepared.inputs, labels, prepared.mask)
    dataset.kept = kept
    return dataset


def separate_dataset(task: Task, data: Any, device: torch.device, timesteps: int | None, seed: int | None = None) -> Dataset:
    """Make a data set of network inputs from data beside the training samples of a task.

    Args:
        task: the task, whose transform and classes are those of the data.
        data: (samples, labels), a loader of such batches, or a data set of network inputs, which is returned unchanged.
        device: the device of the network inputs.
        timesteps: number of timesteps of a transform to sequences.
        seed: the seed of the order of a loader, see `LoaderDataset`.

    Raises:
        InputError: samples or labels are not those of the task.
    """
    if is_dataset(data):
        return data
    if is_pair(data):
        prepared = task.prepare(as_numbers(data[0]).to(device), timesteps)
        return prepared_dataset(prepared, task.class_numbers(data[1]).to(device))
    return TransformedLoader(data, task, device, timesteps, seed)
