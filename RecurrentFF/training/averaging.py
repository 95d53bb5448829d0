"""An exponential moving average of the weights over the batches. It usually generalizes better than the last weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from RecurrentFF.model.network import Network

Tensors = tuple[Tensor, ...] | list[Tensor]


def average(network: Network) -> AveragedModel | None:
    """Make an exponential moving average of a network's weights.

    After n batches the decay is at most (1 + n) / (10 + n), so that the average soon forgets the initial weights.

    Returns:
        The average, None if `weight_averaging` is 0. Its `update_parameters` adds the weights after a batch.
    """
    decay = network.settings.model.weight_averaging

    def update(averages: Tensors, weights: Tensors, batches: Tensor | int) -> None:
        current_decay = min(decay, (1 + float(batches)) / (10 + float(batches)))
        torch._foreach_lerp_(averages, weights, 1 - current_decay)

    return AveragedModel(network, multi_avg_fn=update) if decay else None
