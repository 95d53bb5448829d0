"""Pen strokes: every pixel once, the way back to the skeleton, and the original data set's samples where they are at hand."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from RecurrentFF.data import mnist
from RecurrentFF.data.strokes import Pixel, moves, pixels, skeleton, trace

SAMPLES = os.environ.get("STROKE_SEQUENCES")  # a folder of original samples, trainimg-N-inputdata.txt


def drawing(*rows: str) -> npt.NDArray[np.bool_]:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


HAND_MADE: dict[str, tuple[npt.NDArray[np.bool_], list[list[Pixel]]]] = {
    "nothing": (drawing("...", "..."), []),
    "one pixel": (drawing("...", ".#."), [[(1, 1)]]),
    "a line, from its upper end": (drawing("..#", ".#.", "#.."), [[(0, 2), (1, 1), (2, 0)]]),
    "a corner is not cut": (drawing("##", ".#"), [[(0, 0), (0, 1), (1, 1)]]),
    "two lines, the second from its nearer end": (
        drawing("#....", "#....", "#....", "....#", "..###"),
        [[(0, 0), (1, 0), (2, 0)], [(4, 2), (4, 3), (4, 4), (3, 4)]],
    ),
    "a crossing is gone straight through": (
        drawing("..#..", "..#..", "#####", "..#..", "..#.."),
        [[(0, 2), (1, 2), (2, 2), (3, 2), (4, 2)], [(2, 1), (2, 0)], [(2, 3), (2, 4)]],
    ),
    "a ring, which has no end": (
        drawing(".#.", "#.#", ".#."),
        [[(0, 1), (1, 0), (2, 1), (1, 2)]],
    ),
}


@pytest.mark.parametrize("case", HAND_MADE)
def test_hand_made_drawings(case: str) -> None:
    lines, strokes = HAND_MADE[case]
    traced = trace(lines)
    assert [set(stroke) for stroke in traced] == [set(stroke) for stroke in strokes]
    if "ring" not in case:  # it may be gone round either way
        assert traced == strokes


def test_moves_of_two_strokes() -> None:
    sequence = moves([[(2, 1), (3, 2)], [(0, 0)]])
    assert sequence.tolist() == [[2, 3, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [-2, -3, 0, 0], [0, 0, 1, 1]]
    assert moves([]).shape == (0, 4)


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    train, test = mnist.read()
    return np.concatenate([train.images[:300].numpy(), test.images[:100].numpy()])


def test_real_digits_come_back_to_their_skeleton(images: npt.NDArray[np.uint8]) -> None:
    for image in images:
        lines = skeleton(image)
        strokes = trace(lines)
        drawn = [pixel for stroke in strokes for pixel in stroke]
        assert len(drawn) == len(set(drawn)) == lines.sum()
        for stroke in strokes:
            for one, other in pairwise(stroke):
                assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) == 1
        sequence = moves(strokes)
        assert pixels(sequence) == {(int(row), int(column)) for row, column in np.argwhere(lines)}
        assert sequence[:, 2].sum() == len(strokes) and sequence[:, 3].tolist() == [0] * (len(sequence) - 1) + [1]


@pytest.mark.skipif(SAMPLES is None, reason="STROKE_SEQUENCES names no folder of original samples")
@pytest.mark.parametrize("number", [2, 7])
def test_strokes_are_close_to_the_originals(number: int, images: npt.NDArray[np.uint8]) -> None:
    theirs = np.loadtxt(Path(SAMPLES or "") / f"trainimg-{number}-inputdata.txt", dtype=np.int64)
    ours = moves(trace(skeleton(images[number])))
    mine, original = pixels(ours), pixels(theirs)

    def within_one(some: set[Pixel], others: set[Pixel]) -> int:
        return sum(any((r + i, c + j) in others for i in (-1, 0, 1) for j in (-1, 0, 1)) for r, c in some)

    jaccard = (within_one(mine, original) + within_one(original, mine)) / (len(mine) + len(original))
    assert jaccard >= 0.9
    assert ours[:, 2].sum() == theirs[:, 2].sum()
    assert abs(len(ours) - len(theirs)) <= 5
