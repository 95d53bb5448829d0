"""Names with control characters, which a terminal would obey, are escaped wherever they are printed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import RecurrentFF as rff
from RecurrentFF.cli import main
from RecurrentFF.streams import write_line
from RecurrentFF.training.console import Console
from tests.helpers import clusters, small_settings

HOSTILE = "\x1b[31mred\n\x85\x7f\u2028"
ESCAPED = "\\x1b[31mred\\n\\x85\\x7f\\u2028"


def _require_harmless(text: str) -> None:
    assert ESCAPED in text
    assert all(character == "\n" or character.isprintable() for character in text)


def test_a_line_of_the_program_is_one_line_of_any_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_line(f"run folder  {HOSTILE}, ünïcödé × 3")
    Console().log("x" * 5000 + HOSTILE)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"run folder  {ESCAPED}, ünïcödé × 3"
    assert second == "x" * 5000 + ESCAPED


@pytest.mark.usefixtures("rendered_pictures")
def test_a_training_prints_names_with_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = rff.TensorTask(*clusters(30), name=HOSTILE, validation=None)
    network = rff.build(small_settings(input_size=None, num_classes=None, epochs=1), task=task)
    rff.fit(network, task, output_dir=tmp_path / HOSTILE)
    text = capsys.readouterr().out
    _require_harmless(text)
    lines = text.splitlines()
    assert [any(line.startswith(name) and ESCAPED in line for line in lines) for name in ("data  ", "run folder  ")] == [True] * 2


def test_an_evaluation_prints_names_with_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, folder = torch.arange(8 * 36).view(8, 6, 6).byte(), tmp_path / f"images{HOSTILE}"
    names = [HOSTILE, "plain"] * 4
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.numpy()).save(folder / name / f"{number}.png")
    task = rff.TensorTask(images, names, validation=None)
    network = rff.build(small_settings(input_size=None, num_classes=None, epochs=1), task=task)
    _require_harmless(str(rff.evaluate(network, (images, names))))
    rff.save(network, tmp_path / "network.safetensors")
    assert main(["evaluate", str(tmp_path / "network.safetensors"), "--data-dir", str(folder), "--device", "cpu"]) == 0
    _require_harmless(capsys.readouterr().out)
