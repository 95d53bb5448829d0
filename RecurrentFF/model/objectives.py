r"""What a layer wants: real data ("positive" rows) of low badness, wrong data ("negative" rows) of high badness.

    threshold:  (softplus(badness_pos − θ) + softplus(θ − badness_neg)) / 2
    pairwise:   softplus(α·(badness_pos − badness_neg)) / α
    sum:        both

for each input of a batch; the loss is the mean over the batch. The threshold objective is Hinton's (arXiv:2212.13345, section 2)
with its sign inverted. The pairwise one contrasts the same input under two labels, which is what a prediction ranks (SymBa,
arXiv:2303.08418). To try another objective, write a function of this form, and name it in `make_objective` and in the settings
(`ModelSettings.objective`; if it only compares, in `only_compares` below that).
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.settings import ModelSettings


class Objective(NamedTuple):
    """A layer's loss at one timestep, and its slope: how it changes with an input's two badnesses."""

    loss: Tensor
    slope_pos: Tensor
    """∂loss/∂badness_pos"""
    slope_neg: Tensor
    """∂loss/∂badness_neg"""


ObjectiveFunction = Callable[[Tensor, Tensor], Objective]
"""From badness_pos (1, batch) and badness_neg (wrong labels, batch) of the same inputs to an Objective, (wrong labels, batch); a
slope that depends on badness_pos alone may stay (1, batch)."""


def threshold(badness_pos: Tensor, badness_neg: Tensor, theta: float) -> Objective:
    """Positive rows below θ, negative rows above."""
    excess, lack = badness_pos - theta, theta - badness_neg
    return Objective((F.softplus(excess) + F.softplus(lack)) / 2, torch.sigmoid(excess) / 2, -torch.sigmoid(lack) / 2)


def pairwise(badness_pos: Tensor, badness_neg: Tensor, alpha: float) -> Objective:
    """The positive row below the negative row of the same input."""
    gap = alpha * (badness_pos - badness_neg)
    slope = torch.sigmoid(gap)
    return Objective(F.softplus(gap) / alpha, slope, -slope)


def total(*objectives: Objective) -> Objective:
    """Several objectives of the same badness at once."""
    return Objective(*(functools.reduce(torch.add, parts) for parts in zip(*objectives, strict=True)))


def make_objective(settings: ModelSettings) -> ObjectiveFunction:
    """The objective that the settings name, with its parameter."""
    by_threshold = partial(threshold, theta=settings.loss_threshold)
    by_pairs = partial(pairwise, alpha=settings.pairwise_alpha)
    if settings.objective == "sum":
        return lambda pos, neg: total(by_threshold(pos, neg), by_pairs(pos, neg))
    return by_pairs if settings.objective == "pairwise" else by_threshold
