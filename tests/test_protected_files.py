"""Commands that are refused before they destroy a file or measure for minutes, and folders that can't be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import RecurrentFF as rff
from RecurrentFF.benchmarks import speed
from RecurrentFF.cli import main
from tests.helpers import small_settings
from tests.test_wrong_arguments import IMAGES, NUMBERS


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    return output.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run, and that of images to evaluate it on."""
    folder = tmp_path_factory.mktemp("protected")
    for number, (image, name) in enumerate(zip(IMAGES, NUMBERS, strict=True)):
        (folder / f"images/{name}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.numpy()).save(folder / f"images/{name}/{number}.png")
    task = rff.TensorTask(IMAGES, NUMBERS, validation=None)
    rff.fit(
        rff.build(small_settings(input_size=None, num_classes=None, epochs=1), task=task), task, output_dir=folder, quiet=True
    )
    (run,) = folder.glob("fit-*")
    return run, folder / "images"


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors", "config.toml", "summary.json", "metrics.jsonl"])
def test_predictions_do_not_replace_a_file_of_the_run(
    name: str, trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, images = trained
    before = (run / name).read_bytes()
    monkeypatch.chdir(run)
    for evaluated in (run, run / "best.safetensors", Path("best.safetensors")):
        for file in (run / name, Path(name), Path(f"../{run.name}/{name}")):
            arguments = ["evaluate", str(evaluated), "--data-dir", str(images), "--device", "cpu", "--predictions", str(file)]
            assert "a file of the run that is evaluated; name another one" in refusal(arguments, capsys)
    assert (run / name).read_bytes() == before


def test_predictions_are_written_into_the_folder_of_the_run(trained: tuple[Path, Path]) -> None:
    run, images = trained
    arguments = ["evaluate", str(run), "--data-dir", str(images), "--device", "cpu"]
    for _ in range(2):
        assert main([*arguments, "--predictions", str(run / "predictions.csv")]) == 0
    assert (run / "predictions.csv").read_text().startswith("index,label,prediction")


def test_a_benchmark_of_a_network_that_is_too_large_measures_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*arguments: Any) -> float:
        raise AssertionError("measured")

    monkeypatch.setattr(speed, "peak_rate", measured)
    assert "make that smaller" in refusal(["speed", "--units", "500", "99999999", "--device", "cpu"], capsys)


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every folder")
def test_runs_in_a_folder_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0)
    try:
        assert "Permission denied" in refusal(["runs", str(folder)], capsys)
    finally:
        folder.chmod(0o700)


def test_runs_in_a_folder_that_can_not_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    assert "no run in this folder" in refusal(["runs", str(tmp_path)], capsys)
    monkeypatch.setattr(Path, "iterdir", closed)
    assert f"{tmp_path}: can't be read (Permission denied)" in refusal(["runs", str(tmp_path)], capsys)
