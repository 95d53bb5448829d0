"""Train with swapped inputs as negative data. In a configuration: plugins = ["examples.own_negatives"], negatives = "swapped"."""

from dataclasses import dataclass

import torch

import RecurrentFF as rff
from RecurrentFF.model.negatives import SamplingContext, UniformNegatives


@rff.register("negatives", "swapped")
@dataclass(frozen=True)
class Swapped(rff.NegativeSource):
    """The input of another sample under the true label, or under a wrong one if the true label would be right."""

    count = 1  # negative candidates for each sample

    def sample(self, context: SamplingContext) -> rff.Negatives:
        y, part = context.labels[None], context.draws.part  # y is (1, label timesteps or 1, batch)
        others = context.gathered(context.inputs).roll(1, -1)[..., part]  # (timesteps or 1, features, 1, batch)
        wrong = UniformNegatives().sample(context).labels
        assert wrong is not None
        same = context.gathered(y).roll(1, -1)[..., part] == y
        return rff.Negatives(labels=torch.where(same, wrong, y), inputs=others)


if __name__ == "__main__":
    digits = {"name": "mnist", "train_samples": 2000, "validation_samples": 500}
    rff.fit(rff.build(data=digits, hidden_sizes=[100, 100], negatives=Swapped(), optimizer="adam", batch_size=100, epochs=3))
