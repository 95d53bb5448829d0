r"""The objective of a layer: low badness for positive data, high badness for negative data.

    Threshold:  (softplus(β·(badness_pos − θ)) + softplus(β·(θ − badness_neg))) / (2β)
    Pairwise:   softplus(α·(badness_pos − badness_neg)) / α
    Softmax:    log(1 + Σ exp(α·(badness_pos − badness_neg))) / α, a sum over the negatives
    Sum:        the sum of several objectives

The loss of a sample is the mean over its negatives, except for the softmax objective, which compares all candidates at
once. The loss of a batch is the mean over its samples. The threshold objective is Hinton's (arXiv:2212.13345, section 2)
with its sign inverted. The pairwise objective compares the same sample under two candidates, which is what a prediction
ranks (SymBa, arXiv:2303.08418).

The sharpness β or α says how small a difference of badness matters. A sharper loss has a steeper bend: its gradient falls
to zero sooner on the right side of θ, or once the order of two candidates is right.

An objective of your own is one class with one method:

    @register("objective", "hinge")
    @dataclass(frozen=True)
    class Hinge(Objective):
        margin: float = 1.0

        def loss(self, positive, negative):  # (1, batch), (negatives, batch) -> (negatives, batch), without a mean
            return (self.margin + positive - negative).clamp(min=0)

    rff.fit(network, data, objective=Hinge(margin=0.5))

Registered, it can be named in a configuration: `[objective] name = "hinge"`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.registry import Component, ComponentOf, register


class Objective(Component, ABC, kind="objective"):
    """The loss of a layer at one timestep, as a function of badness."""

    ranks_only: ClassVar[bool] = False
    """The loss depends on the difference of badness alone. Its gradients cancel where all candidates have the same badness."""
    real_is_low: ClassVar[bool] = True
    """Positive data get low badness, so that the label of lowest badness fits best."""

    @property
    def probability_scale(self) -> float:
        """The scale s of the probabilities softmax(−s · badness): the factor of badness in the logistic function of the loss."""
        return 1.0

    @abstractmethod
    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of each sample against each of its negatives.

        Args:
            positive: (1, batch) badness of the positive candidate.
            negative: (negatives, batch) badness of the negative ones.

        Returns:
            (negatives, batch).
        """

    def gradients(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """∂/∂positive (1, batch) and ∂/∂negative (negatives, batch) of the loss averaged over the negatives.

        By default autograd computes them. The tensors are tiny, so a closed form gains little; the objectives of this
        module have one because their whole timestep is compiled.
        """
        with torch.enable_grad():
            badness = positive.detach().requires_grad_(), negative.detach().requires_grad_()
            total = self.loss(*badness).mean(0).sum()
        gradients = torch.autograd.grad(total, badness, allow_unused=True)
        grad_positive, grad_negative = (
            torch.zeros_like(b) if g is None else g for b, g in zip(badness, gradients, strict=True)
        )  # a loss need not depend on both
        return grad_positive, grad_negative


@register("objective", "threshold")
@dataclass(frozen=True)
class Threshold(Objective):
    """Badness below θ for positive data, above θ for negative data (Hinton 2022, section 2, inverted)."""

    theta: Annotated[float, Field(allow_inf_nan=False)] = 1.5
    """The threshold θ, in units of badness."""
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The sharpness β: the curvature of the loss at θ is proportional to it. The default 1 is Hinton's.

    Accuracy depends on it: 4 makes about half as many errors as 1 in short trainings on pixels.
    """

    @property
    def probability_scale(self) -> float:
        """The sharpness β: the loss is the cross-entropy of "real" or not, with the log odds β · (θ − badness), over 2β."""
        return self.beta

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        """(softplus(β·(badness_pos − θ)) + softplus(β·(θ − badness_neg))) / (2β), (negatives, batch)."""
        above, below = self.beta * (positive - self.theta), self.beta * (self.theta - negative)
        return (F.softplus(above) + F.softplus(below)) / (2 * self.beta)

    def gradients(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Closed form of the gradients, see `Objective.gradients`."""
        grad_positive = torch.sigmoid(self.beta * (positive - self.theta)) / 2
        return grad_positive, -torch.sigmoid(self.beta * (self.theta - negative)) / 2 / len(negative)


@register("objective", "pairwise")
@dataclass(frozen=True)
class Pairwise(Objective):
    """Badness of the positive candidate below that of each negative one (SymBa, arXiv:2303.08418)."""

    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    """The sharpness α: the curvature of the loss at equal badness is proportional to it."""
    ranks_only = True

    @property
    def probability_scale(self) -> float:
        """The sharpness α: the loss is the cross-entropy of two labels with probabilities softmax(−α · badness), over α."""
        return self.alpha

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        """softplus(α·(badness_pos − badness_neg)) / α, (negatives, batch)."""
        return F.softplus(self.alpha * (positive - negative)) / self.alpha

    def gradients(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Closed form of the gradients, see `Objective.gradients`."""
        grad = torch.sigmoid(self.alpha * (positive - negative))
        return grad.mean(0, keepdim=True), -grad / len(negative)


@register("objective", "softmax")
@dataclass(frozen=True)
class Softmax(Objective):
    """The cross-entropy of the positive candidate among all candidates, with probabilities softmax(−α · badness), over α.

    With one negative candidate it is the pairwise objective. With all wrong labels as negatives it is the cross-entropy of a
    classifier: `[negatives] name = "uniform"  count = 9` for ten classes.
    """

    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    """The sharpness α: how small a difference of badness matters."""
    ranks_only = True

    @property
    def probability_scale(self) -> float:
        """The sharpness α, with which the loss is a cross-entropy."""
        return self.alpha

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        """log(1 + Σ exp(α·(badness_pos − badness_neg))) / α, the same for all negatives, (negatives, batch)."""
        return (self._logits(positive, negative).logsumexp(0, keepdim=True) / self.alpha).expand(negative.shape)

    def gradients(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Closed form of the gradients, see `Objective.gradients`."""
        grad = self._logits(positive, negative).softmax(0)[1:]
        return grad.sum(0, keepdim=True), -grad

    def _logits(self, positive: Tensor, negative: Tensor) -> Tensor:
        """α times the badness that a candidate has less than the positive one, the positive one first, (candidates, batch)."""
        return self.alpha * torch.cat([torch.zeros_like(positive), positive - negative])


@register("objective", "sum")
@dataclass(frozen=True)
class Sum(Objective):
    """The sum of several objectives of the same badness."""

    objectives: Annotated[tuple[Annotated[Objective, ComponentOf("objective")], ...], Field(min_length=1)] = (
        Threshold(),
        Pairwise(),
    )
    """The objectives, each a table of a name and its options."""

    @property
    def ranks_only(self) -> bool:  # type: ignore[override]
        """True if all of the objectives only rank candidates."""
        return all(objective.ranks_only for objective in self.objectives)

    @property
    def real_is_low(self) -> bool:  # type: ignore[override]
        """True if all of the objectives give positive data low badness."""
        return all(objective.real_is_low for objective in self.objectives)

    @property
    def probability_scale(self) -> float:
        """The largest scale of the objectives."""
        return max(objective.probability_scale for objective in self.objectives)

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        """The sum of the losses, (negatives, batch)."""
        first, *others = self.objectives
        total = first.loss(positive, negative)
        for objective in others:
            total = total + objective.loss(positive, negative)
        return total

    def gradients(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """The sums of the objectives' gradients, see `Objective.gradients`."""
        first, *others = self.objectives
        grad_positive, grad_negative = first.gradients(positive, negative)
        for objective in others:
            more_positive, more_negative = objective.gradients(positive, negative)
            grad_positive, grad_negative = grad_positive + more_positive, grad_negative + more_negative
        return grad_positive, grad_negative
