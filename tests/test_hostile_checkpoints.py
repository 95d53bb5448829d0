"""Checkpoints from a stranger, with a right checksum: each is refused in one line, in time, and in the memory of its own size."""

import gzip
import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.errors import CheckpointError
from RecurrentFF.training import checkpoint, container
from RecurrentFF.training.callbacks import default_callbacks
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.checkpoints import content_of, write_content
from tests.test_survival import make_trainer

Content = dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of Adam with averaged weights and a readout, of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert make_trainer(folder, epochs=2, schedule="step").fit()
    return folder


def resumed(path: Path, **arguments: Any) -> Trainer:
    """A trainer of the same run that continues from a checkpoint."""
    trainer = make_trainer(path.parent, epochs=2, schedule="step", **arguments)
    trainer.resume(path)
    return trainer


def refusal(work: Callable[[], object], path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        work()
    words = str(caught.value)
    assert words.startswith(f"{path}: ") and words.isprintable() and len(words) < 1000
    return words.removeprefix(f"{path}: ")


def changed(content: Content, place: str, value: Any) -> Content:
    """The content with another value at a place such as "training.progress.epoch"."""
    name, _, rest = place.partition(".")
    return content | {name: changed(content[name], rest, value) if rest else value}


# ---------------------------------------------------------------- the present format

WRONG_PARTS: dict[str, tuple[str, Any, str]] = {
    "learner of a list": ("training.learner", [], "training.learner: Input should be a valid dictionary"),
    "empty learner": ("training.learner", {}, "not that of this training"),
    "empty optimizers": ("training.learner.optimizers", {}, "not that of this training"),
    "optimizer of a text": ("training.learner.optimizers.h2", "adam", "not that of this training"),
    "optimizer of text groups": ("training.learner.optimizers.h2.param_groups", "adam", "not the state of an optimizer"),
    "optimizer without groups": ("training.learner.optimizers.h2.param_groups", [], "the state of other parameters"),
    "optimizer with other options": ("training.learner.optimizers.h2.param_groups", [{}], "the state of other parameters"),
    "moments of other shapes": (
        "training.learner.optimizers.h1.state",
        {0: {"step": torch.ones(()), "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}},
        "an optimizer of other parameters",
    ),
    "moments of other names": (
        "training.learner.optimizers.h1.state",
        {0: {"square_avg": torch.ones(9)}},
        "another kind of optim",
    ),
    "moments of numbers": (
        "training.learner.optimizers.h1.state",
        {0: {"step": 1, "exp_avg": 1.0, "exp_avg_sq": "much"}},
        "an optimizer of other parameters",
    ),
    "moments of a ninth parameter": ("training.learner.optimizers.h1.state", {9: {}}, "the state of other parameters"),
    "readout of a list": ("training.learner.negatives", [1], "not that of this training"),
    "unknown progress": ("training.progress.speed", 3, r"training.progress.speed: Unexpected keyword argument"),
    "progress in words": ("training.progress.epoch", "two", "training.progress.epoch: Input should be a valid integer"),
    "negative progress": ("training.progress.epoch", -5, "training.progress.epoch: Input should be greater than or equal to 0"),
    "huge progress": ("training.progress.batch", 10**30, "training.progress.batch: Input should be less than or equal to"),
    "more batches than there are": ("training.progress.batch", 7, "sums over 0 samples, but 7 batches"),
    "infinite time": ("training.progress.seconds", math.inf, "training.progress.seconds: Input should be a finite number"),
    "a best epoch to come": ("training.progress.best_epoch", 3, "the best epoch is 3, but 2 are finished"),
    "history of junk": ("training.history", [1, "two"], "training.history.0: Input should be a dictionary or an instance of"),
    "history of one epoch": ("training.history", [], "a history of 0 epochs, but 2 are finished"),
    "no totals": ("training.totals", None, "training.totals: Input should be a valid dictionary"),
    "totals of samples only": ("training.totals.samples", 3, "sums over 3 samples, but 0 batches"),
    "weights before of another network": ("training.totals.weights_before", [torch.zeros(3)] * 3, "the weights of other layers"),
    "average of a text": ("training.average", "mean", "training.average: Input should be a valid dictionary"),
    "best of another network": ("training.best", {"bias": torch.zeros(3)}, "the best weights are those of another network"),
    "callbacks of a list": ("training.callbacks", [1], "training.callbacks: Input should be a valid dictionary"),
    "unknown entry": ("code", "print()", "code: Extra inputs are not permitted"),
    "classes of one": (
        "task",
        {"name": "t", "input_shape": [7], "classes": [1], "transform": {}},
        "task.classes: List should have",
    ),
    "shape of zero": (
        "task",
        {"name": "t", "input_shape": [0], "classes": [1, 2], "transform": {}},
        "task.input_shape.0: Input sh",
    ),
    "transform of nothing": (
        "task",
        {"name": "t", "input_shape": [7], "classes": [1, 2], "transform": {}},
        "transform: has no name",
    ),
    "task of other sizes": (
        "task",
        {"name": "t", "input_shape": [9], "classes": [1, 2], "transform": {"name": "identity"}},
        "its task has 9 inputs and 2 classes, but the network has 7 and 5",
    ),
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_a_wrong_part_is_refused_by_name(case: str, run: Path, tmp_path: Path) -> None:
    place, value, message = WRONG_PARTS[case]
    path = tmp_path / "last.safetensors"
    write_content(path, changed(content_of(run / "last.safetensors"), place, value))
    work: Callable[[], object] = (lambda: rff.load(path)) if place == "task" else (lambda: resumed(path))
    words = refusal(work, path)
    assert message in words, words


def test_sums_of_an_unfinished_epoch_are_those_of_the_network(run: Path, tmp_path: Path) -> None:
    content, path = content_of(run / "last.safetensors"), tmp_path / "last.safetensors"
    content = changed(changed(content, "training.progress.batch", 2), "training.totals.samples", 40)
    write_content(path, changed(content, "training.totals.sums", [torch.zeros(2)] * 6))
    assert "totals.sums has the measurements of another network" in refusal(lambda: resumed(path), path)
    sums = [torch.zeros(3, 3)] * 3 + [torch.zeros(()), torch.ones(3, 1), torch.zeros(())]
    for batches, fits in ((10, True), (11, False)):
        write_content(path, changed(changed(content, "training.totals.sums", sums), "training.progress.batch", batches))
        if fits:
            assert resumed(path).progress.batch == 10
        else:
            assert "11 batches of an epoch are done, but an epoch has 10" in refusal(lambda: resumed(path), path)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adadelta"])
def test_the_state_of_another_kind_of_optimizer_is_refused(optimizer: str, run: Path) -> None:
    path = run / "last.safetensors"
    words = refusal(lambda: resumed(path, optimizer=optimizer), path)
    assert "the state in it is not that of this training" in words


BAD_WEIGHTS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "NaN": (lambda weight: weight * math.nan, r"not all finite: readout.weight has values that are NaN or infinite"),
    "infinite": (lambda weight: weight + math.inf, r"not all finite: readout.weight"),
    "float16": (
        lambda weight: weight.half(),
        r"weights of type float16 and float32; expected float32 or float64 for all",
    ),
    "float64": (lambda weight: weight.double(), r"weights of type float32 and float64"),
    "complex": (lambda weight: weight.to(torch.complex64), r"weights of type complex64 and float32"),
    "integer": (lambda weight: weight.long(), r"readout.weight of type torch.int64, but that of this network is torch.float32"),
    "boolean": (lambda weight: weight.bool(), r"readout.weight of type torch.bool, but"),
    "of another shape": (
        lambda weight: weight[:2],
        r"another architecture.*\(readout.weight: \(2, 22\) in the file, \(5, 22\) here\)",
    ),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_are_refused(case: str, run: Path, tmp_path: Path) -> None:
    change, message = BAD_WEIGHTS[case]
    content, path = content_of(run / "best.safetensors"), tmp_path / "network.safetensors"
    write_content(
        path, changed(content, "network", content["network"] | {"readout.weight": change(content["network"]["readout.weight"])})
    )
    with pytest.raises(CheckpointError, match=message):
        rff.load(path)
    with pytest.raises(CheckpointError, match=message):
        rff.load(path, network=make_trainer(tmp_path / "other").network)


def test_weights_in_double_precision_make_such_a_network(run: Path, tmp_path: Path) -> None:
    content, path = content_of(run / "best.safetensors"), tmp_path / "network.safetensors"
    write_content(path, changed(content, "network", {name: weight.double() for name, weight in content["network"].items()}))
    network = rff.load(path)
    assert network.dtype == torch.float64 and network.predict(torch.rand(3, 7)).shape == (3,)
    assert "of type torch.float64, but that of this network is torch.float32" in refusal(
        lambda: rff.load(path, network=make_trainer(tmp_path / "other").network), path
    )


def nested(depth: int) -> Any:
    """A list in a list, and so on."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def with_json(path: Path, text: str, tensors: dict[str, Tensor]) -> None:
    """Write a file with any text in place of the JSON, and the right checksum."""
    metadata = {"format": "8", "content": text, "checksum": container._file_checksum(text, tensors)}
    path.write_bytes(safetensors.torch.save(tensors, metadata))


JSON: dict[str, str] = {
    "not JSON": "{",
    "deep list": "[" * 100_000 + "]" * 100_000,
    "deep dictionary": '{"a": ' * 50 + "1" + "}" * 50,
    "a list": "[]",
    "a long number": '{"settings": 1' + "0" * 5000 + "}",
    "an absent tensor": '{"network": {"$tensor": "no such"}}',
    "a tensor twice": '{"network": [{"$tensor": "a"}, {"$tensor": "a"}]}',
    "a tensor without a place": "{}",
    "an unknown mark": '{"network": {"$code": "print()"}}',
    "two marks": '{"network": {"$tensor": "a", "$tuple": []}}',
    "keys of lists": '{"network": {"$items": [[[1], 2]]}}',
    "items of three": '{"network": {"$items": [[1, 2, 3]]}}',
    "items of a number": '{"network": {"$items": 3}}',
    "a tensor named by a list": '{"network": {"$tensor": []}}',
    "keys of numbers": '{"$items": [[1, 2]]}',
}


@pytest.mark.parametrize("case", JSON)
def test_hostile_metadata_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    with_json(path, JSON[case], {} if case == "keys of numbers" else {"a": torch.zeros(2)})
    assert "checkpoint" in refusal(lambda: rff.load(path), path)


def test_what_is_too_deep_is_not_written(tmp_path: Path) -> None:
    network = make_trainer(tmp_path / "run").network
    rff.save(network, tmp_path / "shallow.safetensors", note=nested(20))
    with pytest.raises(CheckpointError, match="at most 32 levels"):
        rff.save(network, tmp_path / "deep.safetensors", note=nested(100))
    with pytest.raises(CheckpointError, match="extra/note: a checkpoint can't hold a PosixPath"):
        rff.save(network, tmp_path / "path.safetensors", note=tmp_path)
    assert not (tmp_path / "deep.safetensors").exists()


def test_sizes_in_the_settings_take_no_memory_before_the_weights_are_those(run: Path, tmp_path: Path) -> None:
    content, path = content_of(run / "best.safetensors"), tmp_path / "network.safetensors"
    for sizes in ("[1000000, 1000000, 1000000]", str([1] * 200)):
        settings = content["settings"].replace("hidden_sizes = [\n    9,\n    5,\n    8,\n]", f"hidden_sizes = {sizes}")
        assert settings != content["settings"]
        write_content(path, content | {"settings": settings})
        words = refusal(lambda: rff.load(path, "cpu"), path)
        assert "another architecture" in words or "more layers than it has weights" in words


def test_declared_sizes_are_those_of_the_file(run: Path, tmp_path: Path) -> None:
    whole, path = (run / "best.safetensors").read_bytes(), tmp_path / "network.safetensors"
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    entry = header["network/readout.bias"]
    for shape, offsets in (
        ([10**12], entry["data_offsets"]),
        (entry["shape"], [0, 10**15]),
        ([0], [0, 0]),
        ([2**63], [0, 2**62]),
    ):
        text = json.dumps(header | {"network/readout.bias": entry | {"shape": shape, "data_offsets": offsets}}).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])
        assert "not a readable checkpoint" in refusal(lambda: rff.load(path), path)
    for first in (0, 2**63, 10**8, len(whole)):
        path.write_bytes(struct.pack("<Q", first) + whole[8:])
        assert "not a readable checkpoint" in refusal(lambda: rff.load(path), path)


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("pipe", "not a file, and so no checkpoint"),
        ("absent", "no such checkpoint"),
        ("x" * 5000, "File name too long"),
        ("null\0", "no null characters"),
    ):
        with pytest.raises(CheckpointError, match=message):
            rff.load(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"best\.safetensors: no such checkpoint"):
        rff.load(tmp_path)


def test_the_weights_can_be_read_by_others(run: Path) -> None:
    tensors = safetensors.torch.load_file(run / "best.safetensors")
    assert tensors["network/readout.bias"].shape == (5,)


# ---------------------------------------------------------------- former formats


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


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
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

FIXTURES = Path(__file__).parent / "fixtures"


def test_a_run_of_a_former_format_whose_best_weights_are_lost_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from RecurrentFF.data.dataset import Splits, TensorDataset
    from tests.helpers import clusters

    (tmp_path / "last.pt").write_bytes((FIXTURES / "format_7/adam.pt").read_bytes())
    folder = RunFolder(tmp_path)
    network = rff.build(checkpoint.settings(checkpoint.read(folder.last_to_load), ""), epochs=3)
    splits = Splits(TensorDataset(*clusters(60)), TensorDataset(*clusters(30, seed=5)))
    trainer = Trainer(network, splits, default_callbacks(network.settings, folder))
    trainer.resume(folder.last_to_load)
    assert trainer.fit() and trainer.progress.best_epoch == 3
    assert "best.safetensors: no such checkpoint; the best epoch is chosen from the following ones" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert {"best.safetensors", "last.safetensors"} <= names and "last.pt" not in names


@pytest.mark.parametrize("part", ["learner", "totals", "history", "network", "average"])
@pytest.mark.parametrize("value", [torch.zeros(2), 3, "text", [1], {"optimisers": 3}], ids=str)  # codespell:ignore
def test_a_file_of_format_5_with_a_wrong_part_is_refused(part: str, value: Any, tmp_path: Path) -> None:
    content = torch.load(FIXTURES / "format_5/adam.pt", weights_only=True) | {part: value}
    del content["checksum"]
    assert refusal(lambda: rff.load(former(tmp_path / "last.pt", content)), tmp_path / "last.pt")
