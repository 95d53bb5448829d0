"""What a run reports after every epoch, and the file it goes to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.network import Network
from RecurrentFF.writing import write_text


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch. Lists have one entry for each hidden layer; accuracies are shares (0 to 1), None where not measured."""

    epoch: int
    """From 1."""
    seconds: float
    """Training alone, without the evaluation."""
    samples_per_second: float
    learning_rate: float
    """At the epoch's last batch, of the layers."""
    loss: float
    """Mean over layers, timesteps with label, and samples."""
    pairs_right: float
    """Share of training inputs that had lower badness under the true label than under their wrong one."""
    classifier_loss: float
    train_accuracy: float | None
    validation_accuracy: float | None
    test_accuracy: float | None
    layer_loss: list[float] = field(default_factory=list)
    badness_pos: list[float] = field(default_factory=list)
    badness_neg: list[float] = field(default_factory=list)
    weight_norm: list[float] = field(default_factory=list)
    """Frobenius norm of [W_f | W_lat | −W_b] after the epoch."""
    update_norm: list[float] = field(default_factory=list)
    """Frobenius norm of the weight's change in this epoch."""
    activity_norm: list[float] = field(default_factory=list)
    """Root mean square, over all rows and timesteps with label, of the length of h."""


class Totals:
    """The sums over an epoch's batches, weighted by their samples; on the device, so that adding waits for nothing."""

    def __init__(self, sums: list[Tensor] | None = None, samples: int = 0) -> None:
        self.sums = sums
        self.samples = samples

    def add(self, metrics: BatchMetrics, samples: int) -> None:
        """Count a batch in."""
        weighted = [samples * value for value in _with_badness(metrics, metrics.counted)]
        self.sums = weighted if self.sums is None else [total + w for total, w in zip(self.sums, weighted, strict=True)]
        self.samples += samples

    def mean(self) -> BatchMetrics:
        """The mean over the samples so far, of which there must be some."""
        assert self.sums is not None
        mean = BatchMetrics(*(total / self.samples for total in self.sums))
        return _with_badness(mean, 1 / mean.counted.clamp(min=1e-9))


def _with_badness(metrics: BatchMetrics, factor: Tensor) -> BatchMetrics:
    """The metrics with the badness of each timestep multiplied: it is a mean over what counts, not over all samples."""
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
    """Read the epoch's numbers off the device."""
    mean = totals.mean()
    layers = list(network.hidden_layers())
    units = torch.tensor([1 if layer.summed else layer.units for layer in layers], device=network.device)
    share = mean.counted / mean.counted.sum().clamp(min=1e-9)  # of each timestep in all that counts
    badness_pos, badness_neg = (share * mean.badness_pos).sum(0), (share * mean.badness_neg).sum(0)
    changes = [layer.weight - before for layer, before in zip(layers, weights_before, strict=True)]
    return EpochMetrics(
        epoch=epoch,
        seconds=round(seconds, 3),
        samples_per_second=round(totals.samples / seconds, 1),
        learning_rate=learning_rate,
        loss=mean.loss.mean().item(),
        pairs_right=mean.pairs_right.item(),
        classifier_loss=mean.classifier_loss.item(),
        train_accuracy=train_accuracy,
        validation_accuracy=validation_accuracy,
        test_accuracy=test_accuracy,
        layer_loss=mean.loss.mean(0).tolist(),
        badness_pos=badness_pos.tolist(),
        badness_neg=badness_neg.tolist(),
        weight_norm=[layer.weight.norm().item() for layer in layers],
        update_norm=[change.norm().item() for change in changes],
        activity_norm=((badness_pos + badness_neg) / 2 * units).sqrt().tolist(),
    )


def write_metrics(path: Path, history: list[EpochMetrics]) -> None:
    """All epochs so far as JSON lines, one for each."""
    lines = "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history)
    write_text(path, lines)
