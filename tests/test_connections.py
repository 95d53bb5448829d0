"""Kinds of connections: their gradients against autograd, and whole trainings with them against the reference."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import RecurrentFF as rff
from RecurrentFF.errors import CheckpointError, InputError, SettingsError
from RecurrentFF.model.connections import Connection, Dense, Memory
from RecurrentFF.model.convolutions import Conv2d, ConvTranspose2d
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.layers import BlockState, Layer, LearningContext, LocalModule, LocalResult, StepContext
from RecurrentFF.model.learner import Learner, Observer
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective
from RecurrentFF.model.optimizers import Adam
from RecurrentFF.model.paths import PlainPath
from RecurrentFF.model.reference import Reference
from RecurrentFF.model.state import State
from tests.helpers import CLASSES, class_numbers, clusters, generator, hidden_layers, small_settings, video


class Gain(Connection):
    """A connection of one's own, in ten lines: each unit reads one unit of the source, with a weight of its own."""

    def __init__(self, source: str, units: int) -> None:
        super().__init__((source,))
        self.weight = nn.Parameter(torch.ones(units, 1, 1, dtype=torch.float64), requires_grad=False)

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        return self.weight * reads[0], memory


class Counter(Connection):
    """A connection with a memory: its drive is the number of timesteps since the sequence began."""

    def initial_memory(self, like: Tensor, draws: BatchDraws | None = None) -> Memory:
        return like.new_zeros(1, 1, like.shape[2])

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

    def weights_of(self, connection: Connection) -> dict[str, Tensor]:
        if isinstance(connection, Dense):
            return super().weights_of(connection)
        return {connection.sources[0]: next(connection.parameters())}

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
    sizes = {"input_size": 36, "hidden_sizes": [layer.units for layer in layers], "optimizer": "adam"}
    network = Network(small_settings(**sizes, **options), dtype=torch.float64, modules=layers)
    assert isinstance(network.path, PlainPath)
    return network, GeneralReference(network, functions)


@pytest.mark.parametrize("objective", ["threshold", "pairwise"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_training_and_prediction_agree_with_autograd(kind: str, objective: str) -> None:
    network, reference = network_of(kind, objective=objective, num_classes=CLASSES)
    learner = Learner(network, negatives=NextClass())
    for batch in range(3):
        inputs, labels = video(network.settings.timesteps, seed=batch, input_size=36), class_numbers(6, seed=batch)
        learner.train_batch(inputs, labels)
        reference.train_batch([inputs] * 2, [y.expand(3, -1) for y in (labels, (labels + 1) % CLASSES)])
    for layer in hidden_layers(network):
        torch.testing.assert_close(layer.bias.data, reference.bias[layer.name].data, rtol=1e-10, atol=1e-10)
        for connection in layer.connections:
            found = (
                connection.weights() if isinstance(connection, Dense) else {connection.sources[0]: next(connection.parameters())}
            )
            for source, own in found.items():
                torch.testing.assert_close(own.data, reference.weight[layer.name, source].data, rtol=1e-10, atol=1e-10)
    inputs = video(network.settings.timesteps, seed=9, input_size=36)
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
    convolution = {"name": "convolution", "channels": 4, "kernel_size": 3, "stride": 1, "padding": 1}
    settings = small_settings(
        input_size=9,
        hidden_sizes=[36, 20],
        connections=[convolution],
        optimizer="adam",
        objective="pairwise",
        label_timesteps=5,
    )
    network = Network(settings, compute_dtype=torch.bfloat16)
    inputs, labels = clusters(400)
    inputs = F.pad(inputs, (0, 2))
    learner = Learner(network)
    for _ in range(40):
        learner.train_batch(inputs, labels)
    assert (network.predict(inputs) == labels).float().mean().item() > 0.9
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


class Spikes(Connection):
    """A black box: random spikes of the source's positive activity, and a dense weight. It has no derivative."""

    def __init__(self, source: str, features: int, units: int) -> None:
        super().__init__((source,))
        self.weight = nn.Parameter(torch.randn(units, features, generator=generator()), requires_grad=False)

    def initial_memory(self, like: Tensor, draws: BatchDraws | None = None) -> Memory:
        return draws, None

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        draws, _ = memory
        drawn = torch.rand(reads[0].shape) if draws is None else draws.uniform("spikes", *reads[0].shape[:2])
        spikes = (reads[0].sigmoid() > drawn).to(reads[0])
        return (self.weight.to(spikes.dtype) @ spikes.flatten(1)).view(-1, *spikes.shape[1:]), (draws, spikes)

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        return {"weight": grad_drive.sum(1, keepdim=True).flatten(1) @ after[1].flatten(1).T}


@pytest.mark.parametrize("compute_dtype", [torch.float32, torch.bfloat16])
def test_a_random_black_box_learns_from_the_sample_that_it_drew_and_repeats_with_the_seed(compute_dtype: torch.dtype) -> None:
    inputs, labels = clusters(200)

    def trained() -> Network:
        layer = Layer(
            "h1", 30, [Spikes("x", 7, 30), Dense({"y": CLASSES}, 30, top_down=["y"], weight=weight(30, CLASSES).float())]
        )
        settings = small_settings(
            hidden_sizes=[30], objective="pairwise", optimizer=Adam(learning_rate=1e-2), adversarial_noise=0.1
        )
        network = Network(settings, compute_dtype=compute_dtype, modules=[layer])
        learner = Learner(network, 1)
        for _ in range(100):
            learner.train_batch(inputs, labels)
        return network

    first, second = trained(), trained()
    assert torch.equal(first.local_modules[0].weight_vector(), second.local_modules[0].weight_vector())
    assert (first.predict(inputs) == labels).float().mean() > 0.5  # five classes


class Unused(Connection):
    """A connection with a parameter that its drive does not depend on."""

    def __init__(self) -> None:
        super().__init__(("x",))
        self.weight = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        return torch.ones(4, 1, reads[0].shape[2]), memory


class HalfUsed(Gain):
    """A connection with two parameters, of which its drive depends on one."""

    def __init__(self) -> None:
        super().__init__("x", 7)
        self.spare = nn.Parameter(torch.ones(3), requires_grad=False)


def test_a_sign_acts_on_drive_and_gradient_of_a_convolution() -> None:
    kernel, read, grad_drive = weight(2, 1, 3, 3), weight(36, 1, 5), weight(32, 2, 5)
    plus, minus = (Conv2d("x", (1, 6, 6), 2, 3, sign=sign, weight=kernel) for sign in (1, -1))
    assert torch.equal(minus([read])[0], -plus([read])[0])
    assert torch.equal(minus.gradients([read], grad_drive)["weight"], -plus.gradients([read], grad_drive)["weight"])


def test_what_a_drive_does_not_depend_on_has_no_gradient() -> None:
    reads, grad_drive = [torch.randn(7, 1, 6)], torch.ones(4, 2, 6)
    assert torch.equal(Unused().gradients(reads, grad_drive)["weight"], torch.zeros(3))
    assert torch.equal(Unused().source_gradient(0, reads, grad_drive), torch.zeros(7, 1, 6))
    gradients = HalfUsed().gradients([reads[0].double()], torch.ones(7, 2, 6, dtype=torch.float64))
    assert torch.equal(gradients["spare"], torch.zeros(3)) and gradients["weight"].abs().sum() > 0


class Mean(LocalModule):
    """A local module that only learns beside the layers: it predicts the mean activity of the first one by a constant."""

    is_hidden_layer = False

    def __init__(self) -> None:
        super().__init__()
        self.name, self.units, self.sources = "mean", 1, ("h1",)
        self.constant = nn.Parameter(torch.full((1, 1, 1), 3.0), requires_grad=False)

    def initial_state(self, batch: int, compute_dtype: torch.dtype, draws: BatchDraws | None) -> BlockState:
        return BlockState(torch.zeros(1, 1, batch), torch.zeros(1, 1, batch, dtype=compute_dtype))

    def step(self, patterns: Mapping[str, Tensor], before: BlockState, context: StepContext) -> BlockState:
        error = self.constant - patterns["h1"].mean(0, keepdim=True)
        return BlockState(error, error.to(before.pattern.dtype), badness=self.badness_of(error))

    def local_gradients(
        self,
        patterns: Mapping[str, Tensor],
        before: BlockState,
        after: BlockState,
        context: StepContext,
        learning: LearningContext,
    ) -> LocalResult:
        return LocalResult(after.activity.square().mean(), after.badness, {"constant": 2 * after.activity.mean().view(1, 1, 1)})

    def badness_of(self, error: Tensor) -> Tensor | None:
        return None


class MeanWithBadness(Mean):
    """The same with badness, which counts neither in predictions nor in metrics."""

    def badness_of(self, error: Tensor) -> Tensor | None:
        return error.square().mean(0)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("module", [Mean, MeanWithBadness])
def test_a_module_beside_the_layers_learns_and_changes_nothing_in_them(module: type[Mean], fused: bool) -> None:
    settings = small_settings(hidden_sizes=[9, 5], optimizer="adam", epochs=3, negatives="readout")
    alone = Network(settings, fused=fused)
    beside = Network(settings, modules=[*Network(settings).local_modules, module()], fused=fused)
    for network in (alone, beside):
        history = rff.fit(network, clusters(60), validation=clusters(20), quiet=True)
        assert len(history[0].layer_loss) == len(history[0].weight_norm) == 2
        assert network.badness_over_time(clusters(3)[0]).shape == (3, 2, 3, CLASSES)
    for one, other in zip(alone.hidden_layers(), beside.hidden_layers(), strict=True):
        assert torch.equal(one.weight_vector(), other.weight_vector())
    assert beside.local_modules[2].weight_vector().item() < 3.0 and beside.readout.weight.shape == (CLASSES, 14)


def test_layers_with_dropout_of_their_own_are_the_same_on_both_paths() -> None:
    """The settings say nothing of dropout, which a layer may have all the same."""
    badness = []
    for fused in (True, False):
        layers = [
            Layer("h1", 4, [dense({"x": 7, "h1": 4, "h2": 4}, 4, ["h2"])], dropout=0.5, dtype=torch.float64),
            Layer("h2", 4, [dense({"h1": 4, "h2": 4, "y": CLASSES}, 4, ["y"])], dtype=torch.float64),
        ]
        network = Network(small_settings(hidden_sizes=[4, 4]), dtype=torch.float64, modules=layers, fused=fused)
        assert isinstance(network.path, PlainPath) != fused
        badness.append(Learner(network, 1).train_batch(video(1)[0], class_numbers(6)).badness_pos)
    torch.testing.assert_close(*badness, rtol=1e-12, atol=1e-12)


class Copies(NegativeSource):
    """The given inputs and labels as negatives, or whatever a test wants."""

    def __init__(self, negatives: Negatives | None = None) -> None:
        self.negatives = negatives

    def sample(self, context: SamplingContext) -> Negatives:
        return self.negatives or Negatives(inputs=context.inputs)


def test_noise_and_dropout_of_inputs_act_on_negative_inputs_as_on_positive_ones() -> None:
    network = Network(small_settings(input_dropout=0.5, input_noise=0.5))
    metrics = Learner(network, negatives=Copies()).train_batch(torch.randn(6, 7), class_numbers(6))
    torch.testing.assert_close(metrics.badness_neg, metrics.badness_pos)


@pytest.mark.parametrize(
    ("negatives", "message"),
    [
        (Negatives(readout_loss=torch.zeros(())), "gives neither labels nor inputs"),
        (
            Negatives(labels=torch.zeros(2, 1, 6, dtype=torch.long)),
            r"labels of shape \(2, 1, 6\), expected \(1, 3, 6\) or \(1, 1, 6\)",
        ),
        (Negatives(inputs=torch.zeros(1, 7, 2, 6)), r"inputs of shape \(1, 7, 2, 6\), expected \(5, 7, 1, 6\) or \(1, 7, 1, 6\)"),
    ],
)
def test_negatives_that_do_not_fit_are_refused(negatives: Negatives, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Learner(Network(small_settings()), negatives=Copies(negatives)).train_batch(torch.randn(6, 7), class_numbers(6))


def test_connections_that_are_made_wrongly_are_refused() -> None:
    for make, message in (
        (lambda: Dense({"x": 7}, 4, top_down=["y"]), r"top_down = \['y'\] must be among the sources, x"),
        (lambda: Dense({"x": 7}, 4, weight=torch.zeros(4, 6)), r"weight of shape \(4, 6\), expected \(4, 7\)"),
        (lambda: Conv2d("x", (1, 6, 6), 2, 3, stride=0), "must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="expected a sequence of names"):
        Counter("x")


def test_connections_without_a_weight_start_with_one_that_can_learn() -> None:
    """With weights of zero, activity and gradients would be zero for ever."""
    layers = [
        Layer("h1", 20, [Dense({"x": 7, "h1": 20, "h2": 15}, 20, top_down=["h2"])]),
        Layer("h2", 15, [Dense({"h1": 20, "h2": 15, "y": CLASSES}, 15, top_down=["y"])]),
    ]
    torch.manual_seed(0)
    network = Network(small_settings(objective="pairwise", optimizer="adam", epochs=30, batch_size=50), modules=layers)
    inputs, labels = clusters(400)
    rff.fit(network, (inputs, labels), quiet=True)
    assert (network.predict(inputs) == labels).float().mean() > 0.8
    blocks = Dense({"h1": 200, "h2": 200, "y": 5}, 100, top_down=["h2", "y"]).weights()
    assert 0.049 < blocks["h2"].abs().max() <= 0.05 < blocks["h1"].abs().max() < 1 < blocks["y"].std()
    convolutions = Conv2d("x", (1, 6, 6), 2, 3), ConvTranspose2d("h2", (3, 2, 2), (2, 3, 3), 2, stride=2, padding=1)
    assert all(connection.weight.abs().sum() > 0 for connection in convolutions)


def test_modules_that_do_not_fit_the_network_are_refused() -> None:
    for layer, message in (
        (Layer("h1", 4, [Dense({"x": 6}, 4)]), "h1 reads 6 features of x, which has 7"),
        (Layer("h1", 4, [Conv2d("x", (1, 2, 2), 1, 1)]), "h1 reads 4 features of x"),
        (Layer("h1", 4, [Dense({"x": 7}, 4)], dtype=torch.float64), "h1.bias is of type torch.float64"),
        (Layer("h1", 4, [Dense({"x": 7}, 3)]), "h1 has 4 units, but a connection drives 3"),
    ):
        with pytest.raises(ValueError, match=message):
            Network(small_settings(hidden_sizes=[4]), modules=[layer])
    with pytest.raises(SettingsError, match="must name layers from 1 to 1"):
        Network(small_settings(prediction_layers=[2]), modules=[Layer("h1", 4, [Dense({"x": 7}, 4)])])


def test_a_network_of_own_modules_is_not_loaded_as_another_one(tmp_path: Path) -> None:
    def made() -> Network:
        layer = Layer("h1", 4, [dense({"x": 7, "h1": 4, "y": CLASSES}, 4, ["y"])], activation="tanh", dtype=torch.float64)
        return Network(small_settings(hidden_sizes=[4]), dtype=torch.float64, modules=[layer])

    network, twin, path = made(), made(), tmp_path / "own.pt"
    hidden_layers(network)[0].bias.fill_(0.5)
    rff.save(network, path)
    with pytest.raises(CheckpointError, match="modules of its own"):
        rff.load(path)
    assert rff.load(path, network=twin) is twin
    assert torch.equal(twin.badness(video(5)), network.badness(video(5)))


def test_weights_of_another_convolution_are_refused_by_the_name_of_the_first_that_differs(tmp_path: Path) -> None:
    shape: dict[str, Any] = {"input_size": 36, "num_classes": 5, "hidden_sizes": [18], "device": "cpu"}
    options = {"name": "convolution", "channels": 2, "kernel_size": 3, "stride": 2, "padding": 1}
    rff.save(rff.build(**shape, connections=[options]), tmp_path / "conv.pt")
    other = rff.build(**shape, connections=[options | {"lateral_kernel_size": 5}])
    with pytest.raises(CheckpointError, match=r"connections.1.weight: \(2, 2, 3, 3\) in the file, \(2, 2, 5, 5\) here"):
        rff.load(tmp_path / "conv.pt", network=other)
    assert rff.load(tmp_path / "conv.pt").sizes["h1"] == 18


def test_the_reference_refuses_a_connection_that_it_does_not_know() -> None:
    layers, _ = gain_layers()
    network = Network(small_settings(input_size=36, hidden_sizes=[6, 4]), dtype=torch.float64, modules=layers)
    with pytest.raises(TypeError, match="knows no Gain"):
        Reference(network)


class Hinge(Objective):
    """An objective of one's own: the badness of the positive candidate is lower by a margin."""

    ranks_only = True

    def __init__(self, mean: bool = False) -> None:
        self.mean = mean

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        loss = (1 + positive - negative).clamp(min=0)
        return loss.mean() if self.mean else loss


class CountedNextClass(NextClass):
    """The next class as the wrong label, and the number of batches that it was asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def sample(self, context: SamplingContext) -> Negatives:
        self.calls += 1
        return super().sample(context)


class Activities(Observer):
    """An observer that keeps the activity of a layer."""

    def __init__(self) -> None:
        self.h1: list[Tensor] = []

    def on_timestep(self, timestep: int, state: State) -> None:
        self.h1.append(state.blocks["h1"].activity.clone())


def test_fit_takes_an_objective_a_source_of_negatives_and_observers() -> None:
    observer, source, (inputs, labels) = Activities(), CountedNextClass(), clusters(400)
    network = Network(small_settings(hidden_sizes=[30, 30], optimizer="adam", epochs=20, batch_size=50))
    rff.fit(network, (inputs, labels), quiet=True, objective=Hinge(), negatives=source, observers=[observer])
    assert source.calls == 20 * 8  # epochs and batches
    assert (network.predict(inputs) == labels).float().mean() > 0.5  # five classes
    assert len(observer.h1) == 20 * 8 * 3
    assert [h.shape[1] for h in observer.h1[:3]] == [1, 2, 2]  # the label reaches the lower layer at the second timestep


def test_an_objective_that_averages_its_samples_is_refused() -> None:
    with pytest.raises(InputError, match=r"Hinge.loss: gives shape \(\) for 2 negatives and 3 samples, expected \(2, 3\)"):
        Learner(Network(small_settings()), objective=Hinge(mean=True))
