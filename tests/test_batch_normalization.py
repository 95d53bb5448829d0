"""Batch normalization of a layer's drives, against autograd; alone, with class groups, and in convolutional layers."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import RecurrentFF as rff
from RecurrentFF.errors import CheckpointError, InputError, SettingsError
from RecurrentFF.model.convolutions import Conv2d
from RecurrentFF.model.layers import LocalModule, LocalResult
from RecurrentFF.model.learner import Learner, Observer
from RecurrentFF.model.negatives import Negatives, SamplingContext
from RecurrentFF.model.network import Network
from RecurrentFF.model.normalization import BatchNormalization
from RecurrentFF.model.state import State
from RecurrentFF.settings import Settings
from tests.helpers import CLASSES, class_numbers, clusters, dense, float64_network, hidden_layers, small_settings, video
from tests.test_connections import weight

Activity = dict[str, Tensor]
ADAM = {"name": "adam", "learning_rate": 1e-2}
SGD = {"name": "torch", "optimizer": "SGD", "learning_rate": 0.5}
"""Its updates are linear in the gradients: it makes no differences in rounding larger, as Adam does where gradients vanish."""
CASES: dict[str, dict[str, Any]] = {
    "label_read": {"objective": "pairwise", "negatives": {"count": 1}},
    "threshold": {},
    "class_groups": {"class_groups": True, "hidden_sizes": [10, 5, 15], "objective": "softmax", "negatives": {"count": 4}},
    "bottom_up": {"update_order": "bottom_up", "class_groups": True, "hidden_sizes": [10, 5], "label_timesteps": 1,
                  "prelabel_timesteps": 0, "prediction_window": [0, 0], "objective": "softmax", "negatives": {"count": 4}},
    "hard_examples": {"hard_example_fraction": 0.5, "class_groups": True, "hidden_sizes": [10, 15], "objective": "pairwise"},
}  # fmt: skip


class Normalizing:
    """A network with batch normalization, by autograd. Activity is (candidates, batch, units), with all candidates present."""

    def __init__(self, network: Network) -> None:
        self.settings, self.order, self.layers = network.settings, list(network.sizes), list(network.layers)
        self.weight: dict[str, dict[str, Tensor]] = {}
        self.gain, self.bias, self.mean, self.variance, self.updates = {}, {}, {}, {}, {}
        for layer in hidden_layers(network):
            assert layer.normalization is not None
            self.weight[layer.name] = {s: w.clone().requires_grad_() for s, w in dense(layer).weights().items()}
            self.gain[layer.name] = layer.normalization.gain.clone().requires_grad_()
            self.bias[layer.name] = layer.bias.clone().requires_grad_()
            for t in range(self.settings.timesteps):
                self.updates[layer.name, t] = 0
                self.mean[layer.name, t], self.variance[layer.name, t] = torch.zeros_like(layer.bias), torch.ones_like(layer.bias)
        self.optimizers = {name: torch.optim.SGD(self.parameters(name), 0.5) for name in self.layers}

    def parameters(self, layer: str) -> list[Tensor]:
        return [*self.weight[layer].values(), self.gain[layer], self.bias[layer]]

    def pattern(self, h: Tensor) -> Tensor:
        return (h / ((h**2).mean(2, keepdim=True) + self.settings.network.epsilon).sqrt()).detach()

    def timestep(self, t: int, x: Tensor, y: Tensor, h: Activity, damping: float, *, training: bool) -> Activity:
        reads, after = {"x": x, "y": y} | {name: self.pattern(each) for name, each in h.items()}, {}
        for layer in self.layers:
            sums = torch.zeros(())
            for source, each in self.weight[layer].items():
                sign = -1 if self.order.index(source) > self.order.index(layer) else 1
                sums = sums + sign * reads[source] @ each.T
            mean, variance = self.mean[layer, t], self.variance[layer, t]
            if training:
                mean, variance = sums.mean((0, 1)), sums.var((0, 1), correction=0)
                keep = (1 + self.updates[layer, t]) / (10 + self.updates[layer, t])  # below 0.99 for 890 batches
                self.mean[layer, t] = keep * self.mean[layer, t] + (1 - keep) * mean.detach()
                self.variance[layer, t] = keep * self.variance[layer, t] + (1 - keep) * variance.detach()
                self.updates[layer, t] += 1
            z = (sums - mean) / (variance + 1e-5).sqrt() * self.gain[layer] + self.bias[layer]
            after[layer] = (1 - damping) * h[layer] + damping * F.leaky_relu(z)
            if self.settings.network.update_order == "bottom_up":
                reads = reads | {layer: self.pattern(after[layer])}
        return after

    def badness(self, h: Tensor, y: Tensor) -> Tensor:
        """(candidates, batch)."""
        if not self.settings.network.class_groups:
            return (h**2).mean(2)
        units = h.shape[2] // CLASSES
        return ((h**2) * y.repeat_interleave(units, 2)).sum(2) / units

    def settle(self, x: Tensor, candidates: int, *, training: bool) -> Activity:
        batch, uniform = x.shape[1], torch.full((candidates, x.shape[1], CLASSES), 1 / CLASSES, dtype=torch.float64)
        h = {name: torch.zeros(candidates, batch, len(self.bias[name]), dtype=torch.float64) for name in self.layers}
        with torch.no_grad():
            for t in range(self.settings.network.prelabel_timesteps):
                h = self.timestep(t, x[t].expand(candidates, -1, -1), uniform, h, 1.0, training=training)
        return h

    def train_batch(self, x: Tensor, labels: Tensor) -> None:
        """A batch with labels (candidates, batch), the true one first."""
        h, y = self.settle(x, len(labels), training=True), F.one_hot(labels, CLASSES).double()
        for t in range(self.settings.network.label_timesteps):
            now = self.settings.network.prelabel_timesteps + t
            h = self.timestep(now, x[now].expand(len(labels), -1, -1), y, h, self.settings.network.damping_factor, training=True)
            for layer in self.layers:
                badness = self.badness(h[layer], y)
                positive, negative = badness[:1], badness[1:]
                if self.settings.learning_needs_label and torch.equal(badness, badness[:1].expand_as(badness)):
                    continue
                losses = self.settings.objective.loss(positive, negative).mean(0)
                steepness = torch.stack(torch.autograd.grad(losses.mean(), (badness,), retain_graph=True)).abs().sum((0, 1))
                count = max(1, round(self.settings.network.hard_example_fraction * len(steepness)))
                chosen = torch.zeros_like(steepness).index_fill(0, steepness.argsort(descending=True)[:count], 1)
                self.optimizers[layer].zero_grad()
                (chosen * losses).mean().backward(inputs=self.parameters(layer))  # type: ignore[no-untyped-call]
                self.optimizers[layer].step()
            h = {layer: each.detach() for layer, each in h.items()}

    @torch.no_grad()
    def predicted_badness(self, x: Tensor) -> Tensor:
        """(batch, classes), averaged over layers and the prediction window."""
        h, network = self.settle(x, CLASSES, training=False), self.settings.network
        y = torch.eye(CLASSES, dtype=torch.float64)[:, None].expand(-1, x.shape[1], -1)
        over_time = []
        for t, each in enumerate(x[network.prelabel_timesteps :], start=network.prelabel_timesteps):
            h = self.timestep(t, each.expand(CLASSES, -1, -1), y, h, network.damping_factor, training=False)
            over_time.append(torch.stack([self.badness(h[layer], y) for layer in self.layers]).mean(0))
        first, last = self.settings.prediction_window
        return torch.stack(over_time)[first : last + 1].mean(0).T


@pytest.mark.parametrize("case", CASES)
def test_training_and_prediction_agree_with_autograd(case: str) -> None:
    network = float64_network(batch_normalization=True, optimizer=SGD, **CASES[case])
    oracle, learner, seen = Normalizing(network), Learner(network, 3), list[Negatives]()
    sample = learner.negatives.sample

    def seen_sample(context: SamplingContext) -> Negatives:
        seen.append(sample(context))
        return seen[-1]

    object.__setattr__(learner.negatives, "sample", seen_sample)
    for batch in range(4):
        x, labels = video(network.settings.timesteps, seed=batch), class_numbers(6, seed=batch)
        learner.train_batch(x, labels)
        wrong = seen[-1].labels
        assert wrong is not None
        oracle.train_batch(x, torch.cat([labels[None], wrong[:, 0]]))
    for layer in hidden_layers(network):
        assert layer.normalization is not None
        found = [*dense(layer).weights().values(), layer.normalization.gain, layer.bias]
        found += [layer.normalization.mean, layer.normalization.variance]
        means, variances = (
            [of[layer.name, t] for t in range(network.settings.timesteps)] for of in (oracle.mean, oracle.variance)
        )
        expected = [*oracle.parameters(layer.name), torch.stack(means), torch.stack(variances)]
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f.detach(), e.detach(), rtol=1e-9, atol=1e-9)
    x = video(network.settings.timesteps, seed=9)
    torch.testing.assert_close(network.badness(x), oracle.predicted_badness(x), rtol=1e-9, atol=1e-9)


def test_the_running_statistics_soon_forget_their_initial_values_and_then_change_slowly() -> None:
    normalization = BatchNormalization(2, timesteps=3)
    drive = torch.randn(2, 1, 500) * 2 + torch.tensor([3.0, -1.0])[:, None, None]
    for _ in range(40):
        normalization.normalize(drive, 1, is_training=True)
    torch.testing.assert_close(normalization.mean[1], drive.mean((1, 2)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(normalization.variance[1], drive.var((1, 2), correction=0), rtol=1e-3, atol=1e-3)
    assert normalization.updates.tolist() == [0, 40, 0] and not normalization.mean[[0, 2]].any()
    normalization.updates.fill_(10_000)
    normalization.normalize(drive + 1, 1, is_training=True)
    torch.testing.assert_close(normalization.mean[1], drive.mean((1, 2)) + 0.01, rtol=1e-3, atol=1e-3)
    normalization.normalize(drive, 7, is_training=True)  # a timestep after the last one
    assert normalization.updates.tolist() == [10_000, 10_001, 10_001]


def test_a_single_value_leaves_the_running_statistics_as_they_are() -> None:
    normalization = BatchNormalization(2)
    assert not normalization.normalize(torch.ones(2, 1, 1), is_training=True).drive.any()
    assert not normalization.updates.any() and torch.equal(normalization.variance, torch.ones(1, 2))


@pytest.mark.parametrize("positions", [1, 6])
def test_the_gradients_of_a_normalized_drive_equal_those_of_torch(positions: int) -> None:
    normalization = BatchNormalization(4, positions, dtype=torch.float64)
    normalization.gain.copy_(weight(4))
    drive, grad, bias = weight(4 * positions, 2, 5, seed=1), weight(4 * positions, 2, 5, seed=2), weight(4, seed=3)
    torch_layer = torch.nn.BatchNorm1d(4).double()
    torch_layer.weight.data.copy_(normalization.gain)
    torch_layer.bias.data.copy_(bias)
    leaf = drive.clone().requires_grad_()
    out = torch_layer(leaf.view(4, -1).T).T.reshape(drive.shape)
    out.backward(grad)
    normalized = normalization.normalize(drive, is_training=True)
    torch.testing.assert_close(normalization.pre_activation(normalized, bias), out.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(normalization.drive_gradient(grad, normalized), leaf.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(normalization.gain_gradient(grad, normalized), torch_layer.weight.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pooling", [1, 2, 3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_pooled_convolution_has_the_gradients_of_autograd(pooling: int, sign: float) -> None:
    kernel = weight(3, 2, 3, 3)
    connection = Conv2d("x", (2, 7, 7), 3, 3, padding=1, pooling=pooling, sign=sign, weight=kernel)
    reads = [weight(98, 2, 5)]
    drive, memory = connection(reads)
    planes = F.conv2d(reads[0].permute(1, 2, 0).reshape(10, 2, 7, 7), kernel, padding=1)
    expected = F.max_pool2d(sign * planes, pooling).flatten(1).T.view(-1, 2, 5)
    torch.testing.assert_close(drive, expected, rtol=1e-10, atol=1e-10)
    grad = weight(*drive.shape, seed=4)
    by_autograd = super(Conv2d, connection).gradients(reads, grad)
    torch.testing.assert_close(connection.gradients(reads, grad, None, memory), by_autograd, rtol=1e-10, atol=1e-10)


def convolutional(**options: Any) -> Settings:
    """Images of 8 × 8 pixels, two convolutional layers with class groups, and a fully connected one."""
    convolution = {"name": "convolution", "sources": ["forward"], "kernel_size": 3, "padding": 1}
    kinds = [
        convolution | {"layers": [1], "channels": 10, "stride": 1, "pooling": 2},
        convolution | {"layers": [2], "channels": 5, "stride": 2},
        {"name": "none", "sources": ["lateral", "backward"]},
    ]
    shape = {"input_size": 64, "hidden_sizes": [160, 20, 15], "connections": kinds, "class_groups": True}
    one = {"update_order": "bottom_up", "prelabel_timesteps": 0, "label_timesteps": 1, "prediction_window": [0, 0]}
    learning = {"objective": "softmax", "negatives": {"count": 4}, "optimizer": ADAM, "damping_factor": 1.0}
    return small_settings(**(shape | one | learning | {"batch_normalization": True} | options))


def test_convolutional_layers_with_class_groups_learn_as_by_autograd() -> None:
    network = Network(convolutional(), dtype=torch.float64)
    first, second, third = hidden_layers(network)
    modules = torch.nn.ModuleList(
        [
            torch.nn.Conv2d(1, 10, 3, padding=1, bias=False),
            torch.nn.Conv2d(10, 5, 3, padding=1, stride=2, bias=False),
            torch.nn.Linear(20, 15, bias=False),
        ]
    ).double()
    norms = torch.nn.ModuleList([torch.nn.BatchNorm2d(10), torch.nn.BatchNorm2d(5), torch.nn.BatchNorm1d(15)]).double()
    for layer, module in zip((first, second, third), modules, strict=True):
        next(module.parameters()).data.copy_(next(layer.connections[0].parameters()))
    optimizer = torch.optim.AdamW([*modules.parameters(), *norms.parameters()], 1e-2, weight_decay=0)
    learner = Learner(network, 1)
    for batch in range(3):
        x, labels = video(1, seed=batch, input_size=64), class_numbers(6, seed=batch)
        learner.train_batch(x, labels)
        planes, loss = x.view(6, 1, 8, 8), torch.zeros(())
        for number, (module, norm) in enumerate(zip(modules, norms, strict=True)):
            z = module(planes)
            h = F.leaky_relu(norm(F.max_pool2d(z, 2) if number == 0 else z))
            logits = -8 * (h.view(6, CLASSES, -1) ** 2).mean(2)
            loss = loss + F.cross_entropy(logits, labels) / 8
            planes = (h / ((h.flatten(1) ** 2).mean(1) + 1e-8).sqrt().view(6, *[1] * (h.dim() - 1))).detach()
            planes = planes.flatten(1) if number == 1 else planes
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for layer, module, norm in zip((first, second, third), modules, norms, strict=True):
        assert layer.normalization is not None
        torch.testing.assert_close(next(layer.connections[0].parameters()), module.weight, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(layer.normalization.gain, norm.weight, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(layer.bias, norm.bias, rtol=1e-9, atol=1e-9)


def test_the_running_statistics_are_saved_averaged_and_resumed(tmp_path: Path) -> None:
    network = rff.build(convolutional())
    images, labels = torch.rand(30, 64), torch.arange(30) % CLASSES
    rff.fit(network, (images, labels), epochs=2, quiet=True)
    layer = hidden_layers(network)[0]
    assert layer.normalization is not None and layer.normalization.mean.abs().max() > 0
    rff.save(network, tmp_path / "network.safetensors")
    again = rff.load(tmp_path / "network.safetensors")
    torch.testing.assert_close(again.badness(images), network.badness(images), rtol=0, atol=0)
    assert torch.equal(copy.deepcopy(network).badness(images), network.badness(images))


def test_a_prediction_does_not_depend_on_the_other_samples_and_changes_nothing() -> None:
    network = Network(convolutional())
    Learner(network).train_batch(torch.rand(1, 12, 64), class_numbers(12))
    images, before = torch.rand(7, 64), copy.deepcopy(network.state_dict())
    torch.testing.assert_close(network.badness(images)[2:3], network.badness(images[2:3]), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_class_groups_learn_to_classify() -> None:
    samples, labels = clusters(300)
    settings = small_settings(
        input_size=samples.shape[1], hidden_sizes=[20, 20], class_groups=True, batch_normalization=True, objective="softmax",
        negatives={"count": 4}, optimizer=ADAM, update_order="bottom_up", prelabel_timesteps=0, label_timesteps=1,
        prediction_window=[0, 0], batch_size=20,
    )  # fmt: skip
    network = rff.build(settings)
    rff.fit(network, (samples, labels), epochs=5, quiet=True)
    assert (network.predict(samples) == labels).float().mean() > 0.9


def test_the_input_gradient_of_normalized_drives_equals_that_of_autograd() -> None:
    """Adversarial noise follows the gradient of the first layer's loss, through the statistics of the batch, too."""
    options: dict[str, Any] = {"class_groups": True, "hidden_sizes": [10], "objective": "softmax", "negatives": {"count": 4}}
    network = float64_network(
        batch_normalization=True, prelabel_timesteps=0, label_timesteps=2, adversarial_noise=0.3, optimizer=SGD, **options
    )
    gradients: list[Tensor] = []

    class Seen(Observer):
        def on_local_gradients(self, timestep: int, module: LocalModule, result: LocalResult) -> None:
            gradients.extend([] if result.input_gradient is None else [result.input_gradient])

    x, labels = video(2), class_numbers(6)
    (layer,) = hidden_layers(network)
    assert layer.normalization is not None
    weights = {source: block.clone() for source, block in dense(layer).weights().items()}
    leaf, normalization = x[0].clone().requires_grad_(), copy.deepcopy(layer.normalization)
    bias = layer.bias.clone()
    Learner(network, 3, observers=[Seen()]).train_batch(x, labels)
    sums = leaf @ weights["x"].T
    scaled = (sums - sums.mean(0)) / (sums.var(0, correction=0) + 1e-5).sqrt()
    h = 0.7 * F.leaky_relu(scaled * normalization.gain + bias)
    logits = -8 * (h.view(6, CLASSES, -1) ** 2).mean(2)
    (F.cross_entropy(logits, labels) / 8).backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    torch.testing.assert_close(gradients[0][:, 0].T, leaf.grad, rtol=1e-9, atol=1e-9)


def test_statistics_are_tracked_under_dropout_and_are_part_of_a_checkpoint(tmp_path: Path) -> None:
    network = rff.build(convolutional(dropout=0.2))
    rff.fit(network, (torch.rand(30, 64), torch.arange(30) % CLASSES), epochs=1, quiet=True)
    rff.save(network, tmp_path / "network.safetensors")
    for layer in hidden_layers(rff.load(tmp_path / "network.safetensors")):
        assert layer.normalization is not None and layer.normalization.updates.tolist() == [5]


def test_layers_that_do_not_learn_are_normalized_by_their_running_statistics() -> None:
    frozen: dict[str, Any] = {"generative": {"name": "reconstruction", "freeze_layers": True}, "objective": "pairwise"}
    network = float64_network(batch_normalization=True, **frozen)
    activities: list[Tensor] = []

    class Seen(Observer):
        def on_timestep(self, timestep: int, state: State) -> None:
            activities.append(state.blocks["h1"].activity[:, 0, 0].clone())

    x = video(network.settings.timesteps)
    for factor in (1, 10):
        others = torch.cat([x[:, :1], factor * x[:, 1:]], 1)
        Learner(network, observers=[Seen()]).train_batch(others, class_numbers(6))
    torch.testing.assert_close(activities[0], activities[3])
    assert all(layer.normalization is not None and not layer.normalization.updates.any() for layer in hidden_layers(network))


def test_a_recurrent_network_with_several_timesteps_predicts_what_it_has_learned() -> None:
    samples, labels = clusters(300)
    settings = small_settings(
        input_size=samples.shape[1],
        hidden_sizes=[20, 20],
        batch_normalization=True,
        optimizer=ADAM | {"learning_rate": 2e-3},
        batch_size=20,
    )
    network = rff.build(settings)
    rff.fit(network, (samples, labels), epochs=15, quiet=True)
    assert (network.predict(samples) == labels).float().mean() > 0.95


def test_the_weight_vector_has_no_gain() -> None:
    layer = hidden_layers(float64_network(batch_normalization=True))[0]
    assert layer.weight_vector().numel() == dense(layer).weight.numel()


@pytest.mark.parametrize("name, value", [("variance", -1.0), ("mean", float("nan")), ("updates", -10.0)])
def test_statistics_that_no_training_gives_are_refused(name: str, value: float, tmp_path: Path) -> None:
    network = rff.build(convolutional())
    normalization = hidden_layers(network)[1].normalization
    getattr(normalization, name)[0] = value
    with pytest.raises(CheckpointError, match=f"normalization.{name} has values that no training gives"):
        rff.save(network, tmp_path / "network.safetensors")


def test_what_can_not_be_normalized_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"training.batch_size = 1: network.batch_normalization needs several samples"):
        small_settings(batch_normalization=True, batch_size=1)
    network = float64_network(batch_normalization=True)
    mask = torch.ones(network.settings.timesteps, 6, dtype=torch.bool)
    Learner(network).train_batch(video(network.settings.timesteps), class_numbers(6), mask)
    mask[-1, 2] = False
    with pytest.raises(InputError, match="all sequences of a batch must be valid to the last timestep"):
        Learner(network).train_batch(video(network.settings.timesteps), class_numbers(6), mask)


def test_pooling_is_deterministic() -> None:
    connection = Conv2d("x", (1, 6, 6), 2, 3, pooling=2)
    reads = [torch.rand(36, 1, 3)]
    drive, memory = connection(reads)
    torch.use_deterministic_algorithms(True)
    try:
        connection.gradients(reads, torch.ones_like(drive), None, memory)
    finally:
        torch.use_deterministic_algorithms(False)
