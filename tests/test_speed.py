"""What speed is measured against does the same computation, and the benchmark's report holds together."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from RecurrentFF.benchmarks import speed, speed_measurements
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.reference import Reference
from tests.helpers import dense, float64_network, hidden_layers


@pytest.mark.parametrize("objective", ["threshold", "pairwise"])
def test_the_reference_learns_and_predicts_the_same(objective: str) -> None:
    network = float64_network(
        num_classes=2, objective=objective, label_timesteps=4
    )  # of two classes, the wrong label is the other
    plain, learner = Reference(network), Learner(network)
    inputs, labels = torch.randn(8, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    sequence = inputs.expand(network.settings.timesteps, -1, -1)
    for _ in range(3):
        learner.train_batch(inputs, labels)
        plain.train_batch([sequence] * 2, [y.expand(4, -1) for y in (labels, 1 - labels)])
    for layer in hidden_layers(network):
        for source, weight in dense(layer).weights().items():
            torch.testing.assert_close(weight, plain.weight[layer.name, source].data, rtol=1e-8, atol=1e-8, check_stride=False)
        torch.testing.assert_close(layer.bias.data, plain.bias[layer.name].data, rtol=1e-8, atol=1e-8)
    assert network.predict_inputs(inputs).tolist() == plain.predict(sequence).tolist()


def test_operations_are_those_of_the_equations() -> None:
    shape: dict[str, Any] = {"hidden_sizes": [9, 5], "prelabel_timesteps": 2, "label_timesteps": 4, "prediction_window": [1, 1]}
    train, predict = speed_measurements.operations(float64_network(**shape), batch=6, predicted=3)
    first, second = 9 * (9 + 5), 5 * (9 + 5 + 5)  # weights that meet what changes: lateral and backward, and all of the second
    settling = 2 * (9 * 7 + 5 * 5 + first + second)  # at the first timestep, only input and label are active
    # What the label has not reached, and the input, count once for both labels; from the third timestep on only the input does.
    arriving = 9 * (7 + 9 + 5) + 5 * (9 + 5 + 2 * 5), 9 * (7 + 9 + 2 * 5) + 5 * (9 + 2 * 5 + 2 * 5)
    assert train == 6 * settling + 2 * 2 * 6 * (sum(arriving) + 2 * (9 * 7 + 2 * first + 2 * second))
    assert predict == 3 * settling + 2 * 3 * (first + 5 * (9 + 5 + 5 * 5) + 9 * (9 + 5 * 5) + 5 * (9 + 5 * 5 + 5 * 5))
    at_once, _ = speed_measurements.operations(float64_network(**shape | {"prelabel_timesteps": 0}), batch=6, predicted=3)
    assert at_once == train - 6 * 2 * (5 * 5 + first + second)
    ranking, _ = speed_measurements.operations(float64_network(**shape, objective="pairwise"), batch=6, predicted=3)
    assert ranking == train - 2 * 6 * 9 * (7 + 9 + 5)  # before the label reaches it, the first layer learns nothing


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_is_measured_where_it_is_fast(
    fast: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []

    def peak_rate(device: str, precision: str) -> float:
        measured.append(precision)
        return 1e12

    def measure(units: int, variants: list[str], *arguments: object) -> list[speed_measurements.Row]:
        measured.extend(variants)
        return []

    monkeypatch.setattr("RecurrentFF.training.devices.has_fast_bfloat16", lambda device: fast)
    monkeypatch.setattr(speed, "peak_rate", peak_rate)
    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["speed", "--units=8"])
    assert speed.main() == 0
    assert any("bfloat16" in name for name in measured) == fast
    assert ("bfloat16 is left out" in capsys.readouterr().out) != fast
    assert "float32 compiled" in measured


@pytest.mark.usefixtures("rendered_pictures")
def test_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("BATCH", 20), ("INPUT_SIZE", 30)):
        monkeypatch.setattr(speed_measurements, name, value)
    monkeypatch.setattr(speed, "BATCH", 20)
    monkeypatch.setattr(speed_measurements, "memory", lambda units, variant, device, timesteps: 12.0)
    monkeypatch.setattr(speed, "peak_rate", lambda device, precision: 1e12)
    monkeypatch.setattr(speed, "SCALES", {"width": (4, 8), "depth": (1, 2), "batch": (5, 10), "label timesteps": (2, 3)})
    real = speed_measurements.new_network
    monkeypatch.setattr(speed, "new_network", lambda *a, **k: real(*a, **({"hidden_sizes": [8] * 3} | k)))
    files = [f"--json={tmp_path / 'speed.json'}", f"--scaling={tmp_path / 'speed.png'}"]
    monkeypatch.setattr(
        sys, "argv", ["speed", *["--units=8", "--rounds=2", "--timesteps", "1", "2", "--variants", "float32"], *files]
    )
    assert speed.main() == 0
    report = json.loads((tmp_path / "speed.json").read_text())
    plain, ours = report["table"]
    assert (plain["variant"], plain["train_ratio"], ours["variant"]) == ("plain float32", 1, "float32")
    assert ours["train_ratio"] == pytest.approx(ours["train_samples_per_second"] / plain["train_samples_per_second"])
    for line, measured in zip(report["table"], report["measurements"], strict=True):
        for method in ("propose_and_verify", "readout"):
            assert len(measured[method]) == 2 and line[f"{method}_samples_per_second"] > 0
            rates = line[f"{method}_samples_per_second"], plain["predict_samples_per_second"]
            assert line[f"{method}_ratio"] == pytest.approx(rates[0] / rates[1])
    assert len(report["measurements"][1]["predict"]) == 2 and (tmp_path / "speed.png").stat().st_size > 0
    assert [row["timesteps"] for row in report["measurements"]] == [[1, 2]] * 2
    printed = capsys.readouterr().out
    assert "1 + 2 timesteps" in printed and "| 3×8 | float32 |" in printed


def test_what_can_not_be_measured_or_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "peak_rate", lambda device, precision: 1e12)
    monkeypatch.setattr(speed, "measure", lambda *_: [])
    for arguments, words in (
        (["--rounds=0"], "take whole numbers above 0"),
        (["--units", "200", "-5"], "take whole numbers above 0"),
        (["--timesteps", "0", "3"], "take whole numbers above 0"),
        (["--device=cuda:77"], "'cuda:77' is not available"),
        ([f"--json={tmp_path}/absent/speed.json"], "can't be written"),
    ):
        monkeypatch.setattr(sys, "argv", ["speed", *arguments])
        assert speed.main() == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and words in error and error.count("\n") == 1
