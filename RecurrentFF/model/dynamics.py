r"""One timestep of a hidden layer.

    z  = W_f · below + W_lat · n(h) − W_b · above + b
    h' = (1 − d)·h + d·activation(z)
    badness = mean(h'²) over the layer's units
    n(h') = h' / sqrt(mean(h'²) + ε)

where *below* and *above* are the normalised activities of the neighbours (the input and the label at the ends), all taken
from the previous timestep, so that all layers move at once. The minus sign makes top-down activity a prediction that
cancels what comes up. (Hinton 2022, arXiv:2212.13345, the recurrent network of section 3.4, with its objective inverted.)

The three drives are one product: the columns of `weight` are [W_f | W_lat | −W_b], those of `state` [below | n(h) | above].
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from RecurrentFF.model.activations import Activation


class Connection(NamedTuple):
    """A run of columns of the state that a layer reads, and the columns of its weight that meet them."""

    state: slice
    weight: slice


def drive(
    state: Tensor, weight: Tensor, bias: Tensor, connections: Sequence[Connection], masks: Sequence[Tensor] | None = None
) -> Tensor:
    """z, in the type of `bias`.

    Args:
        state: (rows, width), what the network looked like at the previous timestep.
        weight: (units, columns), in the type of `state`.
        bias: (units,).
        connections: which columns meet; their drives are summed.
        masks: dropout, one (rows, units) factor for each connection's drive; None for none.

    Returns:
        (rows, units).
    """
    z = bias
    for index, (read, columns) in enumerate(connections):
        product = state[:, read] @ weight[:, columns].T
        z = z + (product if masks is None else masks[index] * product)
    return z


def respond(z: Tensor, h: Tensor, damping: float, activation: Activation) -> Tensor:
    """h' = (1 − d)·h + d·activation(z), all (rows, units)."""
    return torch.lerp(h, activation.apply(z), damping)


def badness(h: Tensor) -> Tensor:
    """mean(h²) over the units: (rows, units) to (rows,). Low for what the network takes to be real."""
    return h.square().mean(1)


def normalise(h: Tensor, badness: Tensor, epsilon: float) -> Tensor:
    """n(h) = h / sqrt(badness + ε): the pattern of activity without its length, so that badness can't be passed on."""
    return h * torch.rsqrt(badness + epsilon).unsqueeze(1)


class Response(NamedTuple):
    """What one timestep made of a layer; all but `badness` are (rows, units)."""

    z: Tensor
    """The drive."""
    h: Tensor
    """The activity, h'."""
    badness: Tensor
    """(rows,)"""
    normalised: Tensor
    """n(h')"""
    masks: Sequence[Tensor] | None
    """Of dropout, one for each drive; None without."""
