"""Train with squareplus, a smooth rectifier.

A configuration names it by plugins = ["examples.own_activation"] and network.activation = "squareplus".
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

import RecurrentFF as rff


@rff.register("activation", "squareplus")
@dataclass(frozen=True)
class Squareplus(rff.Activation):
    """A smooth rectifier, whose derivative autograd computes."""

    b: Annotated[float, Field(gt=0)] = 0.1
    """The width of the bend at zero, squared."""

    def apply(self, z: Tensor) -> Tensor:  # of any shape
        return (z + (z * z + self.b).sqrt()) / 2


if __name__ == "__main__":
    digits = {"name": "mnist", "train_samples": 2000, "validation_samples": 500}
    rff.fit(rff.build(data=digits, hidden_sizes=[100, 100], activation=Squareplus(), optimizer="adam", epochs=2))
