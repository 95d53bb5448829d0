"""Each layer's optimiser against torch.optim."""

import copy
from typing import Any

import pytest
import torch

from RecurrentFF.model.optimisers import layer_optimiser, library_optimiser
from tests.helpers import float64_network

CASES: dict[str, dict[str, Any]] = {
    "rmsprop": {"ff_optimizer": "rmsprop"},
    "rmsprop_with_momentum": {"ff_optimizer": "rmsprop", "ff_rmsprop": {"momentum": 0.6}},
    "adam": {"ff_optimizer": "adam", "ff_adam": {"weight_decay": 0.3}},
    "adadelta": {"ff_optimizer": "adadelta"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("operand_dtype", [torch.float64, torch.bfloat16])
def test_as_torch_has_it_and_the_operand_follows(case: str, operand_dtype: torch.dtype) -> None:
    network = float64_network(**CASES[case])
    settings, layer = network.settings.model, next(network.hidden_layers())
    twins = [torch.nn.Parameter(parameter.clone()) for parameter in layer.parameters()]
    expected = library_optimiser(settings, "ff", twins)
    operand = layer.weight if operand_dtype == torch.float64 else layer.weight.to(operand_dtype)
    optimiser = layer_optimiser(settings, layer)
    optimiser.rate = expected.param_groups[0]["lr"] = 0.02
    for number in range(4):
        gradients = [torch.randn_like(parameter) for parameter in layer.parameters()]
        if number == 2:  # a new one goes on from what the old one leaves
            state = copy.deepcopy(optimiser.state_dict())
            optimiser = layer_optimiser(settings, layer)
            optimiser.load_state_dict(state)
        for twin, gradient in zip(twins, gradients, strict=True):
            twin.grad = gradient.clone()
        expected.step()
        optimiser.step(gradients, operand)
        assert torch.equal(operand, layer.weight.to(operand_dtype))
    for parameter, twin in zip(layer.parameters(), twins, strict=True):
        torch.testing.assert_close(parameter, twin, rtol=1e-12, atol=1e-12)


def test_low_precision_gradients_are_taken_as_they_come() -> None:
    for case in CASES.values():
        network = float64_network(**case)
        layer = next(network.hidden_layers())
        before = layer.weight.clone()
        gradients = [torch.ones_like(parameter, dtype=torch.bfloat16) for parameter in layer.parameters()]
        layer_optimiser(network.settings.model, layer).step(gradients, layer.weight)
        assert (layer.weight < before).all() and layer.weight.dtype == torch.float64
