"""The optimizer of each layer against torch.optim, on both paths."""

import copy
from typing import Any

import pytest
import torch

from RecurrentFF.model.fused import FusedPath
from RecurrentFF.model.optimizers import torch_optimizer
from tests.helpers import dense, float64_network, hidden_layers

CASES: dict[str, dict[str, Any]] = {
    "rmsprop": {"ff_optimizer": "rmsprop"},
    "rmsprop_with_momentum": {"ff_optimizer": "rmsprop", "ff_rmsprop": {"momentum": 0.6}},
    "adam": {"ff_optimizer": "adam", "ff_adam": {"weight_decay": 0.3}},
    "adadelta": {"ff_optimizer": "adadelta"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("compute_dtype", [torch.float64, torch.bfloat16, None], ids=["fused", "fused_bfloat16", "plain"])
def test_updates_equal_those_of_torch_and_the_compute_weight_follows(case: str, compute_dtype: torch.dtype | None) -> None:
    network = float64_network(fused=compute_dtype is not None, **CASES[case])
    settings, layer, path = network.settings.model, hidden_layers(network)[0], network.path
    if isinstance(path, FusedPath):
        assert compute_dtype is not None
        path.compute_dtype = compute_dtype
    path.begin()
    twins = {name: torch.nn.Parameter(parameter.clone()) for name, parameter in layer.named_parameters()}
    expected = torch_optimizer(settings, "ff", twins.values())
    optimizer = path.optimizer(layer, settings)
    optimizer.rate = expected.param_groups[0]["lr"] = 0.02
    for number in range(4):
        gradients = {name: torch.randn_like(parameter) for name, parameter in twins.items()}
        if number == 2:  # a new optimizer continues from the state of the first
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = path.optimizer(layer, settings)
            optimizer.load_state_dict(state)
        for name, twin in twins.items():
            twin.grad = gradients[name].clone()
        expected.step()
        optimizer.step(gradients)
        if isinstance(path, FusedPath):
            assert torch.equal(path.compute_weights["h1"], dense(layer).weight.to(path.compute_dtype))
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter, twins[name], rtol=1e-12, atol=1e-12)


def test_gradients_of_low_precision_are_accepted() -> None:
    for case in CASES.values():
        network = float64_network(**case)
        layer = hidden_layers(network)[0]
        before = dense(layer).weight.clone()
        gradients = {name: torch.ones_like(parameter, dtype=torch.bfloat16) for name, parameter in layer.named_parameters()}
        network.path.optimizer(layer, network.settings.model).step(gradients)
        assert (dense(layer).weight < before).all() and dense(layer).weight.dtype == torch.float64
