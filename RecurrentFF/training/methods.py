"""The methods of prediction in a training: the fastest one for a report between epochs, and all of them at its end.

The accuracy that selects the best epoch, and every accuracy of validation and test samples, is that of the method that the
settings name. The accuracy of the training subset after an epoch is a report that selects nothing: it uses the fastest method
that agrees with the configured one on all of the subset's first `COMPARED_SAMPLES` samples. It can't select an epoch: two methods
that agree on 500 samples may still differ in 0.6 % of all samples (at 95 % confidence), more than two good epochs differ.

The choice depends on predictions, not on measured times, so that a resumed run makes the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Dataset, Splits
from RecurrentFF.errors import InputError
from RecurrentFF.model.network import Network
from RecurrentFF.model.prediction import default_method, usable_methods
from RecurrentFF.settings.network import METHODS, PredictionMethod
from RecurrentFF.tensors import as_labels, check_labels, errors_at
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.stopwatch import Stopwatch

COMPARED_SAMPLES = 500
"""Samples on which a faster method must agree with the configured one, all of them, to be used in its place."""


@dataclass(frozen=True)
class MethodResult:
    """The results of one method of prediction after a training. Accuracies are fractions from 0 to 1."""

    validation_accuracy: float | None
    """Accuracy on the validation set, None without one."""
    test_accuracy: float | None
    """Accuracy on the test set. None without one, and for a method that is slower than that of the settings, see
    `compare_methods`."""
    samples_per_second: float
    """Predicted samples a second, of the validation and test samples that it was measured on."""


# ---------------------------------------------------------------- between epochs


class FastestAgreeing:
    """Predicts as the method of the settings, or as the fastest one that has agreed with it on the first samples.

    Args:
        network: the network.

    Attributes:
        candidates: the faster methods that have agreed so far, the one with the least computation last.
        compared: the samples on which they were compared with the method of the settings.
    """

    def __init__(self, network: Network) -> None:
        own = default_method(network)
        self.network = network
        self.candidates = [each for each in usable_methods(network) if METHODS.index(each) > METHODS.index(own)]
        self.compared = 0

    def __call__(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict the class numbers, (batch,), of network inputs."""
        if self.candidates and self.compared >= COMPARED_SAMPLES:
            return self.network.predict_inputs(inputs, mask, self.candidates[-1])
        expected = self.network.predict_inputs(inputs, mask)
        self.candidates = [
            method for method in self.candidates if torch.equal(self.network.predict_inputs(inputs, mask, method), expected)
        ]
        self.compared += len(expected)
        return expected


def reported_accuracy(network: Network, dataset: Dataset) -> float:
    """Measure an accuracy that selects nothing: as `accuracy`, by the fastest method that agrees with that of the settings."""
    return accuracy(network, dataset, FastestAgreeing(network) if isinstance(network, Network) else None)


# ---------------------------------------------------------------- after the last epoch


def compare_methods(network: Network, splits: Splits, validation_accuracy: float | None) -> dict[str, MethodResult]:
    """Measure all methods that a trained network can predict by on validation and test samples, each of which is read once.

    A method that does more work than that of the settings is measured on validation samples alone, if there are some. To try all
    labels of all test samples would take a twentieth of the time of a short training that predicts by the readout's proposals.

    Args:
        network: the network, with the weights to test.
        splits: the data.
        validation_accuracy: the known validation accuracy by the method of the settings, which is not measured again.

    Returns:
        The results by the name of the method. It is empty if there are neither validation nor test samples.
    """
    methods, own = usable_methods(network), default_method(network)
    known = validation_accuracy is not None and splits.test is not None
    others = [method for method in methods if not (known and method == own)]
    on_validation = _measure(network, splits.validation, others)
    slower = [] if splits.validation is None else METHODS[: METHODS.index(own)]
    on_test = _measure(network, splits.test, [method for method in methods if method not in slower])
    results: dict[str, MethodResult] = {}
    for method in methods:
        parts = [part[method] for part in (on_validation, on_test) if method in part]
        if not parts:
            continue
        validation = on_validation[method].accuracy if method in on_validation else None
        results[method] = MethodResult(
            validation_accuracy=validation_accuracy if method == own and validation_accuracy is not None else validation,
            test_accuracy=on_test[method].accuracy if method in on_test else None,
            samples_per_second=round(sum(part.samples for part in parts) / max(1e-9, sum(part.seconds for part in parts)), 1),
        )
    return results


@dataclass
class _Measured:
    """The counts of one method on one data set."""

    correct: int = 0
    samples: int = 0
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        return self.correct / self.samples


def _measure(network: Network, dataset: Dataset | None, methods: Sequence[PredictionMethod]) -> dict[PredictionMethod, _Measured]:
    """Predict all samples by each of the methods, batch by batch, so that the data are read once."""
    measured: dict[PredictionMethod, _Measured] = {method: _Measured() for method in methods}
    if dataset is None or not methods:
        return {}
    for number, (inputs, labels, mask) in enumerate(dataset.batches(network.settings.training.prediction_batch_size), start=1):
        with errors_at(f"accuracy: batch {number}"):
            labels = check_labels(as_labels(labels), inputs.shape[-2], network.num_classes)
            inputs = inputs.to(network.device)
            for method, result in measured.items():
                clock = Stopwatch()
                numbers = network.predict_inputs(inputs, mask, method)
                result.correct += int((numbers == labels.to(network.device)).sum())  # waits for the device
                result.seconds += clock.seconds
                result.samples += len(labels)
    if not all(result.samples for result in measured.values()):
        raise InputError("accuracy: no samples; give at least one")
    return measured
