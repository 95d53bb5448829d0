"""The readout of a network whose layers may be divided among processes: each process has the columns of its own layers."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from RecurrentFF.model.network import Network


def own_columns(network: Network) -> slice:
    """The columns of the readout's weight for the hidden layers of this process, which are neighbors."""
    layers = network.hidden_layers()
    edges = pairwise(accumulate((layer.units for layer in layers), initial=0))
    own = [edge for layer, edge in zip(layers, edges, strict=True) if network.processes.has(layer.name)]
    return slice(own[0][0], own[-1][1]) if own else slice(0, 0)


def logits_of(network: Network, features: Tensor) -> Tensor:
    """The readout's logits, (batch, classes), to which the layers of all processes contribute.

    Args:
        network: the network.
        features: (batch, features), the normalized activity of this process's hidden layers, see `Network.hidden_pattern`.
    """
    (logits,) = network.processes.sum_over_layers(network.readout.drive(features, own_columns(network)))
    return logits + network.readout.bias
