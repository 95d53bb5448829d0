"""The learning of the generative circuit against the autograd reference, to 1e-10 in float64, on both paths."""

from itertools import product
from typing import Any

import pytest
import torch

from RecurrentFF.errors import InputError
from RecurrentFF.model.generative import LatentReconstruction, ReconstructionCircuit, latent
from RecurrentFF.model.layers import BlockState, LearningContext, StepContext
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Threshold
from RecurrentFF.model.optimizers import Torch
from tests.circuit_oracle import CircuitOracle, CircuitRecorder, CircuitTrace, assert_same_circuit, circuit_of, spied
from tests.given_negatives import image_network
from tests.helpers import CLASSES, class_numbers, float64_network, generator, small_settings, video
from tests.test_oracle import PATHS, WrongInputs, ends

BATCHES = 2
DECAY = 0.99
"""The decay of the statistics, as the documentation has it."""

SMALL: dict[str, Any] = {"name": "reconstruction", "latent_size": 3}
READOUT: dict[str, Any] = {"name": "readout", "count": 2}

CASES: dict[str, dict[str, Any]] = {
    "three_layers": {},
    "two_layers": {"hidden_sizes": [5, 9], "generative": SMALL | {"noise": 0.5}},
    "one_layer": {"hidden_sizes": [6]},
    "latent_larger_than_the_top_layer": {"generative": SMALL | {"latent_size": 12}},
    "no_noise": {"generative": SMALL | {"noise": 0.0}},
    "rmsprop": {"generative": SMALL | {"optimizer": {"name": "rmsprop", "learning_rate": 0.02, "momentum": 0.4}}},
    "weight_decay": {"generative": SMALL | {"optimizer": {"name": "adam", "learning_rate": 0.02, "weight_decay": 0.5}}},
    "of_torch": {"generative": SMALL | {"optimizer": Torch("SGD", 0.3)}, "activation": "gelu"},
    "tanh": {"activation": "tanh", "objective": "pairwise"},
    "straight_through": {"activation": "relu", "straight_through": True},
    "dropout": {"dropout": 0.3, "negatives": READOUT},
    "activity_dropout": {"activity_dropout": 0.4, "negatives": READOUT},
    "input_dropout": {"input_dropout": 0.5, "objective": "pairwise"},
    "adversarial_noise": {"adversarial_noise": 0.5, "input_dropout": 0.2},
    "every_dropout": {"dropout": 0.2, "activity_dropout": 0.2, "input_dropout": 0.3, "adversarial_noise": 0.3},
    "one_iteration": {"label_timesteps": 1},
    "residual_connections": {"residual_connections": [[1, 3], [4, 1]], "epsilon": 0.3},
    "frozen": {"generative": SMALL | {"freeze_layers": True}, "dropout": 0.2, "negatives": READOUT},
}


def circuit_network(*, fused: bool = True, **arguments: Any) -> Network:
    """A float64 network with a small circuit, whose biases are not zero."""
    network = float64_network(fused=fused, **({"generative": SMALL} | arguments))
    for module in circuit_of(network):
        module.bias.normal_(std=0.1, generator=generator(6))
    return network


def assert_same_statistics(network: Network, oracle: CircuitOracle) -> None:
    """Check mean and covariance of the code of every class, and that classes without samples have none."""
    (top, *_) = circuit_of(network)
    assert isinstance(top, LatentReconstruction)
    seen = 0
    for number, codes in enumerate(oracle.codes):
        assert float(top.class_weight[number]) == pytest.approx(sum(weight for weight, _ in codes), rel=1e-12)
        if codes:
            seen += 1
            for found, expected in zip(top.distribution(number), oracle.statistics(number), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    assert seen > 0


KINDS = ["video", "masked_and_changing_labels"]
STATIC = ["three_layers", "every_dropout", "frozen"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case, kind", [*product(CASES, KINDS), *product(STATIC, ["static"])])
def test_the_circuit_learns_as_autograd_does(case: str, kind: str, path: str) -> None:
    masked = kind.startswith("masked")
    network = circuit_network(fused=path == "fused", **CASES[case])
    assert isinstance(network.path, PATHS[path])
    learner, oracle, recorder = spied(network, 7, DECAY)
    label_timesteps = network.settings.network.label_timesteps
    for batch in range(BATCHES):
        inputs = video(network.settings.timesteps, seed=batch, input_size=network.input_size)
        labels = class_numbers(label_timesteps if masked else 1, 6, seed=batch, classes=network.num_classes)
        mask = ends(*inputs.shape[:2]) if masked else torch.ones(inputs.shape[:2], dtype=torch.bool)
        valid = mask[network.settings.network.prelabel_timesteps :]
        found = recorder.trace = CircuitTrace()
        expected = oracle.start_batch(labels.expand(label_timesteps, -1), valid)
        learner.train_batch(inputs[0] if kind == "static" else inputs, labels if masked else labels[0], mask if masked else None)
        assert_same_circuit(found, expected)
    assert_same_statistics(network, oracle)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wrong_labels", [True, False])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.2, "input_dropout": 0.3, "activity_dropout": 0.2}], ids=str)
def test_the_circuit_reads_the_positive_candidate_beside_wrong_inputs(
    options: dict[str, Any], wrong_labels: bool, path: str
) -> None:
    network = circuit_network(fused=path == "fused", **options)
    source = WrongInputs([video(network.settings.timesteps, seed=20)], wrong_labels)
    learner, oracle, recorder = spied(network, 7, DECAY, negatives=source)
    for batch in range(BATCHES):
        labels, found = class_numbers(6, seed=batch), CircuitTrace()
        recorder.trace = found
        expected = oracle.start_batch(labels.expand(3, -1), torch.ones(3, 6))
        learner.train_batch(video(network.settings.timesteps, seed=batch), labels)
        assert_same_circuit(found, expected)
    assert_same_statistics(network, oracle)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("static", [False, True])
def test_label_free_training_tells_the_circuit_the_class_but_no_layer(static: bool, path: str) -> None:
    """No layer sees a label, but the statistics of a class are those of its own samples."""
    options: dict[str, Any] = {"label_free": True, "prediction": "readout", "negatives": {"name": "hybrid", "mask": "features"}}
    network = image_network(fused=path == "fused", generative=SMALL, **options)
    learner, oracle, recorder = spied(network, 7, DECAY)
    for batch in range(BATCHES):
        labels = class_numbers(6, seed=batch)
        inputs = video(network.settings.timesteps, seed=batch, input_size=network.input_size)
        found = recorder.trace = CircuitTrace()
        expected = oracle.start_batch(labels.expand(3, -1), torch.ones(3, 6))
        learner.train_batch(inputs[0] if static else inputs, labels)
        assert_same_circuit(found, expected)
    assert_same_statistics(network, oracle)


def test_a_network_of_one_class_per_batch_keeps_the_statistics_of_the_others() -> None:
    network = circuit_network()
    learner, oracle, _ = spied(network, 7, DECAY)
    for label in (1, 3, 1):
        labels = torch.full((6,), label)
        oracle.start_batch(labels.expand(3, -1), torch.ones(3, 6))
        learner.train_batch(video(5, seed=label), labels)
    assert_same_statistics(network, oracle)
    assert [bool(codes) for codes in oracle.codes] == [False, True, False, True, False]


def test_without_decay_a_class_has_the_mean_and_the_covariance_of_its_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "DECAY", 1.0)
    network = circuit_network(generative=SMALL | {"noise": 0.0})
    recorder, seen = CircuitRecorder(network), []
    learner = Learner(network, 7, observers=[recorder])
    for batch in range(4):
        labels = class_numbers(6, seed=batch, classes=CLASSES - 1)
        recorder.trace = CircuitTrace()
        learner.train_batch(video(1, seed=batch)[0], labels)
        seen += list(zip(labels.tolist(), recorder.trace.codes[0], strict=True))
    (top, *_) = circuit_of(network)
    assert isinstance(top, LatentReconstruction)
    assert top.class_weight.tolist() == [sum(label == number for label, _ in seen) for number in range(CLASSES)]
    assert top.class_weight[-1] == 0 and top.class_weight[:-1].min() > 0
    for number in range(CLASSES - 1):
        codes = torch.stack([code for label, code in seen if label == number])
        mean, covariance = top.distribution(number)
        torch.testing.assert_close(mean, codes.mean(0), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(covariance, codes.T.cov(correction=0).reshape(3, 3), rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- modules by themselves


def test_the_code_is_the_minimum_of_its_error_and_prior() -> None:
    module = LatentReconstruction("h1", 8, 3, 5, dtype=torch.float64, generator=generator())
    module.bias.normal_(generator=generator(1))
    pattern = torch.randn(8, 2, 4, dtype=torch.float64, generator=generator(2))
    code = module.code(pattern).requires_grad_()
    assert code.shape == (3, 2, 4)
    error = ((pattern - module.predict(code)) ** 2).sum() + (code**2).sum()
    (gradient,) = torch.autograd.grad(error, code)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


def test_a_latent_without_labels_tracks_nothing() -> None:
    module = LatentReconstruction("h1", 4, 2, 5, generator=generator())
    patterns, before = {"h1": torch.rand(4, 1, 3)}, module.initial_state(3, torch.float32, None)
    assert isinstance(before, BlockState)
    after = module.step(patterns, before, StepContext(1.0))
    learning = LearningContext(Threshold(), torch.full((3,), 1 / 3), is_first=True)
    result = module.local_gradients(patterns, before, after, StepContext(1.0), learning)
    assert result.gradients.keys() == {"weight", "bias"} and result.badness is None
    assert module.class_weight.sum() == 0


def test_the_initial_maps_are_of_a_seed_and_a_scale() -> None:
    one, same, other = (circuit_network(seed=seed, generative={"name": "reconstruction"}) for seed in (1, 1, 2))
    for module, twin, different in zip(*map(circuit_of, (one, same, other)), strict=True):
        assert torch.equal(module.weight_vector(), twin.weight_vector())
        assert not torch.equal(module.weight_vector(), different.weight_vector())
    wide = Network(small_settings(hidden_sizes=[400, 300], generative={"name": "reconstruction"}))
    latent_weight, from_h2, from_h1 = (module.weight_vector() for module in circuit_of(wide))
    assert float(latent_weight.std()) == pytest.approx(300**-0.5, rel=0.05)
    assert float(from_h2.std()) == pytest.approx(0.1 * 300**-0.5, rel=0.05)
    assert float(from_h1.std()) == pytest.approx(0.1 * 400**-0.5, rel=0.05)


def test_a_map_of_other_sizes_is_refused_when_the_network_is_made() -> None:
    layers, sizes = circuit_network().hidden_layers(), {"x": 7, "h1": 9, "h2": 5, "h3": 8, "y": CLASSES}
    settings = circuit_network().settings
    for wrong in ({"h3": 6}, {"h2": 6}, {"x": 8}, {"y": 4}):
        modules = ReconstructionCircuit().make(sizes | wrong, settings.network.activation, torch.float64, generator())
        with pytest.raises(ValueError, match=r"^predict_\w+ (has|reads) \d+ \w+( of \w+)?, (but|which) .*has \d+$"):
            Network(settings, torch.float64, modules=[*layers, *modules])


def test_an_observer_sees_the_circuit_but_metrics_do_not() -> None:
    network, plain = circuit_network(), float64_network()
    inputs, labels = video(1)[0], class_numbers(6)
    metrics, expected = (Learner(each, 7).train_batch(inputs, labels) for each in (network, plain))
    for found, other in zip(metrics, expected, strict=True):
        assert torch.equal(found, other)


def test_a_batch_of_invalid_samples_changes_no_statistics() -> None:
    network = circuit_network()
    Learner(network, 7).train_batch(video(5), class_numbers(6), torch.zeros(5, 6, dtype=torch.bool))
    (top, *_) = circuit_of(network)
    assert isinstance(top, LatentReconstruction) and top.class_weight.sum() == 0 and top.class_products.abs().sum() == 0
    with pytest.raises(InputError, match="the inputs change over time"):
        network.generate(0)
