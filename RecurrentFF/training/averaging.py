"""The average of the weights over the last batches, which errs less than any one batch's weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from RecurrentFF.model.network import Network

Tensors = tuple[Tensor, ...] | list[Tensor]


def average(network: Network) -> AveragedModel | None:
    """An exponential moving average of the network's weights, None if the settings want none. `update_parameters` counts in a
    batch's. After n batches the decay is (1 + n) / (10 + n) at most, so that the first weights are soon forgotten."""
    decay = network.settings.model.weight_averaging

    def toward(averages: Tensors, weights: Tensors, batches: Tensor | int) -> None:
        now = min(decay, (1 + float(batches)) / (10 + float(batches)))
        torch._foreach_lerp_(averages, weights, 1 - now)

    return AveragedModel(network, multi_avg_fn=toward) if decay else None
