"""The bookkeeping of the fused path: which blocks are one product, and which are computed once for all candidates."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from RecurrentFF.model.connections import Dense
from RecurrentFF.model.fused import FusedPath, FusedState
from RecurrentFF.model.layers import Layer, LearningContext, StepContext
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.paths import PlainPath
from tests.helpers import dense, float64_network, hidden_layers, small_settings, video


def runs(network: Network, state: FusedState, layer: str, **options: Any) -> list[tuple[Sequence[str], slice]]:
    """The runs of blocks that a layer reads as one source, with their columns of its weight."""
    assert isinstance(network.path, FusedPath)
    module = network.layers[layer]
    assert isinstance(module, Layer)
    return [(group.names, group.columns) for group in network.path._groups(module, state, **({"merged": True} | options))]


def clamped(network: Network, candidates: int = 2, clamp_candidates: int = 1) -> FusedState:
    """A state of 7 samples before its first timestep."""
    assert isinstance(network.path, FusedPath)
    state = network.path.new_state(candidates, 7)
    state.reset()
    state.clamp(torch.zeros(network.input_size, 1, 7), torch.zeros(network.num_classes, clamp_candidates, 7))
    return state


def small(**arguments: Any) -> Network:
    return float64_network(input_size=5, hidden_sizes=[2, 3, 4], num_classes=6, **arguments)


def test_neighboring_blocks_are_one_product_and_the_input_is_one_of_its_own() -> None:
    network = small()
    state = clamped(network)
    assert runs(network, state, "h1") == [(("x",), slice(0, 5)), (("h1", "h2"), slice(5, 10))]
    assert runs(network, state, "h2") == [(("h1", "h2", "h3"), slice(0, 9))]
    assert runs(network, state, "h2", merged=False) == [
        (("h1",), slice(0, 2)),
        (("h2",), slice(2, 5)),
        (("h3",), slice(5, 9)),
    ]


def test_residual_blocks_join_a_product_where_they_are_neighbors() -> None:
    touching = small(residual_connections=[[1, 3]])
    assert runs(touching, clamped(touching), "h3") == [(("h1", "h2", "h3", "y"), slice(0, 15))]
    apart = small(residual_connections=[[0, 3], [4, 1]])
    state = clamped(apart)
    assert runs(apart, state, "h3") == [(("x",), slice(0, 5)), (("h2", "h3", "y"), slice(5, 18))]
    assert runs(apart, state, "h1") == [(("x",), slice(0, 5)), (("h1", "h2"), slice(5, 10)), (("y",), slice(10, 16))]


def test_a_product_has_blocks_of_one_number_of_candidates_only() -> None:
    network = small()
    state = clamped(network, clamp_candidates=2)
    assert runs(network, state, "h3") == [(("h2", "h3"), slice(0, 7)), (("y",), slice(7, 13))]


def test_blocks_without_activity_are_not_read() -> None:
    network = small(residual_connections=[[0, 3]])
    state = clamped(network)
    assert runs(network, state, "h1", skip_inactive=True) == [(("x",), slice(0, 5))]
    assert runs(network, state, "h2", skip_inactive=True) == []
    assert runs(network, state, "h3", skip_inactive=True) == [(("x",), slice(0, 5)), (("y",), slice(12, 18))]
    network = float64_network(hidden_sizes=[4, 4, 4], prelabel_timesteps=1)
    for layer in hidden_layers(network):
        for source, columns in dense(layer).columns.items():
            if source.startswith("h"):
                dense(layer).weight[:, columns] = torch.nan  # a product with it would be NaN
    state = clamped(network, candidates=1)
    network.settle(state, network.input_sequence(video(network.settings.timesteps, batch=7)))
    activities = [block.activity for block in state.blocks.values()]
    assert all(h.shape == (4, 1, 7) and h.isfinite().all() for h in activities) and not state.inactive


@pytest.mark.parametrize("fused", [True, False])
def test_the_label_reaches_one_more_layer_at_every_timestep(fused: bool) -> None:
    network = float64_network(fused=fused)
    state = network.path.new_state(2, 7)
    network.path.begin(network.local_modules)
    state.reset()
    x, y = torch.zeros(network.input_size, 1, 7), torch.zeros(network.num_classes, 2, 7)
    for reached in (["h3"], ["h2", "h3"], ["h1", "h2", "h3"], ["h1", "h2", "h3"]):
        state.clamp(x, y)
        for module in network.local_modules:
            network.path.step(module, state, StepContext(1.0))
        state.advance()
        assert [name for name in network.layers if state.patterns[name].shape[1] == 2] == reached
    state.reset()
    assert all(state.patterns[name].shape[1] == 1 for name in network.layers)


def test_the_fused_path_is_taken_for_layers_of_one_dense_connection_only() -> None:
    assert isinstance(Network(small_settings()).path, FusedPath)
    assert isinstance(Network(small_settings(), fused=False).path, PlainPath)
    apart = [Dense({"x": 7}, 4), Dense({"y": 5}, 4, top_down=["y"])]
    unordered = [Dense({"y": 5, "x": 7}, 4, top_down=["y"])]
    for connections in (apart, unordered):
        network = Network(small_settings(hidden_sizes=[4]), modules=[Layer("h1", 4, connections)])
        assert isinstance(network.path, PlainPath)


def test_a_step_after_learning_uses_the_new_weights_for_a_static_input() -> None:
    badness = []
    for fused in (True, False):
        network = float64_network(fused=fused, optimizer="adam")
        learner, state = Learner(network), network.path.new_state(2, 6)
        x, y = network.input_sequence(video(1)[0]), torch.eye(5, dtype=torch.float64)[:, :2].unsqueeze(2)
        network.settle(state, x)
        learning = LearningContext(learner.objective, torch.full((6,), 1 / 6, dtype=torch.float64))
        state.clamp(x[0], y, static=True)
        for module in network.local_modules:
            result = network.path.learn(module, state, StepContext(0.7), learning)
            learner.optimizers[module.name].step(result.gradients)
        state.advance()
        state.clamp(x[0], y, static=True)
        badness.append(torch.cat(list(network.step(state, 0.7).values())))
    torch.testing.assert_close(*badness, rtol=1e-12, atol=1e-12)
