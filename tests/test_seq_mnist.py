"""Pen strokes as the network's input: the delay line, what ends and what begins again, the cache, and the original files."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from RecurrentFF.data import mnist, stroke_files
from RecurrentFF.data.mnist import Digits
from RecurrentFF.data.seq_mnist import _RMS, LARGEST_MOVE, LEVEL, PenStrokes, drawings
from RecurrentFF.data.stroke_files import Sequences, read_file, read_folder, traced
from RecurrentFF.data.strokes import moves, skeleton, trace
from RecurrentFF.errors import DataError

SAMPLES = os.environ.get("STROKE_SEQUENCES")  # a folder of original samples, trainimg-N-inputdata.txt

A = [[3, 9, 0, 0], [1, 1, 0, 0], [0, -1, 0, 0], [0, 0, 1, 1]]
B = [[4, 4, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [-2, 7, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def sequences(*rows: list[list[int]]) -> Sequences:
    flat = torch.tensor([row for sequence in rows for row in sequence], dtype=torch.int8).view(-1, 4)
    return Sequences(flat, torch.tensor([len(sequence) for sequence in rows]), torch.arange(len(rows)))


def plain(sequence: list[list[int]], timesteps: int, step: int, window: int, repeat: bool) -> tuple[Tensor, list[bool]]:
    """The inputs of one sequence and where they count, timestep by timestep, move by move."""
    inputs, real = [], []
    for t in range(timesteps):
        shown = []
        for number in range((t + 1) * step - window, (t + 1) * step):
            at = number % len(sequence) if repeat and number >= 0 and sequence else number
            move = sequence[at] if 0 <= at < len(sequence) else [0, 0, 0, 0]
            shown += [
                LEVEL * max(-LARGEST_MOVE, min(LARGEST_MOVE, value)) / scale for value, scale in zip(move, _RMS, strict=True)
            ]
        inputs.append(shown)
        real.append(any(0 <= number < len(sequence) for number in range((t + 1) * step - window, (t + 1) * step)))
    return torch.tensor(inputs), real


@pytest.mark.parametrize("repeat", [False, True], ids=["ending", "repeated"])
@pytest.mark.parametrize(("timesteps", "step", "window"), [(4, 1, 1), (3, 2, 5), (5, 3, 3), (1, 4, 6), (9, 1, 4)])
def test_inputs_agree_with_the_plain_loop(timesteps: int, step: int, window: int, repeat: bool) -> None:
    strokes = PenStrokes(sequences(A, B, [], A), timesteps, step=step, window=window, repeat=repeat)
    (batch,) = strokes.batches(10)
    assert batch.inputs.shape == (timesteps, 4, 4 * window) and batch.labels.tolist() == [0, 1, 2, 3]
    for sample, sequence in enumerate((A, B, [], A)):
        inputs, real = plain(sequence, timesteps, step, window, repeat)
        torch.testing.assert_close(batch.inputs[:, sample], inputs)
        if not repeat:
            assert batch.mask is not None and batch.mask[:, sample].tolist() == real
    if repeat:
        assert batch.mask is None


def test_batches_follow_the_order_and_a_part_is_as_in_the_whole() -> None:
    strokes = PenStrokes(sequences(A, [], B, A), 3, step=2, window=4, repeat=False)
    (whole,) = strokes.batches(4)
    inputs, labels, mask = next(strokes.batches(2, torch.tensor([2, 0, 3])))
    assert torch.equal(inputs, whole.inputs[:, [2, 0]]) and labels.tolist() == [2, 0]
    assert mask is not None and whole.mask is not None and torch.equal(mask, whole.mask[:, [2, 0]])
    for part in (slice(1, 3), slice(2, 4), slice(1, 2)):
        (batch,) = strokes[part].batches(4)
        assert torch.equal(batch.inputs, whole.inputs[:, part]) and batch.labels.tolist() == whole.labels[part].tolist()
    assert [len(batch.labels) for batch in strokes.batches(3)] == [3, 1] and strokes.batch_count(3) == 2
    assert list(strokes.batches(3, torch.tensor([], dtype=torch.long))) == []


def test_drawings_show_the_pen_once_round() -> None:
    for repeat in (False, True):
        sheets = drawings(PenStrokes(sequences(B, []), 8, step=1, window=2, repeat=repeat))
        assert sheets.shape == (8, 2, 28, 28)
        assert sheets[1, 0].nonzero().tolist() == [[3, 2], [3, 3]] and sheets[1, 0, 3, 2] == 2
        assert torch.equal(sheets[2], sheets[1])  # the pen is lifted
        assert sheets[7, 0].nonzero().tolist() == [[3, 2], [3, 3], [10, 0], [11, 0]]
        assert sheets[:, 1].sum() == 0


@pytest.fixture(scope="module")
def digits() -> Digits:
    train, _ = mnist.read()
    return Digits(train.images[:30].clone(), train.labels[:30])


def test_tracing_is_the_same_however_many_processes_do_it(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stroke_files, "CHUNK", 4)
    alone = traced(digits, tmp_path / "one", workers=1)
    together = traced(digits, tmp_path / "two", workers=3)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    expected = [moves(trace(skeleton(image))) for image in digits.images.numpy()]
    assert alone.moves.tolist() == np.concatenate(expected).tolist() and alone.lengths.tolist() == [len(e) for e in expected]
    assert torch.equal(alone.labels, digits.labels)


def test_an_interrupted_tracing_goes_on(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stroke_files, "PART", 10)
    monkeypatch.setattr(stroke_files, "CHUNK", 4)
    whole = traced(digits, tmp_path / "elsewhere", workers=1)
    seen: list[int] = []
    original = stroke_files.trace_digits

    def interrupted(
        images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
    ) -> "list[np.ndarray[tuple[int, ...], np.dtype[np.int8]]]":
        if sum(seen) >= 14:
            raise KeyboardInterrupt
        seen.append(len(images))
        return original(images)

    monkeypatch.setattr(stroke_files, "trace_digits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        traced(digits, tmp_path / "cache", workers=1)
    assert len(list((tmp_path / "cache").iterdir())) == 1  # the first part, and nothing half-written
    seen.clear()
    seen.append(-100)
    again = traced(digits, tmp_path / "cache", workers=1)
    assert all(torch.equal(a, b) for a, b in zip(again, whole, strict=True))
    assert sum(seen[1:]) == 20
    seen[:] = [1000]  # all is there: tracing would be an interruption
    assert torch.equal(traced(digits, tmp_path / "cache", workers=1).moves, whole.moves)


def test_a_damaged_part_is_made_anew_and_an_unwritable_cache_is_no_obstacle(
    digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = traced(digits, tmp_path, workers=1)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    flipped = [content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in range(40, len(content), 97)]
    for damage in (content[:-40], b"nothing", *flipped):
        file.write_bytes(damage)
        assert torch.equal(traced(digits, tmp_path, workers=1).moves, whole.moves)
    np.savez_compressed(file, moves=np.zeros((3, 4), dtype=np.int8), lengths=np.array([3]))  # of other digits
    assert torch.equal(traced(digits, tmp_path, workers=1).moves, whole.moves)
    assert torch.equal(traced(digits, file / "no folder", workers=1).moves, whole.moves)
    assert "can't be kept" in capsys.readouterr().err


def test_empty_and_one_pixel_images(tmp_path: Path) -> None:
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    images[1, 5, 7] = 255
    strokes = traced(Digits(images, torch.tensor([0, 1])), tmp_path, workers=1)
    assert strokes.lengths.tolist() == [0, 2]
    assert strokes.moves.tolist() == [[8, 6, 0, 0], [0, 0, 1, 1]]
    (batch,) = PenStrokes(strokes, 2, step=1, window=1, repeat=False)[:1].batches(5)
    assert batch.inputs.abs().sum() == 0 and batch.mask is not None and not batch.mask.any()


def write_original(folder: Path, kind: str, split: str, number: int, rows: list[list[int]], label: int | None) -> Path:
    """A file as the original data set has them."""
    folder.mkdir(exist_ok=True)
    columns = [] if label is None else [int(label == name) for name in range(10)]
    path = folder / f"{split}img-{number}-{kind}.txt"
    path.write_text("".join(" ".join(str(value) for value in [*columns, *row]) + "\n" for row in rows))
    return path


def test_the_original_files_are_read(tmp_path: Path) -> None:
    for number, (rows, label) in enumerate([(A, 7), (B, 2), (A, 0)]):
        write_original(tmp_path / "sequences", "targetdata", "train", number, rows, label)
    write_original(tmp_path / "sequences", "inputdata", "test", 0, B, None)
    train = read_folder(tmp_path, "train", torch.tensor([1, 1, 1]))
    assert train.moves.tolist() == A + B + A and train.lengths.tolist() == [4, 6, 4] and train.labels.tolist() == [7, 2, 0]
    test = read_folder(tmp_path / "sequences", "test", torch.tensor([9]))
    assert test.moves.tolist() == B and test.labels.tolist() == [9]


def test_original_files_that_are_not_right_are_named(tmp_path: Path) -> None:
    labels = torch.tensor([0])
    with pytest.raises(DataError, match=r"no trainimg-N-targetdata\.txt; leave out --data-dir"):
        read_folder(tmp_path, "train", labels)
    for number in (0, 2):
        write_original(tmp_path, "targetdata", "train", number, A, 1)
    with pytest.raises(DataError, match=r"trainimg-1-targetdata\.txt: missing"):
        read_folder(tmp_path, "train", labels)
    for number in (0, 1):
        write_original(tmp_path, "inputdata", "test", number, A, None)
    with pytest.raises(DataError, match="2 test sequences, but MNIST has 1 test images"):
        read_folder(tmp_path, "test", labels)
    path = tmp_path / "trainimg-0-targetdata.txt"
    for text in (
        "1 2 3\n",
        "1 2 3 4\n1 2 3\n",
        "1 2 0 x\n",
        "1 2 0 7\n",
        "900 2 0 1\n",
        "1 1" + " 0" * 12 + "\n",
        "0 " * 14,
        "é",
        "9" * 30 + " 1 0 1",
    ):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(DataError, match=r"trainimg-0-targetdata\.txt: not a stroke sequence"):
            read_file(path)
    for text in ("1 2 0 0\n", "1 2 0 1\n0 0 1 1\n", "1 29 0 0\n0 0 1 1\n", "5 5 0 0\n-5 0 0 0\n0 0 1 1\n"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"must end the digit|leaves the image"):
            read_file(path)
    path.write_text("")
    label, rows = read_file(path)
    assert label is None and rows.shape == (0, 4)
    with pytest.raises(DataError, match="can't be read"):
        read_file(tmp_path)
    with pytest.raises(DataError, match="not a folder that can be read"):
        read_folder(tmp_path / "absent", "train", labels)


@pytest.mark.skipif(SAMPLES is None, reason="STROKE_SEQUENCES names no folder of original samples")
@pytest.mark.parametrize(("number", "label", "length"), [(2, 4, 41), (7, 3, 39)])
def test_original_samples_are_read_with_and_without_their_class(number: int, label: int, length: int, tmp_path: Path) -> None:
    path = Path(SAMPLES or "") / f"trainimg-{number}-inputdata.txt"
    no_label, rows = read_file(path)
    assert no_label is None and rows.shape == (length, 4) and rows[-1].tolist() == [0, 0, 1, 1]
    target = write_original(tmp_path, "targetdata", "train", number, rows.tolist(), label)
    again, same = read_file(target)
    assert again == label and np.array_equal(rows, same)
    assert mnist.read()[0].labels[number] == label
