"""Digits as pen strokes: an image is thresholded, thinned to a skeleton, and the skeleton is traced as moves of a pen.

The representation is Edwin D. de Jong's (MNIST digits stroke sequence data set): one row for each move, four integers
dx, dy, end-of-stroke, end-of-digit. The first row's dx and dy are the starting position, x to the right and y downward, counted
from 1. After the last pixel of a stroke comes a row 0, 0, 1, e that lifts the pen, where e is 1 at the end of the digit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

THRESHOLD = 127
"""Pixels brighter than this belong to the digit."""

Pixel = tuple[int, int]
"""Row and column, counted from 0."""

# Straight neighbours before diagonal ones: a pen does not cut a corner whose pixel would be left behind.
_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def skeleton(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """The digit's lines, one pixel wide: (height, width) of the image."""
    from skimage.morphology import skeletonize  # imported late: it takes a second

    thinned: npt.NDArray[np.bool_] = skeletonize(image > THRESHOLD)  # type: ignore[no-untyped-call]
    return thinned


def trace(lines: npt.NDArray[np.bool_]) -> list[list[Pixel]]:
    """Order a skeleton's pixels into strokes: every pixel once, neighbours within a stroke adjacent.

    A stroke starts at a line's end where there is one, the first at the topmost (then leftmost), as a writer would, the others
    at the one nearest to the pen. It goes on, as straight as it can, until no unvisited neighbour is left.
    """
    left = {(int(row), int(column)) for row, column in np.argwhere(lines)}
    strokes: list[list[Pixel]] = []
    while left:
        ends = [pixel for pixel in left if len(_around(pixel, left)) <= 1] or list(left)
        pen = strokes[-1][-1] if strokes else None
        stroke = _stroke_from(min(ends, key=lambda pixel: (_squared(pixel, pen), pixel)), left)
        strokes.append(stroke)
    return strokes


def _stroke_from(start: Pixel, left: set[Pixel]) -> list[Pixel]:
    """Follow the line from `start`, taking its pixels out of `left`."""
    stroke = [start]
    left.remove(start)
    while candidates := _around(stroke[-1], left):
        before = stroke[-4:-1]  # where the pen came from, over a few pixels
        stroke.append(min(candidates, key=lambda pixel: _turn(before, stroke[-1], pixel)))
        left.remove(stroke[-1])
    return stroke


def _around(pixel: Pixel, among: set[Pixel]) -> list[Pixel]:
    neighbours = ((pixel[0] + down, pixel[1] + right) for down, right in _NEIGHBOURS)
    return [neighbour for neighbour in neighbours if neighbour in among]


def _squared(pixel: Pixel, pen: Pixel | None) -> int:
    return 0 if pen is None else (pixel[0] - pen[0]) ** 2 + (pixel[1] - pen[1]) ** 2


def _turn(before: list[Pixel], at: Pixel, to: Pixel) -> tuple[int, float]:
    """How bad it is to go on from `at` to `to`: a diagonal step past a straight one may leave a pixel behind; then the turn."""
    step = (to[0] - at[0], to[1] - at[1])
    if not before:
        return abs(step[0]) + abs(step[1]), 0.0
    way = (at[0] - before[0][0], at[1] - before[0][1])
    straightness = (way[0] * step[0] + way[1] * step[1]) / max(1e-9, (way[0] ** 2 + way[1] ** 2) ** 0.5)
    return abs(step[0]) + abs(step[1]), -straightness


def moves(strokes: list[list[Pixel]]) -> npt.NDArray[np.int8]:
    """The pen's moves along the strokes, (moves, 4); none for an empty image."""
    rows, row, column = [], -1, -1  # positions are counted from 1
    for number, stroke in enumerate(strokes, start=1):
        for pixel in stroke:
            rows.append((pixel[1] - column, pixel[0] - row, 0, 0))
            row, column = pixel
        rows.append((0, 0, 1, int(number == len(strokes))))
    return np.array(rows, dtype=np.int8).reshape(-1, 4)


def pixels(sequence: npt.NDArray[np.integer]) -> set[Pixel]:
    """The skeleton's pixels that a sequence of moves goes through: the way back from `moves`."""
    drawn = sequence[(sequence[:, 2] == 0)]
    columns, rows = np.cumsum(drawn[:, 0].astype(int)) - 1, np.cumsum(drawn[:, 1].astype(int)) - 1
    return {(int(row), int(column)) for row, column in zip(rows, columns, strict=True)}
