"""Checkpoints of format 5: runs that version 0.1 saved after two epochs, and what it made of them after a third.

The files were written by commit bb32289 from `clusters(60)` with `clusters(30, seed=5)` to validate; `*_expected.pt` is the
badness of `clusters(10, seed=7)` after three epochs.
"""

from pathlib import Path

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.errors import CheckpointError
from RecurrentFF.training import checkpoint
from RecurrentFF.training.build import build
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.helpers import clusters, dense, hidden_layers

FILES = Path(__file__).parent / "fixtures" / "format_5"


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_run_of_format_5_is_resumed(optimizer: str, tmp_path: Path) -> None:
    path = FILES / f"{optimizer}.pt"
    folder = RunFolder(tmp_path)
    folder.last.write_bytes(path.read_bytes())
    network = build(checkpoint.settings(checkpoint.read(path), path), epochs=3)
    data, validation = TensorDataset(*clusters(60)), TensorDataset(*clusters(30, seed=5))
    trainer = Trainer(network, Splits(data, validation), folder)
    trainer.resume()
    assert [metrics.epoch for metrics in trainer.history] == [1, 2] and 0 < trainer.history[0].pairwise_accuracy <= 1
    assert trainer.fit()
    expected = torch.load(FILES / f"{optimizer}_expected.pt", weights_only=True)
    torch.testing.assert_close(trainer.evaluated.badness(clusters(10, seed=7)[0]), expected, rtol=1e-4, atol=1e-4)


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
    content["checksum"] = checkpoint.checksum(content)
    torch.save(content, tmp_path / "damaged.pt")
    with pytest.raises(CheckpointError, match="not a readable checkpoint of format 5"):
        rff.load(tmp_path / "damaged.pt")
