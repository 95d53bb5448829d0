"""Generated negatives: images of a wrong class from the network's generative circuit, with the true label."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.generated import GeneratedNegatives, _of_other_classes
from RecurrentFF.model.generative import LatentReconstruction
from RecurrentFF.model.imagination import generated_inputs
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.mixtures import MixtureNegatives
from RecurrentFF.model.negatives import ReadoutNegatives, sample_wrong_labels
from RecurrentFF.model.network import Network
from tests.circuit_oracle import latent_of
from tests.given_negatives import context
from tests.helpers import CLASSES, batch_draws, class_numbers, clusters, small_settings, video
from tests.refusals import refusal

OWN = GeneratedNegatives(2, trains_readout=False)


def network_with_circuit(**arguments: object) -> Network:
    options = {"generative": "reconstruction", "negatives": {"name": "generated", "count": 2}, "optimizer": "adam"}
    return Network(small_settings(**(options | arguments)))


def trained() -> Network:
    """A network whose circuit has seen all classes."""
    network = network_with_circuit()
    learner = Learner(network)
    for batch in range(20):
        learner.train_batch(*clusters(40, seed=batch))
    return network


def test_generated_negatives_are_what_the_circuit_generates_of_a_wrong_class() -> None:
    network, inputs = trained(), video(1, 8)[0].float()
    draws = batch_draws(8, 4)
    negatives = OWN.sample(context(network, inputs, seed=4))
    labels = class_numbers(8).unsqueeze(0)
    wrong = sample_wrong_labels(torch.zeros(CLASSES), labels[0], draws, count=2)
    assert not (wrong == labels).any() and negatives.labels is None and negatives.inputs is not None
    noise = draws.normal("generated negatives", latent_of(network).size, 2)
    expected = generated_inputs(network, wrong.flatten(), torch.cat([noise[:, 0], noise[:, 1]], 1))
    assert negatives.inputs.shape == (1, 7, 2, 8)
    for k in range(2):
        assert torch.equal(negatives.inputs[0, :, k], expected[:, 0, 8 * k : 8 * (k + 1)])
    again = OWN.sample(context(network, inputs, seed=4)).inputs
    other = OWN.sample(context(network, inputs, seed=5)).inputs
    assert again is not None and other is not None
    assert torch.equal(again, negatives.inputs) and not torch.equal(other, negatives.inputs)


def test_before_all_classes_are_seen_the_negatives_are_real_samples_of_other_classes() -> None:
    network, inputs, labels = network_with_circuit(), video(1, 30)[0].float(), class_numbers(30)
    negatives = OWN.sample(context(network, inputs, labels)).inputs
    assert negatives is not None and negatives.shape == (1, 7, 2, 30)
    for sample in range(30):
        sources = [int((inputs == negatives[0, :, k, sample]).all(1).nonzero().item()) for k in range(2)]
        assert labels[sources[0]] != labels[sample] and labels[sources[1]] != labels[sample] and sources[0] != sources[1]


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 4), labels=st.lists(st.integers(0, 2), min_size=1, max_size=7), seed=st.integers(0, 2**32))
def test_samples_of_other_classes(count: int, labels: list[int], seed: int) -> None:
    found = _of_other_classes(count, torch.tensor(labels), batch_draws(len(labels), seed))
    assert found.shape == (count, len(labels))
    for sample, chosen in enumerate(found.T.tolist()):
        others = sum(label != labels[sample] for label in labels)
        for k, index in enumerate(chosen):
            assert labels[index] != labels[sample] or k >= others
            assert labels[index] != labels[sample] or index == sample


def test_the_circuit_learns_with_its_own_negatives_and_the_readout_is_trained() -> None:
    network = trained()
    (latent,) = (module for module in network.local_modules if isinstance(module, LatentReconstruction))
    assert (latent.class_weight > 0).all() and network.readout.weight.any()
    metrics = Learner(network).train_batch(*clusters(40))
    assert metrics.readout_loss > 0 and (metrics.loss > 0).all()


def test_generated_negatives_in_a_mixture() -> None:
    mixture = MixtureNegatives((ReadoutNegatives(2), OWN))
    assert mixture.needs_circuit and not mixture.gives_inputs
    network = network_with_circuit(negatives=mixture)
    learner = Learner(network)
    for batch in range(3):
        metrics = learner.train_batch(*clusters(40, seed=batch))
    assert metrics.loss.isfinite().all()


def test_what_generated_negatives_need_is_checked() -> None:
    message = refusal(lambda: small_settings(negatives="generated"), SettingsError)
    assert 'which has no generative circuit; set generative.name = "reconstruction"' in message
    message = refusal(lambda: GeneratedNegatives().for_network(Network(small_settings())), SettingsError)
    assert "need a generative circuit" in message
    message = refusal(lambda: network_with_circuit(label_free=True, prediction="readout"), SettingsError)
    assert "these negatives depend on labels" in message
    message = refusal(lambda: GeneratedNegatives(CLASSES).for_network(network_with_circuit()), SettingsError)
    assert f"there are only {CLASSES - 1} wrong classes" in message
    learner = Learner(network_with_circuit())
    message = refusal(lambda: learner.train_batch(video(5).float(), class_numbers(6)), InputError)
    assert "only inputs that stay the same can be generated" in message
    with pytest.raises(SettingsError, match=r"GeneratedNegatives\.temperature"):
        GeneratedNegatives(temperature=-1.0)
