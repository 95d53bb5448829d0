"""Training with given negatives against the float64 reference, for tests of sources that give inputs."""

from typing import Any

import torch
from torch import Tensor

from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.task import Task
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext
from RecurrentFF.model.network import Network
from RecurrentFF.model.reference import Activity
from RecurrentFF.model.regularizers import Disturbance
from tests.helpers import CLASSES, batch_draws, class_numbers, float64_network, video
from tests.oracle import Oracle
from tests.test_oracle import BATCHES, Recorder, assert_same_parameters, assert_same_traces, ends

SIZE = (4, 3)
"""The height and the width of the images."""

PIXELS = SIZE[0] * SIZE[1]


def image_task(*shape: int) -> Task:
    """A task of images, without data."""
    return Task("drawings", shape or SIZE, tuple(range(CLASSES)), Pixels(mean=0.0, std=1.0))


def image_network(*, fused: bool = True, **arguments: Any) -> Network:
    """A float64 network whose inputs are images."""
    network = float64_network(fused=fused, **({"input_size": PIXELS} | arguments))
    network.task = image_task()
    return network


def context(network: Network, inputs: Tensor, labels: Tensor | None = None, seed: int = 0) -> SamplingContext:
    """What a source of negatives is given for a batch.

    Args:
        network: a network.
        inputs: (batch, features) or (timesteps, batch, features).
        labels: (batch,); random ones if left out.
        seed: the seed of the random numbers.
    """
    x = network.input_sequence(inputs)
    state = network.path.new_state(1, x.shape[3])
    network.settle(state, x)
    labels = class_numbers(x.shape[3]) if labels is None else labels
    return SamplingContext(network, state, x, Disturbance(), labels.unsqueeze(0), None, batch_draws(x.shape[3], seed))


class Noted(NegativeSource):
    """The negatives of another source, which are noted."""

    def __init__(self, source: NegativeSource) -> None:
        self.source = source
        self.count = source.count
        self.last = Negatives()

    def sample(self, context: SamplingContext) -> Negatives:
        self.last = self.source.sample(context)
        return self.last


class GivenOracle(Oracle):
    """The reference with given labels in place of those that it draws, and without any label where the training is label-free."""

    given: Tensor | None = None
    """The labels of the negative candidates, (candidates, label timesteps or 1, batch); None for the true ones."""

    def draw_negatives(self, h: Activity, inputs: Tensor, labels: Tensor, static: bool, mask: Tensor) -> list[Tensor]:
        drawn = super().draw_negatives(h, inputs, labels, static, mask)
        return [labels for _ in drawn] if self.given is None else [wrong.expand_as(labels) for wrong in self.given]

    def one_hot(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        shown = super().one_hot(labels, dtype)
        return torch.full_like(shown, 1 / shown.shape[1]) if self.settings.training.label_free else shown


def require_agreement(network: Network, source: NegativeSource, *, static: bool = False) -> None:
    """Check that a training with the negatives of a source is that of the reference with the same negatives.

    Args:
        network: a network whose settings name negatives of the same count: "readout" if the source trains the readout, with
            the same optimizer, else "uniform".
        source: the source.
        static: the inputs don't change over time.
    """
    oracle, noted = GivenOracle(network, 7), Noted(source.for_network(network))
    recorder = Recorder(network, 1 + source.count)
    learner = Learner(network, 7, negatives=noted, observers=[recorder])
    timesteps, label_timesteps = network.settings.timesteps, network.settings.network.label_timesteps
    for batch in range(BATCHES):
        inputs = video(timesteps, seed=batch, input_size=network.input_size)
        inputs = inputs[:1].expand_as(inputs) if static else inputs
        labels, mask = class_numbers(6, seed=batch), ends(timesteps, 6)
        found = recorder.trace = type(recorder.trace)()
        learner.train_batch(inputs[0] if static else inputs, labels, mask)
        oracle.given, wrong = noted.last.labels, noted.last.inputs
        assert wrong is not None
        wrong_inputs = [x.mT.expand_as(inputs) for x in wrong.unbind(2)]
        expected = oracle.train_traced(inputs, labels.expand(label_timesteps, -1), True, mask, wrong_inputs)
        assert_same_traces(found, expected)
    assert_same_parameters(network, oracle)
