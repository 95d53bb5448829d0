r"""The learning rule of one layer, written out: it is local in space and in time, so three factors are the whole chain.

    ∂loss/∂z = ∂loss/∂badness · ∂badness/∂h' · ∂h'/∂z = slope · 2h'/n · d·activation'(z)

(without the n where badness is the sum of squares, not their mean; with peer normalisation, its pull is added to ∂loss/∂h')

    ∂loss/∂W = ∂loss/∂z · [below; n(h); above]ᵀ          ∂loss/∂b = sum of ∂loss/∂z over labels and batch

Nothing here comes from another layer's error or from an earlier timestep: h and the normalised activities that the layer
reads are constants of this timestep.

What is learnt from may be made harder: the input moves along ∂loss/∂x, which a layer that reads it has from its own weights.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.model.activations import Activation


def activity_gradient(slope: Tensor, h: Tensor, summed: bool) -> Tensor:
    """∂loss/∂h' through the badness.

    Args:
        slope: (labels, batch) ∂loss/∂badness from the objective.
        h: (units, labels, batch) activity after the timestep, h'.
        summed: badness is the sum of squares, not their mean.
    """
    return slope * (2 if summed else 2 / len(h)) * h


def drive_gradient(grad_h: Tensor, z: Tensor, damping: float, activation: Activation) -> Tensor:
    """∂loss/∂z from ∂loss/∂h' and the drive z that led to h', all (units, labels, batch)."""
    return activation.backward(damping * grad_h, z)


class Peers(NamedTuple):
    """Peer normalisation (Hinton 2022, arXiv:2212.13345, section 5.1 on keeping units from being dead or always on)."""

    running: Tensor
    """(units,) the running mean m of each unit's activity; brought up to date at every learning timestep"""
    strength: float
    """λ"""


PEER_MEMORY = 0.9
"""ρ: the share of its former value that a running mean keeps at a timestep."""


def peer_pull(h: Tensor, share: Tensor, peers: Peers) -> Tensor:
    """What peer normalisation adds to ∂loss/∂h', (units, 1, batch).

        m ← ρ·m + (1 − ρ)·mean(h')                over what counts; if nothing does, m stays
        loss:  λ · mean over units of (m − mean over units of m)²

    of which only the new share of m depends on h'.

    Args:
        h: (units, labels, batch) activity after the timestep.
        share: (batch,) of each input in a mean over the batch, less than one in sum where some don't count.
    """
    counted = share.sum()
    share = share / counted.clamp(min=1e-9)
    peers.running.lerp_((h * share).sum(2).mean(1), (1 - PEER_MEMORY) * (counted > 0).to(h))
    excess = peers.running - peers.running.mean()
    scale = 2 * peers.strength * (1 - PEER_MEMORY) / (h.shape[0] * h.shape[1])
    return (scale * excess)[:, None, None] * share


def weight_gradient(grad_z: Tensor, sources: Sequence[Tensor], masks: Sequence[Tensor] | None = None) -> Tensor:
    """∂loss/∂W, (units, columns) in the type of `sources` and `grad_z`; arguments as for `dynamics.drive`."""
    parts = []
    for index, source in enumerate(sources):
        grad_drive = grad_z if masks is None else (masks[index] * grad_z).to(grad_z.dtype)
        if source.shape[1] != grad_z.shape[1]:  # the same under all labels: it drove the layer under each
            grad_drive = grad_drive.sum(1, keepdim=True)
        # A product so wide is faster in two halves: the library's choice of blocks suits it badly.
        halves = source.flatten(1).chunk(2 if len(source) > 2 * len(grad_z) else 1)
        parts += [grad_drive.flatten(1) @ half.T for half in halves]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def input_gradient(grad_z: Tensor, weight: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
    """∂loss/∂x = W_fᵀ · ∂loss/∂z, (data_size, batch), in the type of `grad_z` and `weight`.

    Args:
        grad_z: (units, labels, batch); x is the same under all labels.
        weight: (units, data_size), what meets the input.
        masks: as for `dynamics.drive`, of which the input's is the first.
    """
    grad_drive = grad_z if masks is None else (masks[0] * grad_z).to(grad_z.dtype)
    return weight.T @ grad_drive.sum(1)


def along(gradient: Tensor, distance: float, generator: torch.Generator) -> Tensor:
    """Noise along a gradient, of this root mean square over the features, up or down for each sample: (batch, features).

    Always up is adversarial training (Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572). But a change that makes the true
    label look worse tells which one it is: the network learns to read that ("label leaking", Kurakin, Goodfellow and Bengio 2017,
    arXiv:1611.01236) and knows the images less well. Up or down by chance, it only tells which two labels are compared. (Among
    several wrong labels the true one has the largest part in the gradient, and still stands out.)

    Args:
        gradient: (batch, features) ∂loss/∂x; where it is zero, so is the noise.
    """
    sign = torch.empty(len(gradient), 1, device=gradient.device).bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
    tiny = torch.finfo(gradient.dtype).tiny
    gradient = gradient / gradient.abs().amax(1, keepdim=True).clamp(min=tiny)  # the square of a small one would vanish
    return distance * math.sqrt(gradient.shape[1]) * sign.to(gradient) * F.normalize(gradient)
