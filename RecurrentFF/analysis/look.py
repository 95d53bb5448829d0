"""The results of a report: predictions, the record of some samples, and the most confident mistakes, each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.analysis import latent
from RecurrentFF.analysis.figures import name_of_class
from RecurrentFF.analysis.mistakes import SHOWN, Mistakes, mistakes
from RecurrentFF.analysis.records import Cancellation, Comparison, Sparsity, cancellation, record_both, sparsity
from RecurrentFF.analysis.samples import Samples, read, values_at_once
from RecurrentFF.data.raw import Label
from RecurrentFF.errors import InputError
from RecurrentFF.model.network import Network
from RecurrentFF.training.evaluation import Evaluation, evaluate

MAX_VALUES = 2**27
"""The most numbers of a record: half a gigabyte."""
MAX_MISTAKES = 2_000
"""The most wrong predictions by "propose_and_verify" whose badness is computed, to find the most confident ones."""
MAX_NAME = 60
"""The largest number of characters of a class name in a sentence."""


@dataclass(frozen=True)
class Look:
    """The network, the samples and the results of a report. Each result is computed once, when it is first needed.

    Args:
        network: the network.
        data: labeled samples as for `rff.evaluate`, in the same order whenever they are read.
        count: the largest number of samples that are recorded.
        seed: the seed of the draw of samples and of wrong labels.
    """

    network: Network
    data: Any
    count: int
    seed: int

    @cached_property
    def evaluation(self) -> Evaluation:
        """The predictions of all samples.

        Raises:
            InputError: the data come in another order than before.
        """
        _, labels = self._drawn  # read first, since its messages name the function that was called
        found = evaluate(self.network, self.data)
        _require_same_order(found.labels == tuple(found.classes[number] for number in labels.tolist()))
        return found

    @cached_property
    def _drawn(self) -> tuple[Samples, Tensor]:
        """The samples that are recorded, and the class numbers of all samples."""
        count = min(self.count, max(2, MAX_VALUES // values_at_once(self.network)))
        return read(self.network, self.data, count, "write_report", seed=self.seed)

    @property
    def samples(self) -> Samples:
        """The samples that are recorded: `count`, or fewer if their record would be too large."""
        return self._drawn[0]

    @cached_property
    def both(self) -> Comparison:
        """Their record under true and wrong labels."""
        return record_both(self.network, self.samples, seed=self.seed)

    @cached_property
    def wrong(self) -> tuple[Samples, Mistakes] | None:
        """The most confident mistakes, at most as many as a picture shows; None if all samples are predicted right."""
        numbers = most_confident(self.evaluation)
        if not numbers:
            return None
        samples, labels = read(self.network, self.data, None, "write_report", index=numbers)
        _require_same_order(torch.equal(labels, self._drawn[1]))
        found = mistakes(self.network, samples)
        if len(numbers) > SHOWN:
            samples = samples.take(found.positions[:SHOWN])
            found = mistakes(self.network, samples)
        return (samples, found) if len(found.positions) else None

    @cached_property
    def cancellation(self) -> list[Cancellation]:
        """The degree to which top-down drive cancels bottom-up drive; empty for a network that was trained without labels."""
        return [] if self.network.settings.training.label_free else cancellation(self.both)

    @cached_property
    def sparsity(self) -> dict[str, Sparsity]:
        """The numbers of active units."""
        return sparsity(self.both)

    @cached_property
    def neighbors(self) -> float | None:
        """The fraction of samples whose nearest neighbor has their class, before the label; None if there is no such activity.

        None, too, if it is the same for all samples.
        """
        if self.network.settings.network.prelabel_timesteps == 0 or len(self.samples) < 2:
            return None
        activity = latent.latent_activity(self.network, self.samples)
        return latent.neighbors_of_the_same_class(activity, self.samples.labels) if latent.varies(activity) else None

    def class_name(self, number: int) -> str:
        """The name of a class, printable."""
        return name_of_class(self.evaluation.classes[number], MAX_NAME)

    @property
    def not_proposed(self) -> int:
        """The number of samples whose true label the readout did not propose, in a prediction by "propose_and_verify"."""
        found = self.evaluation
        assert found.badness is not None
        return int(found.badness.gather(1, _numbers(found, found.labels).unsqueeze(1)).isinf().sum())

    @property
    def window(self) -> str:
        """The layers and timesteps over which the badness of a prediction is averaged, in words."""
        names, used = [module.name for module in self.network.hidden_layers()], self.network.prediction_layers
        layers = "layers" if list(used) == names else ", ".join(used)
        return f"averaged over {layers} and over the timesteps in the yellow area"


def _require_same_order(is_same: bool) -> None:
    if not is_same:
        raise InputError("write_report: the data come in another order each time; pass a DataLoader without shuffling")


def most_confident(found: Evaluation) -> list[int]:
    """The numbers of the wrongly predicted samples among which the most confident ones are looked for.

    These are the most confident ones themselves where the evaluation has the scores of all labels. "propose_and_verify" does not
    compute those of most true labels: then they are the first `MAX_MISTAKES` in the order of the data.
    """
    true, predicted = (_numbers(found, names) for names in (found.labels, found.predictions))
    wrong = (true != predicted).nonzero()[:, 0]
    scores = found.badness if found.method == "badness" else None if found.logits is None else -found.logits
    if found.method == "propose_and_verify" or scores is None:
        return wrong[:MAX_MISTAKES].tolist()
    own, other = (scores[wrong, labels[wrong]] for labels in (predicted, true))
    return wrong[(other - own).sort(descending=True, stable=True).indices][:SHOWN].tolist()


def _numbers(found: Evaluation, names: Sequence[Label]) -> Tensor:
    """The class numbers of class names, (n,)."""
    places = {name: number for number, name in enumerate(found.classes)}
    return torch.tensor([places[name] for name in names])
