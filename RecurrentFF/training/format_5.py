"""Translate checkpoints of format 5 into the present format. They have the layers by number, and other names for the same."""

from __future__ import annotations

from typing import Any

from torch import Tensor

RENAMED_METRICS = {"pairs_right": "pairwise_accuracy", "classifier_loss": "readout_loss"}
"""Metrics of an epoch that had other names in format 5."""


def translate(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint of format 5, as the present format has it.

    Args:
        content: the checkpoint's content, which is not changed.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: the content is not of format 5.
    """
    translated = content | {"network": _network(content["network"])}
    if "learner" in content:
        layers, readout = (content["learner"][name] for name in ("optimisers", "classifier_optimiser"))  # codespell:ignore
        optimizers = {f"h{number}": _swap(state) for number, state in enumerate(layers, start=1)}
        translated["learner"] = {"optimizers": optimizers, "negatives": readout}
    if "totals" in content:
        weights = [weight.flatten() for weight in content["totals"]["weights_before"]]
        translated["totals"] = content["totals"] | {"weights_before": weights}
    if "history" in content:
        translated["history"] = [_metrics(epoch) for epoch in content["history"]]
    if isinstance(content.get("metrics"), dict):
        translated["metrics"] = _metrics(content["metrics"])
    for name in ("average", "best"):
        if content.get(name) is not None:
            translated[name] = _network(content[name])
    return translated


def _metrics(epoch: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED_METRICS.get(name, name): value for name, value in epoch.items()}


def _network(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dictionary: layers.0.weight becomes layers.h1.connections.0.weight, and classifier_weight readout.weight."""
    return {_name(name): tensor for name, tensor in weights.items()}


def _name(name: str) -> str:
    head, separator, rest = name.rpartition("layers.")
    number, _, parameter = rest.partition(".")
    if separator and number.isdecimal():
        return f"{head}layers.h{int(number) + 1}.{'connections.0.weight' if parameter == 'weight' else parameter}"
    return name.replace("classifier_", "readout.")


def _swap(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a layer's optimizer. Those of torch.optim had the weight before the bias, and now have it after."""
    if "state" not in state:
        return state
    return state | {"state": {1 - index: values for index, values in state["state"].items()}}
