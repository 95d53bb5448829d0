"""What holds of the network whatever its weights: locality, symmetry, and what an objective promises."""

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective
from RecurrentFF.model.processes import BatchShare, Processes, Reduction
from tests.helpers import (
    CLASSES,
    DATA_SIZE,
    batch_draws,
    class_numbers,
    dense,
    float64_network,
    hidden_layers,
    small_settings,
    video,
)


class Disturbed(Objective):
    """Another objective, but one layer has the opposite, a hundredfold. The layers ask in turn, bottom to top."""

    def __init__(self, objective: Objective, layer: int, layers: int) -> None:
        self.objective, self.layer, self.layers = objective, layer, layers
        self.calls = 0

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        return self.objective.loss(positive, negative)

    def gradients(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        factor = -100 if (self.calls - 1) % self.layers == self.layer else 1
        grad_positive, grad_negative = self.objective.gradients(positive, negative)
        return factor * grad_positive, factor * grad_negative


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adadelta"])
def test_a_layer_learns_nothing_from_another_layers_error(layer: int, optimizer: str) -> None:
    networks = [float64_network(label_timesteps=1, optimizer=optimizer) for _ in range(2)]
    for network, disturb in zip(networks, [False, True], strict=True):
        learner = Learner(network, 3)
        if disturb:
            learner.objective = Disturbed(learner.objective, layer, layers=3)
        learner.train_batch(video(network.settings.timesteps), class_numbers(6))
    for index, (plain, other) in enumerate(zip(*(hidden_layers(n) for n in networks), strict=True)):
        same = torch.equal(dense(plain).weight, dense(other).weight) and torch.equal(plain.bias, other.bias)
        assert same == (index != layer)


def test_permuting_the_batch_permutes_the_answer() -> None:
    network = float64_network(prediction_batch_size=5)
    inputs, order = video(network.settings.timesteps, batch=12), torch.randperm(12)
    torch.testing.assert_close(network.badness(inputs[:, order]), network.badness(inputs)[order], rtol=1e-12, atol=1e-12)
    assert torch.equal(network.predict(inputs[:, order]), network.predict(inputs)[order])


def test_predictions_are_made_in_pieces_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = float64_network(prediction_batch_size=100), video(5, batch=11)
    assert network.samples_at_once == 100
    whole = network.badness(inputs)
    sample = CLASSES * (9 + 5 + 8 + CLASSES) * 4 * 8  # two stacks and two more of activity, eight bytes each
    for room, pieces in ((4 * sample, 4), (sample - 1, 1)):
        monkeypatch.setattr("RecurrentFF.model.prediction.PREDICTION_MEMORY", room)
        assert network.samples_at_once == pieces
        torch.testing.assert_close(network.badness(inputs), whole, rtol=1e-12, atol=1e-12)


def test_what_happens_after_the_window_does_not_matter() -> None:
    network = float64_network(label_timesteps=6, prediction_window=[1, 2])
    inputs = video(network.settings.timesteps)
    changed = inputs.clone()
    changed[network.settings.network.prelabel_timesteps + 3 :] = 1e3
    assert torch.equal(network.badness(inputs), network.badness(changed))


def test_residual_connections_carry_activity_and_are_off_by_default() -> None:
    assert small_settings().network.residual_connections == ()
    plain, residual = float64_network(), float64_network(residual_connections=[[0, 3]])
    shapes = [[tuple(dense(layer).weight.shape) for layer in hidden_layers(n)] for n in (plain, residual)]
    assert shapes[0][:2] == shapes[1][:2]
    assert shapes[1][2] == (8, DATA_SIZE + 5 + 8 + CLASSES)


def test_dropout_is_only_for_training() -> None:
    inputs = video(5)
    assert torch.equal(float64_network(dropout=0.9).badness(inputs), float64_network().badness(inputs))


def test_dropout_scales_the_drives_that_it_keeps() -> None:
    layer = hidden_layers(float64_network(dropout=0.25))[0]
    drawn = layer.draw_masks(candidates=2, draws=batch_draws(10_000))
    assert drawn is not None and len(drawn) == 1 and len(drawn[0]) == 3  # one connection, three sources
    (masks,) = drawn
    for mask in masks:
        assert mask.shape == (9, 2, 10_000)
        assert set(mask.flatten().tolist()) == {0.0, 1 / 0.75}
        assert mask.mean().item() == pytest.approx(1, abs=0.01)
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("objective", ["threshold", "pairwise"])
def test_training_tells_true_labels_from_wrong_ones(objective: str) -> None:
    """One cluster for each class, one fixed seed: the gap widens; θ also makes one side fall and the other rise."""
    from tests.helpers import clusters

    settings = small_settings(hidden_sizes=[30, 30], objective=objective, optimizer="adam", label_timesteps=5)
    network = Network(settings)
    learner = Learner(network, 0)
    inputs, labels = clusters(400)
    pos, neg = [], []
    for _ in range(30):
        metrics = learner.train_batch(inputs, labels)
        pos.append(metrics.badness_pos.mean().item())
        neg.append(metrics.badness_neg.mean().item())
    assert neg[-1] - pos[-1] > neg[0] - pos[0] + 0.5
    if objective == "threshold":
        assert pos[-1] < pos[0] and neg[-1] > neg[0]
    assert (network.predict(inputs) == labels).float().mean().item() > 0.95


def weights(network: Network) -> Tensor:
    return torch.cat([layer.weight_vector() for layer in hidden_layers(network)])


def test_the_seed_decides_the_initial_weights() -> None:
    assert torch.equal(weights(Network(small_settings(seed=1))), weights(Network(small_settings(seed=1))))
    assert not torch.equal(weights(Network(small_settings(seed=1))), weights(Network(small_settings(seed=2))))


@pytest.mark.parametrize("options", [{"dropout": 0.2}, {"negatives": "readout"}, {}], ids=str)
def test_the_seed_decides_negatives_and_dropout(options: dict[str, Any]) -> None:
    def trained(seed: int) -> Tensor:
        network = Network(small_settings(**options))
        learner = Learner(network, seed)
        for batch in range(3):
            learner.train_batch(video(1, seed=batch)[0].float(), class_numbers(6))
        return weights(network)

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_bfloat16_products_keep_float32_weights_and_nearly_the_same_badness() -> None:
    exact, fast = (Network(small_settings(), compute_dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    inputs = video(1, batch=50)[0].float()
    torch.testing.assert_close(fast.badness(inputs), exact.badness(inputs), rtol=0.05, atol=0.01)
    assert not torch.equal(fast.badness(inputs), exact.badness(inputs))
    Learner(fast).train_batch(inputs[:6], class_numbers(6))
    assert {p.dtype for p in fast.parameters()} == {torch.float32}


def test_a_batch_in_bfloat16_learns_nearly_what_float32_learns() -> None:
    """Gradients of the last timestep point the same way, within the rounding of bfloat16 (8 bits)."""
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        settings = small_settings(hidden_sizes=[40, 30], negatives="readout", optimizer="adam")  # which keeps .grad
        network = Network(settings, compute_dtype=dtype)
        learner = Learner(network, 1)
        learner.train_batch(video(1, batch=200)[0], class_numbers(200))
        gradients.append([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) == 6
    for exact, fast in zip(*gradients, strict=True):
        assert torch.cosine_similarity(exact, fast, dim=0) > 0.999
        assert (fast.norm() / exact.norm()).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, 3, 4, 5]), "labels run from 0 to 5; expected 0 to 4"),
        (torch.tensor([0, 1, 2, 3, -1, 4]), "labels run from -1"),
        (torch.zeros(6), "integer class numbers"),
    ],
)
def test_labels_that_are_no_class_are_refused(labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Learner(Network(small_settings())).train_batch(torch.zeros(6, DATA_SIZE), labels)


def test_labels_given_for_every_timestep_are_told_by_their_shape_not_by_their_memory() -> None:
    labels, trained = class_numbers(6), []
    for given in (labels.expand(3, -1), labels.repeat(3, 1)):
        network = Network(small_settings())
        Learner(network, 0).train_batch(torch.ones(6, DATA_SIZE), given)
        trained.append(weights(network))
    assert torch.equal(*trained)


def test_integer_labels_of_any_kind_and_arrays_will_do() -> None:
    network = Network(small_settings())
    learner = Learner(network)
    for kind in (torch.uint8, torch.int32, torch.int64):
        learner.train_batch(torch.zeros(6, DATA_SIZE), class_numbers(6).to(kind))
    assert network.predict(torch.zeros(3, DATA_SIZE, dtype=torch.float64).numpy()).shape == (3,)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InputError, match="empty batch"):
        Network(small_settings()).predict(torch.zeros(0, DATA_SIZE))


def test_a_network_can_be_pickled_and_copied() -> None:
    network, inputs = Network(small_settings()), torch.randn(3, DATA_SIZE)
    for copy_ in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert torch.equal(copy_.badness(inputs), network.badness(inputs))


BAD_BATCHES: dict[str, tuple[Any, Any]] = {
    "pixels as bytes": (torch.zeros(6, DATA_SIZE, dtype=torch.uint8), class_numbers(6)),
    "too few features": (torch.zeros(6, DATA_SIZE - 1), class_numbers(6)),
    "too few timesteps": (torch.zeros(4, 6, DATA_SIZE), class_numbers(6)),
    "one dimension": (torch.zeros(DATA_SIZE), class_numbers(6)),
    "fewer labels than inputs": (torch.zeros(6, DATA_SIZE), class_numbers(5)),
    "labels for too few timesteps": (torch.zeros(6, DATA_SIZE), class_numbers(2, 6)),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_batch_that_does_not_fit_is_refused(case: str) -> None:
    learner = Learner(Network(small_settings()))
    with pytest.raises(InputError, match=r"expected|give one"):
        learner.train_batch(*BAD_BATCHES[case])


def test_a_network_without_a_size_is_refused() -> None:
    from RecurrentFF.settings import Settings

    with pytest.raises(SettingsError, match=r"network\.input_size and network\.num_classes"):
        Network(Settings())


def test_gradients_pass_through_their_reduction_over_processes() -> None:
    class WithoutGradients(Processes):
        def reduce(self, name: str, gradients: Mapping[str, Tensor], share: BatchShare) -> Reduction:
            return super().reduce(name, {key: 0 * gradient for key, gradient in gradients.items()}, share)

    network = Network(small_settings(optimizer="adam"))
    network.processes, before = WithoutGradients(), weights(network)
    Learner(network).train_batch(torch.ones(6, DATA_SIZE), class_numbers(6))
    assert torch.equal(weights(network), before)
