"""Class groups, bottom-up updates and the softmax objective, beyond what the oracle compares; and what does not go with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.distributed.cost import better_mode
from RecurrentFF.distributed.division import divide
from RecurrentFF.errors import SettingsError
from RecurrentFF.model import functional
from RecurrentFF.model.assembly import are_described
from RecurrentFF.model.convolutions import ConvolutionKind
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective, Pairwise, Softmax
from RecurrentFF.model.paths import PlainPath
from RecurrentFF.model.reference import Reference
from RecurrentFF.settings import Settings
from RecurrentFF.settings.run import DistributedSettings
from RecurrentFF.training.memory import required_memory
from tests.helpers import CLASSES, class_numbers, clusters, float64_network, hidden_layers, small_settings, video
from tests.test_connections import weight

GROUPS: dict[str, Any] = {"class_groups": True, "hidden_sizes": [10, 15], "objective": "softmax", "negatives": {"count": 4}}


def test_one_pass_without_a_label_gives_the_badness_of_all_labels() -> None:
    network = float64_network(**GROUPS)
    assert all("y" not in layer.sources for layer in hidden_layers(network))
    state, inputs = network.path.new_state(CLASSES, 2, network.processes), torch.rand(1, 7, 1, 2, dtype=torch.float64)
    network.settle(state, inputs)
    state.clamp(inputs[0], torch.eye(CLASSES, dtype=torch.float64)[:, :, None])
    badness = network.step(state, 1.0)
    for name in network.layers:
        assert state.blocks[name].activity.shape[1] == 1 and badness[name].shape == (CLASSES, 2)


def test_the_badness_of_a_label_is_that_of_the_units_of_its_class() -> None:
    h = weight(6, 1, 4)
    one_hot, uniform = torch.eye(3).double()[:, :, None].expand(-1, -1, 4), torch.full((3, 1, 4), 1 / 3).double()
    by_class = functional.class_badness(h, one_hot, "mean")
    assert by_class.shape == (3, 4)
    torch.testing.assert_close(by_class[1], h[2:4, 0].square().mean(0))
    torch.testing.assert_close(functional.class_badness(h, one_hot, "sum")[2], h[4:, 0].square().sum(0))
    torch.testing.assert_close(functional.class_badness(h, uniform, "mean")[0], h[:, 0].square().mean(0))


@pytest.mark.parametrize("candidates", [(1, 3), (3, 3), (3, 1)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_gradient_of_class_badness_equals_that_of_autograd(candidates: tuple[int, int], reduction: Any) -> None:
    h, y = weight(6, candidates[0], 4).requires_grad_(), weight(3, candidates[1], 4, seed=1).softmax(0)
    grad = weight(3, 4, seed=2)
    (expected,) = torch.autograd.grad(functional.class_badness(h, y, reduction), h, grad)
    found = functional.class_gradient(grad, h.detach(), y, reduction)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("negatives", [1, 4])
def test_the_gradients_of_softmax_equal_those_of_autograd(negatives: int) -> None:
    badness = weight(1, 5), weight(negatives, 5, seed=1)
    objective = Softmax(alpha=3.0)
    assert objective.loss(*badness).shape == (negatives, 5)
    for found, expected in zip(objective.gradients(*badness), Objective.gradients(objective, *badness), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_softmax_is_the_pairwise_objective_of_one_negative_and_a_cross_entropy_of_all() -> None:
    positive, negative = weight(1, 5), weight(4, 5, seed=1)
    torch.testing.assert_close(Softmax(2.0).loss(positive, negative[:1]), Pairwise(2.0).loss(positive, negative[:1]))
    logits = -2 * torch.cat([positive, negative]).T
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.long), reduction="none") / 2
    torch.testing.assert_close(Softmax(2.0).loss(positive, negative)[0], expected)
    assert Softmax(2.0).loss(positive + 1e4, negative).isfinite().all()


def test_the_input_reaches_the_top_layer_in_one_bottom_up_timestep() -> None:
    for order, delay, label_delay in (("synchronous", 3, 3), ("bottom_up", 1, 3)):
        network = float64_network(update_order=order, prelabel_timesteps=1)
        state = network.path.new_state(1, 2, network.processes)
        network.settle(state, torch.rand(1, 7, 1, 2, dtype=torch.float64))
        first, other = (torch.rand(1, 7, 1, 2, dtype=torch.float64) for _ in range(2))
        tops = []
        for x in (first, other):
            network.settle(state, x)
            tops.append(state.blocks["h3"].activity.clone())
        assert torch.equal(*tops) == (order == "synchronous")
        options = network.settings.network
        assert (options.input_delay, options.label_delay) == (delay, label_delay)
    connected = small_settings(update_order="bottom_up", residual_connections=[[4, 1]]).network
    assert connected.label_delay == 1


def test_the_loss_before_the_label_has_arrived_counts_all_negatives() -> None:
    network = float64_network(hidden_sizes=[6, 6], objective="softmax", negatives={"count": 4})
    metrics = Learner(network).train_batch(video(network.settings.timesteps), class_numbers(6))
    assert metrics.loss[0, 0].item() == pytest.approx(torch.log(torch.tensor(5.0)).item() / 8)


def test_the_activity_of_a_batch_is_counted_once_for_all_candidates() -> None:
    small, large = (required_memory(small_settings(**GROUPS | {"class_groups": groups})) for groups in (True, False))
    assert small["training.batch_size"] * 5 == large["training.batch_size"]


CONVOLUTION = {"name": "convolution", "channels": 4, "kernel_size": 3, "stride": 2, "padding": 1}


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"hidden_sizes": [10, 7]},
            "the 7 units of layer 2 can't be divided among 5 classes; set network.hidden_sizes to a multi",
        ),
        (
            {"input_size": 36, "hidden_sizes": [36, 10], "connections": [CONVOLUTION]},
            "the 4 channels of layer 1 can't be divided among 5 classes; set channels to a multiple of 5",
        ),
        (
            {"input_size": 36, "hidden_sizes": [45], "connections": [CONVOLUTION | {"channels": 5, "position_exponent": 2.0}]},
            "the badness of a group is no power mean; leave out position_exponent",
        ),
        (
            {"update_order": "bottom_up", "generative": "reconstruction"},
            "the generative circuit reads all layers at the previous",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Network(small_settings(**GROUPS | options))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"shape": 7}, "h1: 7 units can't be divided into equal groups for 5 classes"),
        ({"shape": (4, 2, 2)}, "h1: 4 channels can't be divided"),
        ({"shape": (5, 2, 2), "position_exponent": 2.0}, "position_exponent = 2.0 with class groups"),
    ],
)
def test_a_layer_refuses_what_can_not_be_divided(arguments: dict[str, Any], message: str) -> None:
    make: Callable[..., Layer] = Layer
    with pytest.raises(ValueError, match=message):
        make("h1", connections=[], classes=CLASSES, **arguments)


def test_processes_divide_what_can_be_divided() -> None:
    normalized = Network(small_settings(**GROUPS | {"batch_normalization": True}))
    with pytest.raises(SettingsError, match="batch_normalization needs all samples of a batch in one process"):
        divide(normalized, DistributedSettings(), 2, "data")
    assert divide(normalized, DistributedSettings(), 2, "layer").layer_parts == 2
    assert better_mode(normalized, normalized.settings, 2) == "layer"
    in_order = Network(small_settings(**GROUPS | {"update_order": "bottom_up"}))
    with pytest.raises(SettingsError, match="a layer waits for those below it"):
        divide(in_order, DistributedSettings(), 2, "layer")
    assert better_mode(in_order, in_order.settings, 2) == "data"
    both = Network(small_settings(**GROUPS | {"update_order": "bottom_up", "batch_normalization": True}))
    with pytest.raises(SettingsError, match=r"start one process, which network.update_order"):
        divide(both, DistributedSettings(), 2, "data")


def test_the_reference_refuses_what_it_does_not_know() -> None:
    network = float64_network(**GROUPS | {"batch_normalization": True})
    with pytest.raises(TypeError, match="no batch normalization"):
        Reference(network)


@pytest.mark.parametrize("other", [{"class_groups": False}, {"batch_normalization": True}])
def test_layers_with_other_options_than_the_settings_are_noticed(other: dict[str, Any]) -> None:
    network = Network(small_settings(**GROUPS))
    assert isinstance(network.path, PlainPath) and not network.has_own_modules
    assert not are_described(hidden_layers(Network(small_settings(**GROUPS | other))), network.settings)


def test_a_layer_with_class_groups_learns_before_any_label_could_reach_it() -> None:
    assert not small_settings(**GROUPS).learning_needs_label
    assert small_settings(**GROUPS | {"class_groups": False}).learning_needs_label


def test_the_probabilities_of_softmax_have_its_sharpness() -> None:
    network = float64_network(**GROUPS | {"objective": {"name": "softmax", "alpha": 3.0}})
    x = video(network.settings.timesteps)
    torch.testing.assert_close(network.predict_proba(x), (-3 * network.badness(x)).softmax(1))


def test_a_prediction_that_ends_before_the_input_arrives_is_noted(capfd: pytest.CaptureFixture[str]) -> None:
    late = GROUPS | {"hidden_sizes": [10, 10, 10], "prelabel_timesteps": 0, "label_timesteps": 1}
    rff.build(small_settings(**late | {"update_order": "bottom_up"}))
    assert "needs 3 timesteps" not in capfd.readouterr().err
    rff.build(small_settings(**late))
    assert "the input needs 3 timesteps to reach the top layer, but a prediction ends after 1" in capfd.readouterr().err


@pytest.mark.parametrize("negatives", ["uniform", "readout"])
def test_a_readout_that_nothing_trains_is_not_counted(negatives: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = rff.build(small_settings(**GROUPS | {"negatives": {"name": negatives}, "objective": "pairwise", "epochs": 1}))
    rff.fit(network, clusters(20), output_dir=tmp_path)
    modules = network.hidden_layers() if negatives == "uniform" else [network]
    assert f", {sum(p.numel() for m in modules for p in m.parameters()):,} weights" in capsys.readouterr().out


@pytest.mark.parametrize("prelabel_timesteps", [0, 1])
def test_the_course_of_a_single_timestep_is_not_drawn(prelabel_timesteps: int, tmp_path: Path) -> None:
    one = {"update_order": "bottom_up", "prelabel_timesteps": prelabel_timesteps, "label_timesteps": 1, "epochs": 1}
    network = rff.build(small_settings(**GROUPS | one))
    rff.fit(network, clusters(20), validation=clusters(10, seed=2), output_dir=tmp_path, quiet=True)
    assert len([*tmp_path.glob("*/curves.png")]) == 1
    assert len([*tmp_path.glob("*/timesteps.png")]) == prelabel_timesteps


def test_recorded_drives_are_those_of_the_timestep_in_which_layers_follow_each_other() -> None:
    network = float64_network(**GROUPS | {"update_order": "bottom_up", "prelabel_timesteps": 0, "label_timesteps": 1})
    recorded = rff.record(network, video(1), class_numbers(6))
    first, second = hidden_layers(network)
    for layer in (first, second):
        z = sum(recorded.drives[layer.name].values()) + layer.bias[:, None]
        torch.testing.assert_close(recorded.activity[layer.name], 0.7 * torch.nn.functional.leaky_relu(z))
    assert recorded.drives["h2"]["h1"].any()


def test_planes_that_can_not_be_convolved_together_are_refused() -> None:
    first = CONVOLUTION | {"channels": 5, "layers": [1], "sources": ["forward"]}
    second = CONVOLUTION | {"channels": 5, "layers": [2], "sources": ["forward"], "stride": 1}
    options = {"input_size": 36, "hidden_sizes": [45, 45], "connections": [first, second]}
    network = Network(small_settings(**GROUPS | options))
    assert [layer.shape for layer in hidden_layers(network)] == [(5, 3, 3), (5, 3, 3)]
    with pytest.raises(SettingsError, match="convolution of h2: it reads x and h1, whose planes differ in size"):
        Network(small_settings(**GROUPS | options | {"residual_connections": [[0, 2]]}))


def test_each_source_is_convolved_with_its_own_channels() -> None:
    kinds = [
        CONVOLUTION | {"channels": channels, "layers": [layer], "sources": ["forward"], "stride": 2 if layer == 1 else 1}
        for layer, channels in ((1, 5), (2, 10), (3, 5))
    ]
    options = {"input_size": 36, "hidden_sizes": [45, 90, 45], "connections": kinds, "residual_connections": [[1, 3]]}
    third = hidden_layers(Network(small_settings(**GROUPS | options)))[2]
    shapes = {connection.sources[0]: tuple(next(connection.parameters()).shape) for connection in third.connections}
    assert (shapes["h1"], shapes["h2"]) == ((5, 5, 3, 3), (5, 10, 3, 3))


def test_a_convolution_above_the_first_layer_needs_no_image() -> None:
    kind = ConvolutionKind(layers=(2,))
    assert not kind.needs_images and ConvolutionKind(layers=(1, 2)).needs_images


def test_the_recipe_has_one_pass_and_local_features() -> None:
    settings = Settings.from_file("mnist_own_features")
    assert settings.network.class_groups and settings.network.label_timesteps == 1
    network = rff.build(settings)
    assert [layer.shape for layer in hidden_layers(network)] == [(40, 14, 14), (80, 7, 7), (160, 3, 3)]


def test_the_guide_shows_the_recipe() -> None:
    text = (Path(__file__).parents[1] / "docs" / "guides" / "class_groups.md").read_text(encoding="utf-8")
    shown = text.split("```toml\n")[1].split("```")[0]
    assert Settings.from_toml(shown) == Settings.from_file("mnist_class_groups")
