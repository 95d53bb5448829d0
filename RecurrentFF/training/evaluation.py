"""Evaluate a network: its accuracy on a data set, and by class, with a file of all predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from RecurrentFF.atomic_files import write_text
from RecurrentFF.data.dataset import Dataset, LoaderDataset, is_dataset, require_batch
from RecurrentFF.data.raw import Label, is_pair, require_one_pair
from RecurrentFF.data.task import Task
from RecurrentFF.data.time_first import time_first_data
from RecurrentFF.errors import InputError, OutputError, printable
from RecurrentFF.model.integrity import require_intact, require_network
from RecurrentFF.model.network import Network
from RecurrentFF.model.prediction import Scores, checked_scores, require_method
from RecurrentFF.paths import expanded
from RecurrentFF.settings.network import PredictionMethod
from RecurrentFF.tensors import as_labels, check_labels, errors_at
from RecurrentFF.training.splits import load_splits

Predict = Callable[[Tensor, "Tensor | None"], Tensor]
"""Predicts class numbers, (batch,), from the inputs of a batch and the mask of their valid timesteps."""


class Counts(Protocol):
    """The division of the batches of an evaluation among processes."""

    def has_batch(self, number: int) -> bool:
        """True if this process predicts the batch of this number, from 1."""

    def summed(self, counts: Tensor) -> Tensor:
        """The sum of whole numbers over all processes."""


def accuracy(network: Network, dataset: Dataset, predict: Predict | None = None, counts: Counts | None = None) -> float:
    """Measure the fraction of a data set's samples whose predicted label is the true one, 0 to 1.

    Args:
        network: the network.
        dataset: network inputs and class numbers, as a training has them; `evaluate` takes raw samples.
        predict: predicts class numbers from inputs and their mask; `network.predict_inputs` if left out.
        counts: the division of the batches among several processes; None for one process.

    Raises:
        InputError: the labels change over time (a prediction has one label for the whole sequence), are out of range, or are not
            as many as the inputs.
    """
    predict = predict or network.predict_inputs
    correct, samples = torch.zeros((), dtype=torch.long, device=network.device), 0
    batches = dataset.batches(network.settings.training.prediction_batch_size)
    for number, (inputs, labels, mask) in enumerate(batches, start=1):
        if counts is not None and not counts.has_batch(number):
            continue
        with errors_at(f"accuracy: batch {number}"):
            labels = check_labels(as_labels(labels), inputs.shape[-2], network.num_classes)
            correct += (predict(inputs, mask) == labels.to(network.device)).sum()
        samples += len(labels)
    total = torch.tensor([int(correct), samples])
    right, samples = (total if counts is None else counts.summed(total)).tolist()
    if samples == 0:
        raise InputError("accuracy: no samples; give at least one")
    return float(right / samples)


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
    labels: tuple[Label, ...] = field(repr=False)
    """The name of the true class of each sample."""
    badness: Tensor | None = field(repr=False)
    """The badness of each sample with each class, (samples, classes), of which the predicted class has the lowest.

    The method "propose_and_verify" tries only the classes that the readout proposes: badness is infinite for all others. The
    method "readout" tries none: it is None.
    """
    classes: tuple[Label, ...] = field(repr=False)
    """The class names in the order of their numbers."""
    method: PredictionMethod = "badness"
    """The method of prediction."""
    logits: Tensor | None = field(default=None, repr=False)
    """The readout's logits, (samples, classes), of which the method "readout" predicts the highest; None by "badness"."""

    def write_predictions(self, path: str | Path) -> None:
        """Write a CSV file with a line for each sample: its index, label, prediction, and the numbers of the prediction.

        These are the columns "badness CLASS" for each class, left out for the method "readout" and empty where a class was not
        tried, and the columns "logit CLASS", left out for the method "badness".

        Raises:
            OutputError: the file can't be written.
        """
        file = expanded(path, OutputError, "can't be written")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        tables = {name: table for name, table in (("badness", self.badness), ("logit", self.logits)) if table is not None}
        writer.writerow(["index", "label", "prediction", *(f"{name} {each}" for name in tables for each in self.classes)])
        samples = zip(self.labels, self.predictions, torch.cat(list(tables.values()), 1).tolist(), strict=True)
        for index, (label, prediction, values) in enumerate(samples):
            writer.writerow([index, label, prediction, *("" if value == torch.inf else f"{value:.6g}" for value in values)])
        write_text(file, text.getvalue())

    def __str__(self) -> str:
        """The accuracy, and a table of the classes with the class that each is most often mistaken for."""
        names = [printable(str(name)) for name in self.classes]
        width = max(8, *map(len, names))
        by_method = "" if self.method == "badness" else f", predicted by {self.method}"
        lines = [
            f"accuracy {100 * self.accuracy:.2f} % of {self.samples:,} samples{by_method}",
            f"{'class':<{width}}  {'samples':>9}  {'right':>8}  most often mistaken for",
        ]
        for number, name in enumerate(self.classes):
            row = self.confusion[number]
            if not row.any():
                lines.append(f"{names[number]:<{width}}  no samples")
                continue
            right = f"{100 * self.per_class_accuracy[name]:.2f} %"
            wrong = row.clone()
            wrong[number] = 0
            most = int(wrong.argmax())
            mistaken = f"{names[most]} ({int(wrong[most])})" if wrong.any() else "-"
            lines.append(f"{names[number]:<{width}}  {int(row.sum()):>9,}  {right:>8}  {mistaken}")
        return "\n".join(lines)


def evaluate(
    network: Network,
    data: Any,
    *others: Any,
    method: PredictionMethod | None = None,
    predictions: str | Path | None = None,
    batch_first: bool | None = None,
) -> Evaluation:
    """Predict the classes of labeled samples, and compare them with the labels.

    Args:
        network: the network.
        data: one of

            - (samples, labels): raw samples and class names if the network has a task, else network inputs and class numbers;
            - a DataLoader or another iterable of such pairs, or of (samples, labels, mask), or a data set of torch;
            - a task: its test samples, or its validation samples if it has no test samples. If the network has a task, its
              transform and class numbers are used, and classes are matched by name;
            - a data set of network inputs and class numbers, such as `trainer.splits.test`.
        others: refused; samples and labels are one argument, a pair.
        method: "badness", "readout" or "propose_and_verify", see `Network.predict`; None for that of the network's settings.
        predictions: a CSV file to write, see `Evaluation.write_predictions`.
        batch_first: true if the sequences of a pair or a loader are (batch, timesteps, ...), and masks (batch, timesteps), see
            `fit`.

    Raises:
        InputError: samples or labels don't fit the network, there are none, or they are so large that badness is not finite; the
            network can't predict by the method; or its layers are not those that it was made with.
        DivergenceError: badness is not finite because of the weights.
        DataError: the task has no data.
        OutputError: the file can't be written. To keep the result then, call `Evaluation.write_predictions` instead.

    Examples:
        >>> print(evaluate(network, (images, labels)))
    """
    require_intact(require_network(network, "evaluate(network, data)"))
    require_one_pair("evaluate", others)
    if predictions is not None:  # so that a path that can't be one is refused before the work
        predictions = expanded(predictions, OutputError, "can't be written")
    if isinstance(data, Task) and network.task is not None:
        data = data.adapted_to(network.task)
    classes = _classes(network, data)
    method, scores, labels = require_method(network, method), [], []
    for batch in labeled_batches(network, data, batch_first):
        scores.append(checked_scores(network, batch.x, batch.mask, method).to("cpu"))
        labels.append(batch.labels.cpu())
    if not labels:
        raise InputError("evaluate: no samples; give at least one")
    result = _compared(classes, torch.cat(labels), scores, method)
    if predictions is not None:
        result.write_predictions(predictions)
    return result


def _compared(classes: tuple[Label, ...], true: Tensor, scores: Sequence[Scores], method: PredictionMethod) -> Evaluation:
    """Compare the predictions of all batches with the true class numbers, (samples,)."""
    predicted, badness, logits = map(_joined, zip(*scores, strict=True))
    assert predicted is not None
    confusion = torch.bincount(true * len(classes) + predicted, minlength=len(classes) ** 2).view(len(classes), -1)
    totals, right = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return Evaluation(
        accuracy=sum(right) / len(true),
        per_class_accuracy={name: r / n for name, r, n in zip(classes, right, totals, strict=True) if n},
        confusion=confusion,
        samples=len(true),
        predictions=tuple(classes[number] for number in predicted.tolist()),
        labels=tuple(classes[number] for number in true.tolist()),
        badness=badness,
        classes=classes,
        method=method,
        logits=logits,
    )


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """The tensors of all batches as one; None if they have none."""
    return None if parts[0] is None else torch.cat([part for part in parts if part is not None])


class LabeledBatch(NamedTuple):
    """A batch of labeled samples as a network reads them."""

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


def labeled_batches(
    network: Network, data: Any, batch_first: bool | None = None, caller: str = "evaluate"
) -> Iterator[LabeledBatch]:
    """Yield the data as network inputs and class numbers, checked before the first batch as far as possible.

    Args:
        network: the network.
        data: labeled samples, see `evaluate`.
        batch_first: see `evaluate`.
        caller: the name of the function that a program has called, for messages.

    Raises:
        InputError: samples or labels don't fit the network, or a task has neither test nor validation samples.
        DataError: a task has no data.
    """
    if isinstance(data, Task):
        data = data if network.task is None else data.adapted_to(network.task)
        splits = load_splits(data, network.settings, network.device)
        data = splits.test or splits.validation
        if data is None:
            raise InputError(f"{caller}: the task has neither test nor validation samples")
    elif isinstance(tensors := getattr(data, "tensors", None), tuple):  # torch's own TensorDataset
        data = tensors
    if isinstance(data, torch.utils.data.Dataset) and not is_dataset(data):
        size = network.settings.training.prediction_batch_size
        data = torch.utils.data.DataLoader(data, size, generator=torch.Generator())
    data = time_first_data(data) if batch_first else data
    if is_dataset(data):
        yield from _of_dataset(network, data, caller)
    elif is_pair(data):
        yield _prepared(network, *data, caller=caller, batch_first=False if batch_first else batch_first)
    else:
        yield from _of_loader(network, data, False if batch_first else batch_first, caller)


def _of_dataset(network: Network, dataset: Dataset, caller: str) -> Iterator[LabeledBatch]:
    if isinstance(known := getattr(dataset, "labels", None), Tensor):
        with errors_at(caller):
            check_labels(as_labels(known).cpu(), len(dataset), network.num_classes)
    for inputs, labels, mask in map(require_batch, dataset.batches(network.settings.training.prediction_batch_size)):
        with errors_at(caller):
            labels = check_labels(as_labels(labels), inputs.shape[-2], network.num_classes)
            batch = LabeledBatch(network.input_sequence(inputs, mask), labels, mask)
        yield batch


def _of_loader(
    network: Network, loader: Iterable[Sequence[Any]], batch_first: bool | None, caller: str
) -> Iterator[LabeledBatch]:
    for number, batch in enumerate(LoaderDataset(loader)._raw_batches(0), start=1):
        with errors_at(f"batch {number}"):
            prepared = _prepared(network, *batch, caller=caller, batch_first=batch_first)
        yield prepared


def _prepared(
    network: Network, samples: Any, labels: Any, mask: Any = None, *, caller: str, batch_first: bool | None
) -> LabeledBatch:
    """Samples and labels as the network reads them. The labels are converted first."""
    task = network.task
    numbers = as_labels(labels) if task is None else task.class_numbers(labels)
    x, mask = network.prepare(samples, mask, batch_first)
    with errors_at(caller):
        return LabeledBatch(x, check_labels(numbers, x.shape[3], network.num_classes), mask)
