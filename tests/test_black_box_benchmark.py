"""The benchmark of black boxes prints a row for each kind, and the guide's examples run."""

import re
from pathlib import Path

import pytest

from RecurrentFF.benchmarks import black_boxes
from RecurrentFF.benchmarks.black_boxes import FUNCTIONS, connections_through, main
from RecurrentFF.model.black_boxes import BlackBox
from RecurrentFF.model.layers import Layer
from RecurrentFF.settings import Settings
from RecurrentFF.training.build import build
from tests.helpers import hidden_layers
from tests.test_readme import run_blocks

GUIDE = (Path(__file__).parents[1] / "docs" / "guides" / "black_boxes.md").read_text(encoding="utf-8")


def test_the_examples_of_the_guide_run(monkeypatch: pytest.MonkeyPatch) -> None:
    module = run_blocks(GUIDE, "black_boxes_guide", monkeypatch)
    (layer, _) = module.network.local_modules
    assert isinstance(layer.connections[0], BlackBox)


def test_every_configuration_of_the_guide_makes_a_network() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        network = build(Settings.from_toml(block), input_size=9, num_classes=3, hidden_sizes=[5, 4], device="cpu")
        assert any(isinstance(connection, BlackBox) for connection in hidden_layers(network)[1].connections)


def test_the_guide_has_a_row_for_every_kind() -> None:
    table = GUIDE.partition("## Measured")[2]
    assert all(re.search(rf"^\| {kind} .* %", table, flags=re.MULTILINE) for kind in FUNCTIONS)


def test_a_short_benchmark_prints_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--train-samples", "100", "--validation-samples", "20", "--test-samples", "20"]
    assert main(["--seeds", "0", "--epochs", "1", "--kinds", "blocked", *sizes]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.startswith("black box ") and re.fullmatch(r"blocked +\d+\.\d\d +% +\d+\.\d\d % +\d+\.\d\d; \d+ s", row)


def test_a_row_has_the_mean_and_the_deviation_over_the_seeds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(black_boxes, "accuracies", lambda kind, seed, options: (0.9 + seed / 100, 0.8))
    assert main(["--seeds", "1", "3", "--kinds", "none"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert re.fullmatch(r"none +92\.00 +± 1\.41 % +80\.00 % +91\.00, 93\.00; 0 s", row)
    assert main(["--kinds", "magic"]) == 2


def test_every_path_between_the_hidden_layers_is_a_box() -> None:
    network = build(
        input_size=9, num_classes=3, hidden_sizes=[5, 4], connections=connections_through(FUNCTIONS["table"]), device="cpu"
    )
    for layer in network.hidden_layers():
        assert isinstance(layer, Layer)
        for connection in layer.connections:
            between = {source for source in connection.sources if source in ("h1", "h2")}
            assert between == (set(connection.sources) if isinstance(connection, BlackBox) else set())
    assert connections_through(None) == []
