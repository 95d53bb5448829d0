"""Metrics of an epoch, and the file that they are written to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import BeforeValidator, ConfigDict
from torch import Tensor

from RecurrentFF.atomic_files import write_text
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.network import Network


def require_list(value: object) -> object:
    """Check that a value is a list. A tensor is none: it would be taken apart, into more objects than memory has room for."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list, not a {type(value).__name__}")
    return value


PlainList = BeforeValidator(require_list)
"""The annotation of a list in a checkpoint."""
Numbers = Annotated[list[float], PlainList]
"""A list of numbers in a checkpoint."""


@dataclass(frozen=True)
class EpochMetrics:
    """Metrics of one epoch.

    Lists have one entry for each hidden layer; those of a baseline are empty. Accuracies are fractions from 0 to 1, None if they
    were not measured. Badness is Hinton's goodness with the sign flipped: the mean or sum of h² over the units of a layer, low
    for positive data.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # for the metrics in a checkpoint

    epoch: int
    """Number of the epoch, from 1."""
    seconds: float
    """Duration of the training in seconds, without the evaluation."""
    samples_per_second: float
    """Training samples a second, without the evaluation."""
    learning_rate: float
    """Learning rate of the layers at the epoch's last batch."""
    loss: float
    """Mean loss over layers, timesteps with the label, and samples."""
    pairwise_accuracy: float | None
    """Fraction of the training inputs whose badness was lower for the positive candidate than for the mean of the negative ones.
    None for a model without hidden layers that learn locally, as a baseline."""
    readout_loss: float | None
    """Mean cross-entropy of the readout, the linear softmax classifier on label-free activity. None for such a model."""
    train_accuracy: float | None
    """Accuracy on a fixed subset of the training samples, after the epoch."""
    validation_accuracy: float | None
    """Accuracy on the validation samples, after the epoch."""
    test_accuracy: float | None
    """Accuracy on the test samples, after the epoch. Measured only with `test_every_epoch`."""
    layer_loss: Numbers = field(default_factory=list)
    """Mean loss of each layer."""
    badness_pos: Numbers = field(default_factory=list)
    """Mean badness of each layer for the positive candidates."""
    badness_neg: Numbers = field(default_factory=list)
    """Mean badness of each layer for the negative candidates."""
    weight_norm: Numbers = field(default_factory=list)
    """Euclidean norm of all weights of each layer after the epoch."""
    update_norm: Numbers = field(default_factory=list)
    """Euclidean norm of the weights' change during the epoch."""
    activity_norm: Numbers = field(default_factory=list)
    """Root mean square of the norm ‖h‖ over all samples, labels, and timesteps with the label."""


class Totals:
    """Sums of the metrics over an epoch's batches, weighted by their numbers of samples.

    The sums stay on the device, so that adding a batch does not synchronize with it.

    Args:
        sums: one tensor for each field of BatchMetrics. The default is no batch yet.
        samples: number of samples in these sums.
    """

    def __init__(self, sums: list[Tensor] | None = None, samples: int = 0) -> None:
        self.sums = sums
        self.samples = samples

    def add(self, metrics: BatchMetrics, samples: int) -> None:
        """Add the metrics of a batch of `samples` samples."""
        weighted = [samples * value for value in _scale_badness(metrics, metrics.valid_fraction)]
        self.sums = weighted if self.sums is None else [total + w for total, w in zip(self.sums, weighted, strict=True)]
        self.samples += samples

    def mean(self) -> BatchMetrics:
        """The mean over the samples so far. At least one batch must have been added."""
        assert self.sums is not None
        mean = BatchMetrics(*(total / self.samples for total in self.sums))
        return _scale_badness(mean, 1 / mean.valid_fraction.clamp(min=1e-9))


def total_shapes(network: Network) -> list[tuple[int, ...]]:
    """The shapes of `Totals.sums` in a training of a network, or of a baseline, which has no layers with badness."""
    layers = len(network.hidden_layers())
    timesteps = network.settings.network.label_timesteps if layers else 1
    grid = (timesteps, layers)
    return [(timesteps, max(1, layers)), grid, grid, (), (timesteps, 1), ()]


def _scale_badness(metrics: BatchMetrics, factor: Tensor) -> BatchMetrics:
    """Multiply the badness of each timestep by a factor.

    Converts between a mean over the valid samples of a timestep and a mean over all samples.
    """
    return metrics._replace(badness_pos=metrics.badness_pos * factor, badness_neg=metrics.badness_neg * factor)


def epoch_metrics(
    network: Network,
    totals: Totals,
    weights_before: list[Tensor],
    *,
    epoch: int,
    seconds: float,
    learning_rate: float,
    train_accuracy: float | None,
    validation_accuracy: float | None,
    test_accuracy: float | None,
) -> EpochMetrics:
    """Compute the metrics of an epoch. This synchronizes with the device.

    Args:
        network: the network after the epoch.
        totals: the sums over the epoch's batches.
        weights_before: the layers' weights before the epoch, for the update norm.
        epoch: number of the epoch, from 1.
        seconds: duration of the training.
        learning_rate: learning rate of the layers at the last batch.
        train_accuracy: accuracy on the training subset, None if not measured.
        validation_accuracy: accuracy on the validation samples, None if not measured.
        test_accuracy: accuracy on the test samples, None if not measured.
    """
    mean = totals.mean()
    layers = network.hidden_layers()
    units = torch.tensor([1 if layer.reduction == "sum" else layer.units for layer in layers], device=network.device)
    # The weight of a timestep is its fraction of all valid (sample, timestep) pairs.
    timestep_weight = mean.valid_fraction / mean.valid_fraction.sum().clamp(min=1e-9)
    badness_pos, badness_neg = (timestep_weight * mean.badness_pos).sum(0), (timestep_weight * mean.badness_neg).sum(0)
    changes = [layer.weight_vector() - before for layer, before in zip(layers, weights_before, strict=True)]
    return EpochMetrics(
        epoch=epoch,
        seconds=round(seconds, 3),
        samples_per_second=round(totals.samples / seconds, 1),
        learning_rate=learning_rate,
        loss=mean.loss.mean().item(),
        pairwise_accuracy=mean.pairwise_accuracy.item() if layers else None,
        readout_loss=mean.readout_loss.item() if layers else None,
        train_accuracy=train_accuracy,
        validation_accuracy=validation_accuracy,
        test_accuracy=test_accuracy,
        layer_loss=mean.loss.mean(0).tolist() if layers else [],
        badness_pos=badness_pos.tolist(),
        badness_neg=badness_neg.tolist(),
        weight_norm=[layer.weight_vector().norm().item() for layer in layers],
        update_norm=[change.norm().item() for change in changes],
        activity_norm=((badness_pos + badness_neg) / 2 * units).sqrt().tolist(),
    )


def training_speed(history: list[EpochMetrics]) -> float:
    """Return the training samples a second: those of all epochs, divided by the duration of their training; 0 without epochs."""
    samples = sum(metrics.samples_per_second * metrics.seconds for metrics in history)
    return round(samples / max(1e-9, sum(metrics.seconds for metrics in history)), 1)


def write_metrics(path: Path, history: list[EpochMetrics]) -> None:
    """Write the metrics of all epochs to a file, one JSON object a line."""
    lines = "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history)
    write_text(path, lines)
