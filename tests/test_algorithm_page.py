"""The program on the page of the algorithm computes what the package computes."""

from pathlib import Path

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.model.connections import Dense
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext
from tests.test_readme import run_blocks

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "algorithm.md"


class Next(NegativeSource):
    """The next class as the wrong label."""

    def sample(self, context: SamplingContext) -> Negatives:
        return Negatives((context.labels[None] + 1) % context.network.num_classes)


def parameters(network: rff.Network) -> list[list[torch.Tensor]]:
    """Copies of the forward, lateral and backward weights and of the bias of each layer."""
    copies = []
    for module in network.hidden_layers():
        assert isinstance(module, Layer)
        (connection,) = module.connections
        assert isinstance(connection, Dense)
        copies.append([part.detach().clone() for part in (*connection.weights().values(), module.bias.flatten())])
    return copies


def test_the_program_trains_and_predicts_as_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8").replace("[784, 200, 100, 10]", "[7, 9, 6, 4]")
    page = run_blocks(text, "page_of_the_algorithm", monkeypatch)
    settings = rff.Settings.from_arguments(
        input_size=7, num_classes=4, hidden_sizes=[9, 6], prelabel_timesteps=2, label_timesteps=3, prediction_window=[2, 2],
        objective={"name": "pairwise", "alpha": 16.0}, optimizer={"name": "torch", "optimizer": "SGD", "learning_rate": 1.0},
        device="cpu",
    )  # fmt: skip
    network = rff.Network(settings, torch.float64)
    for layer, weights in zip(page.layers, parameters(network), strict=True):
        for name, weight in zip(("forward", "lateral", "backward", "bias"), weights, strict=True):
            layer[name] = weight.clone().requires_grad_()
    draw = torch.Generator().manual_seed(0)
    learner = Learner(network, 0, negatives=Next())
    before = parameters(network)
    for _ in range(5):
        x, y = torch.randn(8, 7, dtype=torch.float64, generator=draw), torch.randint(4, (8,), generator=draw)
        learner.train_batch(x, y)
        page.train_batch(x, y, (y + 1) % 4)
    for layer, weights, initial in zip(page.layers, parameters(network), before, strict=True):
        for of_page, of_package, first in zip(layer.values(), weights, initial, strict=True):
            torch.testing.assert_close(of_page.detach(), of_package, rtol=1e-10, atol=1e-10)
            assert (of_package - first).abs().max() > 1e-3
    x = torch.randn(20, 7, dtype=torch.float64, generator=draw)
    assert torch.equal(page.predict(x), network.predict(x))
