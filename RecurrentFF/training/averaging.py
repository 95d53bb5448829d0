"""The average of the weights over the last batches, which errs less than any one batch's weights."""

from __future__ import annotations

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from RecurrentFF.model.network import Network


def average(network: Network) -> AveragedModel | None:
    """An exponential moving average of the network's weights, None if the settings want none. `update_parameters` counts in a
    batch's."""
    decay = network.settings.model.weight_averaging
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None  # type: ignore[no-untyped-call]
