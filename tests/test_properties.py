"""What holds of the network whatever its weights: locality, symmetry, and what an objective promises."""

from typing import Any

import pytest
import torch
from torch import Tensor

from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective, ObjectiveFunction
from tests.helpers import CLASSES, DATA_SIZE, class_numbers, float64_network, small_settings, video


def disturbed(objective: ObjectiveFunction, layer: int, layers: int) -> ObjectiveFunction:
    """The same objective, but one layer wants the opposite, a hundredfold. Layers ask in turn, bottom to top."""
    calls = 0

    def function(pos: Tensor, neg: Tensor) -> Objective:
        nonlocal calls
        calls += 1
        plain = objective(pos, neg)
        if (calls - 1) % layers != layer:
            return plain
        return Objective(-100 * plain.loss, -100 * plain.slope_pos, -100 * plain.slope_neg)

    return function


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("optimiser", ["rmsprop", "adam", "adadelta"])
def test_a_layer_learns_nothing_from_another_layers_error(layer: int, optimiser: str) -> None:
    networks = [float64_network(iterations=1, ff_optimizer=optimiser) for _ in range(2)]
    for network, disturb in zip(networks, [False, True], strict=True):
        learner = Learner(network, torch.Generator().manual_seed(3))
        if disturb:
            learner.objective = disturbed(learner.objective, layer, layers=3)
        learner.train_batch(video(network.settings.timesteps), class_numbers(6))
    for index, (plain, other) in enumerate(zip(*(n.hidden_layers() for n in networks), strict=True)):
        same = torch.equal(plain.weight, other.weight) and torch.equal(plain.bias, other.bias)
        assert same == (index != layer)


def test_permuting_the_batch_permutes_the_answer() -> None:
    network = float64_network(test_batch_size=5)
    inputs, order = video(network.settings.timesteps, batch=12), torch.randperm(12)
    torch.testing.assert_close(network.badness(inputs[:, order]), network.badness(inputs)[order], rtol=1e-12, atol=1e-12)
    assert torch.equal(network.predict(inputs[:, order]), network.predict(inputs)[order])


def test_what_happens_after_the_window_does_not_matter() -> None:
    network = float64_network(iterations=6, prediction_window=[1, 2])
    inputs = video(network.settings.timesteps)
    changed = inputs.clone()
    changed[network.settings.model.prelabel_timesteps + 3 :] = 1e3
    assert torch.equal(network.badness(inputs), network.badness(changed))


def test_residual_connections_carry_activity_and_are_off_by_default() -> None:
    assert small_settings().model.residual_connections == ()
    plain, residual = float64_network(), float64_network(residual_connections=[[0, 3]])
    shapes = [[tuple(layer.weight.shape) for layer in n.hidden_layers()] for n in (plain, residual)]
    assert shapes[0][:2] == shapes[1][:2]
    assert shapes[1][2] == (8, DATA_SIZE + 5 + 8 + CLASSES)


def test_dropout_is_only_for_training() -> None:
    inputs = video(5)
    assert torch.equal(float64_network(dropout=0.9).badness(inputs), float64_network().badness(inputs))


def test_dropout_scales_what_it_keeps() -> None:
    layer = next(float64_network(dropout=0.25).hidden_layers())
    masks = layer.dropout_masks(20_000, torch.Generator().manual_seed(0))
    assert masks is not None and len(masks) == 3
    for mask in masks:
        assert set(mask.flatten().tolist()) == {0.0, 1 / 0.75}
        assert mask.mean().item() == pytest.approx(1, abs=0.01)
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("objective", ["threshold", "pairwise"])
def test_training_tells_true_labels_from_wrong_ones(objective: str) -> None:
    """Over batches of one cluster for each class (seed fixed): badness falls under true labels, rises under wrong ones."""
    from tests.helpers import clusters

    settings = small_settings(hidden_sizes=[30, 30], objective=objective, ff_optimizer="adam", iterations=5)
    network = Network(settings)
    learner = Learner(network, torch.Generator().manual_seed(0))
    inputs, labels = clusters(400)
    gap = []
    for _ in range(30):
        metrics = learner.train_batch(inputs, labels)
        gap.append((metrics.badness_neg - metrics.badness_pos).mean().item())
    assert gap[-1] > gap[0] + 0.5
    assert (network.predict(inputs) == labels).float().mean().item() > 0.95


def test_same_seed_same_weights_other_seed_others() -> None:
    def trained(seed: int) -> Tensor:
        network = Network(small_settings(seed=seed, dropout=0.2, should_replace_neg_data=True))
        learner = Learner(network, torch.Generator().manual_seed(seed))
        for batch in range(3):
            learner.train_batch(video(1, seed=batch)[0].float(), class_numbers(6))
        return torch.cat([layer.weight.flatten() for layer in network.hidden_layers()])

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_bfloat16_operands_keep_float32_weights_and_nearly_the_same_badness() -> None:
    exact, fast = (Network(small_settings(), operand_dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    inputs = video(1, batch=50)[0].float()
    torch.testing.assert_close(fast.badness(inputs), exact.badness(inputs), rtol=0.05, atol=0.01)
    assert not torch.equal(fast.badness(inputs), exact.badness(inputs))
    Learner(fast, torch.Generator()).train_batch(inputs[:6], class_numbers(6))
    assert {p.dtype for p in fast.parameters()} == {torch.float32}


BAD_BATCHES: dict[str, tuple[Any, Any]] = {
    "too few features": (torch.zeros(6, DATA_SIZE - 1), class_numbers(6)),
    "too few timesteps": (torch.zeros(4, 6, DATA_SIZE), class_numbers(6)),
    "one dimension": (torch.zeros(DATA_SIZE), class_numbers(6)),
    "fewer labels than inputs": (torch.zeros(6, DATA_SIZE), class_numbers(5)),
    "labels for too few timesteps": (torch.zeros(6, DATA_SIZE), class_numbers(2, 6)),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_batch_that_does_not_fit_is_refused(case: str) -> None:
    learner = Learner(Network(small_settings()), torch.Generator())
    with pytest.raises(InputError, match=r"expected|give one"):
        learner.train_batch(*BAD_BATCHES[case])


def test_a_network_without_a_size_is_refused() -> None:
    from RecurrentFF.settings import Settings

    with pytest.raises(SettingsError, match=r"data_config\.data_size"):
        Network(Settings())
