"""One timestep of one layer as a pure function: the equations of `dynamics`, `objectives` and `learning` in their order.

`respond` and `learn`, with an optimiser's update after it, are all that runs in the inner loop; `compiled` makes of each sequence
of element-wise operations in them one pass over memory. The matrix products stay those of the library.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch._dynamo.config
import torch.fx.experimental._config
from torch import Tensor

from RecurrentFF.model import dynamics, learning
from RecurrentFF.model.activations import Activation
from RecurrentFF.model.objectives import ObjectiveFunction


class Constants(NamedTuple):
    """What does not change from batch to batch."""

    damping: float
    """d"""
    epsilon: float
    """ε"""
    activation: Activation
    summed: bool
    """Badness is the sum of squares, not their mean."""


class Response(NamedTuple):
    """What a timestep made of a layer."""

    z: Tensor
    """The drive, (units, labels, batch), or (units, 1, batch) where all sources are the same under all labels."""
    h: Tensor
    """The activity h', of the shape of `following`."""
    badness: Tensor
    """(labels, batch), or (1, batch)"""


def respond(
    sources: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: Tensor,
    h: Tensor,
    following: Tensor,
    constants: Constants,
    masks: Sequence[Tensor] | None = None,
) -> Response:
    """From what a layer reads to what it does; n(h') is written into `following`.

    Args:
        sources, weights, bias, masks: as for `dynamics.drive`.
        h: (units, labels, batch) the activity so far, or (units, 1, batch) if that was the same under all labels.
        following: (units, labels, batch) the layer's block of the state after this timestep, or (units, 1, batch) if that is the
            same under all labels.
    """
    z = dynamics.drive(sources, weights, bias, masks)
    h = dynamics.respond(z, h, constants.damping, constants.activation)
    mean_square = dynamics.mean_square(h)
    following.copy_(dynamics.normalise(h, mean_square, constants.epsilon))
    return Response(z, h, mean_square * len(h) if constants.summed else mean_square)


class Learned(NamedTuple):
    """What a timestep made of a layer, and how its weights should change."""

    h: Tensor
    """The activity h', (units, labels, batch)."""
    badness: Tensor
    """(labels, batch): under the true label, then under the wrong ones; or (1, batch) for all"""
    loss: Tensor
    """()"""
    grad_weight: Tensor
    """∂loss/∂weight, (units, columns) in the type of the sources, as ∂loss/∂z is rounded to"""
    grad_bias: Tensor
    """∂loss/∂bias, (units,)"""
    grad_input: Tensor | None
    """∂loss/∂x, (data_size, batch), if it was asked for"""


def learn(
    sources: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: Tensor,
    h: Tensor,
    following: Tensor,
    constants: Constants,
    objective: ObjectiveFunction,
    share: Tensor,
    masks: Sequence[Tensor] | None = None,
    peers: learning.Peers | None = None,
    input_gradient: bool = False,
    hardest: int | None = None,
) -> Learned:
    """`respond` under the true label and wrong ones, and learn from it.

    Args:
        objective: what the layer wants of the true label and each wrong one; its mean over the wrong ones is the loss.
        share: (batch,) of each input in the mean loss.
        peers: for peer normalisation.
        input_gradient: whether ∂loss/∂x is wanted; the input is the first of the sources.
        hardest: learn from so many inputs only, those with the steepest loss, where activity differs between the labels; None
            for all.
    """
    z, h, badness = respond(sources, weights, bias, h, following, constants, masks)
    loss, slope_pos, slope_neg = objective(*true_and_wrong(badness))
    slopes = slope_pos.mean(0, keepdim=True), slope_neg / len(slope_neg)
    slope = share * (slopes[0] + slopes[1] if len(badness) == 1 else torch.cat(slopes))
    grad_h = learning.activity_gradient(slope, h, constants.summed)
    if peers is not None:
        grad_h = grad_h + learning.peer_pull(h, share, peers)
    grad_z = learning.drive_gradient(grad_h, z, constants.damping, constants.activation).to(sources[0].dtype)
    grad_input = learning.input_gradient(grad_z, weights[0], masks) if input_gradient else None
    if hardest is not None and len(badness) > 1:
        chosen = slope.abs().sum(0).topk(hardest, sorted=False).indices
        grad_z, sources = grad_z.index_select(2, chosen), [source.index_select(2, chosen) for source in sources]
        masks = None if masks is None else [mask.index_select(2, chosen) for mask in masks]
    grad_weight = learning.weight_gradient(grad_z, sources, masks)
    grad_bias = grad_z.sum((1, 2), dtype=z.dtype)
    return Learned(h, badness, (share * loss.mean(0)).sum(), grad_weight, grad_bias, grad_input)


def true_and_wrong(badness: Tensor) -> tuple[Tensor, Tensor]:
    """Badness under the true label, (1, batch), and under the wrong ones, (wrong labels, batch); both are the same where it is
    (1, batch), the same under all labels."""
    return badness[:1], badness if len(badness) == 1 else badness[1:]


def rmsprop(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    squares: Sequence[Tensor],
    velocities: Sequence[Tensor],
    copy: Tensor | None,
    rate: Tensor,
    momentum: float,
    decay: float = 0.99,
    epsilon: float = 1e-8,
) -> None:
    """RMSprop's update as torch.optim has it, in place.

        v ← ρ·v + (1 − ρ)·g²        u ← μ·u + g / (√v + ε)        W ← W − rate·u

    Args:
        parameters: each W, and `gradients`, g, of the same shapes and any type.
        squares: v.
        velocities: u; empty without momentum.
        copy: set to the first of the new parameters, in its own type.
        rate: ().
        momentum: μ. `decay` is ρ.
    """
    for index, (parameter, gradient, square) in enumerate(zip(parameters, gradients, squares, strict=True)):
        gradient = gradient.to(parameter.dtype)
        square.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
        step = gradient / square.sqrt().add_(epsilon)
        if velocities:
            step = velocities[index].mul_(momentum).add_(step)
        parameter.addcmul_(rate, step, value=-1)
    if copy is not None:
        copy.copy_(parameters[0])


class Steps(NamedTuple):
    """The functions of the inner loop, as they are or compiled."""

    respond: Callable[..., Response]
    learn: Callable[..., Learned]
    rmsprop: Callable[..., None]


EAGER = Steps(respond, learn, rmsprop)


@cache
def compiled() -> Steps:
    """All compiled, once for all layers of all networks; the first calls take the seconds that the compiler needs.

    A graph serves all sizes, but there is one for each combination of sources, types and such. torch gives up after 8 of them,
    unless it is told otherwise, which is done here for the whole process; so is that sizes which are equal by chance may differ.
    """
    for name in ("recompile_limit", "cache_size_limit"):  # the newer and the older name
        if hasattr(torch._dynamo.config, name):
            setattr(torch._dynamo.config, name, 256)
    torch.fx.experimental._config.use_duck_shape = False
    return Steps(torch.compile(respond, dynamic=True), torch.compile(learn, dynamic=True), torch.compile(rmsprop, dynamic=True))
