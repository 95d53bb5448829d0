"""Learn through functions without a derivative. In a file: plugins = ["examples.own_black_box"], function = "threshold"."""

import sys
from dataclasses import dataclass

from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.model.black_box_functions import BlackBoxFunction, Draws, ProgramFunction


@rff.register("black_box", "random_rounding")
@dataclass(frozen=True)
class RandomRounding(BlackBoxFunction):
    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        return (values + draws.uniform(values)).floor().to(values.dtype)


@rff.register("black_box", "threshold")
@dataclass(frozen=True)
class Threshold(ProgramFunction):
    def command_line(self) -> tuple[str, ...]:  # another program computes it
        return sys.executable, "-c", "from RecurrentFF.model.black_box_protocol import serve; serve(lambda rows: rows > 0.5)"


if __name__ == "__main__":
    boxes = [{"name": "black_box", "layers": [layer], "function": f} for layer, f in ((1, "random_rounding"), (2, "threshold"))]
    digits = {"name": "mnist", "train_samples": 1000, "validation_samples": 500}
    rff.fit(rff.build(data=digits, hidden_sizes=[200, 100], connections=boxes, objective="pairwise", optimizer="adam", epochs=2))
