"""What is saved can be loaded, or is refused when it is saved; and weights to start from are those of the file."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

import RecurrentFF as rff
from RecurrentFF.errors import CheckpointError, DivergenceError, InputError
from RecurrentFF.model.connections import Dense
from RecurrentFF.model.optimizers import RMSprop
from tests.helpers import clusters, dense, hidden_layers, small_settings


def first(network: rff.Network) -> Dense:
    """The dense connection of the first layer."""
    return dense(hidden_layers(network)[0])


CHANGED: dict[str, tuple[Callable[[rff.Network], Any], str]] = {
    "further buffer": (lambda network: network.register_buffer("mean", torch.zeros(2)), "mean of the network is not as its sett"),
    "further module": (lambda network: setattr(network, "extra", nn.Linear(3, 3)), r"extra\.weight of the network"),
    "pruned": (
        lambda network: prune.random_unstructured(first(network), "weight", 0.1),  # type: ignore[no-untyped-call]
        "of the network is not as its settings",
    ),
    "NaN": (lambda network: network.readout.bias.fill_(math.nan), r"save: readout\.bias is not finite"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_network_that_could_not_be_loaded_is_not_saved(case: str, tmp_path: Path) -> None:
    change, message = CHANGED[case]
    network = rff.build(small_settings())
    rff.save(network, tmp_path / "before.safetensors")
    change(network)
    with pytest.raises(CheckpointError, match=message):
        rff.save(network, tmp_path / "after.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["before.safetensors"]


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("change", [prune.identity, parametrizations.weight_norm, parametrizations.spectral_norm, weight_norm])
def test_weights_that_are_computed_from_others_are_not_trained(change: Callable[..., Any]) -> None:
    network = rff.build(small_settings())
    change(first(network), "weight")
    with pytest.raises(InputError, match=r"^layers\.h1\.connections\.0: its weights are pruned or parametrized"):
        rff.fit(network, clusters(20), quiet=True)


def test_a_pruning_that_was_made_permanent_is_a_start(tmp_path: Path) -> None:
    network = rff.build(small_settings(epochs=1))
    prune.random_unstructured(first(network), "weight", 0.5)  # type: ignore[no-untyped-call]
    prune.remove(first(network), "weight")  # type: ignore[no-untyped-call]
    before = first(network).weight.clone()
    rff.fit(network, clusters(20), quiet=True)
    rff.save(network, tmp_path / "network.safetensors")
    loaded = rff.load(tmp_path / "network.safetensors", "cpu")
    assert not torch.equal(first(loaded).weight, before) and torch.equal(first(loaded).weight, first(network).weight)


def test_build_starts_from_the_weights_that_the_settings_name(tmp_path: Path) -> None:
    other = rff.build(small_settings(seed=5))
    rff.save(other, tmp_path / "other.safetensors")
    network = rff.build(small_settings(), weights=str(tmp_path / "other.safetensors"))
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in network.state_dict().items())
    rff.save(network, tmp_path / "network.safetensors")
    (tmp_path / "other.safetensors").unlink()
    loaded = rff.load(tmp_path / "network.safetensors")  # a saved network has its own weights
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in loaded.state_dict().items())
    with pytest.raises(CheckpointError, match=r"other\.safetensors: no such checkpoint"):
        rff.build(small_settings(), weights=str(tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError, match=r"network\.safetensors: weights of another architecture"):
        rff.build(small_settings(hidden_sizes=[3]), weights=str(tmp_path / "network.safetensors"))


def test_a_readout_that_diverges_is_found() -> None:
    negatives = {"name": "readout", "optimizer": {"name": "rmsprop", "learning_rate": 1e38}}
    network = rff.build(small_settings(negatives=negatives, optimizer=RMSprop(), epochs=3))
    with pytest.raises(DivergenceError, match="the training has diverged"):
        rff.fit(network, clusters(60), quiet=True)


@pytest.mark.parametrize("name", [b"x\xff", b"two\nlines", "h\u00f6he\u00a0".encode()])
def test_a_run_in_a_folder_of_any_name_is_loaded(name: bytes, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(name)
    network = rff.build(small_settings(epochs=1))
    rff.fit(network, clusters(30), validation=clusters(10), output_dir=folder, quiet=True)
    (run,) = folder.iterdir()
    loaded = rff.load(run, "cpu")
    assert torch.equal(loaded.badness(clusters(5)[0]), network.badness(clusters(5)[0]))
