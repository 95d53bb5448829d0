"""Fast weights: the drive against explicit matrices, whole trainings against the reference, and the memory that they need."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.model.fast_weights import FastWeights, FastWeightsKind
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext
from RecurrentFF.model.network import Network
from RecurrentFF.model.paths import PlainPath
from RecurrentFF.model.reference import Activity, Clamp, Reference
from RecurrentFF.training import memory
from tests.helpers import CLASSES, class_numbers, clusters, float64_network, generator, hidden_layers, small_settings, video

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "decay": {"decay": 0.5},
    "no decay": {"decay": 1.0, "rate": 1.0},
    "forgotten at once": {"decay": 0.0},
    "negative rate": {"rate": -0.7},
    "three inner steps": {"inner_steps": 3},
    "normalized": {"normalize": True, "rate": 0.8},
    "normalized inner steps": {"normalize": True, "inner_steps": 2},
    "two patterns kept": {"kept": 2},
    "slow weights from zero": {"slow_scale": 0.0},
    "one layer": {"layers": [1]},
}
"""Options of the fast weights that trainings are compared with. The last two are not options of the drive."""


def unit(values: Tensor, axis: int) -> Tensor:
    """Values with a mean square of 1, as in the equations of the layers."""
    return values / torch.sqrt((values**2).mean(axis, keepdim=True) + 1e-8)


def explicit_drive(history: Sequence[Tensor], options: Mapping[str, Any]) -> Tensor:
    """The drive, (batch, units), from the patterns of the sequence, each (batch, units), with a matrix for each sample."""
    kept, (batch, units) = history[-options.get("kept", 0) :], history[-1].shape
    matrix = torch.zeros(batch, units, units, dtype=torch.float64)
    for pattern in kept:
        matrix = options.get("decay", 0.95) * matrix + pattern.unsqueeze(2) * pattern.unsqueeze(1) / units

    def product(probe: Tensor) -> Tensor:
        retrieved = torch.einsum("bij,bj->bi", matrix, probe)
        rate: float = options.get("rate", 0.5)
        return rate * (unit(retrieved, 1) if options.get("normalize") else retrieved)

    drive = product(history[-1])
    for _ in range(options.get("inner_steps", 1) - 1):
        drive = product(unit(history[-1] + drive, 1))
    return drive


class FastReference(Reference):
    """The reference with fast weights beside the lateral weights of some layers."""

    def __init__(self, network: Network, options: Mapping[str, Any]) -> None:
        super().__init__(network)
        self.options = options
        self.fast = [name for name in self.layers if int(name[1:]) in options.get("layers", range(1, 10))]
        self.history: dict[str, list[Tensor]] = {}
        self.histories: list[dict[str, list[Tensor]]] = []

    def weights_of(self, connection: Connection) -> dict[str, Tensor]:
        return {} if isinstance(connection, FastWeights) else super().weights_of(connection)

    def settle(self, inputs: Sequence[Tensor]) -> list[Activity]:
        self.histories = [{name: [] for name in self.fast} for _ in inputs]
        return super().settle(inputs)

    def advance(self, clamps: Sequence[Clamp], candidates: Sequence[Activity], damping: float) -> list[Activity]:
        after = []
        for clamp, h, history in zip(clamps, candidates, self.histories, strict=True):
            self.history = history
            for name in self.fast:
                self.history[name].append(self.pattern(name, h[name]))
            after.append(self.timestep(*clamp, h, damping))
        return after

    def drive(self, layer: str, source: str, weight: Tensor, reads: dict[str, Tensor]) -> Tensor:
        drive = super().drive(layer, source, weight, reads)
        return drive + explicit_drive(self.history[layer], self.options) if layer == source and layer in self.fast else drive


class NextClass(NegativeSource):
    """The next class as the wrong label."""

    def sample(self, context: SamplingContext) -> Negatives:
        return Negatives((context.labels.unsqueeze(0) + 1) % CLASSES)


def network_with(options: Mapping[str, Any], **arguments: Any) -> Network:
    connection = {"name": "fast_weights"} | dict(options)
    defaults = {"hidden_sizes": [9, 6], "activation": "tanh", "optimizer": "adam", "objective": "pairwise"}
    return float64_network(connections=[connection], **(defaults | arguments))


@pytest.mark.parametrize("name", OPTIONS)
def test_trainings_and_predictions_agree_with_explicit_matrices(name: str) -> None:
    options = OPTIONS[name]
    network = network_with(options)
    assert isinstance(network.path, PlainPath)
    reference, learner = FastReference(network, options), Learner(network, negatives=NextClass())
    for batch in range(3):
        inputs, labels = video(network.settings.timesteps, seed=batch), class_numbers(6, seed=batch)
        learner.train_batch(inputs, labels)
        reference.train_batch([inputs] * 2, [y.expand(3, -1) for y in (labels, (labels + 1) % CLASSES)])
    for layer in hidden_layers(network):
        torch.testing.assert_close(layer.bias.data, reference.bias[layer.name].data, rtol=1e-10, atol=1e-10)
        for connection in (each for each in layer.connections if isinstance(each, Dense)):
            for source, weight in connection.weights().items():
                torch.testing.assert_close(weight, reference.weight[layer.name, source].data, rtol=1e-10, atol=1e-10)
    inputs = video(network.settings.timesteps, seed=9)
    first, last = network.settings.prediction_window
    expected = reference.badness_over_time(inputs)[first : last + 1].mean(0)
    torch.testing.assert_close(network.badness(inputs), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", list(OPTIONS)[:-2])
def test_the_drive_equals_that_of_a_matrix_for_each_sample_and_candidate(name: str) -> None:
    fast, history = FastWeights("h1", 9, **OPTIONS[name]), list[Tensor]()
    shared = torch.randn(3, 9, 1, 4, dtype=torch.float64, generator=generator())  # before the label
    single = torch.randn(3, 9, 2, 4, dtype=torch.float64, generator=generator(1))  # one for each candidate
    memory_of = fast.initial_memory(shared[0])
    for pattern in (unit(read, 0) for read in (*shared, *single)):
        drive, after = fast([pattern], memory_of)
        history.append(pattern)
        for candidate in range(2):
            rows = [past[:, candidate if past.shape[1] > 1 else 0].T for past in history]
            expected = explicit_drive(rows, OPTIONS[name])
            torch.testing.assert_close(drive[:, candidate if drive.shape[1] > 1 else 0].T, expected, rtol=1e-10, atol=1e-10)
        assert drive.shape == pattern.shape and len(memory_of) in (len(after) - 1, fast.kept)
        memory_of = after
    assert [past.shape[1] for past in memory_of] == ([2, 2] if fast.kept else [2, 2, 2, 1, 1, 1])
    assert fast.values_kept(6) == 9 * len(memory_of)


def test_fast_weights_have_nothing_to_learn() -> None:
    fast, reads = FastWeights("h1", 9), [torch.randn(9, 2, 4, generator=generator())]
    drive, after = fast(reads, ())
    assert fast.gradients(reads, drive, (), after) == {} and not list(fast.parameters())


def test_low_precision_patterns_give_a_drive_of_full_precision() -> None:
    fast, reads = FastWeights("h1", 64, decay=1.0), [unit(torch.randn(64, 2, 5, generator=generator(t)), 0) for t in range(4)]
    low, full = fast.initial_memory(reads[0]), fast.initial_memory(reads[0])
    for read in reads:
        drive, low = fast([read.bfloat16()], low)
        expected, full = fast([read.bfloat16().float()], full)
    assert drive.dtype == torch.float32 and low[0].dtype == torch.bfloat16
    torch.testing.assert_close(drive, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_with_fast_weights_trains_and_is_loaded_again(precision: str, tmp_path: Path) -> None:
    options = {"name": "fast_weights", "rate": 0.3, "inner_steps": 2, "normalize": True, "kept": 3}
    given: dict[str, Any] = {"hidden_sizes": [30], "objective": "pairwise", "optimizer": "adam", "epochs": 8, "batch_size": 30}
    settings = small_settings(**given, connections=[options], precision=precision)
    network = rff.build(settings)
    inputs, labels = clusters(300)
    rff.fit(network, (inputs, labels), quiet=True)
    assert (network.predict(inputs) == labels).float().mean() > 0.8
    rff.save(network, tmp_path / "fast.pt")
    loaded = rff.load(tmp_path / "fast.pt")
    assert torch.equal(loaded.badness(inputs), network.badness(inputs))
    assert loaded.settings.network.connections == (FastWeightsKind(rate=0.3, inner_steps=2, normalize=True, kept=3),)


def test_kept_patterns_are_counted_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, Any] = {"hidden_sizes": [1000], "prelabel_timesteps": 10_000, "batch_size": 100}
    with_all, with_two = (small_settings(**sizes, connections=[{"name": "fast_weights", "kept": kept}]) for kept in (0, 2))
    needs = [sum(memory.required_memory(settings).values()) for settings in (small_settings(**sizes), with_two, with_all)]
    assert needs[1] - needs[0] == 2 * 2 * 1000 * 100 and needs[2] - needs[0] == 2 * 10_003 * 1000 * 100
    monkeypatch.setattr(memory, "device_memory", lambda device: 2**30)
    with pytest.raises(
        SettingsError, match=r"most of it is for what network\.connections keep of 10,003 timesteps × 100 samples"
    ):
        memory.require_memory(with_all, torch.device("cpu"))
    at_once = [Network(settings).samples_at_once for settings in (small_settings(**sizes), with_two, with_all)]
    assert at_once[0] >= at_once[1] > at_once[2] == 2**30 // (CLASSES * (1005 * 16 + 1000 * 10_002 * 4))


def test_the_slow_weights_start_as_they_are_scaled() -> None:
    once, half = (
        hidden_layers(Network(small_settings(connections=[{"name": "fast_weights", "slow_scale": scale}])))
        for scale in (1.0, 0.5)
    )
    for layer, other in zip(once, half, strict=True):
        slow, fast, rest = layer.connections
        assert isinstance(slow, Dense) and isinstance(fast, FastWeights) and isinstance(rest, Dense)
        assert slow.sources == fast.sources == (layer.name,) and layer.name not in rest.sources
        assert torch.equal(next(other.connections[0].parameters()), 0.5 * slow.weight) and slow.weight.any()


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match=r'a layer\'s own patterns; set sources = \["lateral"\]'):
        FastWeightsKind(sources=("forward",))
    with pytest.raises(ValueError, match=r"decay = 1.5 must be in 0..1, inner_steps = 1 at least 1, and kept = 0"):
        FastWeights("h1", 4, decay=1.5)
    with pytest.raises(SettingsError, match="inner_steps"):
        small_settings(connections=[{"name": "fast_weights", "inner_steps": 0}])
