"""Train with a hinge loss. In a configuration: plugins = ["examples.own_objective"], objective = { name = "hinge" }."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

import RecurrentFF as rff


@rff.register("objective", "hinge")
@dataclass(frozen=True)
class Hinge(rff.Objective):
    """A loss that is zero where the wrong label's badness is higher by a margin."""

    margin: Annotated[float, Field(gt=0)] = 0.5
    """The difference of badness from which on a pair costs nothing."""
    ranks_only = True  # the loss depends on the difference of badness alone

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:  # (1, batch), (negatives, batch) -> (negatives, batch)
        return (self.margin + positive - negative).clamp(min=0)


if __name__ == "__main__":
    digits = {"name": "mnist", "train_samples": 2000, "validation_samples": 500}
    rff.fit(rff.build(data=digits, hidden_sizes=[100, 100], objective=Hinge(0.3), optimizer="adam", epochs=2))
