"""Black-box connections: whole trainings against the autograd reference, and what a connection promises."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import RecurrentFF as rff
from RecurrentFF.model.black_box_functions import BlackBoxFunction, Draws, seed_of
from RecurrentFF.model.black_boxes import BlackBox, BlackBoxKind, BoxMemory
from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext
from RecurrentFF.model.network import Network
from RecurrentFF.model.paths import PlainPath
from RecurrentFF.model.reference import Activity, Clamp, Reference
from tests.helpers import CLASSES, batch_draws, class_numbers, clusters, generator, hidden_layers, small_settings, video


class WrongLabels(NegativeSource):
    """The next two classes as wrong labels."""

    count = 2

    def sample(self, context: SamplingContext) -> Negatives:
        return Negatives(torch.stack([(context.labels + step) % CLASSES for step in (1, 2)]))


def winners(rows: Tensor) -> Tensor:
    """The most active unit of each sample as 1, the others as 0. It changes its argument in place, which it may."""
    best = rows.argmax(1, keepdim=True)
    return rows.zero_().scatter_(1, best, 1.0)


Written = Callable[[Tensor, Tensor], Tensor]
"""A function written out: of activity (batch, units) and what was drawn for it, (batch, units)."""

FUNCTIONS: dict[str, tuple[Any, Written]] = {
    "spikes": ({"name": "spikes", "scale": 0.4}, lambda n, u: torch.where(0.4 * n > u, 1 / 0.4, 0.0)),
    "noise": ({"name": "noise", "std": 0.3}, lambda n, u: n + 0.3 * u),
    "1 bit": ({"name": "quantization", "bits": 1, "low": -0.5, "high": 1.5}, lambda n, u: torch.where(n > 0.5, 1.5, -0.5)),
    "2 bits": ({"name": "quantization", "bits": 2, "low": -1.0}, lambda n, u: torch.round(n.clamp(-1, 2))),
    "table": ({"name": "table", "values": [0.5, -1.0], "low": -1.0, "high": 1.0}, lambda n, u: torch.where(n < 0, 0.5, -1.0)),
    "callable": (winners, lambda n, u: F.one_hot(n.argmax(1), n.shape[1])),
}
"""For each function its options, and what it computes."""


class BoxReference(Reference):
    """The reference, where layers read each other through functions, with the draws of the package once more."""

    def __init__(self, network: Network, function: Written, draw: Callable[..., Tensor]) -> None:
        super().__init__(network)
        self.function, self.draw = function, draw
        self.boxes = {
            (layer.name, source): connection.seed
            for layer in hidden_layers(network)
            for connection in layer.connections
            if isinstance(connection, BlackBox)
            for source in connection.sources
        }
        self.draws: BatchDraws | None = None
        self.drawn: dict[tuple[str, str], Tensor] = {}
        self.now = 0

    def weights_of(self, connection: Connection) -> dict[str, Tensor]:
        return super().weights_of(connection.inner if isinstance(connection, BlackBox) else connection)

    def settle(self, inputs: Sequence[Tensor]) -> list[Activity]:
        self.now = 0
        return super().settle(inputs)

    def advance(self, clamps: Sequence[Clamp], candidates: Sequence[Activity], damping: float) -> list[Activity]:
        batch = len(clamps[0][0])
        for (layer, source), seed in self.boxes.items():
            units = self.sizes[source]
            own = seed_of(seed, source, self.now)
            if self.draws is None:
                once = torch.Generator().manual_seed(own)
                self.drawn[layer, source] = self.draw(units, 1, generator=once).expand(units, batch).T.double()
            else:
                draw = self.draws.normal if self.draw is torch.randn else self.draws.uniform
                self.drawn[layer, source] = draw(f"black box {own}", units).T.double()
        self.now += 1
        return super().advance(clamps, candidates, damping)

    def drive(self, layer: str, source: str, weight: Tensor, reads: dict[str, Tensor]) -> Tensor:
        if (layer, source) in self.boxes:
            reads = reads | {source: self.function(reads[source], self.drawn[layer, source]).double()}
        return super().drive(layer, source, weight, reads)


def box_network(function: Any, **options: Any) -> Network:
    kind = BlackBoxKind(function=function) if callable(function) else {"name": "black_box", "function": function}
    settings = small_settings(connections=options.pop("connections", [kind]), optimizer="adam", **options)
    network = Network(settings, dtype=torch.float64)
    for layer in hidden_layers(network):
        layer.bias.normal_(std=0.1, generator=generator(5))
    return network


@pytest.mark.parametrize("objective", ["threshold", "pairwise"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_training_and_prediction_agree_with_autograd(name: str, objective: str) -> None:
    options, written = FUNCTIONS[name]
    network = box_network(options, objective=objective, residual_connections=[[0, 2], [3, 1]])
    assert isinstance(network.path, PlainPath)
    reference = BoxReference(network, written, torch.randn if name == "noise" else torch.rand)
    learner = Learner(network, 7, negatives=WrongLabels())
    for batch in range(3):
        inputs, labels = video(network.settings.timesteps, seed=batch), class_numbers(6, seed=batch)
        learner.train_batch(inputs, labels)
        reference.draws = batch_draws(6, seed=7, first=6 * batch)
        candidates = [((labels + step) % CLASSES).expand(3, -1) for step in range(3)]
        reference.train_batch([inputs] * 3, candidates)
    for layer in hidden_layers(network):
        torch.testing.assert_close(layer.bias.data, reference.bias[layer.name].data, rtol=1e-10, atol=1e-10)
        for connection in layer.connections:
            for source, own in reference.weights_of(connection).items():
                torch.testing.assert_close(own.data, reference.weight[layer.name, source].data, rtol=1e-10, atol=1e-10)
    inputs, reference.draws = video(network.settings.timesteps, seed=9), None
    first, last = network.settings.prediction_window
    expected = reference.badness_over_time(inputs)[first : last + 1].mean(0)
    torch.testing.assert_close(network.badness(inputs), expected, rtol=1e-10, atol=1e-10)


def test_the_layers_differ_from_those_without_a_box_and_keep_their_initial_weights() -> None:
    boxed, plain = box_network("noise"), Network(small_settings(optimizer="adam"), dtype=torch.float64)
    for one, other in zip(hidden_layers(boxed), hidden_layers(plain), strict=True):
        box = one.connections[0]
        assert isinstance(box, BlackBox) and isinstance(box.inner, Dense) and "y" not in box.sources
        assert box.inner.top_down == {source for source in box.sources if source > one.name and source != "x"}
        assert one.weight_vector().sum().isclose(other.weight_vector().sum())
    seeds = [layer.connections[0].seed for layer in hidden_layers(boxed)]
    assert len(set(seeds)) == 3  # two layers that read the same block draw other numbers
    inputs = torch.randn(4, 7)
    assert not torch.allclose(boxed.badness(inputs), plain.badness(inputs))


# ---------------------------------------------------------------- the connection


class Counting(BlackBoxFunction):
    """A function that counts its calls, and negates."""

    calls = 0

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        type(self).calls += 1
        return -values


def box(function: Any, sources: dict[str, int] | None = None, dtype: torch.dtype = torch.float64) -> BlackBox:
    sizes = sources or {"h1": 5, "h2": 3}
    weight = torch.randn(4, sum(sizes.values()), dtype=dtype, generator=generator())
    return BlackBox(Dense(sizes, 4, top_down=["h2"] if "h2" in sizes else (), weight=weight), function)


def reads_of(candidates: int = 1, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(size, candidates, 6, dtype=torch.float64, generator=generator(size)).to(dtype) for size in (5, 3)]


def test_a_function_is_called_once_and_never_for_a_gradient() -> None:
    Counting.calls = 0
    function: Any = object.__new__(Counting)
    connection = box("noise")
    connection._applied = function
    reads, grad = reads_of(2), torch.randn(4, 2, 6, dtype=torch.float64, generator=generator(1))
    before = connection.initial_memory(grad)
    drive, after = connection(reads, before)
    found = connection.gradients(reads, grad, before, after)
    assert Counting.calls == 2  # one for each source
    negated = [-read for read in reads]
    torch.testing.assert_close(drive, connection.inner(negated)[0])
    expected = connection.inner.gradients(negated, grad)["weight"]
    assert list(found) == ["inner.weight"] and torch.equal(found["inner.weight"], expected)
    for index, read in enumerate(reads):
        assert torch.equal(connection.source_gradient(index, reads, grad, before, after), torch.zeros_like(read))


def test_dropout_masks_each_drive_behind_the_function() -> None:
    connection, reads = box("quantization"), reads_of(2)
    masks = [2.0 * (torch.rand(4, 2, 6, generator=generator(index)) > 0.5).double() for index in range(2)]
    grad, memory = torch.randn(4, 2, 6, dtype=torch.float64, generator=generator(1)), BoxMemory()
    drive, after = connection.masked_forward(reads, masks, memory)
    outputs = connection(reads, memory)[1].outputs
    assert connection.dropout_masks == 2 and connection.source_sizes == {"h1": 5, "h2": 3} and connection.units == 4
    assert connection.values_kept(7) == 8  # the outputs of one timestep
    torch.testing.assert_close(drive, connection.inner.masked_forward(outputs, masks)[0])
    found = connection.masked_gradients(reads, grad, masks, memory, after)["inner.weight"]
    torch.testing.assert_close(found, connection.inner.masked_gradients(outputs, grad, masks)["weight"])
    assert torch.equal(connection.masked_gradient(grad, masks, 1), connection.inner.masked_gradient(grad, masks, 1))
    of_sources = connection.drives(reads, memory)
    torch.testing.assert_close(of_sources["h1"] + of_sources["h2"], connection(reads, memory)[0])


def test_a_memory_is_not_changed_and_counts_the_timesteps() -> None:
    connection, reads = box("spikes"), reads_of()
    start = connection.initial_memory(reads[0], batch_draws(6, 3))
    first = connection(reads, start)[1]
    second = connection(reads, first)[1]
    assert (start.timestep, first.timestep, second.timestep) == (0, 1, 2)
    assert start.outputs == () and not torch.equal(first.outputs[0], second.outputs[0])


def test_candidates_share_the_draws() -> None:
    connection = box("noise")
    one, two = reads_of(), [read.expand(-1, 2, -1) for read in reads_of()]
    drive_of_one, drive_of_two = (
        connection(reads, connection.initial_memory(reads[0], batch_draws(6, 3)))[0] for reads in (one, two)
    )
    assert drive_of_one.shape == (4, 1, 6)
    torch.testing.assert_close(drive_of_one.expand(-1, 2, -1), drive_of_two)


def test_the_constraints_behind_the_function_are_restored() -> None:
    mask = torch.zeros(4, 5)
    connection = BlackBox(Dense({"h1": 5}, 4, weight=torch.ones(4, 5), mask=mask), "spikes")
    connection.inner.weight.fill_(1.0)  # type: ignore[operator]
    connection.apply_constraint()
    assert not connection.inner.weight.any()  # type: ignore[operator]


# ---------------------------------------------------------------- networks


def test_a_prediction_repeats_and_does_not_depend_on_the_batch_or_on_torchs_own_randomness() -> None:
    network, inputs = box_network("spikes"), torch.randn(7, 7, generator=generator())
    first = network.badness(inputs)
    torch.manual_seed(1)
    assert torch.equal(network.badness(inputs), first)
    torch.testing.assert_close(torch.cat([network.badness(inputs[:2]), network.badness(inputs[2:])]), first)
    assert torch.equal(copy.deepcopy(network).badness(inputs), first)


def test_the_timesteps_of_a_prediction_have_spikes_of_their_own() -> None:
    box = BlackBox(Dense({"h1": 50}, 4), "spikes")
    reads = [torch.full((50, 1, 2), 0.9)]
    _, first = box(reads, box.initial_memory(torch.zeros(4, 1, 2)))
    _, second = box(reads, first)
    assert not torch.equal(first.outputs[0], second.outputs[0])
    _, again = box(reads, box.initial_memory(torch.zeros(4, 1, 2)))
    assert torch.equal(again.outputs[0], first.outputs[0])


def test_a_training_draws_with_the_seed_of_the_training() -> None:
    inputs, labels = clusters(20)

    def trained(seed: int) -> Tensor:
        network = box_network("noise")
        Learner(network, seed, negatives=WrongLabels()).train_batch(inputs, labels)
        return network.local_modules[0].weight_vector()

    assert torch.equal(trained(1), trained(1)) and not torch.equal(trained(1), trained(2))


@pytest.mark.parametrize(
    ("function", "dtype"),
    [("spikes", torch.bfloat16), ({"name": "quantization", "bits": 1}, torch.float32), (winners, torch.bfloat16)],
)
def test_a_network_learns_through_boxes_with_dropout_and_adversarial_noise(function: Any, dtype: torch.dtype) -> None:
    inputs, labels = clusters(200)
    boxes = [
        BlackBoxKind(layers=(1,), sources=("lateral", "backward"), function=function),
        BlackBoxKind(layers=(2,), sources=("forward", "lateral"), function=function),
    ]
    settings = small_settings(
        hidden_sizes=[40, 30],
        connections=boxes,
        objective="pairwise",
        optimizer={"name": "adam", "learning_rate": 1e-2},
        dropout=0.05,
        adversarial_noise=0.05,
    )
    network = Network(settings, compute_dtype=dtype)
    learner = Learner(network, 1)
    for _ in range(40):
        learner.train_batch(inputs, labels)
    assert (network.predict(inputs) == labels).float().mean() > 0.6  # five classes
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_record_has_the_drives_of_every_source() -> None:
    network = box_network("spikes")
    recorded = rff.record(network, torch.randn(3, 7), torch.tensor([0, 1, 2]))
    assert set(recorded.drives["h1"]) == {"x", "h1", "h2"} and set(recorded.drives["h3"]) == {"h2", "h3", "y"}
