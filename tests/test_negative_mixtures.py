"""Mixed negatives: several sources, of which each sample gets the negatives of one."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.hybrids import HybridNegatives
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.mixtures import MixtureNegatives
from RecurrentFF.model.negatives import (
    BadnessNegatives,
    Negatives,
    NegativeSource,
    ReadoutNegatives,
    SamplingContext,
    UniformNegatives,
)
from RecurrentFF.model.optimizers import Adam
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.settings import Settings
from tests.given_negatives import PIXELS, context, image_network, require_agreement
from tests.helpers import CLASSES, class_numbers, small_settings, video
from tests.refusals import refusal

HYBRIDS = HybridNegatives(trains_readout=False)


@dataclass(frozen=True)
class Constant(NegativeSource):
    """Inputs that all have one value, or labels of one class, at one timestep or at all."""

    value: int = 0
    """The value."""
    labels: bool = False
    """Give labels, and no inputs."""
    timesteps: int = 1
    """The number of timesteps."""
    loss: float = 0.0
    """The loss of a readout; 0 for none."""
    count: int = 1
    """The number of negatives."""

    def sample(self, context: SamplingContext) -> Negatives:
        features, batch = context.inputs.shape[1], context.inputs.shape[3]
        loss = torch.tensor(self.loss) if self.loss else None
        if self.labels:
            return Negatives(labels=torch.full((self.count, self.timesteps, batch), self.value), readout_loss=loss)
        shape = (self.timesteps, features, self.count, batch)
        return Negatives(inputs=torch.full(shape, float(self.value), dtype=torch.float64), readout_loss=loss)


def sampled(source: NegativeSource, batch: int = 6, seed: int = 0, sequence: bool = False) -> tuple[SamplingContext, Negatives]:
    network = image_network()
    inputs = video(5 if sequence else 1, batch, input_size=PIXELS)
    given_ = context(network, inputs if sequence else inputs[0], seed=seed)
    return given_, source.for_network(network).sample(given_)


def test_each_source_gives_its_fraction_of_the_negatives() -> None:
    mixture = MixtureNegatives((Constant(1), Constant(2), Constant(3)), (1.0, 2.0, 5.0))
    _, found = sampled(mixture, 16_000)
    assert found.inputs is not None and found.labels is None
    values = found.inputs[0, :, 0]
    assert torch.equal(values, values[:1].expand_as(values))  # all of a sample is from one source
    fractions = values[0].long().bincount(minlength=4)[1:] / 16_000
    torch.testing.assert_close(fractions, torch.tensor([1, 2, 5]) / 8, rtol=0, atol=0.02)
    _, found = sampled(MixtureNegatives((Constant(1), Constant(2))), 16_000)
    assert found.inputs is not None and abs(float(found.inputs.mean()) - 1.5) < 0.02  # equal by default


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**63 - 1), count=st.integers(1, 3), timesteps=st.sampled_from([1, 3]), sequence=st.booleans(),
    frames=st.sampled_from([1, 5]),
)  # fmt: skip
def test_what_a_source_leaves_out_is_true_for_its_samples(
    seed: int, count: int, timesteps: int, sequence: bool, frames: int
) -> None:
    """Of labels and inputs; each may have one timestep or all."""
    sources = Constant(4, True, timesteps, count=count), Constant(9, timesteps=frames, count=count)
    given_, found = sampled(MixtureNegatives(sources), 8, seed, sequence)
    assert found.labels is not None and found.labels.shape == (count, timesteps, 8)
    assert found.inputs is not None and found.inputs.shape == (max(frames, 5 if sequence else 1), PIXELS, count, 8)
    wrong_input = (found.inputs == 9).all(1).all(0)
    wrong_label = (found.labels != given_.labels).any(1)
    assert torch.equal(wrong_input, wrong_input[:1].expand_as(wrong_input))
    assert not (wrong_label & wrong_input).any()
    true = torch.where(wrong_input, 9, given_.inputs)
    assert torch.equal(found.inputs, true.expand_as(found.inputs))
    expected = torch.where(wrong_input.unsqueeze(1), given_.labels, 4)
    assert torch.equal(found.labels, expected.expand_as(found.labels))
    _, again = sampled(MixtureNegatives(sources), 8, seed, sequence)
    assert torch.equal(found.inputs, again.inputs) and torch.equal(found.labels, again.labels)  # type: ignore[arg-type]


def test_labels_alone_have_no_inputs_and_inputs_alone_no_labels() -> None:
    _, labels = sampled(MixtureNegatives((UniformNegatives(), Constant(2, labels=True))))
    assert labels.inputs is None and labels.labels is not None and labels.readout_loss is None
    _, inputs = sampled(MixtureNegatives((HYBRIDS, Constant(2))))
    assert inputs.labels is None and inputs.inputs is not None


def test_the_loss_is_that_of_the_source_that_has_one() -> None:
    _, found = sampled(MixtureNegatives((UniformNegatives(), Constant(2, loss=0.25))))
    assert found.readout_loss == 0.25


@pytest.mark.parametrize("path", ["fused", "plain"])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"objective": "pairwise"},
        {"negatives": {"name": "readout", "count": 2}, "dropout": 0.2, "input_dropout": 0.3, "hard_example_fraction": 0.5},
        {"adversarial_noise": 0.4, "activity_dropout": 0.2, "residual_connections": [[4, 1]]},
    ],
    ids=str,
)
def test_training_with_a_mixture_agrees_with_autograd(options: dict[str, Any], static: bool, path: str) -> None:
    network = image_network(fused=path == "fused", **({"negatives": "readout"} | options))
    count = network.settings.negatives.count
    sources = (ReadoutNegatives(count), HybridNegatives(count, blur=1, trains_readout=False), UniformNegatives(count))
    require_agreement(network, MixtureNegatives(sources), static=static)


def test_a_mixture_has_the_properties_of_its_sources() -> None:
    mixture = MixtureNegatives((UniformNegatives(2), BadnessNegatives(2)))
    assert mixture.count == 2 and mixture.gives_labels
    assert not (mixture.gives_inputs or mixture.needs_images or mixture.reads_activity or mixture.trains_readout)
    mixture = MixtureNegatives((HybridNegatives(), HYBRIDS))
    assert mixture.gives_inputs and mixture.needs_images and mixture.reads_activity and mixture.trains_readout
    assert not mixture.gives_labels
    mixture = MixtureNegatives((UniformNegatives(), HYBRIDS))
    assert mixture.gives_labels and mixture.needs_images
    assert not (mixture.gives_inputs or mixture.reads_activity or mixture.trains_readout)


def test_a_mixture_is_written_to_toml_and_read_again() -> None:
    sources = ReadoutNegatives(2, optimizer=Adam()), HybridNegatives(2, 5, trains_readout=False)
    made = Settings.from_arguments(negatives=MixtureNegatives(sources, (3.0, 1.0)))
    text = made.to_toml()
    assert "[[negatives.sources]]" in text and Settings.from_toml(text) == made


def test_the_state_of_a_mixture_is_that_of_its_sources() -> None:
    """A training that continues from it is the same, bit for bit."""
    mixture = MixtureNegatives((UniformNegatives(), ReadoutNegatives(optimizer=Adam())))
    inputs, labels = video(4, input_size=PIXELS), class_numbers(6)

    def trained(first: int, last: int, start: dict[str, Any] | None = None) -> dict[str, Any]:
        """The state after some batches, from that before them."""
        network = image_network(negatives=mixture)
        learner = Learner(network)
        if start is not None:
            network.load_state_dict(start["weights"])
            learner.load_state_dict(start["learner"])
        for batch in range(first, last):
            learner.place = BatchPlace(0, first=6 * batch)
            learner.train_batch(inputs[batch], labels)
        return copied({"weights": network.state_dict(), "learner": learner.state_dict()})  # type: ignore[no-any-return]

    whole, half = trained(0, 4), trained(0, 2)
    assert [len(state) for state in half["learner"]["negatives"]["sources"]] == [0, 2]
    resumed = tensors(trained(2, 4, half))
    assert len(resumed) == 20 and all(torch.equal(a, b) for a, b in zip(tensors(whole), resumed, strict=True))


def copied(value: Any) -> Any:
    """A deep copy of nested dictionaries and lists of tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def tensors(value: Any) -> list[Tensor]:
    """All tensors in nested dictionaries and lists."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [tensor for item in items for tensor in tensors(item)]


@pytest.mark.parametrize("state", [{}, {"sources": {}}, {"sources": [{}]}, {"sources": [{}, 3]}, {"sources": [{}, {}]}], ids=str)
def test_the_state_of_other_sources_is_refused(state: dict[str, Any]) -> None:
    source = MixtureNegatives().for_network(image_network(negatives="mixture"))
    with pytest.raises(ValueError, match=r"not the state of (a mixture of 2 sources of negatives|an optimizer)"):
        source.load_state_dict(state)


def test_sources_that_do_not_fit_each_other_are_refused() -> None:
    for options, message in (
        ({"sources": (UniformNegatives(1), HybridNegatives(3))}, "sources: their counts are 1, 3; set the same count in all"),
        ({"weights": (0.5,)}, "weights: 1 numbers for 2 sources; give one for each"),
        ({"weights": (0.0, 1.0)}, "MixtureNegatives.weights"),
        ({"sources": ()}, "MixtureNegatives.sources"),
        ({"sources": (HybridNegatives(), ReadoutNegatives())}, "more than one trains the readout; set trains_readout = false"),
    ):
        assert message in refusal(lambda options=options: MixtureNegatives(**options), SettingsError)  # type: ignore[misc]
    message = refusal(lambda: small_settings(negatives=MixtureNegatives((UniformNegatives(CLASSES),))), SettingsError)
    assert f"negatives.count = {CLASSES}" in message
    message = refusal(lambda: small_settings(negatives="mixture", prelabel_timesteps=0), SettingsError)
    assert "network.prelabel_timesteps = 0" in message


def test_a_source_that_breaks_its_promise_is_named() -> None:
    broken = MixtureNegatives((UniformNegatives(), Constant(1, labels=True, timesteps=2)))
    learner = Learner(rff.build(small_settings(negatives=broken)))
    message = refusal(lambda: learner.train_batch(torch.rand(6, 7), class_numbers(6)), InputError)
    assert message == "Constant.sample: labels of shape (1, 2, 6), expected (1, 3, 6) or (1, 1, 6)"
    with pytest.raises(TypeError, match="for_network"):
        broken.sample(context(image_network(), video(1, input_size=PIXELS)[0]))
