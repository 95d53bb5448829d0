"""Both paths of the network against the autograd reference, to 1e-10 in float64, for every option."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.model.activations import Activation
from RecurrentFF.model.connection_kinds import ConnectionKind, Place, signed_weights
from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.model.fused import FusedPath
from RecurrentFF.model.layers import LocalModule, LocalResult
from RecurrentFF.model.learner import BatchMetrics, Learner, Observer
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext, sample_wrong_labels
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective
from RecurrentFF.model.paths import PlainPath
from RecurrentFF.model.reference import Activity
from RecurrentFF.model.state import State
from RecurrentFF.registry import register
from tests.helpers import class_numbers, dense, float64_network, hidden_layers, video
from tests.oracle import ACTIVATIONS, Oracle, Trace

BATCHES = 2

PAIRWISE = {"name": "pairwise"}
ADAM = {"name": "adam", "learning_rate": 1e-2}
READOUT = {"name": "readout"}
FIELD = {"name": "receptive_field", "side": 2}


@register("activation", "test_softsign")
@dataclass(frozen=True)
class Softsign(Activation):
    """An activation of one's own, in one method."""

    steepness: Annotated[float, Field(gt=0)] = 1.0
    """The derivative at zero."""

    def apply(self, z: Tensor) -> Tensor:
        return self.steepness * z / (1 + self.steepness * z.abs())


@register("objective", "test_squared")
@dataclass(frozen=True)
class Squared(Objective):
    """An objective of one's own, in one method: a squared hinge."""

    margin: float = 1.0
    """The difference of badness from which on there is no loss."""
    ranks_only = True

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        return (self.margin + positive - negative).clamp(min=0).square()


@register("negatives", "test_next_classes")
@dataclass(frozen=True)
class NextClasses(NegativeSource):
    """Negatives of one's own: the classes that follow the true one."""

    count: int = 1
    """The number of classes."""
    gives_labels = True

    def sample(self, context: SamplingContext) -> Negatives:
        offsets = torch.arange(1, self.count + 1).view(-1, 1, 1)
        return Negatives((context.labels + offsets) % context.network.num_classes)


@register("connection", "test_sparse")
@dataclass(frozen=True)
class Sparse(ConnectionKind):
    """A kind of connection of one's own: every weight but each third one of a unit is zero."""

    stride: int = 3
    """The distance of weights that are not zero."""

    def make(self, place: Place) -> list[Connection]:
        weight = torch.cat(signed_weights(place), 1)
        row, column = (torch.arange(length) for length in weight.shape)
        mask = ((row.unsqueeze(1) + column) % self.stride == 0).to(weight)
        return [Dense(place.sources, place.units, top_down=place.top_down, weight=weight, mask=mask)]


GROUPS: dict[str, dict[str, Any]] = {
    "softmax": {"objective": "softmax", "negatives": {"count": 4}},
    "threshold": {"badness": "sum", "objective": {"theta": 2.0}},
    "read_label": {"residual_connections": [[4, 1]], "objective": "pairwise", "negatives": READOUT | {"count": 2}},
    "every_way": {
        "objective": "softmax",
        "negatives": {"count": 2},
        "dropout": 0.2,
        "activity_dropout": 0.2,
        "hard_example_fraction": 0.5,
        "peer_normalization": 0.5,
        "adversarial_noise": 0.5,
    },
}
BOTTOM_UP: dict[str, dict[str, Any]] = {
    "threshold": {},
    "one_timestep": {"prelabel_timesteps": 0, "label_timesteps": 1, "residual_connections": [[4, 1]], "objective": "pairwise"},
    "dropout": {"dropout": 0.2, "activity_dropout": 0.3, "residual_connections": [[1, 3], [3, 1]], "negatives": "readout"},
}

CASES: dict[str, dict[str, Any]] = {
    "three_layers": {},
    "two_layers": {"hidden_sizes": [5, 9]},
    "four_classes": {"num_classes": 4},
    "one_layer": {"hidden_sizes": [6]},
    "four_layers": {"hidden_sizes": [3, 8, 4, 5]},
    **{f"threshold_{name}": {"activation": name} for name in ACTIVATIONS},
    **{f"pairwise_{name}": {"activation": name, "objective": "pairwise"} for name in ACTIVATIONS},
    "pairwise_soft": {"objective": PAIRWISE | {"alpha": 0.5}},
    "sum": {"objective": {"name": "sum", "objectives": [{"name": "threshold", "theta": 0.4}, "pairwise"]}},
    "two_prediction_layers": {"prediction_layers": [3, 1]},
    "threshold_low": {"objective": {"theta": 0.2}},
    "threshold_sharp": {"objective": {"beta": 4.0}},
    "several_negatives_threshold_sharp": {"objective": {"beta": 2.5, "theta": 0.7}, "negatives": {"count": 2}},
    "no_damping": {"damping_factor": 1.0},
    "strong_damping": {"damping_factor": 0.15},
    "large_epsilon": {"epsilon": 0.3},
    "no_prelabel": {"prelabel_timesteps": 0},
    "one_iteration": {"label_timesteps": 1},
    "rmsprop_momentum": {"optimizer": {"name": "rmsprop", "learning_rate": 1e-2, "momentum": 0.5}},
    "adam": {"optimizer": ADAM},
    "adam_decay": {"optimizer": ADAM | {"weight_decay": 0.3}},
    "adadelta": {"optimizer": "adadelta"},
    "dropout": {"dropout": 0.3},
    "dropout_one_layer": {"dropout": 0.5, "hidden_sizes": [6]},
    "residual_merging": {"residual_connections": [[1, 3], [0, 2], [4, 1]]},
    "residual_apart": {"hidden_sizes": [5, 4, 6, 3], "residual_connections": [[0, 4], [5, 1], [4, 1], [1, 4]]},
    "residual_dropout": {"residual_connections": [[1, 3], [4, 1]], "dropout": 0.2, "objective": "pairwise"},
    "dynamic_rmsprop": {"negatives": "readout"},
    "dynamic_adam": {"negatives": READOUT | {"optimizer": "adam"}, "dropout": 0.1},
    "dynamic_hot": {"negatives": READOUT | {"temperature": 0.2}},
    "activity_dropout": {"activity_dropout": 0.4, "negatives": "readout"},
    "activity_dropout_in_every_way": {"activity_dropout": 0.2, "dropout": 0.2, "input_dropout": 0.3, "negatives": {"count": 2}},
    "input_dropout": {"input_dropout": 0.5, "residual_connections": [[0, 2]]},
    "input_noise": {"input_noise": 0.5, "input_dropout": 0.2, "residual_connections": [[0, 2]]},
    "adversarial_noise": {"adversarial_noise": 0.5, "objective": "pairwise", "residual_connections": [[4, 1]]},
    "adversarial_noise_for_two": {
        "adversarial_noise": 2.0,
        "residual_connections": [[0, 3]],
        "dropout": 0.2,
        "negatives": {"count": 2},
    },
    "adversarial_noise_with_dropout": {"adversarial_noise": 0.5, "input_dropout": 0.4, "activity_dropout": 0.2},
    "hard_example_fraction": {"hard_example_fraction": 0.5, "objective": "pairwise"},
    "hard_share_of_one": {"hard_example_fraction": 0.01, "negatives": "readout"},
    "hard_share_in_every_way": {
        "hard_example_fraction": 0.7,
        "negatives": {"count": 2},
        "dropout": 0.2,
        "adversarial_noise": 0.3,
        "peer_normalization": 2.0,
    },
    "summed_badness": {"badness": "sum", "objective": PAIRWISE | {"alpha": 0.7}},
    "summed_badness_threshold": {"badness": "sum", "objective": {"theta": 4.0}},
    "straight_through": {"straight_through": True, "activation": "tanh"},
    "peer_normalization": {"peer_normalization": 3.0, "objective": "pairwise"},
    "peer_normalization_several": {"peer_normalization": 0.7, "negatives": {"count": 3}, "dropout": 0.1},
    "several_negatives": {"negatives": READOUT | {"count": 3}, "objective": "pairwise"},
    "several_negatives_threshold": {"negatives": {"count": 2}},
    "several_negatives_sum": {"negatives": {"count": 2}, "objective": "sum"},
    "all_negatives": {"negatives": {"count": 4}, "objective": "pairwise"},
    "receptive_field": {"input_size": 9, "connections": [FIELD], "optimizer": {"name": "adam", "weight_decay": 0.1}},
    "lateral_field": {"input_size": 9, "connections": [FIELD | {"lateral": 1}], "residual_connections": [[3, 1]]},
    "own_activation": {"activation": Softsign(steepness=2.0)},
    "own_activation_by_name": {"activation": "test_softsign", "objective": "pairwise", "straight_through": True},
    "own_objective": {"objective": Squared(margin=0.3), "negatives": {"count": 2}},
    "own_objective_in_a_sum": {"objective": {"name": "sum", "objectives": ["test_squared", "threshold"]}, "dropout": 0.1},
    "own_connection": {"connections": [{"name": "test_sparse", "stride": 2}], "optimizer": ADAM},
    "own_connection_of_one_layer": {"connections": [Sparse(layers=(2,))], "hard_example_fraction": 0.5},
    "own_negatives": {"negatives": {"name": "test_next_classes", "count": 2}, "objective": "pairwise"},
    "leaky_relu_steep": {"activation": {"name": "leaky_relu", "negative_slope": 0.3}},
    "torch_optimizer": {"optimizer": {"name": "torch", "optimizer": "NAdam", "options": [["momentum_decay", 0.01]]}},
    "optimizer_class": {"optimizer": torch.optim.Rprop},
    "dynamic_adadelta": {"negatives": READOUT | {"optimizer": "adadelta"}},
    "softmax": {"objective": {"name": "softmax", "alpha": 3.0}, "negatives": {"count": 3}},
    "softmax_in_a_sum": {"objective": {"name": "sum", "objectives": ["softmax", "threshold"]}, "negatives": {"count": 2}},
    **{f"class_groups_{name}": {"class_groups": True, "hidden_sizes": [10, 5, 15]} | options for name, options in GROUPS.items()},
    **{f"bottom_up_{name}": {"update_order": "bottom_up"} | options for name, options in BOTTOM_UP.items()},
}
WITHOUT_FUSED = ("class_groups", "bottom_up")
"""The beginnings of the names of cases that only the plain path computes."""


class NextClassesOracle(Oracle):
    """The oracle with the negatives of `NextClasses`."""

    def draw_negatives(self, h: Activity, inputs: Tensor, labels: Tensor, static: bool, mask: Tensor) -> list[Tensor]:
        return [(labels + offset) % self.sizes["y"] for offset in range(1, self.count)]


ORACLES = {"own_negatives": NextClassesOracle}


class Recorder(Observer):
    """Notes activity, gradients, losses and weights of every timestep, in the layout of the oracle."""

    def __init__(self, network: Network, candidates: int) -> None:
        self.network = network
        self.candidates = candidates
        self.trace = Trace()

    def on_label_free_timestep(self, state: State) -> None:
        self.trace.activity.append(self.activity(state, 1))

    def on_local_gradients(self, timestep: int, module: LocalModule, result: LocalResult) -> None:
        for record in (self.trace.losses, self.trace.weight_gradients, self.trace.bias_gradients):
            if len(record) == timestep:
                record.append([])
        self.trace.losses[timestep].append(result.loss)
        if result.gradients:
            self.trace.weight_gradients[timestep].append(result.gradients["connections.0.weight"].clone())
            self.trace.bias_gradients[timestep].append(result.gradients["bias"].clone())

    def on_timestep(self, timestep: int, state: State) -> None:
        self.trace.activity.append(self.activity(state, self.candidates))
        self.trace.weights.append([dense(layer).weight.clone() for layer in hidden_layers(self.network)])

    def activity(self, state: State, candidates: int) -> list[Tensor]:
        """Copies of (units, candidates or 1, batch) as (candidates · batch, units)."""
        activities = [state.blocks[name].activity for name in self.network.layers]
        return [h.expand(-1, candidates, -1).flatten(1).T.clone() for h in activities]


def assert_same(found: list[list[Tensor]], expected: list[list[Tensor]]) -> None:
    assert len(found) == len(expected)
    for found_row, expected_row in zip(found, expected, strict=True):
        for f, e in zip(found_row, expected_row, strict=True):
            torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-10)


def assert_metrics(found: BatchMetrics, expected: Trace, oracle: Oracle, mask: Tensor) -> None:
    badness = torch.stack([torch.stack(row) for row in expected.badness])  # (iterations, layers, rows)
    pos, *negatives = badness.chunk(1 + oracle.settings.negatives.count, dim=2)
    neg = torch.stack(negatives).mean(0)
    for t, real in enumerate(mask[oracle.settings.network.prelabel_timesteps :]):
        for metric, values in ((found.badness_pos, pos), (found.badness_neg, neg)):
            torch.testing.assert_close(metric[t], values[t][:, real].sum(1) / max(1, int(real.sum())))
    torch.testing.assert_close(found.loss, torch.stack([torch.stack(row) for row in expected.losses]))
    predicting = [oracle.layers.index(name) for name in oracle.predicting]
    gaps = list((pos - neg)[:, predicting].mean(1))
    gap = torch.stack(gaps)
    right = [float(oracle.window_average(gap[:, sample], mask[:, sample])) < 0 for sample in range(mask.shape[1])]
    assert found.pairwise_accuracy.item() == pytest.approx(sum(right) / len(right))


def ends(timesteps: int, batch: int) -> Tensor:
    """A mask of sequences that are over sooner or later: the first is empty, the last is valid to the end."""
    return torch.arange(timesteps).unsqueeze(1) < torch.linspace(0, timesteps, batch).round()


PATHS = {"fused": FusedPath, "plain": PlainPath}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["video", "static", "masked", "changing_labels", "masked_and_changing_labels"])
@pytest.mark.parametrize("case", CASES)
def test_training_agrees_with_autograd(case: str, kind: str, path: str) -> None:
    labels_change, masked = "changing" in kind, "masked" in kind
    network = float64_network(fused=path == "fused", **CASES[case])
    assert isinstance(network.path, PlainPath if case.startswith(WITHOUT_FUSED) else PATHS[path])
    oracle = ORACLES.get(case, Oracle)(network, 7)
    recorder = Recorder(network, 1 + network.settings.negatives.count)
    learner = Learner(network, 7, observers=[recorder])
    label_timesteps = network.settings.network.label_timesteps
    for batch in range(BATCHES):
        found = recorder.trace = Trace()
        inputs = given = video(network.settings.timesteps, seed=batch, input_size=network.input_size)
        if kind == "static":
            given, inputs = inputs[0], inputs[:1].repeat(len(inputs), 1, 1)
        labels = class_numbers(label_timesteps if labels_change else 1, inputs.shape[1], seed=batch, classes=network.num_classes)
        mask = ends(*inputs.shape[:2]) if masked else torch.ones(inputs.shape[:2], dtype=torch.bool)
        metrics = learner.train_batch(given, labels if labels_change else labels[0], mask if masked else None)
        expected = oracle.train_traced(inputs, labels.expand(label_timesteps, -1), not labels_change, mask)
        assert_same_traces(found, expected)
        assert_metrics(metrics, expected, oracle, mask)
    assert_same_parameters(network, oracle)


def assert_same_traces(found: Trace, expected: Trace) -> None:
    for name in ("activity", "losses", "weight_gradients", "bias_gradients", "weights"):
        assert_same(getattr(found, name), getattr(expected, name))


def assert_same_parameters(network: Network, oracle: Oracle) -> None:
    for layer in hidden_layers(network):
        torch.testing.assert_close(dense(layer).weight.data, oracle.stacked(layer.name), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(layer.bias.data, oracle.bias[layer.name].detach(), rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(network.readout.parameters(), oracle.readout, strict=True):
        torch.testing.assert_close(mine.data, theirs.detach(), rtol=1e-10, atol=1e-10)


class WrongInputs(NegativeSource):
    """Negative candidates with inputs of their own, and by option with wrong labels beside them."""

    def __init__(self, inputs: Sequence[Tensor], wrong_labels: bool) -> None:
        self.inputs = inputs
        self.count = len(inputs)
        self.wrong_labels = wrong_labels

    def sample(self, context: SamplingContext) -> Negatives:
        labels, logits = None, torch.zeros(context.network.num_classes)
        drawn = sample_wrong_labels(logits, context.labels, context.draws, count=self.count)
        if self.wrong_labels:
            labels = drawn
        return Negatives(labels, torch.stack([x.mT for x in self.inputs], 2))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wrong_labels", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "pairwise", "negatives": {"count": 2}, "prelabel_timesteps": 0},
        {"objective": "pairwise", "dropout": 0.2, "input_dropout": 0.3, "activity_dropout": 0.2},
        {"adversarial_noise": 0.5, "negatives": {"count": 2}, "hard_example_fraction": 0.5},
        {"peer_normalization": 0.5, "residual_connections": [[0, 3]], "objective": "sum"},
    ],
    ids=str,
)
def test_negative_inputs_agree_with_autograd(options: dict[str, Any], wrong_labels: bool, path: str) -> None:
    network = float64_network(fused=path == "fused", **options)
    oracle = Oracle(network, 7)
    count = network.settings.negatives.count
    recorder = Recorder(network, 1 + count)
    timesteps, mask = network.settings.timesteps, ends(network.settings.timesteps, 6)
    for batch in range(BATCHES):
        inputs, labels = video(timesteps, seed=batch), class_numbers(6, seed=batch)
        wrong = [video(timesteps, seed=10 + batch + k) for k in range(count)]
        source, found = WrongInputs(wrong, wrong_labels), Trace()
        recorder.trace = found
        if batch == 0:
            learner = Learner(network, 7, negatives=source, observers=[recorder])
        learner.negatives = source
        learner.train_batch(inputs, labels, mask)
        repeated = labels.expand(network.settings.network.label_timesteps, -1)
        expected = oracle.train_traced(inputs, repeated, True, mask, wrong, keep_labels=not wrong_labels)
        assert_same_traces(found, expected)
    assert_same_parameters(network, oracle)


@pytest.mark.parametrize("input_dropout", [0.0, 0.4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [1e-6, 1.0])
def test_negatives_from_the_networks_own_badness(temperature: float, masked: bool, input_dropout: float) -> None:
    choice: dict[str, Any] = {"negatives": {"name": "badness", "temperature": temperature}, "prediction_window": [0, 2]}
    network = float64_network(**choice, input_dropout=input_dropout, input_noise=input_dropout)
    oracle = Oracle(network, 7)
    learner = Learner(network, 7)
    for batch in range(3):
        inputs, labels = video(network.settings.timesteps, seed=batch), class_numbers(6, seed=batch)
        mask = ends(*inputs.shape[:2]) if masked else torch.ones(inputs.shape[:2], dtype=torch.bool)
        metrics = learner.train_batch(inputs, labels, mask if masked else None)
        oracle.train_traced(inputs, labels.expand(len(inputs) - 2, -1), True, mask)
        assert metrics.readout_loss == 0
    assert_same_parameters(network, oracle)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["video", "static", "masked"])
@pytest.mark.parametrize("window", [None, [0, 0], [1, 2], [0, 2]], ids=str)
@pytest.mark.parametrize(
    "case",
    [
        "three_layers",
        "one_layer",
        "two_prediction_layers",
        "residual_merging",
        "residual_apart",
        "no_prelabel",
        "pairwise_gelu",
        "dropout",
        "summed_badness",
        "lateral_field",
        "own_activation",
        "own_connection",
    ],
)
def test_prediction_agrees_with_the_loop_over_labels(case: str, window: list[int] | None, kind: str, path: str) -> None:
    masked = kind == "masked"
    network = float64_network(fused=path == "fused", **CASES[case], prediction_window=window, prediction_batch_size=4)
    oracle = Oracle(network)
    inputs = given = video(network.settings.timesteps, batch=10, input_size=network.input_size)
    if kind == "static":
        given, inputs = inputs[0], inputs[:1].repeat(len(inputs), 1, 1)
    mask = ends(*inputs.shape[:2]) if masked else torch.ones(inputs.shape[:2], dtype=torch.bool)
    expected = oracle.average_badness(inputs, mask)
    found = network.badness(given, mask if masked else None)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert network.predict(given, mask if masked else None).tolist() == expected.argmin(1).tolist()


@pytest.mark.parametrize("static", [False, True], ids=["video", "static"])
def test_badness_over_time_is_what_a_prediction_averages(static: bool) -> None:
    network = float64_network(label_timesteps=4, prediction_window=[0, 2])
    inputs = video(6)[0] if static else video(6)
    over_time = network.badness_over_time(inputs)
    assert over_time.shape == (4, 3, 6, network.num_classes)
    torch.testing.assert_close(over_time[:3].mean((0, 1)), network.badness(inputs), rtol=1e-10, atol=1e-10)
    spread = over_time.amax(3) - over_time.amin(3)
    assert (spread[0, :2] == 0).all() and (spread[1, 0] == 0).all()  # the label travels one layer per timestep
    assert (spread[0, 2] > 0).all() and (spread[1, 1] > 0).all() and (spread[2, 0] > 0).all()


def test_a_static_input_is_a_video_in_which_nothing_moves() -> None:
    network = float64_network()
    image = video(1)[0]
    frames = image.repeat(network.settings.timesteps, 1, 1)
    assert torch.equal(network.badness(image), network.badness(frames))
