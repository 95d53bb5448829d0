"""An exponential moving average of the weights over the batches. It usually generalizes better than the last weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from RecurrentFF.training.callbacks.base import Callback

if TYPE_CHECKING:
    from RecurrentFF.model.learner import BatchMetrics
    from RecurrentFF.model.network import Network
    from RecurrentFF.training.trainer import Trainer

Tensors = tuple[Tensor, ...] | list[Tensor]


class WeightAveraging(Callback):
    """An exponential moving average of the weights, which is evaluated and saved as the best in place of the trained weights.

    After n batches the decay is at most (1 + n) / (10 + n), so that the average soon forgets the initial weights.

    Args:
        decay: the weight of the previous average after each batch, from 0 to below 1.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: AveragedModel | None = None

    def setup(self, trainer: Trainer) -> None:
        """Copy the network, and let the trainer evaluate the copy."""
        self._average = AveragedModel(trainer.network, multi_avg_fn=self._update)
        trainer.evaluated = cast("Network", self._average.module)

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        """Add the weights after a batch."""
        assert self._average is not None
        self._average.update_parameters(trainer.network)

    def state_dict(self) -> dict[str, Any]:
        """The average, and the number of batches in it."""
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from an average."""
        assert self._average is not None
        self._average.load_state_dict(state)

    def _update(self, averages: Tensors, weights: Tensors, batches: Tensor | int) -> None:
        decay = min(self.decay, (1 + float(batches)) / (10 + float(batches)))
        torch._foreach_lerp_(averages, weights, 1 - decay)
