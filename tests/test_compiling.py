"""The compiled timestep: the same numbers, a plain word where it is not to be had, and a decision that no clock takes."""

from pathlib import Path

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.model import step
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.step import EAGER
from RecurrentFF.training import compiling
from tests.helpers import CLASSES, DATA_SIZE, class_numbers, clusters, float64_network, small_settings, video


def no_compiler(*arguments: object) -> None:
    raise RuntimeError("no compiler found\nand more")


def test_compiled_and_eager_agree() -> None:
    networks = [float64_network(objective="pairwise", compile=value) for value in (False, True)]
    said: list[str] = []
    data = TensorDataset(video(1)[0], class_numbers(6))
    for network in networks:
        compiling.settle(network, len(data))
        compiling.prepare(network, data, said.append)
    if next(networks[1].hidden_layers()).steps == EAGER:
        pytest.skip(f"nothing compiles here: {said}")
    inputs, labels = video(5), class_numbers(6)
    metrics = [Learner(network, torch.Generator().manual_seed(3)).train_batch(inputs, labels) for network in networks]
    for eager, compiled in zip(*metrics, strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-10, atol=1e-10)
    for eager_layer, compiled_layer in zip(networks[0].layers, networks[1].layers, strict=True):
        torch.testing.assert_close(eager_layer.weight, compiled_layer.weight, rtol=1e-8, atol=1e-8)
    for shown in (video(5, seed=4), video(1, seed=5)[0]):
        torch.testing.assert_close(networks[0].badness(shown), networks[1].badness(shown), rtol=1e-8, atol=1e-8)


def test_without_a_compiler_the_run_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "compiled", lambda: step.Steps(no_compiler, no_compiler))  # type: ignore[arg-type]
    network = rff.build(small_settings(epochs=1, compile=True))
    before = [layer.weight.clone() for layer in network.hidden_layers()]
    history = rff.fit(network, clusters(60), output_dir=tmp_path)
    assert len(history) == 1 and not torch.equal(before[0], next(network.hidden_layers()).weight)
    output = capsys.readouterr().out
    assert "compiled    not, and slower for it (no compiler found); device.compile = false" in output and "and more" not in output


def test_auto_compiles_long_trainings_only() -> None:
    for samples, expected in ((1000, False), (10**10, True)):
        network = rff.build(small_settings(epochs=1000))
        assert compiling.resolve(network, samples) is expected
    assert compiling.resolve(rff.build(small_settings(compile=True)), 1) is True
    network = rff.build(small_settings())
    rff.fit(network, clusters(20), quiet=True)
    assert network.settings.device.compile is False


def test_operations_are_counted() -> None:
    settings = small_settings(hidden_sizes=[9], prelabel_timesteps=2, iterations=3, epochs=5)
    weights = 9 * (DATA_SIZE + 9 + CLASSES)
    assert compiling.operations(rff.build(settings), 100) == 2 * weights * (2 + 3 * 2 * 2) * 100 * 5
