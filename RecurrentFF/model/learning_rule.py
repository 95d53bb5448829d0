"""The learning rule of a layer: its timestep, its loss, and the gradients up to the pre-activation, from the equations.

A connection makes the gradients of its own weights from ∂loss/∂z, which is all that it needs of the layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from RecurrentFF.model import functional
from RecurrentFF.model.activations import Activation
from RecurrentFF.model.functional import Reduction

if TYPE_CHECKING:  # its module is above this one
    from RecurrentFF.model.layers import LearningContext


class Hyperparameters(NamedTuple):
    """The numbers and functions of a layer's timestep that are not learned."""

    damping: float | Tensor
    """The damping factor d of all units, or of each one, (units, 1, 1)."""
    epsilon: float
    """The ε of the normalized activity."""
    activation: Activation
    """The activation function."""
    reduction: Reduction
    """The mean or the sum of squares as badness."""
    peer_normalization: float
    """The strength λ of peer normalization."""
    hard_example_fraction: float
    """The fraction of the samples of a batch that gradients are computed from."""
    positions: int = 1
    """The number of positions of the layer's plane."""
    position_exponent: float = 1.0
    """The exponent of the power mean over positions as badness; 1 for the mean over all units."""
    class_groups: bool = False
    """True if each class has units of its own, whose badness is that of a candidate with its label."""


class LossGradients(NamedTuple):
    """A layer's loss at one timestep, and its gradients up to the pre-activation."""

    loss: Tensor
    """The loss, ()."""
    grad_badness: Tensor
    """∂loss/∂badness, (candidates or 1, batch)."""
    grad_z: Tensor
    """∂loss/∂z, (units, candidates or 1, batch)."""


def activate(z: Tensor, h: Tensor, hyper: Hyperparameters, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The activity h', the pattern n(h') and the badness, from the pre-activation z and the previous activity h.

    Args:
        z: (units, candidates or 1, batch).
        h: (units, candidates or 1, batch).
        hyper: the layer's hyperparameters.
        y: the label, (classes, candidates or 1, batch), which selects the units of a class; needed with class groups alone.
    """
    h = functional.next_activity(z, h, hyper.damping, hyper.activation)
    mean_squares = functional.mean_square(h)
    pattern = functional.normalize(h, mean_squares, hyper.epsilon)
    if hyper.class_groups:
        assert y is not None, "class groups need the label"
        return h, pattern, functional.class_badness(h, y.to(h.dtype), hyper.reduction)
    if hyper.position_exponent != 1:
        return h, pattern, functional.position_badness(h, hyper.positions, hyper.position_exponent, hyper.reduction)
    return h, pattern, functional.badness(h, mean_squares, hyper.reduction)


def loss_gradients(
    z: Tensor,
    h: Tensor,
    badness: Tensor,
    hyper: Hyperparameters,
    learning: LearningContext,
    running: Tensor | None,
    y: Tensor | None = None,
) -> LossGradients:
    """The three factors of the learning rule: ∂loss/∂badness, ∂badness/∂h' and ∂h'/∂z.

    Args:
        z: (units, candidates or 1, batch) the pre-activation.
        h: (units, candidates or 1, batch) the activity that followed from it.
        badness: (candidates or 1, batch) its badness.
        hyper: the layer's hyperparameters.
        learning: the objective and the weight of each sample.
        running: (units,) running activity for peer normalization, updated in place; None without.
        y: the label, as for `activate`.
    """
    positive, negative = functional.split_candidates(badness)
    loss = loss_of(badness, learning)
    gradients = learning.objective.gradients(positive, negative)
    grad_badness = learning.sample_weight * functional.join_gradients(*gradients, len(badness))
    if hyper.class_groups:
        assert y is not None, "class groups need the label"
        grad_h = functional.class_gradient(grad_badness, h, y.to(h.dtype), hyper.reduction)
    else:
        grad_h = functional.activity_gradient(grad_badness, h, hyper.reduction)
    if hyper.position_exponent != 1:
        grad_h = functional.position_gradient(grad_h, h, hyper.positions, hyper.position_exponent)
    if running is not None:
        total, activity = learning.share.summed(*functional.weighted_activity(h, learning.sample_weight))
        running = functional.update_running_activity(running, activity, total)
        weight = learning.sample_weight / total.clamp(min=1e-9)
        grad_h = grad_h + functional.peer_gradient(running, h, weight, hyper.peer_normalization)
    grad_z = functional.pre_activation_gradient(grad_h, z, hyper.damping, hyper.activation)
    return LossGradients(loss, grad_badness, grad_z)


def hardest_samples(grad_badness: Tensor, hyper: Hyperparameters, learning: LearningContext) -> Tensor:
    """The indices of this process's samples that are among the hardest of the whole batch, (chosen,)."""
    steepness = learning.share.gathered(functional.steepness(grad_badness))
    return learning.share.own(functional.hardest_samples(steepness, hyper.hard_example_fraction))


def loss_of(badness: Tensor, learning: LearningContext) -> Tensor:
    """The loss of a layer, (), from its badness, (candidates, batch), or (1, batch) where it is the same for all candidates."""
    positive, negative = functional.split_candidates(badness)
    if len(badness) == 1:
        negative = negative.expand(learning.negatives, -1)
    return (learning.sample_weight * learning.objective.loss(positive, negative).mean(0)).sum()
