r"""One timestep of a hidden layer.

    z  = W_f · below + W_lat · n(h) − W_b · above + b
    h' = (1 − d)·h + d·activation(z)
    badness = mean(h'²) over the layer's units (or, by option, the sum)
    n(h') = h' / sqrt(mean(h'²) + ε)

where *below* and *above* are the normalised activities of the neighbours (the input and the label at the ends), all taken
from the previous timestep, so that all layers move at once. The minus sign makes top-down activity a prediction that
cancels what comes up. (Hinton 2022, arXiv:2212.13345, the recurrent network of section 3.4, with its objective inverted.)

The columns of a layer's `weight` are [W_f | W_lat | −W_b]. What it reads lies one below the other in the state,
[below; n(h); above], so that its three drives are one product. What is the same under all labels, as the input is and every
layer that the label has not come down to, is a product of its own, computed once.

Activities are (units, labels, batch), one column for each sample under each label, as the equations have them: the same batch of
inputs under one or several labels at once. Before the label is shown there is one (the uniform one), in training there are two
(the true one and a wrong one), in a prediction all classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from RecurrentFF.model.activations import Activation


class Connection(NamedTuple):
    """Something that a layer reads, and the columns of its weight that meet it."""

    state: slice | None
    """A run of rows of the state; None is the input."""
    weight: slice
    shared: bool = False
    """It is the same under all labels, as the input is."""


def drive(sources: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
    """z, in the type of `bias`.

    Args:
        sources: what the layer reads, as it was at the previous timestep: each (columns, labels, batch), or (columns, 1, batch)
            where it is the same under all labels.
        weights: for each source (units, columns), in its type.
        bias: (units, 1, 1), or (units, 1, batch) with a drive that is known already.
        masks: dropout, for each source a (units, labels, batch) factor of its drive; None for none.

    Returns:
        (units, labels, batch), or (units, 1, batch) where all sources are the same under all labels.
    """
    z = bias
    for index, (source, weight) in enumerate(zip(sources, weights, strict=True)):
        product = (weight @ source.flatten(1)).view(-1, *source.shape[1:])
        z = z + (product if masks is None else masks[index] * product)
    return z


def respond(z: Tensor, h: Tensor, damping: float, activation: Activation) -> Tensor:
    """h' = (1 − d)·h + d·activation(z), all (units, labels, batch)."""
    return torch.lerp(h, activation.apply(z), damping)


def mean_square(h: Tensor) -> Tensor:
    """mean(h²) over the units, (units, labels, batch) to (labels, batch): the badness, low for what is taken to be real."""
    return h.square().mean(0)


def normalise(h: Tensor, mean_square: Tensor, epsilon: float) -> Tensor:
    """n(h) = h / sqrt(mean(h²) + ε): the pattern of activity without its length, so that badness can't be passed on."""
    return h * torch.rsqrt(mean_square + epsilon)
