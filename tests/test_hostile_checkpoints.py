"""Checkpoints from a stranger, with a right checksum: each is refused in one line, in time, and in the memory of its own size."""

import json
import math
import struct
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
from RecurrentFF.training.trainer import Trainer
from tests.checkpoints import content_of, endless, nested, refusal, write_content
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
    "NaN": (lambda weight: weight * math.nan, r"readout.weight is not finite: it has values that are NaN or infinite"),
    "infinite": (lambda weight: weight + math.inf, r"readout.weight is not finite"),
    "float16": (lambda weight: weight.half(), r"readout.weight of type torch.float16, but that of this network is torch.float32"),
    "float64": (lambda weight: weight.double(), r"readout.weight of type torch.float64, but"),
    "integer": (lambda weight: weight.long(), r"readout.weight of type torch.int64, but"),
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


def test_complex_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    text = '{"settings": "", "network": {"weight": {"$tensor": "a"}}}'
    try:
        with_json(path, text, {"a": torch.zeros(2, dtype=torch.complex64)})
    except KeyError:
        pytest.skip("this version of safetensors has no complex numbers")
    assert "expected a tensor, not a tensor of type torch.complex64" in refusal(lambda: rff.load(path), path)


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


def test_what_a_checkpoint_can_not_hold_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_VALUES", 2**12)
    network, path = make_trainer(tmp_path / "run").network, tmp_path / "network.safetensors"
    rff.save(network, path, note=nested(20), more={1: (2.5, None), "$tensor": "text"})
    assert checkpoint.read(path).extra == {"note": nested(20), "more": {1: (2.5, None), "$tensor": "text"}}
    before = path.read_bytes()
    for value, message in (
        (nested(100), "more than 32 levels"),
        (endless(), "more than 32 levels"),
        (tmp_path, "extra: a checkpoint can't hold a PosixPath"),
        ({(1, 2): 3}, "a key of type tuple"),
        (torch.zeros(2, dtype=torch.complex128), "a tensor of type torch.complex128"),
        (torch.eye(2).to_sparse(), "a tensor that is sparse"),
        ([0] * 2**12, "at most 4,096 values besides tensors"),
    ):
        with pytest.raises(CheckpointError, match=message):
            rff.save(network, path, note=value)
        assert path.read_bytes() == before


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    trainer, path = make_trainer(tmp_path / "run", epochs=1), tmp_path / "network.safetensors"
    with pytest.raises(CheckpointError, match="not a valid checkpoint"):
        checkpoint.save(trainer.network, path, training={"progress": {}})
    assert not path.exists()


def test_a_long_text_takes_bounded_time_and_memory(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    with_json(path, "[" + "[]," * 3_000_000 + "[]]", {})
    words = refusal(lambda: rff.load(path), path)  # older versions of safetensors refuse such a header themselves
    assert "more than 4,194,304 values besides tensors" in words or "not a readable checkpoint" in words


def test_any_length_of_the_header_can_be_read(tmp_path: Path) -> None:
    """The first bytes of a file are the length of its header, and those of 0x4B50 are also the first two of an archive."""
    network, path = make_trainer(tmp_path / "run").network, tmp_path / "network.safetensors"
    rff.save(network, path, note="")
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    rff.save(network, path, note="x" * (0x4B50 - length))
    assert path.read_bytes()[:2] == b"PK"
    assert checkpoint.read(path).extra["note"].startswith("xxx")


def test_a_pipe_and_the_mode_of_files_are_respected(tmp_path: Path) -> None:
    network = make_trainer(tmp_path / "run").network
    (tmp_path / "text").write_text("")
    rff.save(network, tmp_path / "network.safetensors")
    assert (tmp_path / "network.safetensors").stat().st_mode == (tmp_path / "text").stat().st_mode
    assert {path.name for path in tmp_path.iterdir()} == {"run", "text", "network.safetensors"}


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
