"""Convolutional layers with shared weights from the label, and badness as a power mean over positions."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from RecurrentFF.data.image_transforms import OrientedGradients
from RecurrentFF.data.moving_mnist import render
from RecurrentFF.data.oriented_gradients import OrientedGradientConfig, moved_oriented_gradients, oriented_gradients
from RecurrentFF.errors import SettingsError
from RecurrentFF.model import functional
from RecurrentFF.model.assembly import make_layers
from RecurrentFF.model.channels import PerChannel
from RecurrentFF.model.functional import Reduction
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings, recipes
from RecurrentFF.training.memory import required_memory
from tests.helpers import CLASSES, class_numbers, generator, hidden_layers, small_settings, video
from tests.test_connections import Functions, GeneralReference, NextClass, conv, weight

PLANES = (2, 6, 6)
UNITS = (3, 3, 3)
CONVOLUTION: dict[str, Any] = {
    "name": "convolution",
    "sources": ["forward", "lateral", "backward", "label"],
    "input_channels": 2,
    "channels": 3,
    "kernel_size": 3,
    "stride": 2,
    "padding": 1,
    "position_exponent": 3.0,
}


def settings(**options: Any) -> Any:
    """x (2, 6, 6) → h1 (3, 3, 3) → h2 (4), where the label drives h1, too."""
    shape = {"input_size": 72, "hidden_sizes": [27, 4], "residual_connections": [[3, 1]], "connections": [CONVOLUTION]}
    return small_settings(**(shape | options))


def per_channel(read: Tensor, kernel: Tensor) -> Tensor:
    """The drive of each channel, repeated at all nine positions, (batch, units)."""
    return (read @ kernel.T).repeat_interleave(9, 1)


class PositionReference(GeneralReference):
    """The reference with badness of the first layer as a power mean over positions, in the words of its definition."""

    def badness(self, h: Tensor, y: Tensor) -> Tensor:
        if h.shape[1] != 27:
            return super().badness(h, y)
        mean = ((h**2).view(-1, 3, 9).mean(1) ** 3).mean(1) ** (1 / 3)
        return mean * (27 if self.settings.network.badness == "sum" else 1)


@pytest.mark.parametrize("options", [{"objective": "pairwise"}, {"objective": "threshold", "badness": "sum"}])
def test_training_with_a_convolution_agrees_with_autograd(options: dict[str, Any]) -> None:
    network = Network(settings(optimizer="adam", **options), dtype=torch.float64)
    for layer in hidden_layers(network):
        layer.bias.normal_(std=0.1, generator=generator(3))
    functions: Functions = {
        ("h1", "x"): partial(conv, shape=PLANES, stride=2, padding=1),
        ("h1", "h1"): partial(conv, shape=UNITS, stride=1, padding=1),
        ("h1", "h2"): per_channel,
        ("h1", "y"): per_channel,
    }
    reference, learner = PositionReference(network, functions), Learner(network, negatives=NextClass())
    for batch in range(3):
        inputs, labels = video(network.settings.timesteps, seed=batch, input_size=72), class_numbers(6, seed=batch)
        learner.train_batch(inputs, labels)
        reference.train_batch([inputs] * 2, [y.expand(3, -1) for y in (labels, (labels + 1) % CLASSES)])
    first = hidden_layers(network)[0]
    torch.testing.assert_close(first.bias.data, reference.bias["h1"].data, rtol=1e-10, atol=1e-10)
    for connection in first.connections:
        expected = reference.weight["h1", connection.sources[0]].data
        torch.testing.assert_close(next(connection.parameters()).data, expected, rtol=1e-10, atol=1e-10)
    inputs = video(network.settings.timesteps, seed=9, input_size=72)
    begin, end = network.settings.prediction_window
    expected = reference.badness_over_time(inputs)[begin : end + 1].mean(0)
    torch.testing.assert_close(network.badness(inputs), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("candidates", [1, 3])
def test_gradients_of_whole_channels_equal_those_of_autograd(candidates: int) -> None:
    connection = PerChannel("y", CLASSES, UNITS, sign=-1.0, weight=weight(3, CLASSES))
    reads, grad_drive = [weight(CLASSES, candidates, 5)], weight(27, 3, 5, seed=1)
    drive, _ = connection(reads)
    assert drive.shape == (27, candidates, 5) and torch.equal(drive[:9], drive[:1].expand(9, -1, -1))
    expected = super(PerChannel, connection).gradients(reads, grad_drive)
    torch.testing.assert_close(connection.gradients(reads, grad_drive), expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match=r"weight of shape \(3, 5\), expected \(3, 4\)"):
        PerChannel("y", 4, UNITS, weight=weight(3, 5))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("exponent", [1.0, 2.0, 7.5])
def test_the_power_mean_over_positions_has_the_gradient_of_autograd(exponent: float, reduction: Reduction) -> None:
    h = weight(12, 2, 5).requires_grad_()
    mean = (h.view(3, 4, 2, 5).square().mean(0) ** exponent).mean(0) ** (1 / exponent)
    badness = mean * (12 if reduction == "sum" else 1)
    torch.testing.assert_close(functional.position_badness(h, 4, exponent, reduction), badness, rtol=1e-10, atol=1e-10)
    (expected,) = torch.autograd.grad(badness.sum(), h)
    grad_h = functional.activity_gradient(torch.ones_like(badness), h, reduction)
    found = functional.position_gradient(grad_h, h, 4, exponent)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_the_power_mean_is_finite_where_squares_vanish_or_overflow_in_a_power() -> None:
    h = torch.zeros(4, 1, 3)
    h[0, 0, 1], h[0, 0, 2] = 1e-18, 1e9  # in float32, the eighth power of their squares is 0 or infinite
    assert functional.position_badness(h, 2, 8.0, "mean").isfinite().all()
    assert functional.position_badness(h, 2, 8.0, "mean")[0, 2] > 1e16
    gradient = functional.position_gradient(h, h, 2, 8.0)
    assert gradient.isfinite().all() and not gradient[:, :, 0].any() and gradient[0, 0, 1] > 0


def test_an_object_has_the_same_badness_anywhere_on_the_canvas() -> None:
    kind = {**CONVOLUTION, "sources": ["forward", "label"], "padding": 0, "kernel_size": 4}
    absent = {"name": "none", "sources": ["lateral", "backward"]}
    described = settings(input_size=392, hidden_sizes=[108], residual_connections=[], connections=[kind, absent])
    (layer,) = make_layers(described, torch.float64, generator())
    network = Network(small_settings(input_size=392, hidden_sizes=[108]), dtype=torch.float64, modules=[layer])
    inputs = torch.zeros(2, 1, 2, 14, 14, dtype=torch.float64)
    inputs[0, :, :, 4:8, 4:8] = inputs[1, :, :, 8:12, 6:10] = weight(2, 4, 4)
    found = network.badness(inputs.view(2, -1))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)
    assert found[0].std() > 1e-3


def test_planes_that_do_not_fit_the_input_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"needs 2 square planes \(input_channels\), but an input has 73 values"):
        make_layers(settings(input_size=73), torch.float32, generator())


def test_a_source_without_connection_is_not_read_and_needs_no_memory() -> None:
    absent = {"name": "none"}
    kind = {**CONVOLUTION, "sources": ["forward", "label"]}
    chosen = [settings(hidden_sizes=[27], residual_connections=[], connections=kinds) for kinds in ([kind], [kind, absent])]
    first, second = (make_layers(each, torch.float32, generator())[0] for each in chosen)
    assert first.sources == ("x", "y", "h1") and second.sources == ("x", "y")
    dense, without = (required_memory(each)["network.hidden_sizes"] for each in chosen)
    assert (dense, without) == (12 * 27 * 27, 0)
    with pytest.raises(SettingsError, match=r"sources = \[\]: name those that are not read"):
        settings(connections=[{"name": "none", "sources": []}])


def test_the_recipe_of_moving_mnist_reads_planes_and_no_lateral_weights() -> None:
    chosen = Settings.from_file(recipes.path_of("moving_mnist")).with_arguments(input_size=8 * 23 * 23, num_classes=10)
    (layer,) = make_layers(chosen, torch.float32, generator())
    assert layer.sources == ("x", "y") and layer.shape == (128, 5, 5) and layer.position_exponent == 4


@pytest.mark.parametrize("centered", [True, False])
def test_features_of_a_moving_object_are_those_of_its_frames(centered: bool) -> None:
    config, objects = OrientedGradientConfig(6, 9, centered), torch.rand(3, 28, 28, dtype=torch.float64, generator=generator())
    positions = torch.tensor([[[0, 0], [36, 36], [7, 30]], [[0, 36], [1, 2], [20, 0]]])  # all corners
    frames = render(objects, positions).view(-1, 64, 64)
    expected = oriented_gradients(frames, config, background=0.0).view(2, 3, -1)
    found = moved_oriented_gradients(objects, positions, 64, config)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-7)  # where the square of a feature is almost 0


def test_features_that_are_not_centered_are_zero_without_ink() -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[:, 10:14, 10:14] = 255
    features = OrientedGradients(mean=0.1, std=0.3, centered=False)(torch.cat([image, image * 0])).view(2, 8, 10, 10)
    assert features.min() == 0 and features[1].max() < 0.01 and features[0, :, 8:].max() < 0.01
    torch.testing.assert_close(features[0].square().mean(), torch.tensor(1.0), atol=0.02, rtol=0)
