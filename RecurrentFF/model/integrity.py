"""The checks that a value is a network, and that a network is still as it was made.

A program can replace any attribute of a network, and odd errors would follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from RecurrentFF.errors import InputError
from RecurrentFF.model.activations import Activation
from RecurrentFF.model.layers import Layer
from RecurrentFF.settings import Settings

if TYPE_CHECKING:  # the network imports this module
    from RecurrentFF.model.network import Network

_ADVICE = "make a new network, as in Network(settings, modules=…)"


class Made(NamedTuple):
    """The layers and weights of a network when it was made."""

    layers: Mapping[str, nn.Module]
    """The local modules by name."""
    shapes: Mapping[str, tuple[int, ...]]
    """The shape of each parameter by its name."""

    @classmethod
    def of(cls, network: Network) -> Made:
        """Describe a network."""
        return cls(dict(network.layers.items()), _shapes(network))


def _require_own_weights(network: Network) -> None:
    """Raise InputError if a weight is computed from others, for instance by pruning: no update would reach it."""
    for name, module in network.named_modules():
        hooks = [type(hook).__module__ for hook in module._forward_pre_hooks.values()]
        if is_parametrized(module) or any(home.startswith("torch.nn.utils") for home in hooks):
            raise InputError(
                f"{name}: its weights are pruned or parametrized, which a network does not follow; make them permanent, with "
                "torch.nn.utils.prune.remove or torch.nn.utils.parametrize.remove_parametrizations"
            )


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def require_network(value: Any, place: str) -> Network:
    """Return a value if it is a network.

    Args:
        value: what a program has passed in place of a network.
        place: the call with its arguments in their order, for the message, such as "fit(network, data)".

    Raises:
        InputError: it is something else.
    """
    if isinstance(value, nn.Module) and isinstance(getattr(value, "_made", None), Made):
        return cast("Network", value)
    found = f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
    hint = "give classifier.network_" if hasattr(value, "network_") else "mind the order of the arguments"
    raise InputError(f"{place}: the network is {found}, expected one from rff.build or rff.load; {hint}")


def require_intact(network: Network) -> None:
    """Check that settings, layers, activations and the shapes of all weights of a network are such as it can compute with.

    Raises:
        InputError: they are not. The message names the first attribute at fault.
    """
    if not isinstance(network.settings, Settings):
        kind = type(network.settings).__name__
        raise InputError(f"network.settings is of type {kind}: expected Settings, as in Settings.from_arguments(…)")
    _require_own_weights(network)
    made, layers = network._made, dict(network.layers.items())
    for name in [*made.layers, *layers]:
        found = layers.get(name)
        if found is None or found is not made.layers.get(name):
            what = "missing" if found is None else f"another module than the one that the network was made with, a {_kind(found)}"
            raise InputError(f"network.layers['{name}'] is {what}; {_ADVICE}")
        if isinstance(found, Layer) and not isinstance(found.activation, Activation):
            raise InputError(
                f"network.layers['{name}'].activation is of type {_kind(found.activation)}: expected an activation of this "
                "package, or a subclass of rff.Activation"
            )
    expected, present = made.shapes, _shapes(network)
    for name in [*expected, *present]:
        if expected.get(name) != present.get(name):
            found_shape, made_shape = (shapes.get(name, "absent") for shapes in (present, expected))
            raise InputError(f"network.{name}: {found_shape}, but {made_shape} when the network was made; {_ADVICE}")


def _kind(value: object) -> str:
    return type(value).__name__
