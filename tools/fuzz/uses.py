"""The uses of a network: predictions, reconstructions, completions and new samples, with valid arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import RecurrentFF as rff
from RecurrentFF.settings.network import METHODS

USES: dict[str, tuple[str, ...]] = {
    "predict": ("samples", "mask", "method", "batch_first"),
    "predict_proba": ("samples", "mask", "method", "scale", "batch_first"),
    "predict_inputs": ("inputs", "mask", "method"),
    "logits": ("samples", "mask", "batch_first"),
    "reconstruct": ("samples", "label", "level"),
    "complete": ("samples", "visible_mask", "steps", "label"),
    "generate": ("labels", "n", "seed", "temperature", "steps"),
}
"""The methods of a network that are called, with their arguments."""


def needed(network: rff.Network, use: str) -> dict[str, Any]:
    """Valid values of the arguments that have no default."""
    shape = (network.input_size,) if network.task is None else network.task.input_shape
    label = 0 if network.task is None else network.task.classes[0]
    values = {
        "samples": torch.zeros(3, *shape),
        "inputs": torch.zeros(3, network.input_size),
        "visible_mask": torch.ones(shape),
        "labels": [label],
    }
    return {name: value for name, value in values.items() if name in USES[use]}


def uses_of(network: rff.Network) -> list[Callable[[], Any]]:
    """Calls of all methods with valid arguments, and of a prediction by each of its methods."""
    calls = [partial(getattr(network, use), **needed(network, use)) for use in USES]
    return calls + [partial(network.predict, needed(network, "predict")["samples"], method=method) for method in METHODS]
