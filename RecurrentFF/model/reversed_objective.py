"""The objective of label-free training: high badness for real data, with the sign of goodness in Hinton's paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from RecurrentFF.model.objectives import Objective, Pairwise
from RecurrentFF.registry import ComponentOf, register

DEFAULT_OBJECTIVE = Pairwise()
"""The objective that is reversed, unless another one is chosen."""


@register("objective", "reversed")
@dataclass(frozen=True)
class Reversed(Objective):
    """Another objective with the roles of positive and negative data exchanged: positive data get the higher badness.

    Units then respond to what real data have, and wrong data have not (Hinton 2022, arXiv:2212.13345, section 2), so that the
    readout finds more in their activity. A prediction by badness would choose the wrong label: only label-free training takes
    this objective.
    """

    objective: Annotated[Objective, ComponentOf("objective")] = DEFAULT_OBJECTIVE
    """The objective whose roles are exchanged."""

    @property
    def real_is_low(self) -> bool:  # type: ignore[override]
        """False, unless the objective is itself a reversed one."""
        return not self.objective.real_is_low

    @property
    def ranks_only(self) -> bool:  # type: ignore[override]
        """True if the objective only ranks candidates."""
        return self.objective.ranks_only

    @property
    def probability_scale(self) -> float:
        """The scale of the objective."""
        return self.objective.probability_scale

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of each negative, taken as positive, against the positive one, (negatives, batch)."""
        return self.objective.loss(*_exchanged(positive, negative)).view_as(negative)

    def gradients(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of the objective, exchanged back, see `Objective.gradients`."""
        grad_negative, grad_positive = self.objective.gradients(*_exchanged(positive, negative))
        return grad_positive.view_as(negative).mean(0, keepdim=True), grad_negative.view_as(negative) / len(negative)


def _exchanged(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Every negative with the positive candidate of its sample, (1, negatives · batch) both, in this order."""
    return negative.reshape(1, -1), positive.expand_as(negative).reshape(1, -1)
