"""Checkpoints of format 5: runs that version 0.1 saved after two epochs, and what becomes of them after a third.

The files were written by commit bb32289 from `clusters(60)` with `clusters(30, seed=5)` to validate; `*_expected.pt` is the
badness of `clusters(10, seed=7)` after three epochs. test_checkpoint.py resumes them, and says where it is from.
"""

from pathlib import Path

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.errors import CheckpointError
from RecurrentFF.training import container
from tests.helpers import dense, hidden_layers

FILES = Path(__file__).parent / "fixtures" / "format_5"


def test_a_network_of_format_5_is_loaded() -> None:
    saved = torch.load(FILES / "adam.pt", weights_only=True)["network"]
    network = rff.load(FILES / "adam.pt", "cpu")
    for number, layer in enumerate(hidden_layers(network)):
        assert torch.equal(dense(layer).weight, saved[f"layers.{number}.weight"])
        assert torch.equal(layer.bias, saved[f"layers.{number}.bias"])
    assert torch.equal(network.readout.weight, saved["classifier_weight"])


def test_a_damaged_checkpoint_of_format_5_is_refused(tmp_path: Path) -> None:
    content = torch.load(FILES / "adam.pt", weights_only=True)
    del content["checksum"], content["learner"]["optimisers"]  # codespell:ignore
    content["checksum"] = container.checksum(content)
    torch.save(content, tmp_path / "damaged.pt")
    with pytest.raises(CheckpointError, match="not a readable checkpoint of format 5"):
        rff.load(tmp_path / "damaged.pt")
