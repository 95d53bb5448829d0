"""Evaluate a network: its accuracy on a data set, and by class, with a file of all predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.atomic_files import write_text
from RecurrentFF.data.dataset import Dataset, LoaderDataset, is_dataset
from RecurrentFF.data.raw import Label, as_class_numbers, is_pair
from RecurrentFF.data.task import Task
from RecurrentFF.errors import InputError
from RecurrentFF.model.network import Network
from RecurrentFF.training.splits import load_splits, require_labels


def accuracy(network: Network, dataset: Dataset) -> float:
    """Measure the fraction of a data set's samples whose predicted label is the true one, 0 to 1.

    Args:
        network: the network.
        dataset: network inputs and class numbers, as a training has them; `evaluate` takes raw samples.

    Raises:
        InputError: the labels change over time (a prediction has one label for the whole sequence), are out of range, or are not
            as many as the inputs.
    """
    correct, samples = torch.zeros((), dtype=torch.long, device=network.device), 0
    for inputs, labels, mask in dataset.batches(network.settings.training.prediction_batch_size):
        _require_class_numbers(labels, inputs.shape[-2], network.num_classes, "accuracy")
        correct += (network.predict_inputs(inputs, mask) == labels.to(network.device)).sum()
        samples += len(labels)
    if samples == 0:
        raise InputError("accuracy: no samples; give at least one")
    return correct.item() / samples


@dataclass(frozen=True)
class Evaluation:
    """The predictions of a network for labeled samples. Accuracies are fractions from 0 to 1. `print` it for a table."""

    accuracy: float
    """The fraction of samples whose predicted class is the true one."""
    per_class_accuracy: dict[Label, float]
    """The accuracy on the samples of each class, by class name. A class without samples is left out."""
    confusion: Tensor
    """The number of samples by true class (rows) and predicted class (columns), (classes, classes)."""
    samples: int
    """The number of samples."""
    predictions: tuple[Label, ...] = field(repr=False)
    """The name of the predicted class of each sample."""
    classes: tuple[Label, ...] = field(repr=False)
    """The class names in the order of their numbers."""

    def __str__(self) -> str:
        """The accuracy, and a table of the classes with the class that each is most often mistaken for."""
        width = max(8, *(len(str(name)) for name in self.classes))
        lines = [
            f"accuracy {100 * self.accuracy:.2f} % of {self.samples:,} samples",
            f"{'class':<{width}}  {'samples':>9}  {'right':>8}  most often mistaken for",
        ]
        for number, name in enumerate(self.classes):
            row = self.confusion[number]
            right = f"{100 * self.per_class_accuracy[name]:.2f} %" if name in self.per_class_accuracy else "-"
            wrong = row.clone()
            wrong[number] = 0
            most = int(wrong.argmax())
            mistaken = f"{self.classes[most]} ({int(wrong[most])})" if wrong.any() else "-"
            lines.append(f"{name!s:<{width}}  {int(row.sum()):>9,}  {right:>8}  {mistaken}")
        return "\n".join(lines)


def evaluate(network: Network, data: Any, *, predictions: str | Path | None = None) -> Evaluation:
    """Predict the classes of labeled samples, and compare them with the labels.

    Args:
        network: the network.
        data: one of
            - (samples, labels): raw samples and class names if the network has a task, else network inputs and class numbers;
            - a DataLoader or another iterable of such pairs, or of (samples, labels, mask);
            - a task: its test samples, or its validation samples if it has no test samples. If the network has a task, its
              transform and class numbers are used, and classes are matched by name;
            - a data set of network inputs and class numbers, such as `trainer.splits.test`.
        predictions: a CSV file to write, with a line for each sample: its index, label, prediction, and badness with each class.

    Raises:
        InputError: samples or labels don't fit the network, or there are none.
        DataError: the task has no data.
        OutputError: the file can't be written.

    Example:
        >>> print(evaluate(network, (images, labels)))
    """
    if isinstance(data, Task) and network.task is not None:
        data = data.adapted_to(network.task)
    classes = _classes(network, data)
    badness, labels = [], []
    for batch in _batches(network, data):
        badness.append(network.badness_of(batch.x, batch.mask).cpu())
        labels.append(batch.labels.cpu())
    if not labels:
        raise InputError("evaluate: no samples; give at least one")
    all_badness, true = torch.cat(badness), torch.cat(labels)
    predicted = all_badness.argmin(1)
    if predictions is not None:
        write_text(Path(predictions), _table(classes, true, predicted, all_badness))
    confusion = torch.bincount(true * len(classes) + predicted, minlength=len(classes) ** 2).view(len(classes), -1)
    totals, right = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return Evaluation(
        accuracy=sum(right) / len(true),
        per_class_accuracy={name: r / n for name, r, n in zip(classes, right, totals, strict=True) if n},
        confusion=confusion,
        samples=len(true),
        predictions=tuple(classes[number] for number in predicted.tolist()),
        classes=classes,
    )


class _Batch(NamedTuple):
    x: Tensor
    """Inputs in the network's layout, (timesteps or 1, features, 1, batch)."""
    labels: Tensor
    """Class numbers, (batch,)."""
    mask: Tensor | None


def _classes(network: Network, data: Any) -> tuple[Label, ...]:
    task = data if isinstance(data, Task) else network.task
    if task is None:
        return tuple(range(network.num_classes))
    if task.num_classes != network.num_classes:
        raise InputError(f"the task '{task.name}' has {task.num_classes} classes, but the network {network.num_classes}")
    return task.classes


def _batches(network: Network, data: Any) -> Iterator[_Batch]:
    """The data as network inputs and class numbers, checked before the first batch as far as possible."""
    if isinstance(data, Task):
        splits = load_splits(data, network.settings, network.device)
        data = splits.test or splits.validation
        if data is None:
            raise InputError("evaluate: the task has neither test nor validation samples")
    elif isinstance(tensors := getattr(data, "tensors", None), tuple):  # torch's own TensorDataset
        data = tensors
    if is_dataset(data):
        yield from _of_dataset(network, data)
    elif is_pair(data):
        yield _prepared(network, *data)
    else:
        yield from _of_loader(network, data)


def _of_dataset(network: Network, dataset: Dataset) -> Iterator[_Batch]:
    require_labels(dataset, network.num_classes, "evaluate")
    for inputs, labels, mask in dataset.batches(network.settings.training.prediction_batch_size):
        _require_class_numbers(labels, inputs.shape[-2], network.num_classes, "evaluate")
        yield _Batch(network.input_sequence(inputs), labels, mask)


def _of_loader(network: Network, loader: Iterable[Sequence[Any]]) -> Iterator[_Batch]:
    LoaderDataset(loader)  # refuses what is no loader
    for batch in loader:
        if not (isinstance(batch, tuple | list) and len(batch) in (2, 3)):
            raise InputError(f"a batch of type {type(batch).__name__}: expected (samples, labels) or (samples, labels, mask)")
        yield _prepared(network, *batch)


def _prepared(network: Network, samples: Any, labels: Any, mask: Tensor | None = None) -> _Batch:
    """Samples and labels as the network reads them. The labels are checked first."""
    if network.task is not None:
        numbers = network.task.class_numbers(labels)
    else:
        numbers = as_class_numbers(labels)
        _require_class_numbers(numbers, None, network.num_classes, "evaluate")
    x, mask = network.prepare(samples, mask)
    if x.shape[3] != len(numbers):
        raise InputError(f"evaluate: {x.shape[3]} samples but {len(numbers)} labels; give one label to each sample")
    return _Batch(x, numbers, mask)


def _require_class_numbers(labels: Tensor, samples: int | None, classes: int, place: str) -> None:
    """Check labels. Values on a GPU are not checked, because that would synchronize with it.

    Raises:
        InputError: they are not one class number for each sample.
    """
    if labels.dim() != 1:
        raise InputError(f"{place}: labels of shape {tuple(labels.shape)}; expected one for each sample, (samples,)")
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"{place}: labels of type {labels.dtype}; expected integer class numbers")
    if samples is not None and len(labels) != samples:
        raise InputError(f"{place}: {samples} samples but {len(labels)} labels; give one label to each sample")
    if labels.device.type == "cpu" and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"{place}: labels run from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}")


def _table(classes: Sequence[Label], true: Tensor, predicted: Tensor, badness: Tensor) -> str:
    """The predictions as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "label", "prediction", *(f"badness {name}" for name in classes)])
    for index, (label, prediction, values) in enumerate(zip(true.tolist(), predicted.tolist(), badness.tolist(), strict=True)):
        writer.writerow([index, classes[label], classes[prediction], *(f"{value:.6g}" for value in values)])
    return text.getvalue()
