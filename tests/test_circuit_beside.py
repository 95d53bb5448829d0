"""The hidden layers learn and predict the same with and without a circuit, bit for bit, and frozen layers stay unchanged."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from RecurrentFF.model.generative import TopDownMap
from RecurrentFF.model.learner import BatchMetrics, Learner, Observer
from RecurrentFF.model.network import Network
from RecurrentFF.model.optimizers import Adam, Torch
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.model.state import State
from RecurrentFF.settings.network import METHODS, PredictionMethod
from tests.circuit_oracle import latent_of
from tests.given_negatives import image_network
from tests.helpers import class_numbers, hidden_layers, small_settings, video
from tests.test_oracle import PATHS, ends

CIRCUIT: dict[str, Any] = {"name": "reconstruction", "latent_size": 3}
READOUT: dict[str, Any] = {"name": "readout", "count": 2}

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "every_dropout": {
        "dropout": 0.2,
        "activity_dropout": 0.3,
        "input_dropout": 0.3,
        "negatives": READOUT,
        "objective": "pairwise",
    },
    "adversarial_noise": {"adversarial_noise": 0.4, "input_dropout": 0.2, "hard_example_fraction": 0.5},
    "badness_negatives": {"negatives": {"name": "badness"}, "peer_normalization": 0.5, "optimizer": "adam"},
    "one_layer": {"hidden_sizes": [6], "prelabel_timesteps": 1, "activity_dropout": 0.3, "negatives": READOUT},
    "residual": {"residual_connections": [[1, 3], [4, 1], [0, 2]], "activation": "tanh"},
}


class Activities(Observer):
    """Notes the activity and the patterns of the hidden layers after every timestep."""

    def __init__(self, network: Network) -> None:
        self.names = [layer.name for layer in network.hidden_layers()]
        self.noted: list[Tensor] = []

    def on_label_free_timestep(self, state: State) -> None:
        for name in self.names:
            self.noted += [state.blocks[name].activity.clone(), state.patterns[name].clone()]

    def on_timestep(self, timestep: int, state: State) -> None:
        self.on_label_free_timestep(state)


def batches(network: Network, count: int = 3, seed: int = 0) -> list[tuple[Any, ...]]:
    """Batches of several kinds: static, over time, and with masks."""
    timesteps = network.settings.timesteps
    made: list[tuple[Any, ...]] = []
    for batch in range(seed, seed + count):
        inputs = video(timesteps, seed=batch, input_size=network.input_size).float()
        kinds = [(inputs[0],), (inputs,), (inputs, ends(timesteps, 6))]
        x, *mask = kinds[batch % 3]
        made.append((x, class_numbers(6, seed=batch), *mask))
    return made


def train(network: Network, **arguments: Any) -> tuple[list[BatchMetrics], list[Tensor], BatchPlace]:
    """The metrics, the activity, and the place of the next random numbers, of a training of three batches."""
    activities = Activities(network)
    learner = Learner(network, 7, observers=[activities], **arguments)
    metrics = [learner.train_batch(*batch) for batch in batches(network)]
    return metrics, activities.noted, learner.place


def layers_of(network: Network) -> dict[str, Tensor]:
    """Copies of the weights of hidden layers and readout."""
    circuit = tuple(f"layers.{m.name}." for m in network.local_modules if isinstance(m, TopDownMap))
    return {name: weight.clone() for name, weight in network.state_dict().items() if not name.startswith(circuit or "none")}


def require_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys() and one
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES)
def test_the_layers_learn_and_predict_the_same_with_a_circuit(case: str, path: str) -> None:
    without, circuit = (
        Network(small_settings(**CASES[case], **more), fused=path == "fused") for more in ({}, {"generative": CIRCUIT})
    )
    require_same(layers_of(without), layers_of(circuit))
    before = circuit.layers["predict_x"].state_dict()["weight"].clone()
    (metrics, activity, place), (other_metrics, other_activity, other_place) = train(without), train(circuit)
    require_same(layers_of(without), layers_of(circuit))
    assert place == other_place == BatchPlace(first=18)
    assert len(activity) == len(other_activity) and all(map(torch.equal, activity, other_activity))
    for found, expected in zip(other_metrics, metrics, strict=True):
        assert all(map(torch.equal, found, expected))
    assert not torch.equal(circuit.layers["predict_x"].state_dict()["weight"], before)
    frames = video(without.settings.timesteps, seed=9).float()
    assert torch.equal(without.badness(frames), circuit.badness(frames))
    assert torch.equal(without.badness(frames[0]), circuit.badness(frames[0]))
    methods: tuple[PredictionMethod, ...] = METHODS if without.settings.negatives.trains_readout else ("badness",)
    for method in methods:
        assert torch.equal(without.predict(frames, method=method), circuit.predict(frames, method=method))


@pytest.mark.parametrize("path", PATHS)
def test_label_free_layers_learn_the_same_with_a_circuit(path: str) -> None:
    options: dict[str, Any] = {"label_free": True, "prediction": "readout", "negatives": {"name": "hybrid", "mask": "features"}}
    without, circuit = (image_network(fused=path == "fused", **options, **more) for more in ({}, {"generative": CIRCUIT}))
    train(without)
    train(circuit)
    require_same(layers_of(without), layers_of(circuit))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES)
def test_frozen_layers_stay_as_they_are_and_the_circuit_learns_as_beside_layers_without_a_gradient(case: str, path: str) -> None:
    """The counterpart of frozen layers are layers whose optimizer has a vanishing learning rate."""
    options = CASES[case] | {"optimizer": Torch("SGD", 1e-45), "adversarial_noise": 0.0, "peer_normalization": 0.0}
    if "negatives" in options:
        options |= {"negatives": {"name": "uniform", "count": options["negatives"].get("count", 1)}}
    frozen, still = (
        Network(small_settings(**options | {"generative": CIRCUIT | more}), fused=path == "fused")
        for more in ({"freeze_layers": True}, {})
    )
    before = layers_of(frozen)
    (metrics, activity, place), (other_metrics, other_activity, other_place) = train(frozen), train(still)
    require_same(layers_of(frozen), before)
    require_same(layers_of(still), before)
    require_same(frozen.state_dict(), still.state_dict())
    assert place == other_place and all(map(torch.equal, activity, other_activity))
    for found, expected in zip(metrics, other_metrics, strict=True):
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("negatives", [READOUT, {"name": "hybrid", "mask": "features"}, {"name": "badness"}], ids=str)
def test_frozen_layers_and_their_readout_do_not_change_at_all(negatives: dict[str, Any], path: str) -> None:
    options: dict[str, Any] = {"peer_normalization": 0.5, "adversarial_noise": 0.3, "optimizer": "adam", "dropout": 0.2}
    circuit = CIRCUIT | {"freeze_layers": True}
    network = Network(small_settings(negatives=negatives, generative=circuit, **options), fused=path == "fused")
    before, modules = layers_of(network), [m.name for m in network.trained_modules()]
    assert modules == ["predict_h3", "predict_h2", "predict_h1", "predict_x"]
    metrics, *_ = train(network)
    require_same(layers_of(network), before)
    assert metrics[0].loss.shape == (3, 3) and metrics[0].loss.isfinite().all()


def test_the_learning_rate_of_the_circuit_is_its_own_and_is_scaled_with_the_others() -> None:
    network = Network(
        small_settings(optimizer="adam", generative=CIRCUIT | {"optimizer": {"name": "rmsprop", "learning_rate": 0.3}})
    )
    learner = Learner(network)
    learner.scale_learning_rates(0.5)
    rates = {name: optimizer.rate for name, optimizer in learner.optimizers.items()}
    layers = [layer.name for layer in hidden_layers(network)]
    assert all(rate == pytest.approx(0.5e-3 if name in layers else 0.15) for name, rate in rates.items()) and len(rates) == 7


@pytest.mark.parametrize("path", PATHS)
def test_a_restored_learner_goes_on_with_the_circuit_as_it_was(path: str) -> None:
    """Between two batches everything is in the state of the network and of the learner."""
    make = [Network(small_settings(generative=CIRCUIT, negatives=READOUT), fused=path == "fused") for _ in range(2)]
    one, other = (Learner(network, 7) for network in make)
    first, second = batches(make[0], 2)
    one.train_batch(*first)
    make[1].load_state_dict(make[0].state_dict())
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for learner in (one, other):
        learner.place = BatchPlace(first=6)
        learner.train_batch(*second)
    require_same(make[0].state_dict(), make[1].state_dict())


def test_frozen_layers_have_no_optimizers() -> None:
    network = Network(small_settings(generative=CIRCUIT | {"freeze_layers": True, "optimizer": Adam(0.125)}))
    learner = Learner(network)
    assert list(learner.optimizers) == ["predict_h3", "predict_h2", "predict_h1", "predict_x"]
    assert learner.state_dict()["optimizers"].keys() == learner.optimizers.keys() and learner.learning_rate == 0.125


@pytest.mark.parametrize("path", PATHS)
def test_a_state_begins_with_zeros_for_all_modules(path: str) -> None:
    network = Network(small_settings(generative=CIRCUIT), fused=path == "fused")
    state = network.path.new_state(2, 6)
    for _ in range(2):
        state.reset()
        for module in network.local_modules:
            block = state.blocks[module.name]
            assert block.activity.shape == block.pattern.shape == state.patterns[module.name].shape == (module.units, 1, 6)
            assert not block.activity.any() and not state.patterns[module.name].any()
        network.settle(state, torch.rand(1, 7, 1, 6))


@pytest.mark.parametrize("path", PATHS)
def test_layers_at_a_rate_of_zero_do_not_change_while_the_statistics_are_tracked(path: str) -> None:
    options: dict[str, Any] = {"optimizer": {"name": "adam", "weight_decay": 0.5}, "peer_normalization": 0.5}
    network = Network(small_settings(generative=CIRCUIT, **options), fused=path == "fused")
    learner = Learner(network)
    before, (first, *others) = layers_of(network), batches(network)
    learner.train_batch(*first)
    moved = layers_of(network)
    assert not torch.equal(moved["layers.h1.bias"], before["layers.h1.bias"])
    learner.scale_learning_rates(0.0)
    counted = latent_of(network).class_weight.clone()
    for batch in others:
        learner.train_batch(*batch)
    require_same(layers_of(network), moved)
    assert not torch.equal(latent_of(network).class_weight, counted)
