"""Record how activity and badness of chosen samples develop over a training, for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from RecurrentFF.model.network import Network
from RecurrentFF.model.recording import record_inputs
from RecurrentFF.tensors import as_labels
from RecurrentFF.training.callbacks.base import Callback

if TYPE_CHECKING:
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.trainer import Trainer


@dataclass(frozen=True)
class Recording:
    """Activity and badness of chosen samples under their labels, without learning and dropout, on the CPU."""

    epoch: int
    """Number of the epoch after which they were recorded, from 1; 0 before training."""
    activity: dict[str, Tensor]
    """The activity h of each recorded layer, (timesteps, units, samples), those before the label first."""
    badness: dict[str, Tensor]
    """The badness of each recorded layer, (timesteps with the label, samples)."""


class Recorder(Callback):
    """A recording of chosen samples after every epoch, in `recordings`, and the metrics of all epochs, in `history`.

    Args:
        inputs: network inputs, (samples, features) or (timesteps, samples, features).
        labels: class numbers, (samples,).
        layers: names of the layers to record, for instance ["h1"]; None for all hidden layers.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, layers: Sequence[str] | None = None) -> None:
        self.inputs = inputs
        self.labels = labels
        self.layers = layers
        self.recordings: list[Recording] = []
        self.history: list[EpochMetrics] = []

    def on_fit_start(self, trainer: Trainer) -> None:
        """Record before training. This refuses inputs and layers that don't fit the network.

        Raises:
            InputError: they don't.
        """
        if trainer.progress.epoch == 0:
            self.recordings = [self._record(trainer, 0)]
        self.history = trainer.history

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Record after an epoch."""
        self.recordings = [recording for recording in self.recordings if recording.epoch < metrics.epoch]  # after a retry
        self.recordings.append(self._record(trainer, metrics.epoch))
        self.history = trainer.history

    def _record(self, trainer: Trainer, epoch: int) -> Recording:
        activity, badness = record(trainer.evaluated, self.inputs, self.labels, self.layers)
        return Recording(epoch, activity, badness)


def record(
    network: Network, inputs: Tensor, labels: Tensor, layers: Sequence[str] | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run network inputs under their labels, without learning and dropout. `rff.record` takes raw samples.

    Args:
        network: the network, which is not changed.
        inputs: network inputs, (samples, features) or (timesteps, samples, features).
        labels: class numbers, (samples,).
        layers: names of the layers to record; None for all hidden layers.

    Returns:
        The activity of each layer, (timesteps, units, samples), and its badness, (timesteps with the label, samples).

    Raises:
        InputError: a layer is not there, or inputs and labels don't fit the network or each other.
    """
    recorded = record_inputs(network, network.input_sequence(inputs), as_labels(labels), layers)
    return recorded.activity, recorded.badness
