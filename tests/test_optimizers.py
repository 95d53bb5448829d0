"""The optimizer of each layer against torch.optim, on both paths."""

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.fused import FusedPath, kernels
from RecurrentFF.model.optimizers import Adam, Torch
from tests.helpers import dense, float64_network, hidden_layers, small_settings
from tests.oracle import make_optimizer

CASES: dict[str, dict[str, Any]] = {
    "rmsprop": {"optimizer": "rmsprop"},
    "rmsprop_with_momentum": {"optimizer": {"momentum": 0.6}},
    "adam": {"optimizer": Adam(weight_decay=0.3)},
    "adadelta": {"optimizer": "adadelta"},
    "any_of_torch": {"optimizer": {"name": "torch", "optimizer": "Adamax"}},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("compute_dtype", [torch.float64, torch.bfloat16, None], ids=["fused", "fused_bfloat16", "plain"])
@pytest.mark.parametrize("block", [2**18, 100], ids=["whole", "blocks"])
def test_updates_equal_those_of_torch_and_the_compute_weight_follows(
    case: str, compute_dtype: torch.dtype | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "BLOCK", block)  # some rows of a weight, of which the last block has fewer
    network = float64_network(fused=compute_dtype is not None, **CASES[case])
    chosen, layer, path = network.settings.optimizer, hidden_layers(network)[0], network.path
    if isinstance(path, FusedPath):
        assert compute_dtype is not None
        path.compute_dtype = compute_dtype
    path.begin(network.local_modules)
    twins = {name: torch.nn.Parameter(parameter.clone()) for name, parameter in layer.named_parameters()}
    expected = make_optimizer(chosen, list(twins.values()))
    optimizer = path.optimizer(layer, chosen)
    optimizer.rate = expected.param_groups[0]["lr"] = 0.02
    for number in range(4):
        gradients = {name: torch.randn_like(parameter) for name, parameter in twins.items()}
        if number == 2:  # a new optimizer continues from the state of the first
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = path.optimizer(layer, chosen)
            optimizer.load_state_dict(state)
        for name, twin in twins.items():
            twin.grad = gradients[name].clone()
        expected.step()
        optimizer.step(gradients)
        if isinstance(path, FusedPath):
            assert torch.equal(path.compute_weights["h1"], dense(layer).weight.to(path.compute_dtype))
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter, twins[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", [Adam(), Torch(optimizer="SGD")], ids=str)
def test_an_optimizer_can_be_pickled(optimizer: Any) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    made = optimizer.make([weight])
    weight.grad = torch.ones(2)
    made.step()
    copy = pickle.loads(pickle.dumps(made))
    assert type(copy) is type(made) and copy.state_dict()["param_groups"] == made.state_dict()["param_groups"]
    copy.step()


def test_gradients_of_low_precision_are_accepted() -> None:
    for case in CASES.values():
        network = float64_network(**case)
        layer = hidden_layers(network)[0]
        before = dense(layer).weight.clone()
        gradients = {name: torch.ones_like(parameter, dtype=torch.bfloat16) for name, parameter in layer.named_parameters()}
        network.path.optimizer(layer, network.settings.optimizer).step(gradients)
        assert (dense(layer).weight < before).all() and dense(layer).weight.dtype == torch.float64


def test_a_class_of_torch_and_a_partial_one_become_components() -> None:
    for value, name, rate, options in (
        (torch.optim.SGD, "SGD", 1e-3, ()),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), "SGD", 0.1, (("momentum", 0.9),)),
    ):
        chosen = small_settings(optimizer=value).optimizer
        assert chosen == Torch(optimizer=name, learning_rate=rate, options=options)
        made = chosen.make([torch.nn.Parameter(torch.ones(3))])
        assert isinstance(made, torch.optim.SGD) and made.param_groups[0]["lr"] == rate
        assert made.param_groups[0]["momentum"] == dict(options).get("momentum", 0)


def test_an_optimizer_that_torch_does_not_have_or_that_refuses_its_options_is_named() -> None:
    for options, message in (
        ({"optimizer": "Sgd"}, "optimizer: torch.optim has no optimizer 'Sgd'"),
        ({"optimizer": "Optimizer"}, "has no optimizer 'Optimizer'"),
        ({"options": [["momentun", 0.9]]}, r"torch.optim.SGD refuses these options \(.*momentun"),
        ({"options": [["momentum", -1]]}, r"refuses these options \(Invalid momentum value"),
    ):
        with pytest.raises(SettingsError, match=message) as caught:
            small_settings(optimizer={"name": "torch"} | options)
        assert "\n" not in str(caught.value)
