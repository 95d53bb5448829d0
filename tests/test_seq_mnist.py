"""Tests of Seq MNIST: the delay line and its mask, repetition, the cache of traced strokes, and the original files."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from RecurrentFF.data import mnist, stroke_cache, strokes
from RecurrentFF.data.mnist import LabeledImages
from RecurrentFF.data.pen_strokes import _RMS, INPUT_RMS, LARGEST_MOVE, PenStrokes
from RecurrentFF.data.seq_mnist import StrokeDataset, render_strokes
from RecurrentFF.data.stroke_cache import trace_cached
from RecurrentFF.data.stroke_files import Sequences, read_file, read_folder
from RecurrentFF.data.strokes import skeleton, strokes_to_moves, trace
from RecurrentFF.errors import DataError

SAMPLES = os.environ.get("STROKE_SEQUENCES")  # a folder of original samples, trainimg-N-inputdata.txt

A = [[3, 9, 0, 0], [1, 1, 0, 0], [0, -1, 0, 0], [0, 0, 1, 1]]
B = [[4, 4, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [-2, 7, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def sequences(*moves: list[list[int]]) -> Sequences:
    flat = torch.tensor([move for sequence in moves for move in sequence], dtype=torch.int8).view(-1, 4)
    return Sequences(flat, torch.tensor([len(sequence) for sequence in moves]), torch.arange(len(moves)))


def strokes_of(moves: Sequences, timesteps: int, stride: int, window: int, repeat: bool) -> StrokeDataset:
    return StrokeDataset(moves, timesteps, PenStrokes(moves_per_timestep=stride, delay_line=window, repeat=repeat))


def reference_inputs(
    sequence: list[list[int]], timesteps: int, stride: int, window: int, repeat: bool
) -> tuple[Tensor, list[bool]]:
    """Compute the inputs and valid timesteps of one sequence, timestep by timestep and move by move."""
    inputs, valid = [], []
    for t in range(timesteps):
        values = []
        for number in range((t + 1) * stride - window, (t + 1) * stride):
            position = number % len(sequence) if repeat and number >= 0 and sequence else number
            move = sequence[position] if 0 <= position < len(sequence) else [0, 0, 0, 0]
            values += [
                INPUT_RMS * max(-LARGEST_MOVE, min(LARGEST_MOVE, value)) / scale for value, scale in zip(move, _RMS, strict=True)
            ]
        inputs.append(values)
        valid.append(any(0 <= number < len(sequence) for number in range((t + 1) * stride - window, (t + 1) * stride)))
    return torch.tensor(inputs), valid


@pytest.mark.parametrize("repeat", [False, True], ids=["ending", "repeated"])
@pytest.mark.parametrize(("timesteps", "stride", "window"), [(4, 1, 1), (3, 2, 5), (5, 3, 3), (1, 4, 6), (9, 1, 4)])
def test_inputs_and_mask_equal_the_reference(timesteps: int, stride: int, window: int, repeat: bool) -> None:
    strokes = strokes_of(sequences(A, B, [], A), timesteps, stride, window, repeat)
    (batch,) = strokes.batches(10)
    assert batch.inputs.shape == (timesteps, 4, 4 * window) and batch.labels.tolist() == [0, 1, 2, 3]
    for sample, sequence in enumerate((A, B, [], A)):
        inputs, valid = reference_inputs(sequence, timesteps, stride, window, repeat)
        torch.testing.assert_close(batch.inputs[:, sample], inputs)
        if not repeat:
            assert batch.mask is not None and batch.mask[:, sample].tolist() == valid
    if repeat:
        assert batch.mask is None


def test_batches_follow_the_order_and_slices_equal_the_whole_data_set() -> None:
    strokes = strokes_of(sequences(A, [], B, A), 3, 2, 4, False)
    (whole,) = strokes.batches(4)
    inputs, labels, mask = next(strokes.batches(2, torch.tensor([2, 0, 3])))
    assert torch.equal(inputs, whole.inputs[:, [2, 0]]) and labels.tolist() == [2, 0]
    assert mask is not None and whole.mask is not None and torch.equal(mask, whole.mask[:, [2, 0]])
    for samples in (slice(1, 3), slice(2, 4), slice(1, 2)):
        (batch,) = strokes[samples].batches(4)
        assert torch.equal(batch.inputs, whole.inputs[:, samples]) and batch.labels.tolist() == whole.labels[samples].tolist()
    assert [len(batch.labels) for batch in strokes.batches(3)] == [3, 1] and strokes.batch_count(3) == 2
    assert list(strokes.batches(3, torch.tensor([], dtype=torch.long))) == []


def test_drawings_show_each_sequence_once() -> None:
    for repeat in (False, True):
        drawings = render_strokes(strokes_of(sequences(B, []), 8, 1, 2, repeat))
        assert drawings.shape == (8, 2, 28, 28)
        assert drawings[1, 0].nonzero().tolist() == [[3, 2], [3, 3]] and drawings[1, 0, 3, 2] == 2
        assert torch.equal(drawings[2], drawings[1])  # the pen is lifted
        assert drawings[7, 0].nonzero().tolist() == [[3, 2], [3, 3], [10, 0], [11, 0]]
        assert drawings[:, 1].sum() == 0


@pytest.fixture(scope="module")
def digits() -> LabeledImages:
    train, _ = mnist.read()
    return LabeledImages(train.images[:30].clone(), train.labels[:30])


def test_digits_are_traced_one_by_one(digits: LabeledImages, tmp_path: Path) -> None:
    traced = trace_cached(digits, tmp_path)
    expected = [strokes_to_moves(trace(skeleton(image))) for image in digits.images.numpy()]
    assert traced.moves.tolist() == np.concatenate(expected).tolist()
    assert traced.lengths.tolist() == [len(moves) for moves in expected]
    assert torch.equal(traced.labels, digits.labels)


def test_an_interrupted_tracing_resumes_from_the_cache(
    digits: LabeledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stroke_cache, "IMAGES_PER_FILE", 10)
    whole = trace_cached(digits, tmp_path / "elsewhere")
    original, remaining = strokes.trace_image, 14

    def interrupted(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
        nonlocal remaining
        if remaining == 0:
            raise KeyboardInterrupt
        remaining -= 1
        return original(image)

    monkeypatch.setattr(stroke_cache, "trace_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trace_cached(digits, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1  # the first file, and no unfinished one
    remaining = 20
    again = trace_cached(digits, tmp_path / "cache")
    assert all(torch.equal(a, b) for a, b in zip(again, whole, strict=True)) and remaining == 0
    assert torch.equal(trace_cached(digits, tmp_path / "cache").moves, whole.moves)  # tracing would raise KeyboardInterrupt


def test_strokes_of_an_empty_and_a_one_pixel_image(tmp_path: Path) -> None:
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    images[1, 5, 7] = 255
    strokes = trace_cached(LabeledImages(images, torch.tensor([0, 1])), tmp_path)
    assert strokes.lengths.tolist() == [0, 2]
    assert strokes.moves.tolist() == [[8, 6, 0, 0], [0, 0, 1, 1]]
    (batch,) = strokes_of(strokes, 2, 1, 1, False)[:1].batches(5)
    assert batch.inputs.abs().sum() == 0 and batch.mask is not None and not batch.mask.any()


def write_original(folder: Path, kind: str, split: str, number: int, moves: list[list[int]], label: int | None) -> Path:
    """Write a file in the format of the original data set."""
    folder.mkdir(exist_ok=True)
    columns = [] if label is None else [int(label == name) for name in range(10)]
    path = folder / f"{split}img-{number}-{kind}.txt"
    path.write_text("".join(" ".join(str(value) for value in [*columns, *move]) + "\n" for move in moves))
    return path


def test_original_files_are_read_from_a_folder(tmp_path: Path) -> None:
    for number, (moves, label) in enumerate([(A, 7), (B, 2), (A, 0)]):
        write_original(tmp_path / "sequences", "targetdata", "train", number, moves, label)
    write_original(tmp_path / "sequences", "inputdata", "test", 0, B, None)
    train = read_folder(tmp_path, "train", torch.tensor([1, 1, 1]))
    assert train.moves.tolist() == A + B + A and train.lengths.tolist() == [4, 6, 4] and train.labels.tolist() == [7, 2, 0]
    test = read_folder(tmp_path / "sequences", "test", torch.tensor([9]))
    assert test.moves.tolist() == B and test.labels.tolist() == [9]


def test_missing_or_invalid_original_files_are_errors_that_name_the_file(tmp_path: Path) -> None:
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
    label, moves = read_file(path)
    assert label is None and moves.shape == (0, 4)
    with pytest.raises(DataError, match="can't be read"):
        read_file(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_folder(tmp_path / "absent", "train", labels)


@pytest.mark.skipif(SAMPLES is None, reason="STROKE_SEQUENCES names no folder of original samples")
@pytest.mark.parametrize(("number", "label", "length"), [(2, 4, 41), (7, 3, 39)])
def test_original_samples_are_read_with_and_without_their_class(number: int, label: int, length: int, tmp_path: Path) -> None:
    path = Path(SAMPLES or "") / f"trainimg-{number}-inputdata.txt"
    no_label, moves = read_file(path)
    assert no_label is None and moves.shape == (length, 4) and moves[-1].tolist() == [0, 0, 1, 1]
    target = write_original(tmp_path, "targetdata", "train", number, moves.tolist(), label)
    label_read, moves_read = read_file(target)
    assert label_read == label and np.array_equal(moves, moves_read)
    assert mnist.read()[0].labels[number] == label
