"""The compiled timestep: the same numbers, a plain word where it is not to be had, and a decision that no clock takes."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.model.fused import FusedPath, Kernels, compiled
from RecurrentFF.model.learner import Learner
from RecurrentFF.training import compiling
from tests.helpers import class_numbers, clusters, float64_network, hidden_layers, small_settings, video


def no_compiler(*arguments: object) -> None:
    raise RuntimeError("no compiler found\nand more")


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="there is no C++ compiler")
@pytest.mark.parametrize(
    "options",
    [{}, {"hard_example_fraction": 0.5, "adversarial_noise": 0.5, "objective": "pairwise", "residual_connections": [[4, 1]]}],
)
def test_compiled_and_eager_agree(options: dict[str, Any]) -> None:
    eager, compiled_network = (float64_network(hidden_sizes=[6, 6, 6], **options) for _ in range(2))
    said: list[str] = []
    compiling.prepare(compiled_network, said.append)
    assert (
        isinstance(compiled_network.path, FusedPath)
        and compiled_network.path.kernels == compiled()
        and "layers' timestep, in" in said[0]
    )
    learners = [Learner(network, 3) for network in (eager, compiled_network)]
    inputs, labels, mask = video(5), class_numbers(6), torch.rand(5, 6) < 0.8
    for shown, real in ((inputs, mask), (inputs[0], None)):
        for one, other in zip(*(learner.train_batch(shown, labels, real) for learner in learners), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(eager.badness(shown, real), compiled_network.badness(shown, real), rtol=1e-8, atol=1e-8)
    for one, other in zip(eager.parameters(), compiled_network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
    assert pickle.loads(pickle.dumps(compiled_network)).predict(inputs).tolist() == eager.predict(inputs).tolist()


def test_without_a_compiler_the_run_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "compiled", lambda: Kernels(no_compiler, no_compiler, no_compiler))  # type: ignore[arg-type]
    network = rff.build(small_settings(epochs=1, compile=True))
    before = [layer.weight_vector() for layer in hidden_layers(network)]
    history = rff.fit(network, clusters(60), output_dir=tmp_path)
    assert len(history) == 1 and not torch.equal(before[0], hidden_layers(network)[0].weight_vector())
    output = capsys.readouterr().out
    assert "compiled    no, training is slower (no compiler found); device.compile = false" in output and "and more" not in output
