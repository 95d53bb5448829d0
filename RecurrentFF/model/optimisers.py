"""The optimisers that the settings name, from torch.optim. One for each layer: an update never looks at another layer."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Adadelta, AdamW, Optimizer, RMSprop

from RecurrentFF.settings import ModelSettings


def layer_optimiser(settings: ModelSettings, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The `ff_optimizer` over one layer's parameters."""
    return _make(settings, "ff", parameters)


def classifier_optimiser(settings: ModelSettings, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The `classifier_optimizer`."""
    return _make(settings, "classifier", parameters)


def _make(settings: ModelSettings, owner: str, parameters: Iterable[nn.Parameter]) -> Optimizer:
    name = getattr(settings, f"{owner}_optimizer")
    options = getattr(settings, f"{owner}_{name}").model_dump()
    rate = options.pop("learning_rate")
    parameters = list(parameters)
    if name == "rmsprop":
        return RMSprop(parameters, lr=rate, **options)
    if name == "adam":
        # One pass over memory where the device has it.
        fused = parameters[0].device.type in ("cpu", "cuda") and parameters[0].dtype in (torch.float32, torch.float64)
        return AdamW(parameters, lr=rate, fused=fused, **options)
    return Adadelta(parameters, lr=rate, **options)
