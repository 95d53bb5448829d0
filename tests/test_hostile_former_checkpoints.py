"""Checkpoints of former formats from a stranger, and runs of these formats."""

import gzip
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.errors import CheckpointError
from RecurrentFF.training import checkpoint, container
from RecurrentFF.training.callbacks import default_callbacks
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.checkpoints import endless, nested, refusal, state_in
from tests.helpers import clusters

Content = dict[str, Any]
FIXTURES = Path(__file__).parent / "fixtures"


def former(path: Path, content: Any) -> Path:
    """Write a file of format 7 with the right checksum, if the content has one."""
    if isinstance(content, dict):
        content = content | {"checksum": container.checksum(content)}
    torch.save(content, path)
    return path


def pairs(depth: int) -> Any:
    """Nested pairs of the same list: a small file with 2 ** depth leaves."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value, value]
    return value


def weights() -> Content:
    return {"settings": "", "network": {"weight": torch.zeros(3)}}


FORMER: dict[str, tuple[Callable[[], Any], str]] = {
    "deep list": (lambda: nested(200), "nested or shared too often"),
    "endless list": (endless, "nested or shared too often"),
    "shared pairs": (lambda: pairs(30), "nested or shared too often"),
    "shared pairs as keys": (lambda: {(1, (2, (3,))): pairs(3)}, "it holds|nested|not a checkpoint"),
    "sparse": (lambda: torch.eye(3).to_sparse(), "it names torch"),
    "meta": (lambda: torch.zeros(10**6, device="meta"), "it names torch"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8), "it names torch"),
    "bytes": (lambda: bytearray(10), "it names (__builtin__|builtins) bytearray|run code"),
    "a set": (lambda: {1, 2}, "it names|run code"),
    "a stride of 0": (lambda: torch.zeros(1).expand(10**6, 10**6), "its tensors are larger than the file"),
    "many views": (lambda: [torch.zeros(1000)[:900]] * 3 + [torch.zeros(1000)] * 2000, "its tensors are larger than the file"),
}


@pytest.mark.parametrize("case", FORMER)
@pytest.mark.filterwarnings("ignore")
def test_a_hostile_file_of_a_former_format_is_refused(case: str, tmp_path: Path) -> None:
    make, message = FORMER[case]
    path = tmp_path / "network.pt"
    torch.save({"format": 7, "checksum": "", **weights(), "extra": make()}, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        rff.load(path)
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) < 1000


@pytest.mark.parametrize("version", [torch.tensor(7), "7", 7.0, True, None, [7]], ids=str)
def test_a_format_that_is_no_number_is_refused(version: Any, tmp_path: Path) -> None:
    path = former(tmp_path / "network.pt", {"format": version, **weights()})
    assert "not a checkpoint of RecurrentFF" in refusal(lambda: rff.load(path), path)


@pytest.mark.parametrize("missing", ["settings", "network"])
def test_a_former_file_without_a_part_is_refused(missing: str, tmp_path: Path) -> None:
    path = former(tmp_path / "network.pt", {"format": 7, **{key: value for key, value in weights().items() if key != missing}})
    assert "it has no settings or no weights" in refusal(lambda: rff.load(path), path)


def rezipped(source: Path, path: Path, compression: int, extra: dict[str, bytes]) -> None:
    """Copy an archive with another compression, and further entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        for name, content in extra.items():
            new.writestr(name, content)


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    source = former(tmp_path / "whole.pt", {"format": 7, **weights()})
    path = tmp_path / "network.pt"
    rezipped(source, path, zipfile.ZIP_DEFLATED, {"archive/data/9": bytes(10**8)})
    assert path.stat().st_size < 10**6
    assert "its entries are compressed" in refusal(lambda: rff.load(path), path)
    rezipped(source, path, zipfile.ZIP_STORED, {"archive/other.pkl": pickle.dumps(1, protocol=2)})
    assert "it names no objects at all" in refusal(lambda: rff.load(path), path)
    rezipped(source, path, zipfile.ZIP_STORED, {})
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)  # the sizes of the last entry
    path.write_bytes(content)
    assert "not a readable checkpoint" in refusal(lambda: rff.load(path), path)
    path.write_bytes(b"PK" + gzip.compress(bytes(100)))
    assert "not a readable checkpoint" in refusal(lambda: rff.load(path), path)


def test_a_pickle_of_the_oldest_form_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"format": 7, **weights()}, buffer, _use_new_zipfile_serialization=False)
    (tmp_path / "network.pt").write_bytes(buffer.getvalue())
    assert "not a readable checkpoint" in refusal(lambda: rff.load(tmp_path / "network.pt"), tmp_path / "network.pt")


# ---------------------------------------------------------------- runs of former formats


def former_run(folder: Path, epochs: int) -> Trainer:
    """A trainer that continues the run of format 7 in a folder, of which two epochs are trained."""
    (folder / "last.pt").write_bytes((FIXTURES / "format_7/adam.pt").read_bytes())
    run = RunFolder(folder)
    network = rff.build(checkpoint.settings(checkpoint.read(run.last_to_load), ""), epochs=epochs)
    splits = Splits(TensorDataset(*clusters(60)), TensorDataset(*clusters(30, seed=5)))
    trainer = Trainer(network, splits, default_callbacks(network.settings, run))
    trainer.resume(run.last_to_load)
    return trainer


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_of_a_former_format_whose_best_weights_are_lost_goes_on(  # codespell:ignore
    damaged: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if damaged:
        (tmp_path / "best.pt").write_bytes(b"PK damaged")
    trainer = former_run(tmp_path, epochs=3)
    assert trainer.fit() and trainer.progress.best_epoch == 3
    output = capsys.readouterr().out
    assert ("best.pt: not a readable" if damaged else "best.safetensors: no such checkpoint") in output
    assert "the best epoch is chosen from the following ones" in output
    names = {path.name for path in tmp_path.iterdir()}
    assert {"best.safetensors", "last.safetensors"} <= names and "last.pt" not in names
    assert ("best.pt" in names) == damaged  # what could not be read is kept
    assert state_in(tmp_path).best is not None


@pytest.mark.parametrize("damaged", [False, True])
def test_a_complete_run_of_a_former_format_whose_best_weights_are_lost_is_left_alone(damaged: bool, tmp_path: Path) -> None:
    if damaged:
        (tmp_path / "best.pt").write_bytes(b"PK damaged")
    trainer = former_run(tmp_path, epochs=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=r"best\.\w+: .*; the run is complete, and has no other best weights"):
        trainer.fit()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("part", ["learner", "totals", "history", "network", "average"])
@pytest.mark.parametrize("value", [torch.zeros(2), 3, "text", [1], {"optimisers": 3}], ids=str)  # codespell:ignore
def test_a_file_of_format_5_with_a_wrong_part_is_refused(part: str, value: Any, tmp_path: Path) -> None:
    content = torch.load(FIXTURES / "format_5/adam.pt", weights_only=True) | {part: value}
    del content["checksum"]
    assert refusal(lambda: rff.load(former(tmp_path / "last.pt", content)), tmp_path / "last.pt")
