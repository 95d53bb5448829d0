"""Train with sparse weights. In a configuration: plugins = ["examples.own_connection"], network.connections = ["sparse"]."""

from dataclasses import dataclass

import torch

import RecurrentFF as rff
from RecurrentFF.model.connection_kinds import Place, Sources, signed_weights
from RecurrentFF.model.connections import Dense


@rff.register("connection", "sparse")
@dataclass(frozen=True)
class Sparse(rff.ConnectionKind):
    """Weights through which a unit reads only some of the units of its sources."""

    sources: Sources = ("lateral",)
    density: float = 0.1
    """The probability that a unit reads another one."""

    def make(self, place: Place) -> list[rff.Connection]:
        weight = torch.cat(signed_weights(place), 1)  # (units, features of all sources)
        mask = (torch.rand(weight.shape, generator=place.generator) < self.density).to(place.dtype)
        return [Dense(place.sources, place.units, top_down=place.top_down, weight=weight, mask=mask)]


if __name__ == "__main__":
    digits = {"name": "mnist", "train_samples": 2000, "validation_samples": 500}
    rff.fit(rff.build(data=digits, hidden_sizes=[200], connections=[Sparse()], objective="pairwise", optimizer="adam", epochs=2))
