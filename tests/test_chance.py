"""A training that has learned nothing has a line about it."""

from pathlib import Path
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.benchmarks import run
from RecurrentFF.data.dataset import LoaderDataset, TensorDataset
from RecurrentFF.training.chance import chance_of, is_chance
from tests.helpers import clusters, small_settings
from tests.test_survival import tiny_mnist


@pytest.mark.parametrize(
    ("accuracy", "samples", "chance", "expected"),
    [
        (0.10, 1000, 0.10, True),
        (0.00, 1000, 0.10, True),
        (0.128, 1000, 0.10, True),  # three standard errors are 0.0285
        (0.129, 1000, 0.10, False),
        (0.109, 10_000, 0.10, True),
        (0.110, 10_000, 0.10, False),
        (0.95, 1000, 0.95, True),  # one class has nearly all samples
        (0.975, 1000, 0.95, False),
        (0.50, 99, 0.50, False),  # too few samples to say
        (0.50, 100, 0.50, True),
        (1.00, 1000, 1.00, False),  # there is one class only
        (0.00, 0, 0.10, False),
    ],
)
def test_chance_is_within_three_standard_errors(accuracy: float, samples: int, chance: float, expected: bool) -> None:
    assert is_chance(accuracy, samples, chance) == expected


def test_chance_is_the_share_of_the_most_frequent_class() -> None:
    inputs, labels = torch.randn(10, 3), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2, 3])
    assert chance_of(TensorDataset(inputs, labels), 4) == 0.6
    loader = LoaderDataset([(inputs, labels)])
    assert chance_of(loader, 4) == 0.25 and chance_of(object(), 2) == 0.5


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note ")]


LEARNS_NOTHING: dict[str, Any] = {"optimizer": {"name": "adam", "learning_rate": 1e-9}, "epochs": 1}


def test_fit_names_what_to_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    data, validation = clusters(200), clusters(300, seed=3)
    settings = small_settings(**LEARNS_NOTHING, negatives="uniform", train_accuracy_samples=150)
    for quiet in (True, False):
        torch.manual_seed(0)
        rff.fit(rff.build(settings), data, validation=(torch.randn(300, 7), validation[1]), quiet=quiet)
        found = lines(capsys)
        assert len(found) == (not quiet)
    assert found[0].startswith("note        validation accuracy ") and "most frequent class (" in found[0]
    assert found[0].endswith("%); look at the learning rate, the labels, and the scale of the inputs")
    task = rff.TensorTask(torch.randint(255, (200, 8, 8), dtype=torch.uint8), torch.arange(200) % 5, validation=None)
    rff.fit(rff.build(task=task, hidden_sizes=[6], device="cpu", **LEARNS_NOTHING), task)
    assert lines(capsys)[0].startswith("note        train accuracy ")
    rff.fit(rff.build(small_settings(epochs=10, optimizer="adam")), data, validation=validation)
    assert lines(capsys) == []


def test_a_run_of_the_command_line_names_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tiny_mnist(optimizer={"name": "adam", "learning_rate": 1e-9}, epochs=1, schedule="step")
    assert run.start(settings, tmp_path)
    assert len(lines(capsys)) == 1
