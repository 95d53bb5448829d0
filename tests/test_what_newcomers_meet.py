"""Inputs of a newcomer that were understood in another way than meant, and messages that did not say what to do."""

from pathlib import Path

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.errors import CheckpointError, InputError
from tests.helpers import clusters, small_settings


def test_numbers_for_classes_of_texts_are_said() -> None:
    inputs, labels = clusters(40)
    names = [("apple", "banana", "cherry", "date", "elderberry")[label] for label in labels]
    task = rff.TensorTask(inputs, names, validation=None)
    network = rff.build(task=task, hidden_sizes=[4], device="cpu")
    with pytest.warns(UserWarning, match="taken as class numbers, 0 for 'apple', 1 for 'banana' and so on"):
        rff.evaluate(network, (inputs, labels))
    with pytest.raises(InputError, match="labels of texts and of numbers"):
        rff.TensorTask(inputs, names, validation=(inputs[:5], labels[:5]))


def test_a_lost_file_of_the_best_weights_is_written_again_by_a_resumed_run(tmp_path: Path) -> None:
    network = rff.build(small_settings(epochs=1))
    rff.fit(network, clusters(30), validation=clusters(10), output_dir=tmp_path, quiet=True)
    (run,) = tmp_path.iterdir()
    other = rff.build(small_settings(), weights=str(run))  # a run folder stands for its best weights
    assert torch.equal(other.readout.bias, network.readout.bias)
    (run / "best.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no such checkpoint; rff resume .* writes it again, from last\.safetensors"):
        rff.load(run)
