"""The weights of a network: their number, and the comparison with those in a checkpoint or of a configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from RecurrentFF.errors import CheckpointError
from RecurrentFF.model.network import Network
from RecurrentFF.model.normalization import BatchNormalization
from RecurrentFF.registry import tree_of
from RecurrentFF.settings import Settings
from RecurrentFF.training.content import Checkpoint


def weight_count(network: Network) -> int:
    """The number of a network's weights. Those of a readout that nothing trains do not count."""
    count = sum(parameter.numel() for parameter in network.parameters())
    if network.settings.negatives.trains_readout:
        return count
    return count - sum(parameter.numel() for parameter in network.readout.parameters())


def shapes_of(settings: Settings) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the weights that settings describe, found without memory for them; None if that is not possible.

    Raises:
        RecurrentFFError, ValueError: there is no such network.
    """
    try:
        with FakeTensorMode():  # tensors with shapes and without memory
            return {name: tuple(tensor.shape) for name, tensor in Network(settings).state_dict().items()}
    except RuntimeError:  # a connection of the user's own looks at its weights when it is made
        return None


def require_usable(weights: Mapping[str, Tensor], network: Network, path: str | Path) -> None:
    """Check that weights of the right shapes have the types of a network's own, and that its parameters are finite.

    Raises:
        CheckpointError: they have not.
    """
    for name, own in network.state_dict().items():
        if weights[name].dtype != own.dtype:
            raise CheckpointError(
                f"{path}: {name} of type {weights[name].dtype}, but that of this network is {own.dtype}; convert either before"
            )
    for name, _ in network.named_parameters():
        if not weights[name].isfinite().all():
            raise CheckpointError(
                f"{path}: {name} is not finite: it has values that are NaN or infinite; use an earlier checkpoint"
            )
    _require_usable_statistics(weights, network, path)


def _require_usable_statistics(weights: Mapping[str, Tensor], network: Network, path: str | Path) -> None:
    """Check that the running statistics of batch normalization are finite, and that variances and counts are not negative.

    Raises:
        CheckpointError: they are not.
    """
    normalizing = [name for name, module in network.named_modules() if isinstance(module, BatchNormalization)]
    for name in (f"{module}.{buffer}" for module in normalizing for buffer in ("mean", "variance", "updates")):
        lowest = -math.inf if name.endswith("mean") else 0
        if not weights[name].isfinite().all() or (weights[name] < lowest).any():
            raise CheckpointError(f"{path}: {name} has values that no training gives; use an earlier checkpoint")


def with_circuit_of(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of hidden layers and readout, and of a generative circuit if the network has one.

    Args:
        network: a network with or without a circuit.
        weights: the weights of a network that may have a circuit; if it has none, that of `network` is taken.
    """
    layers = tuple(f"layers.{name}." for name in network.sizes)
    own = {name: weight for name, weight in network.state_dict().items() if not _is_of_layers(name, layers)}
    given = {name: weight for name, weight in weights.items() if not _is_of_layers(name, layers)}
    common = {name: weight for name, weight in weights.items() if name not in given}
    return common | ({} if not own else given or own)


def _is_of_layers(name: str, layers: tuple[str, ...]) -> bool:
    """True if a weight is one of hidden layers, whose prefixes are given, or of the readout."""
    return name.startswith(layers) or not name.startswith("layers.")


def require_same_forms(
    saved: Checkpoint, saved_settings: Settings, expected: Mapping[str, Any], own: Settings, path: str | Path
) -> None:
    """Raise CheckpointError if names, shapes or meaning of the weights in the file are not the expected ones."""
    shapes = {name: tuple(shape) for name, shape in expected.items()}
    found = {name: tuple(tensor.shape) for name, tensor in saved.network.items()}
    if shapes != found or _differ(_features(saved_settings), _features(own)):
        architectures = _architecture(saved_settings), _architecture(own)
        detail = f" ({_first_difference(found, shapes)})" if architectures[0] == architectures[1] else ""
        raise CheckpointError(
            f"{path}: weights of another architecture, {architectures[0]}; this network is {architectures[1]}{detail}"
        )


def _first_difference(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    """Describe the first tensor whose shape in the file is not that in the network."""
    name = next(name for name in [*expected, *found] if expected.get(name) != found.get(name))
    return f"{name}: {found.get(name, 'absent')} in the file, {expected.get(name, 'absent')} here"


def _architecture(settings: Settings) -> str:
    network, residuals = settings.network, settings.network.residual_connections
    widths = "-".join(str(n) for n in (network.input_size, *network.hidden_sizes, network.num_classes))
    kinds = [tree_of(connection)["name"] for connection in network.connections]
    features = _features(settings)
    transform = features.pop("name", "")
    options = ", ".join(f"{key} {value}" for key, value in features.items())
    return (
        widths
        + (f" with connections of kind {', '.join(kinds)}" if kinds else "")
        + (f" on {transform}" if transform else "")
        + (f" ({options})" if options else "")
        + (f" with residual connections {[list(pair) for pair in residuals]}" if residuals else "")
    )


def _features(settings: Settings) -> dict[str, Any]:
    """The options of the transform that decide what an input means; empty if the network takes the inputs as given."""
    corrections = ("deskew", "size_normalization", "mean", "std")
    tree = {} if settings.transform is None else tree_of(settings.transform)
    return {key: value for key, value in tree.items() if key not in corrections}


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one) and bool(other) and one != other
