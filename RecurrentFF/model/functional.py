r"""The equations of the Recurrent Forward-Forward network, in the paper's order, as pure functions on tensors.

A hidden layer reads *below* and *above*, the normalized activities of its neighbors (the input x below the first layer,
the label y above the last), and its own normalized activity n(h). All three are taken from the previous timestep, so
that all layers update at once (synchronous update):

    z       = W_f · below + W_lat · n(h) − W_b · above + b                  pre-activation: the sum of three drives and the bias
    h'      = (1 − d)·h + d·activation(z)                                   activity; d is the damping factor (1: no memory of h)
    badness = mean(h'²) over the layer's units                              minus Hinton's "goodness"
    n(h')   = h' / sqrt(mean(h'²) + ε)                                      normalized activity

Badness is the goodness of the Forward-Forward literature with its sign flipped. (Minus the sum of squared activities is
one of the choices of goodness that Hinton names.) Real (positive) data must have low badness, negative data high
badness. The minus sign of W_b makes top-down activity a prediction that cancels what
comes from below. (Hinton 2022, arXiv:2212.13345, section 3.4, with its objective inverted.)

Three options change one line each. With bottom-up updates, *below* is the new activity of this timestep. With batch
normalization, the sum of the drives is normalized before the bias is added, see `normalization`. With class groups, the
mean of the badness is over the units of the candidate's class, see `class_badness`.

The learning rule is local in space and in time. Three factors are the whole chain:

    ∂loss/∂z = ∂loss/∂badness · ∂badness/∂h' · ∂h'/∂z = ∂loss/∂badness · 2h'/n · d·activation'(z)
    ∂loss/∂W = ∂loss/∂z · sourceᵀ            ∂loss/∂b = sum of ∂loss/∂z over candidates and batch

No error comes from another layer or from an earlier timestep: h and the sources are constants of this timestep.

Every activity is (units, candidates, batch). A candidate is one (x, y) pair under which a sample is presented; the
first is the positive one, the others are negative. A candidate axis of size 1 means "the same for all candidates";
broadcasting does the rest.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.model.activations import Activation

Reduction = Literal["mean", "sum"]
"""Badness is the mean or the sum of the squared activities of a layer's units."""

# ---------------------------------------------------------------- one timestep


def linear_drive(weight: Tensor, source: Tensor) -> Tensor:
    """W · source for every candidate and sample.

    Args:
        weight: (units, features).
        source: (features, candidates, batch), of the type of `weight`.

    Returns:
        (units, candidates, batch).
    """
    return (weight @ source.flatten(1)).view(-1, *source.shape[1:])


def next_activity(z: Tensor, h: Tensor, damping: float | Tensor, activation: Activation) -> Tensor:
    """h' = (1 − d)·h + d·activation(z), all (units, candidates, batch); d is a number, or (units, 1, 1)."""
    return torch.lerp(h, activation.apply(z), damping)


def damping_rates(shortest: float, longest: float, channels: int, positions: int) -> Tensor:
    """1/τ of each unit, (channels · positions, 1, 1) float64. The damping factor of a unit is d/τ.

    Time constants are evenly spaced on a logarithmic scale, from the first to the last channel. The units of a channel have the
    same, as they have the same weights.

    Args:
        shortest: the shortest time constant τ, in timesteps, at least 1.
        longest: the longest one.
        channels: the number of channels, or of units in a layer without channels.
        positions: the number of units of a channel.
    """
    taus = torch.logspace(math.log10(shortest), math.log10(longest), channels, dtype=torch.float64)
    return (1 / taus.repeat_interleave(positions))[:, None, None]


def mean_square(h: Tensor) -> Tensor:
    """The mean of h² over the units, (units, candidates, batch) → (candidates, batch)."""
    return h.square().mean(0)


def badness(h: Tensor, mean_squares: Tensor, reduction: Reduction) -> Tensor:
    """The badness of a layer, minus Hinton's goodness.

    Args:
        h: (units, candidates, batch) activity.
        mean_squares: (candidates, batch), from `mean_square`.
        reduction: "mean" gives the mean of h² over the units, "sum" their sum.

    Returns:
        (candidates, batch).
    """
    return mean_squares * len(h) if reduction == "sum" else mean_squares


def position_mean_squares(h: Tensor, positions: int) -> Tensor:
    """The mean of h² over the channels at each position of a plane, (units, candidates, batch) → (positions, candidates, batch).

    Units are ordered by channel, and then by position.
    """
    return h.view(-1, positions, *h.shape[1:]).square().mean(0)


def power_mean(values: Tensor, exponent: float) -> Tensor:
    """(mean of values^q)^(1/q) over the first axis, of values of at least 0: for q = 1 the mean, for q → ∞ the maximum."""
    peak = values.amax(0).clamp(min=torch.finfo(values.dtype).tiny)
    return peak * (values / peak).pow(exponent).mean(0).pow(1 / exponent)


def position_badness(h: Tensor, positions: int, exponent: float, reduction: Reduction) -> Tensor:
    """The badness of a layer as a power mean over the positions of its plane, of the mean square at each position.

    A layer of shared weights sees an object at a few positions, and little or nothing at the others. A large exponent lets the
    badness follow the positions where it is highest. With the exponent 1 it is that of `badness`.

    Args:
        h: (units, candidates, batch) activity.
        positions: height · width of the plane.
        exponent: q of the power mean.
        reduction: "mean" gives the power mean, "sum" that times the number of units.

    Returns:
        (candidates, batch).
    """
    return badness(h, power_mean(position_mean_squares(h, positions), exponent), reduction)


def position_gradient(grad_h: Tensor, h: Tensor, positions: int, exponent: float) -> Tensor:
    """∂loss/∂h' of `position_badness`, from what `activity_gradient` gives for `badness`.

    It is greater by a factor (b_p / B)^(q − 1) at each position p, where b_p is the mean square and B their power mean.

    Args:
        grad_h: (units, candidates, batch), from `activity_gradient`.
        h: as for `position_badness`.
        positions: as for `position_badness`.
        exponent: as for `position_badness`.
    """
    squares = position_mean_squares(h, positions)
    mean = power_mean(squares, exponent).clamp(min=torch.finfo(h.dtype).tiny)
    factor = (squares / mean).pow(exponent - 1)
    return (grad_h.view(-1, positions, *grad_h.shape[1:]) * factor).view(grad_h.shape)


def class_badness(h: Tensor, y: Tensor, reduction: Reduction) -> Tensor:
    """The badness of a layer whose units are divided into one group for each class: that of the candidate's class.

    With a uniform label it is the mean over the groups. (Papachristodoulou et al. 2024, arXiv:2312.12668, divide the channels of
    convolutional layers among the classes, and call it channel-wise competitive learning.)

    Args:
        h: (units, candidates or 1, batch) activity. The first units/classes units are those of class 0, and so on.
        y: (classes, candidates or 1, batch) label, one-hot or uniform.
        reduction: "mean" gives the mean of h² over the units of the group, "sum" their sum.

    Returns:
        (candidates or 1, batch).
    """
    squares = h.view(len(y), -1, *h.shape[1:]).square()
    return (y * (squares.sum(1) if reduction == "sum" else squares.mean(1))).sum(0)


def normalize(h: Tensor, mean_squares: Tensor, epsilon: float) -> Tensor:
    """n(h) = h / sqrt(mean(h²) + ε): the pattern of activity without its length, which carries the badness."""
    return h * torch.rsqrt(mean_squares + epsilon)


# ---------------------------------------------------------------- what a layer learns from it


def split_candidates(badness: Tensor) -> tuple[Tensor, Tensor]:
    """Badness of the positive candidate and of the negative ones.

    Args:
        badness: (candidates, batch), or (1, batch) where it is the same for all candidates.

    Returns:
        (1, batch) and (negatives, batch). Where the input is (1, batch), positive and negative badness are the same: both
        are the input.
    """
    return badness[:1], badness if len(badness) == 1 else badness[1:]


def join_gradients(grad_positive: Tensor, grad_negative: Tensor, candidates: int) -> Tensor:
    """∂loss/∂badness of all candidates, from those of the positive and the negative ones; inverse of `split_candidates`."""
    return grad_positive + grad_negative if candidates == 1 else torch.cat([grad_positive, grad_negative])


def activity_gradient(grad_badness: Tensor, h: Tensor, reduction: Reduction) -> Tensor:
    """∂loss/∂h' = ∂loss/∂badness · 2h'/n (without the n where badness is a sum).

    Args:
        grad_badness: (candidates, batch).
        h: (units, candidates, batch) activity after the timestep, h'.
        reduction: as for `badness`.
    """
    return grad_badness * (2 if reduction == "sum" else 2 / len(h)) * h


def class_gradient(grad_badness: Tensor, h: Tensor, y: Tensor, reduction: Reduction) -> Tensor:
    """∂loss/∂h' of `class_badness`, of the shape of h.

    Args:
        grad_badness: (candidates, batch).
        h: (units, candidates or 1, batch) activity after the timestep, h'.
        y: (classes, candidates or 1, batch) label.
        reduction: as for `class_badness`.
    """
    group = h.view(len(y), -1, *h.shape[1:])
    of_class = sum_candidates(y * grad_badness, h.shape[1]).unsqueeze(1)
    return ((2 if reduction == "sum" else 2 / group.shape[1]) * of_class * group).view(h.shape)


def pre_activation_gradient(grad_h: Tensor, z: Tensor, damping: float | Tensor, activation: Activation) -> Tensor:
    """∂loss/∂z = ∂loss/∂h' · d·activation'(z), all (units, candidates, batch)."""
    return activation.backward(damping * grad_h, z)


def sum_candidates(grad: Tensor, candidates: int) -> Tensor:
    """Sum a gradient (units, candidates, batch) over its candidates where the quantity itself has only one for all."""
    return grad.sum(1, keepdim=True) if candidates != grad.shape[1] else grad


def weight_gradient(grad_drive: Tensor, source: Tensor) -> Tensor:
    """∂loss/∂W = ∂loss/∂drive · sourceᵀ, summed over candidates and batch.

    Args:
        grad_drive: (units, candidates, batch).
        source: (features, candidates or 1, batch), of the type of `grad_drive`.

    Returns:
        (units, features), of the same type.
    """
    return sum_candidates(grad_drive, source.shape[1]).flatten(1) @ source.flatten(1).T


def bias_gradient(grad_z: Tensor, dtype: torch.dtype) -> Tensor:
    """∂loss/∂b, (units,), summed over candidates and batch in `dtype`."""
    return grad_z.sum((1, 2), dtype=dtype)


def source_gradient(grad_drive: Tensor, weight: Tensor, candidates: int) -> Tensor:
    """∂loss/∂source = Wᵀ · ∂loss/∂drive.

    Args:
        grad_drive: (units, candidates, batch).
        weight: (units, features), of the type of `grad_drive`.
        candidates: size of the source's candidate axis.

    Returns:
        (features, candidates, batch).
    """
    return linear_drive(weight.T, sum_candidates(grad_drive, candidates))


def steepness(grad_badness: Tensor) -> Tensor:
    """The steepness of each sample's loss, Σ |∂loss/∂badness| over the candidates, (candidates, batch) → (batch,)."""
    return grad_badness.abs().sum(0)


def hardest_samples(steepness: Tensor, fraction: float) -> Tensor:
    """Indices (chosen,) of the samples of steepest loss (online hard example mining), of which there is at least one.

    Args:
        steepness: (batch,), of all samples of the batch.
        fraction: the fraction of the samples to choose.
    """
    count = max(1, round(fraction * len(steepness)))
    return steepness.topk(count, sorted=False).indices


# ---------------------------------------------------------------- peer normalization

PEER_DECAY = 0.9
"""The fraction ρ of its previous value that a running mean of activity keeps at a timestep."""


def weighted_activity(h: Tensor, sample_weight: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the samples' weights, (), and that of the weighted activity of each unit, a mean over candidates, (units,).

    Args:
        h: (units, candidates, batch) activity after the timestep.
        sample_weight: (batch,) weight of each sample in a mean over the batch; the sum is below 1 where some are invalid.
    """
    return sample_weight.sum(), (h * sample_weight).sum(2).mean(1)


def update_running_activity(running: Tensor, activity: Tensor, total: Tensor) -> Tensor:
    """The running mean of each unit's activity, m ← ρ·m + (1 − ρ)·mean(h'), updated in place and returned.

    The mean is over candidates and the samples that are valid; where none is, m does not change.

    Args:
        running: (units,) m.
        activity: the sum of activity, from `weighted_activity` of all samples of the batch.
        total: the sum of weights, from the same.
    """
    return running.lerp_(activity / total.clamp(min=1e-9), (1 - PEER_DECAY) * (total > 0).to(activity))


def peer_gradient(running: Tensor, h: Tensor, weight: Tensor, strength: float) -> Tensor:
    """The gradient that peer normalization adds to ∂loss/∂h', (units, 1, batch).

    Its loss is λ · (mean over the units of (m − mean of m)²). It keeps units from being always off or always on
    (Hinton 2022, arXiv:2212.13345, section 3.2). Only the newest term of m depends on h'.

    Args:
        running: (units,) m, already updated with `h`.
        h: (units, candidates, batch) activity after the timestep.
        weight: (batch,) weight of each sample in the mean over the valid samples of the batch.
        strength: λ.
    """
    excess = running - running.mean()
    scale = 2 * strength * (1 - PEER_DECAY) / (h.shape[0] * h.shape[1])
    return (scale * excess)[:, None, None] * weight


# ---------------------------------------------------------------- perturbed inputs


def signed_gradient_noise(gradient: Tensor, size: float, signs: Tensor) -> Tensor:
    """Noise along a gradient with a random sign for each sample and candidate, of the shape of `gradient`.

    Always adding it would be adversarial training (Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572). But a
    perturbation that makes the true label look worse reveals which label is true. The network then learns to read the
    perturbation instead of the image ("label leaking": Kurakin, Goodfellow and Bengio 2017, arXiv:1611.01236). With a
    random sign, the perturbation reveals only which two labels are compared. (With several negatives the true label
    contributes most to the gradient, and is still revealed.)

    Args:
        gradient: (features, candidates, batch) ∂loss/∂x. The noise is zero where it is zero.
        size: root mean square of the noise over the features.
        signs: (candidates, batch), true where the noise has the sign of the gradient.
    """
    sign = signs.to(gradient).mul_(2).sub_(1)
    tiny = torch.finfo(gradient.dtype).tiny
    gradient = gradient / gradient.abs().amax(0, keepdim=True).clamp(min=tiny)  # the square of a small value would vanish
    return size * math.sqrt(len(gradient)) * sign * F.normalize(gradient, dim=0)


# ---------------------------------------------------------------- timesteps of a sequence


def at_timestep(sequence: Tensor, t: int) -> Tensor:
    """The element of a sequence (timesteps or 1, …) at a timestep; one that has a single timestep never changes."""
    return sequence[t if len(sequence) > 1 else 0]


def window_weights(valid: Tensor, window: tuple[int, int]) -> Tensor:
    """The weight of each timestep of the prediction window, equal for all valid timesteps, with a sum of 1.

    A sequence that ends before the window begins is predicted from the whole window.

    Args:
        valid: (label timesteps, batch), 1 where a timestep is valid and 0 elsewhere.
        window: its first and last label timestep, both included.

    Returns:
        (timesteps of the window, batch).
    """
    in_window = valid[window[0] : window[1] + 1]
    in_window = torch.where(in_window.sum(0) > 0, in_window, torch.ones_like(in_window))
    return in_window / in_window.sum(0)
