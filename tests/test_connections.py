"""Kinds of connections: their gradients against autograd, and whole trainings with them against the reference."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.model.connections import Connection, Conv2d, ConvTranspose2d, Dense, Memory
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext
from RecurrentFF.model.network import Network
from RecurrentFF.model.paths import PlainPath
from RecurrentFF.model.reference import Reference
from tests.helpers import CLASSES, class_numbers, clusters, generator, small_settings, video


class Gain(Connection):
    """A connection of one's own, in ten lines: each unit reads one unit of the source, with a weight of its own."""

    def __init__(self, source: str, units: int) -> None:
        super().__init__((source,))
        self.weight = nn.Parameter(torch.ones(units, 1, 1, dtype=torch.float64), requires_grad=False)

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        return self.weight * reads[0], memory


class Counter(Connection):
    """A connection with a memory: its drive is the number of timesteps since the sequence began."""

    def initial_memory(self, candidates: int, batch: int) -> Memory:
        return torch.zeros(1, candidates, batch)

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        return (memory + 1).expand(4, -1, -1), memory + 1


def weight(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed)) / 3


def dense(sources: dict[str, int], units: int, top_down: Sequence[str] = ()) -> Dense:
    return Dense(sources, units, top_down=top_down, weight=weight(units, sum(sources.values()), seed=len(sources)))


def conv(read: Tensor, kernel: Tensor, shape: tuple[int, int, int], stride: int, padding: int) -> Tensor:
    return F.conv2d(read.view(-1, *shape), kernel, stride=stride, padding=padding).flatten(1)


def transposed(read: Tensor, kernel: Tensor, shape: tuple[int, int, int], stride: int, padding: int, extra: int) -> Tensor:
    planes = F.conv_transpose2d(read.view(-1, *shape), kernel, stride=stride, padding=padding, output_padding=extra)
    return planes.flatten(1)


Functions = dict[tuple[str, str], Callable[[Tensor, Tensor], Tensor]]


def gain_layers() -> tuple[list[Layer], Functions]:
    first = Layer("h1", 6, [dense({"x": 36, "h2": 4}, 6, ["h2"]), Gain("h1", 6)], dtype=torch.float64)
    second = Layer("h2", 4, [dense({"h1": 6, "h2": 4, "y": CLASSES}, 4, ["y"])], dtype=torch.float64)
    return [first, second], {("h1", "h1"): lambda read, gain: read * gain.view(1, -1)}


def convolutional_layers() -> tuple[list[Layer], Functions]:
    """x (1, 6, 6) → h1 (2, 3, 3) → h2 (3, 2, 2), lateral convolutions, a transposed one down to h1, and the label at h2."""
    first = Layer(
        "h1",
        (2, 3, 3),
        [
            Conv2d("x", (1, 6, 6), 2, 3, stride=2, padding=1, weight=weight(2, 1, 3, 3)),
            Conv2d("h1", (2, 3, 3), 2, 3, padding=1, weight=weight(2, 2, 3, 3)),
            ConvTranspose2d("h2", (3, 2, 2), (2, 3, 3), 2, stride=2, padding=1, weight=weight(3, 2, 2, 2)),
        ],
        dtype=torch.float64,
    )
    second = Layer(
        "h2",
        (3, 2, 2),
        [
            Conv2d("h1", (2, 3, 3), 3, 2, stride=2, padding=1, weight=weight(3, 2, 2, 2, seed=1)),
            Conv2d("h2", (3, 2, 2), 3, 3, padding=1, weight=weight(3, 3, 3, 3)),
            dense({"y": CLASSES}, 12, ["y"]),
        ],
        dtype=torch.float64,
    )
    functions: Functions = {
        ("h1", "x"): partial(conv, shape=(1, 6, 6), stride=2, padding=1),
        ("h1", "h1"): partial(conv, shape=(2, 3, 3), stride=1, padding=1),
        ("h1", "h2"): partial(transposed, shape=(3, 2, 2), stride=2, padding=1, extra=1),
        ("h2", "h1"): partial(conv, shape=(2, 3, 3), stride=2, padding=1),
        ("h2", "h2"): partial(conv, shape=(3, 2, 2), stride=1, padding=1),
    }
    return [first, second], functions


NETWORKS = {"gain": gain_layers, "convolutional": convolutional_layers}


class GeneralReference(Reference):
    """The reference with drives that are not matrix products, and biases that several units share."""

    def __init__(self, network: Network, functions: Functions) -> None:
        super().__init__(network)
        self.functions = functions
        for layer in network.hidden_layers():
            for connection in layer.connections:
                if not isinstance(connection, Dense):
                    (parameter,) = connection.parameters()
                    self.weight[layer.name, connection.sources[0]] = parameter.detach().clone().requires_grad_()
        self.optimizers = {name: self.make_optimizer("ff", self.parameters(name)) for name in self.layers}

    def drive(self, layer: str, source: str, weight: Tensor, reads: dict[str, Tensor]) -> Tensor:
        if (layer, source) in self.functions:
            return self.functions[layer, source](reads[source], weight)
        return super().drive(layer, source, weight, reads)

    def unit_bias(self, layer: str) -> Tensor:
        bias = self.bias[layer]
        return bias.repeat_interleave(self.sizes[layer] // len(bias))


class NextClass(NegativeSource):
    """The next class as the wrong label."""

    def sample(self, context: SamplingContext) -> Negatives:
        return Negatives((context.labels.unsqueeze(0) + 1) % CLASSES)


def network_of(kind: str, **options: object) -> tuple[Network, GeneralReference]:
    layers, functions = NETWORKS[kind]()
    for layer in layers:
        layer.bias.normal_(std=0.1, generator=generator(3))
    sizes = {"data_size": 36, "hidden_sizes": [layer.units for layer in layers], "ff_optimizer": "adam"}
    network = Network(small_settings(**sizes, **options), dtype=torch.float64, modules=layers)
    assert isinstance(network.path, PlainPath)
    return network, GeneralReference(network, functions)


@pytest.mark.parametrize("objective", ["threshold", "pairwise"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_training_and_prediction_agree_with_autograd(kind: str, objective: str) -> None:
    network, reference = network_of(kind, objective=objective, num_classes=CLASSES)
    learner = Learner(network, negatives=NextClass())
    for batch in range(3):
        inputs, labels = video(network.settings.timesteps, seed=batch, data_size=36), class_numbers(6, seed=batch)
        learner.train_batch(inputs, labels)
        reference.train_batch([inputs] * 2, [y.expand(3, -1) for y in (labels, (labels + 1) % CLASSES)])
    for layer in network.hidden_layers():
        torch.testing.assert_close(layer.bias.data, reference.bias[layer.name].data, rtol=1e-10, atol=1e-10)
        for connection in layer.connections:
            found = (
                connection.weights() if isinstance(connection, Dense) else {connection.sources[0]: next(connection.parameters())}
            )
            for source, own in found.items():
                torch.testing.assert_close(own.data, reference.weight[layer.name, source].data, rtol=1e-10, atol=1e-10)
    inputs = video(network.settings.timesteps, seed=9, data_size=36)
    first, last = network.settings.prediction_window
    expected = reference.badness_over_time(inputs)[first : last + 1].mean(0)
    torch.testing.assert_close(network.badness(inputs), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_in_closed_form_equal_those_of_autograd(kind: str) -> None:
    for layer in NETWORKS[kind]()[0]:
        for connection in layer.connections:
            sizes = {"x": 36, "h1": 6 if kind == "gain" else 18, "h2": 4 if kind == "gain" else 12, "y": CLASSES}
            for candidates in (1, 2):
                reads = [weight(sizes[source], candidates, 5) for source in connection.sources]
                grad_drive = weight(layer.units, 2, 5)
                expected = Connection.gradients(connection, reads, grad_drive)
                for name, gradient in connection.gradients(reads, grad_drive).items():
                    torch.testing.assert_close(gradient, expected[name], rtol=1e-12, atol=1e-12)
                for index in range(len(reads)):
                    found = connection.source_gradient(index, reads, grad_drive)
                    expected_source = Connection.source_gradient(connection, index, reads, grad_drive)
                    torch.testing.assert_close(found, expected_source, rtol=1e-12, atol=1e-12)
                    assert found.shape == reads[index].shape


def test_a_connection_of_one_drive_is_masked_as_a_whole() -> None:
    gain, read, mask = Gain("h1", 6), weight(6, 1, 5), (weight(6, 2, 5) > 0).double()
    drive, _ = gain.masked_forward([read], [mask])
    assert torch.equal(drive, mask * gain.weight * read)
    found = gain.masked_gradients([read], torch.ones(6, 2, 5, dtype=torch.float64), [mask])["weight"]
    torch.testing.assert_close(found, (mask * read).sum((1, 2), keepdim=True))


def test_a_memory_lasts_for_a_sequence() -> None:
    network = Network(small_settings(hidden_sizes=[4]), modules=[Layer("h1", 4, [Counter(["x"])])])
    learner = Learner(network)
    for _ in range(2):  # the second batch starts again
        learner.train_batch(torch.zeros(6, 7), class_numbers(6))
        assert learner._state is not None
        (memory,) = learner._state.blocks["h1"].memory
        assert memory.unique().tolist() == [network.settings.timesteps]


def test_a_transposed_convolution_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gives \(3, 2, 2\), not in_shape = \(3, 3, 3\)"):
        ConvTranspose2d("h2", (3, 3, 3), (2, 3, 3), 2, stride=2, padding=1)
    with pytest.raises(ValueError, match="a kernel of side 9 does not fit"):
        Conv2d("x", (1, 6, 6), 2, 9)


def test_a_convolutional_network_learns_from_low_precision_patterns() -> None:
    """One cluster for each class, one fixed seed."""
    convolution = {"channels": 4, "kernel_size": 3, "stride": 1, "padding": 1}
    settings = small_settings(
        data_size=9, hidden_sizes=[36, 20], convolution=convolution, ff_optimizer="adam", objective="pairwise", iterations=5
    )
    network = Network(settings, compute_dtype=torch.bfloat16)
    inputs, labels = clusters(400)
    inputs = F.pad(inputs, (0, 2))
    learner = Learner(network, generator())
    for _ in range(40):
        learner.train_batch(inputs, labels)
    assert (network.predict(inputs) == labels).float().mean().item() > 0.9
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
