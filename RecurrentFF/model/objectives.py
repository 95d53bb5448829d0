r"""What a layer wants: real data ("positive" rows) of low badness, wrong data ("negative" rows) of high badness.

    threshold:  mean over the 2·batch rows of softplus(badness_pos − θ) and softplus(θ − badness_neg)
    pairwise:   mean over the batch of softplus(α·(badness_pos − badness_neg)) / α

The threshold objective is Hinton's (arXiv:2212.13345, section 2) with its sign inverted. The pairwise one contrasts the same
input under two labels, which is what a prediction ranks (SymBa, arXiv:2303.08418). To try another objective, write a function
of this form and name it in `make_objective`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.settings import ModelSettings


class Objective(NamedTuple):
    """A layer's loss at one timestep, and its slope: how the loss changes with each row's badness."""

    loss: Tensor
    """() mean over the batch."""
    slope_pos: Tensor
    """(batch,) ∂loss/∂badness_pos"""
    slope_neg: Tensor
    """(batch,) ∂loss/∂badness_neg"""


ObjectiveFunction = Callable[[Tensor, Tensor], Objective]
"""From (badness_pos, badness_neg), both (batch,) and row by row of the same input, to an Objective."""


def threshold(badness_pos: Tensor, badness_neg: Tensor, theta: float) -> Objective:
    """Positive rows below θ, negative rows above."""
    rows = 2 * len(badness_pos)
    excess, lack = badness_pos - theta, theta - badness_neg
    loss = (F.softplus(excess).sum() + F.softplus(lack).sum()) / rows
    return Objective(loss, torch.sigmoid(excess) / rows, -torch.sigmoid(lack) / rows)


def pairwise(badness_pos: Tensor, badness_neg: Tensor, alpha: float) -> Objective:
    """The positive row below the negative row of the same input."""
    gap = alpha * (badness_pos - badness_neg)
    slope = torch.sigmoid(gap) / len(gap)
    return Objective(F.softplus(gap).mean() / alpha, slope, -slope)


def make_objective(settings: ModelSettings) -> ObjectiveFunction:
    """The objective that the settings name, with its parameter."""
    if settings.objective == "pairwise":
        return lambda pos, neg: pairwise(pos, neg, settings.pairwise_alpha)
    return lambda pos, neg: threshold(pos, neg, settings.loss_threshold)
