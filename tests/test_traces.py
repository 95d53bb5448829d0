"""Traces, eligibility and time constants: whole trainings with them against the float64 reference, and what each of them is."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.model.eligibility import EligibilityKind, Eligible
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.linear_memories import Dynamics, joined, leaky, legendre, oscillating, total
from RecurrentFF.model.network import Network
from RecurrentFF.model.optimizers import Adam
from RecurrentFF.model.paths import PlainPath
from RecurrentFF.model.reference import Activity, Reference
from RecurrentFF.model.traces import Traces, TracesKind
from RecurrentFF.training.memory import required_memory
from tests.helpers import CLASSES, class_numbers, float64_network, generator, hidden_layers, video


class MemoryReference(Reference):
    """The reference with memories: each candidate's activity also has those of its traced sources, by "layer<source"."""

    def __init__(self, network: Network) -> None:
        self.traced: dict[str, Traces] = {}
        self.eligible: dict[str, float] = {}
        for layer in hidden_layers(network):
            for connection in layer.connections:
                for source in connection.sources:
                    if isinstance(connection, Traces):
                        self.traced[f"{layer.name}<{source}"] = connection
                    if isinstance(connection, Eligible):
                        self.eligible[f"{layer.name}<{source}"] = connection.decay
        super().__init__(network)
        self.memory: Activity = {}
        constants = network.settings.network.time_constants
        self.slowness = {}
        for name in self.layers:
            low, high = (1.0, 1.0) if constants is None else constants
            exponents = torch.arange(self.sizes[name], dtype=torch.float64) / (self.sizes[name] - 1)
            self.slowness[name] = low * (high / low) ** exponents

    def weights_of(self, connection: Connection) -> dict[str, Tensor]:
        return super().weights_of(connection.dense if isinstance(connection, Traces) else connection)

    def zero_activity(self, x: Tensor) -> Activity:
        sizes = {key: self.sizes[key.split("<")[1]] for key in (*self.traced, *self.eligible)}
        depth = {key: len(self.traced[key].input) if key in self.traced else 1 for key in sizes}
        return super().zero_activity(x) | {key: x.new_zeros(len(x), depth[key], size) for key, size in sizes.items()}

    def timestep(self, x: Tensor, y: Tensor, h: Activity, damping: float) -> Activity:
        layers = {name: h[name] for name in self.layers}
        reads = {"x": x, "y": y} | {name: self.pattern(name, activity) for name, activity in layers.items()}
        self.memory = {}
        for key in (*self.traced, *self.eligible):
            source = reads[key.split("<")[1]].unsqueeze(1)
            if key in self.traced:
                a, b = self.traced[key].transition, self.traced[key].input
                self.memory[key] = a @ h[key] + b[:, None] * source
            else:
                self.memory[key] = self.eligible[key] * h[key] + source
        after = super().timestep(x, y, layers, damping)
        for name in self.layers:  # a slower unit goes a smaller part of the way
            after[name] = h[name] + (after[name] - h[name]) / self.slowness[name]
        return after | self.memory

    def drive(self, layer: str, source: str, weight: Tensor, reads: dict[str, Tensor]) -> Tensor:
        key = f"{layer}<{source}"
        if key in self.traced:
            m = self.memory[key]
            scale = ((m**2).mean(2, keepdim=True) + 1e-8).sqrt() if self.traced[key].normalized else 1
            return (m / scale).flatten(1) @ weight.T
        drive = super().drive(layer, source, weight, reads)
        if key in self.eligible:  # the value of the drive, and the gradient of the trace
            trace = self.memory[key][:, 0] @ weight.T
            return drive.detach() + trace - trace.detach()
        return drive


TRACES: dict[str, dict[str, Any]] = {
    "leaky": {"time_constants": [1.0, 3.0]},
    "leaky and the sum": {"time_constants": [2.0], "accumulate": True},
    "only the sum": {"time_constants": [], "accumulate": True, "normalized": False},
    "oscillating": {"memory": "oscillating", "time_constants": [4.0, 8.0], "periods": [3.0, 7.0]},
    "legendre": {"memory": "legendre", "order": 3, "window": 4.0},
}
CASES: dict[str, dict[str, Any]] = {
    **{name: {"connections": [{"name": "traces"} | options]} for name, options in TRACES.items()},
    "traces of all sources": {"connections": [{"name": "traces", "sources": ["forward", "lateral", "backward", "label"]}]},
    "traces of the input": {"connections": [{"name": "traces", "layers": [1], "sources": ["forward"], "weight_scale": 2.0}]},
    "eligibility": {"connections": [{"name": "eligibility", "decay": 0.6}], "damping_factor": 0.4},
    "eligibility of some": {"connections": [{"name": "eligibility", "sources": ["lateral", "label"]}]},
    "time constants": {"time_constants": [1.5, 9.0]},
    "all of them": {
        "time_constants": [1.0, 4.0],
        "connections": [{"name": "traces", "layers": [1, 3]}, {"name": "eligibility", "layers": [2]}],
    },
}


@pytest.mark.parametrize("case", CASES)
def test_training_and_prediction_agree_with_autograd(case: str) -> None:
    network = float64_network(optimizer="adam", objective="pairwise", negatives="badness", **CASES[case])
    assert isinstance(network.path, PlainPath)
    reference = MemoryReference(network)
    learner = Learner(network, negatives=NextLabel())
    for batch in range(2):
        inputs, labels = video(network.settings.timesteps, seed=batch), class_numbers(6, seed=batch)
        learner.train_batch(inputs, labels)
        reference.train_batch([inputs] * 2, [y.expand(3, -1) for y in (labels, (labels + 1) % CLASSES)])
    for layer in hidden_layers(network):
        torch.testing.assert_close(layer.bias.data, reference.bias[layer.name].data, rtol=1e-10, atol=1e-10)
        for connection in layer.connections:
            for source, own in reference.weights_of(connection).items():
                torch.testing.assert_close(own.data, reference.weight[layer.name, source].data, rtol=1e-10, atol=1e-10)
    inputs = video(network.settings.timesteps, seed=9)
    first, last = network.settings.prediction_window
    expected = reference.badness_over_time(inputs)[first : last + 1].mean(0)
    torch.testing.assert_close(network.badness(inputs), expected, rtol=1e-10, atol=1e-10)


class NextLabel(rff.NegativeSource):
    """The next class as the wrong label."""

    def sample(self, context: Any) -> rff.Negatives:
        return rff.Negatives(labels=(context.labels.unsqueeze(0) + 1) % CLASSES)


def weight(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def connections() -> dict[str, Connection]:
    sizes, doubled = {"x": 6, "h2": 4}, {"x": 12, "h2": 8}
    traces = Traces(Dense(doubled, 5, top_down=["h2"], weight=weight(5, 20)), leaky([2.0, 4.0]))
    return {"traces": traces, "eligibility": Eligible(sizes, 5, 0.5, top_down=["h2"], weight=weight(5, 10))}


@pytest.mark.parametrize("name", ["traces", "eligibility"])
@pytest.mark.parametrize("candidates", [1, 2])
def test_masked_gradients_equal_those_of_autograd(name: str, candidates: int) -> None:
    """Of an eligibility trace, autograd differentiates the drive of what is read in place of the sources."""
    connection = connections()[name]
    before = [weight(*memory.shape, seed=7) for memory in connection.initial_memory(weight(5, 1, 3))]
    reads, grad_drive = [weight(6, candidates, 3), weight(4, candidates, 3, seed=1)], weight(5, 2, 3)
    masks = [(weight(5, 2, 3, seed=seed) > 0).double() * 2 for seed in (2, 3)]
    drive, after = connection.masked_forward(reads, masks, before)
    expected = sum(m * d for m, d in zip(masks, connection.drives(reads, before).values(), strict=True))
    torch.testing.assert_close(drive, expected)
    parameter = next(connection.parameters()).requires_grad_()
    read = [0.5 * trace + read for trace, read in zip(before, reads, strict=True)] if name == "eligibility" else reads
    gradient = torch.autograd.grad(connection.masked_forward(read, masks, before)[0], parameter, grad_drive)[0]
    (found,) = connection.masked_gradients(reads, grad_drive, masks, before, after).values()
    torch.testing.assert_close(found, gradient)


def test_dropout_masks_the_drive_of_each_source() -> None:
    kinds = [{"name": "traces", "sources": ["forward", "lateral"]}, {"name": "eligibility", "layers": [1]}]
    network = float64_network(connections=kinds, dropout=0.4)
    counts = [[c.dropout_masks for c in layer.connections] for layer in hidden_layers(network)]
    assert counts == [[2, 1], [2, 1], [2, 1]]
    kept = [layer.connections[0].values_kept(9) for layer in hidden_layers(network)]
    assert kept == [3 * (7 + 9), 3 * (9 + 5), 3 * (5 + 8)]  # three time constants, the layer below, and the layer
    learner = Learner(network)
    learner.train_batch(video(network.settings.timesteps), class_numbers(6))
    assert all(torch.isfinite(layer.weight_vector()).all() for layer in hidden_layers(network))


def test_traces_of_the_present_alone_are_a_dense_connection() -> None:
    """The same initial weights, with a minus sign from above, and the same training."""
    everything = {"name": "traces", "sources": [], "time_constants": [1.0], "normalized": False}
    traced, plain = float64_network(connections=[everything]), float64_network(fused=False)
    for network in (traced, plain):
        Learner(network).train_batch(video(network.settings.timesteps), class_numbers(6))
    for own, other in zip(hidden_layers(traced), hidden_layers(plain), strict=True):
        torch.testing.assert_close(own.weight_vector(), other.weight_vector(), rtol=1e-12, atol=1e-12)


def run(dynamics: Dynamics, values: Tensor) -> Tensor:
    """The memory after each value, (values, K)."""
    m, memories = torch.zeros(len(dynamics.input), dtype=torch.float64), []
    for value in values:
        m = dynamics.transition @ m + dynamics.input * value
        memories.append(m)
    return torch.stack(memories)


def test_a_running_mean_of_a_constant_is_the_constant_and_the_first_is_the_present() -> None:
    values = weight(50)
    memory = run(leaky([1.0, 5.0]), values)
    assert torch.equal(memory[:, 0], values)
    assert run(leaky([5.0]), torch.ones(60))[-1].item() == pytest.approx(1, abs=1e-5)
    assert run(leaky([5.0]), torch.tensor([1.0, 0, 0]))[:, 0].tolist() == pytest.approx([0.2, 0.16, 0.128])
    torch.testing.assert_close(run(total(), values)[:, 0], values.cumsum(0))
    torch.testing.assert_close(run(joined([leaky([1.0]), total()]), values), torch.stack([values, values.cumsum(0)], 1))


def test_an_oscillation_is_the_complex_one() -> None:
    values, expected = weight(9), 0j
    memory = run(oscillating([6.0], [4.0]), values)
    for value, found in zip(values.tolist(), memory.tolist(), strict=True):
        expected = expected * math.e ** (-1 / 6) * complex(math.cos(math.pi / 2), math.sin(math.pi / 2)) + value
        assert complex(*found) == pytest.approx(expected)


def test_a_legendre_memory_holds_the_coefficients_of_its_window() -> None:
    """A slow sine, decoded by the polynomials at the ends and the middle of the window."""
    times = torch.arange(400, dtype=torch.float64)
    values, window = torch.sin(times / 60), 100
    memory = run(legendre(8, float(window)), values)[-1]
    for fraction in (0.1, 0.5, 1.0):  # of the window into the past
        argument = 2 * fraction - 1
        polynomials = [1.0, argument]
        for n in range(1, 7):
            polynomials.append(((2 * n + 1) * argument * polynomials[n] - n * polynomials[n - 1]) / (n + 1))
        decoded = float((memory * torch.tensor(polynomials, dtype=torch.float64)).sum())
        assert decoded == pytest.approx(float(values[-1 - round(fraction * window)]), abs=0.03)


def test_a_network_remembers_with_traces_what_it_forgets_without(tmp_path: Path) -> None:
    """The first of six inputs tells the class; fixed seeds. The trace survives a checkpoint."""
    labels = class_numbers(300, classes=CLASSES)
    inputs = torch.zeros(6, 300, CLASSES)
    inputs[0] = 3 * torch.nn.functional.one_hot(labels, CLASSES)
    inputs[1:] = torch.randn(5, 300, CLASSES, generator=generator())

    def accuracy(*kinds: rff.ConnectionKind) -> float:
        options: dict[str, Any] = {"hidden_sizes": [40], "prelabel_timesteps": 4, "label_timesteps": 2, "damping_factor": 1.0}
        network = rff.build(
            input_size=CLASSES, num_classes=CLASSES, objective="pairwise", optimizer=Adam(learning_rate=1e-2), device="cpu",
            connections=list(kinds), negatives="uniform", **options,
        )  # fmt: skip
        learner = Learner(network)
        for _ in range(100):
            learner.train_batch(inputs, labels)
        rff.save(network, tmp_path / "network.safetensors")
        loaded = rff.load(tmp_path / "network.safetensors")
        assert torch.equal(loaded.badness(inputs), network.badness(inputs))
        return float((network.predict(inputs) == labels).float().mean())

    assert accuracy(TracesKind(sources=("forward",), time_constants=(1.0,), accumulate=True)) > 0.95
    assert accuracy() < 0.8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TracesKind(memory="oscillating"), "3 time_constants and 0 periods; give one period for each"),
        (lambda: TracesKind(periods=(3.0,)), "memory = 'leaky' has no periods; leave them out"),
        (lambda: TracesKind(order=3), "memory = 'leaky' has no order and window; leave them out"),
        (lambda: TracesKind(memory="legendre", time_constants=(2.0,)), "memory = 'legendre' has no time_constants"),
        (lambda: TracesKind(time_constants=()), "there is nothing to remember: give time_constants, or set accumulate"),
        (lambda: TracesKind(time_constants=(0.5,)), "time_constants.0 = 0.5: expected at least 1"),
        (lambda: EligibilityKind(decay=1.0), "decay = 1.0: expected a number below 1"),
        (lambda: float64_network(time_constants=[4.0, 2.0]), r"time_constants: \[4.0, 2.0\] must be in ascending order"),
    ],
)
def test_options_that_do_not_fit_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()


def test_weights_for_another_memory_are_refused() -> None:
    with pytest.raises(ValueError, match="a memory of 2 values, but the weights are for"):
        Traces(Dense({"x": 7}, 5), leaky([1.0, 2.0]))


LATERAL, LABEL = {"name": "traces"}, {"name": "traces", "sources": ["label"], "layers": [1]}


@pytest.mark.parametrize(
    ("connections", "message"),
    [
        ([LATERAL, {"name": "fast_weights"}], r"connections\[1\] \(fast_weights\) serves nothing: entries before it serve"),
        ([LABEL], r"connections\[0\] \(traces\) serves nothing: .* or its layers have no such source"),
        ([{"name": "none", "sources": ["forward", "lateral", "backward", "label"]}], "layer 1 would read nothing"),
        ([{"name": "none", "sources": ["label"]}], "no layer would read the label"),
    ],
)
def test_connections_that_serve_nothing_or_leave_out_too_much_are_refused(connections: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        rff.build(input_size=7, num_classes=CLASSES, hidden_sizes=[9, 5], connections=connections, device="cpu")


def test_the_units_of_a_channel_have_the_same_time_constant() -> None:
    layer = Layer("h1", (3, 2, 2), [Dense({"x": 4}, 12)], time_constants=(1.0, 4.0))
    assert layer.rates is not None
    assert layer.rates.flatten().tolist() == [1.0] * 4 + [0.5] * 4 + [0.25] * 4


def test_the_check_of_memory_counts_traces() -> None:
    sizes: dict[str, Any] = {"input_size": 50, "num_classes": 5, "hidden_sizes": [20], "batch_size": 10}
    traced = {"name": "traces", "sources": ["forward"], "memory": "legendre", "order": 8, "window": 9.0}
    plain, counted = (required_memory(rff.Settings.from_arguments(**sizes, connections=kinds)) for kinds in ([], [traced]))
    assert counted["network.hidden_sizes"] - plain["network.hidden_sizes"] == 12 * 7 * 20 * 50
    (kept,) = (value for words, value in counted.items() if "network.connections keep" in words)
    assert kept == 2 * 8 * 50 * 10
