"""The parts one by one: negative labels, initial weights, topology, schedule."""

import math
from typing import Any

import pytest
import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model import fields, learning
from RecurrentFF.model.dynamics import Connection
from RecurrentFF.model.initialisation import initial_weight
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import sample_wrong_labels
from RecurrentFF.model.state import State
from RecurrentFF.model.topology import Topology
from RecurrentFF.settings import Settings
from RecurrentFF.training.schedule import learning_rate_factor
from RecurrentFF.training.trainer import epoch_order
from tests.helpers import class_numbers, float64_network, video, weight_columns


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_random_negatives_are_uniform_over_the_wrong_classes() -> None:
    labels = torch.arange(5).repeat(20_000)
    (drawn,) = sample_wrong_labels(torch.zeros(5), labels, generator())
    counts = torch.zeros(5, 5).index_put_((labels, drawn), torch.ones(len(labels)), accumulate=True)
    assert counts.diagonal().sum() == 0
    wrong = counts[~torch.eye(5, dtype=torch.bool)]
    assert wrong.min() > 4750 and wrong.max() < 5250  # 5000 expected, standard deviation 61


def test_dynamic_negatives_follow_the_classifier_without_the_true_class() -> None:
    probabilities = torch.tensor([0.6, 0.3, 0.08, 0.02])
    labels = torch.zeros(100_000, dtype=torch.long)
    (drawn,) = sample_wrong_labels(probabilities.log().expand(100_000, 4), labels, generator())
    shares = drawn.bincount(minlength=4) / 100_000
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.75, 0.2, 0.05]), rtol=0, atol=0.006)


def test_temperature_sharpens_and_flattens_the_choice_of_negatives() -> None:
    probabilities, labels = torch.tensor([0.6, 0.3, 0.1]), torch.zeros(100_000, dtype=torch.long)
    for temperature in (0.5, 2.0):
        logits = probabilities.log().expand(100_000, 3)
        shares = sample_wrong_labels(logits, labels, generator(), temperature)[0].bincount(minlength=3) / 100_000
        expected = torch.tensor([0.0, 0.3 ** (1 / temperature), 0.1 ** (1 / temperature)])
        torch.testing.assert_close(shares, expected / expected.sum(), rtol=0, atol=0.006)


@pytest.mark.parametrize("logit", [0.0, -1e38, -math.inf, math.inf, math.nan])
@pytest.mark.parametrize("true_logit", [0.0, 1e38, math.inf, math.nan])
def test_a_negative_is_never_the_true_class(logit: float, true_logit: float) -> None:
    """Also where the classifier gives all wrong classes no probability at all."""
    labels = torch.arange(3).repeat(2_000)
    logits = torch.full((6_000, 3), logit).scatter(1, labels.unsqueeze(1), true_logit)
    (drawn,) = sample_wrong_labels(logits, labels, generator())
    assert not (drawn == labels).any()
    assert drawn.min() >= 0 and drawn.max() < 3


def test_several_negatives_are_all_different_and_the_first_follows_the_classifier() -> None:
    probabilities, labels = torch.tensor([0.1, 0.5, 0.3, 0.1]), torch.zeros(100_000, dtype=torch.long)
    drawn = sample_wrong_labels(probabilities.log().expand(100_000, 4), labels, generator(), count=3)
    assert torch.equal(drawn.sort(0).values, torch.tensor([[1], [2], [3]]).expand(3, 100_000))
    torch.testing.assert_close(drawn[0].bincount() / 100_000, torch.tensor([0, 5, 3, 1]) / 9, rtol=0, atol=0.006)
    after_two = drawn[1, drawn[0] == 2]
    torch.testing.assert_close(after_two.bincount() / len(after_two), torch.tensor([0, 5, 0, 1]) / 6, rtol=0, atol=0.01)


def test_negatives_for_labels_that_change_over_time() -> None:
    labels = torch.arange(4).repeat(7, 3)
    (drawn,) = sample_wrong_labels(torch.zeros(12, 4), labels, generator())
    assert drawn.shape == labels.shape and not (drawn == labels).any()
    assert not (drawn == drawn[0]).all()


TOPOLOGY = Topology((784, 300, 200, 250, 10))


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_initial_weights(layer: int) -> None:
    weight = initial_weight(TOPOLOGY, layer, torch.float64, generator())
    columns = weight_columns(TOPOLOGY, layer)
    forward, lateral, backward = (weight[:, columns[source]] for source in (layer - 1, layer, layer + 1))
    bound = math.sqrt(6 / TOPOLOGY.widths[layer - 1])
    assert 0.99 * bound < forward.abs().max() <= bound
    assert forward.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    torch.testing.assert_close(lateral @ lateral.T, 2 * torch.eye(TOPOLOGY.widths[layer], dtype=torch.float64))
    if layer == 3:
        assert backward.std().item() == pytest.approx(3 * math.sqrt(2 / 10), rel=0.05)
    else:
        assert 0.0499 < backward.abs().max() <= 0.05
        assert backward.std().item() == pytest.approx(0.05 / math.sqrt(3), rel=0.02)


def test_adjacent_blocks_are_one_product_and_the_input_stands_apart() -> None:
    topology = Topology((5, 2, 3, 4, 6))
    assert topology.height == 15
    assert topology.connections(1) == (Connection(None, slice(0, 5), shared=True), Connection(slice(0, 5), slice(5, 10)))
    assert topology.connections(2) == (Connection(slice(0, 9), slice(0, 9)),)
    assert [c.state for c in topology.connections(2, merged=False)] == [slice(0, 2), slice(2, 5), slice(5, 9)]
    assert [c.weight for c in topology.connections(1, merged=False)] == [slice(0, 5), slice(5, 7), slice(7, 10)]


def test_residual_blocks_merge_where_they_touch() -> None:
    touching = Topology((5, 2, 3, 4, 6), ((1, 3),))
    assert touching.connections(3) == (Connection(slice(0, 15), slice(0, 15)),)
    apart = Topology((5, 2, 3, 4, 6), ((0, 3), (4, 1)))
    assert apart.connections(3) == (Connection(None, slice(0, 5), shared=True), Connection(slice(2, 15), slice(5, 18)))
    below, beside, above = apart.connections(1)
    assert (below.state, beside.state, above.state) == (None, slice(0, 5), slice(9, 15))
    assert (below.weight, beside.weight, above.weight) == (slice(0, 5), slice(5, 10), slice(10, 16))
    assert apart.connections(2) == (Connection(slice(0, 9), slice(0, 9)),)


def test_what_differs_between_the_labels_is_told_from_what_does_not() -> None:
    topology = Topology((5, 2, 3, 4, 6))
    assert topology.connections(3, differing=frozenset({4})) == (
        Connection(slice(2, 9), slice(0, 7), shared=True),
        Connection(slice(9, 15), slice(7, 13)),
    )
    assert [c.shared for c in topology.connections(2, differing=frozenset({3, 4}))] == [True, False]
    assert [c.shared for c in topology.connections(2, merged=False, differing=frozenset({3, 4}))] == [True, True, False]


def test_what_is_at_rest_is_not_read() -> None:
    topology = Topology((5, 2, 3, 4, 6), ((0, 3),))
    resting = frozenset(topology.hidden)
    assert topology.connections(1, silent=resting) == (Connection(None, slice(0, 5), shared=True),)
    assert topology.connections(2, silent=resting) == ()
    assert topology.connections(3, silent=resting) == (
        Connection(None, slice(0, 5), shared=True),
        Connection(slice(9, 15), slice(12, 18)),
    )
    network = float64_network(hidden_sizes=[4, 4, 4], prelabel_timesteps=1)
    for layer in network.hidden_layers():
        layer.weight[:, hidden_columns(network.topology, layer.number)] = torch.nan  # would be seen, were it multiplied
    state = network.new_state(1, 3)
    network.settle(state, video(network.settings.timesteps, batch=3), network.operands())
    assert all(h.shape == (4, 1, 3) and h.isfinite().all() for h in state.activity) and not state.silent


def hidden_columns(topology: Topology, layer: int) -> list[int]:
    """Columns of a layer's weight that meet hidden layers."""
    blocks = [columns for source, columns in weight_columns(topology, layer).items() if source in topology.hidden]
    return [column for block in blocks for column in range(block.start, block.stop)]


def test_the_label_comes_down_one_layer_a_timestep() -> None:
    state = State(Topology((5, 2, 3, 4, 6)), 2, 7, torch.float64, torch.float64, torch.device("cpu"))
    state.rest()
    one, two = torch.zeros(6, 1, 7), torch.zeros(6, 2, 7)
    state.clamp(torch.zeros(7, 5), one)
    assert not any(state.differs(layer) for layer in (1, 2, 3))
    for reached in ([3], [2, 3], [1, 2, 3], [1, 2, 3]):
        state.clamp(torch.zeros(7, 5), two)
        assert [layer for layer in (1, 2, 3) if state.differs(layer)] == reached
        assert [state.following(layer).shape[1] for layer in (1, 2, 3)] == [2 if layer in reached else 1 for layer in (1, 2, 3)]
        state.advance()
    state.rest()
    assert not state.differing


def test_adversarial_noise_is_as_long_as_asked_to_and_fro_however_small_the_gradient() -> None:
    gradient = torch.randn(400, 30, generator=generator()) * torch.logspace(-40, 3, 400).unsqueeze(1)
    gradient[0] = 0
    noise = learning.along(gradient, 0.7, generator())
    assert noise[0].eq(0).all()
    torch.testing.assert_close(noise[1:].square().mean(1).sqrt(), torch.full((399,), 0.7))
    cosine = torch.nn.functional.cosine_similarity(noise.double(), gradient.double(), eps=1e-60)[1:]
    torch.testing.assert_close(cosine.abs(), torch.ones_like(cosine), rtol=0, atol=1e-4)
    assert 160 < (cosine > 0).sum() < 240


@pytest.mark.parametrize(
    ("iterations", "options"),
    [
        (4, {"objective": "pairwise"}),
        (2, {"objective": "pairwise", "residual_connections": [[4, 1]]}),
        (2, {"objective": "pairwise", "residual_connections": [[0, 3]]}),
        (3, {"objective": "pairwise", "residual_connections": [[3, 1]]}),
        (2, {"objective": "pairwise", "peer_normalisation": 0.1}),
        (2, {"objective": "threshold"}),
    ],
)
def test_the_fewest_timesteps_that_may_be_asked_for_move_an_input(
    iterations: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[torch.Tensor] = []

    def along(gradient: torch.Tensor, distance: float, generator: torch.Generator) -> torch.Tensor:
        moved.append(gradient)
        return 0 * gradient

    monkeypatch.setattr("RecurrentFF.model.learner.along", along)
    shape = {"hidden_sizes": [4, 4, 4], "adversarial_noise": 0.1, **options}
    network = float64_network(iterations=iterations, **shape)
    Learner(network).train_batch(video(1)[0], class_numbers(6))
    assert len(moved) == 1
    with pytest.raises(SettingsError, match="adversarial_noise moves inputs only after"):
        float64_network(iterations=iterations - 1, **shape)


@pytest.mark.parametrize(("units", "field"), [(200, 5), (500, 7), (1000, 14), (17, 10), (1, 28), (2, 27)])
def test_receptive_fields_reach_the_whole_image(units: int, field: int) -> None:
    begins = fields.origins(units, 28, field)
    assert begins.shape == (units, 2) and begins.min() == 0 and begins.max() <= 28 - field
    reads = fields.forward_field(units, 28 * 28, field)
    assert (reads.sum(1) == field**2).all()
    if units > 2:
        assert reads.any(0).all() and begins[0].tolist() == [0, 0] and begins[-1].tolist() == [28 - field] * 2


def test_warm_up_rises_to_the_schedule() -> None:
    model = Settings.from_arguments(lr_warmup_epochs=1.5, lr_schedule="cosine", epochs=4).model
    cold = Settings.from_arguments(lr_schedule="cosine", epochs=4).model
    for epoch, batch, share in ((0, 0, 1 / 6), (0, 3, 4 / 6), (1, 0, 5 / 6), (1, 1, 1.0), (3, 3, 1.0)):
        expected = share * learning_rate_factor(cold, epoch, batch, batches=4)
        assert learning_rate_factor(model, epoch, batch, batches=4) == pytest.approx(expected)


def test_step_schedule() -> None:
    model = Settings.from_arguments(lr_step_size=2, lr_gamma=0.1, epochs=5).model
    factors = [learning_rate_factor(model, epoch, batch=3, batches=4) for epoch in range(5)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_schedule_falls_from_one_towards_zero() -> None:
    model = Settings.from_arguments(lr_schedule="cosine", epochs=4).model
    factors = [learning_rate_factor(model, epoch, batch, batches=10) for epoch in range(4) for batch in range(10)]
    assert factors[0] == 1 and factors[20] == pytest.approx(0.5) and 0 < factors[-1] < 0.002
    assert factors == sorted(factors, reverse=True)


def test_every_epoch_has_an_order_of_its_own() -> None:
    orders = [epoch_order(seed, epoch, 100).tolist() for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9
    assert epoch_order(1, 1, 100).tolist() == orders[4]
