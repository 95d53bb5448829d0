"""Tests of the tracing of pen strokes, also against samples of the original data set if these are available."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from RecurrentFF.data import mnist
from RecurrentFF.data.strokes import Pixel, moves_to_pixels, skeleton, strokes_to_moves, trace

SAMPLES = os.environ.get("STROKE_SEQUENCES")  # a folder of original samples, trainimg-N-inputdata.txt


def drawing(*rows: str) -> npt.NDArray[np.bool_]:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


HAND_MADE: dict[str, tuple[npt.NDArray[np.bool_], list[list[Pixel]]]] = {
    "nothing": (drawing("...", "..."), []),
    "one pixel": (drawing("...", ".#."), [[(1, 1)]]),
    "a line is traced from its upper end": (drawing("..#", ".#.", "#.."), [[(0, 2), (1, 1), (2, 0)]]),
    "a corner is not cut": (drawing("##", ".#"), [[(0, 0), (0, 1), (1, 1)]]),
    "the second line is traced from the end nearest to the pen": (
        drawing("#....", "#....", "#....", "....#", "..###"),
        [[(0, 0), (1, 0), (2, 0)], [(4, 2), (4, 3), (4, 4), (3, 4)]],
    ),
    "a crossing is traced straight through": (
        drawing("..#..", "..#..", "#####", "..#..", "..#.."),
        [[(0, 2), (1, 2), (2, 2), (3, 2), (4, 2)], [(2, 1), (2, 0)], [(2, 3), (2, 4)]],
    ),
    "a ring has no end": (
        drawing(".#.", "#.#", ".#."),
        [[(0, 1), (1, 0), (2, 1), (1, 2)]],
    ),
}


@pytest.mark.parametrize("case", HAND_MADE)
def test_trace_hand_made_drawings(case: str) -> None:
    lines, strokes = HAND_MADE[case]
    traced = trace(lines)
    assert [set(stroke) for stroke in traced] == [set(stroke) for stroke in strokes]
    if "ring" not in case:  # a ring can be traced in either direction
        assert traced == strokes


def test_moves_of_two_strokes_and_of_none() -> None:
    sequence = strokes_to_moves([[(2, 1), (3, 2)], [(0, 0)]])
    assert sequence.tolist() == [[2, 3, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [-2, -3, 0, 0], [0, 0, 1, 1]]
    assert strokes_to_moves([]).shape == (0, 4)


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    train, test = mnist.read()
    return np.concatenate([train.images[:300].numpy(), test.images[:100].numpy()])


def test_traced_digits_visit_each_pixel_of_the_skeleton_once(images: npt.NDArray[np.uint8]) -> None:
    for image in images:
        lines = skeleton(image)
        strokes = trace(lines)
        drawn = [pixel for stroke in strokes for pixel in stroke]
        assert len(drawn) == len(set(drawn)) == lines.sum()
        for stroke in strokes:
            for pixel, successor in pairwise(stroke):
                assert max(abs(pixel[0] - successor[0]), abs(pixel[1] - successor[1])) == 1
        sequence = strokes_to_moves(strokes)
        assert moves_to_pixels(sequence) == {(int(row), int(column)) for row, column in np.argwhere(lines)}
        assert sequence[:, 2].sum() == len(strokes) and sequence[:, 3].tolist() == [0] * (len(sequence) - 1) + [1]


@pytest.mark.skipif(SAMPLES is None, reason="STROKE_SEQUENCES names no folder of original samples")
@pytest.mark.parametrize("number", [2, 7])
def test_strokes_resemble_those_of_the_original_data_set(number: int, images: npt.NDArray[np.uint8]) -> None:
    original = np.loadtxt(Path(SAMPLES or "") / f"trainimg-{number}-inputdata.txt", dtype=np.int64)
    ours = strokes_to_moves(trace(skeleton(images[number])))
    our_pixels, original_pixels = moves_to_pixels(ours), moves_to_pixels(original)

    def within_one_pixel(some: set[Pixel], others: set[Pixel]) -> int:
        return sum(any((r + i, c + j) in others for i in (-1, 0, 1) for j in (-1, 0, 1)) for r, c in some)

    jaccard = (within_one_pixel(our_pixels, original_pixels) + within_one_pixel(original_pixels, our_pixels)) / (
        len(our_pixels) + len(original_pixels)
    )
    assert jaccard >= 0.9
    assert ours[:, 2].sum() == original[:, 2].sum()
    assert abs(len(ours) - len(original)) <= 5
