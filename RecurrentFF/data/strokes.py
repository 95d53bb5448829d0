"""Conversion of digit images to pen strokes: threshold, thin to a skeleton, and trace the skeleton as moves of a pen.

The format is Edwin D. de Jong's (MNIST digits stroke sequence data set). A move has four integers: dx, dy, end of stroke, end of
digit. The dx and dy of the first move are the starting position, x to the right and y down, starting at 1. After the last pixel
of a stroke, a move (0, 0, 1, e) lifts the pen, with e = 1 at the end of the digit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

THRESHOLD = 127
"""Largest value of a background pixel; brighter pixels belong to the digit."""

Pixel = tuple[int, int]
"""Row and column of a pixel, starting at 0."""

# Straight neighbors come before diagonal ones, so that the pen does not cut a corner and leave its pixel undrawn.
_NEIGHBORS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def skeleton(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Thin a digit to lines of one pixel's width.

    Args:
        image: (height, width).

    Returns:
        (height, width), true on the lines.
    """
    from skimage.morphology import skeletonize  # imported late: it takes a second

    thinned: npt.NDArray[np.bool_] = skeletonize(image > THRESHOLD)  # type: ignore[no-untyped-call]
    return thinned


def trace(lines: npt.NDArray[np.bool_]) -> list[list[Pixel]]:
    """Order the pixels of a skeleton into strokes. Every pixel occurs once, and successive pixels of a stroke are adjacent.

    A stroke starts at the end of a line if there is one. The first starts at the topmost (then leftmost) end, as in handwriting;
    each later one at the end nearest to the pen. A stroke continues as straight as possible until no unvisited neighbor remains.

    Args:
        lines: (height, width), true on the skeleton.
    """
    unvisited = {(int(row), int(column)) for row, column in np.argwhere(lines)}
    strokes: list[list[Pixel]] = []
    while unvisited:
        starts = [pixel for pixel in unvisited if len(_neighbors(pixel, unvisited)) <= 1] or list(unvisited)
        pen = strokes[-1][-1] if strokes else None
        start = min(starts, key=lambda pixel: (_squared_distance(pixel, pen), pixel))
        strokes.append(_trace_stroke(start, unvisited))
    return strokes


def _trace_stroke(start: Pixel, unvisited: set[Pixel]) -> list[Pixel]:
    """Trace one stroke from `start`, and remove its pixels from `unvisited`."""
    stroke = [start]
    unvisited.remove(start)
    while candidates := _neighbors(stroke[-1], unvisited):
        recent = stroke[-4:-1]  # the direction of the pen is measured over a few pixels
        stroke.append(min(candidates, key=lambda pixel: _turn_cost(recent, stroke[-1], pixel)))
        unvisited.remove(stroke[-1])
    return stroke


def _neighbors(pixel: Pixel, pixels: set[Pixel]) -> list[Pixel]:
    neighbors = ((pixel[0] + down, pixel[1] + right) for down, right in _NEIGHBORS)
    return [neighbor for neighbor in neighbors if neighbor in pixels]


def _squared_distance(pixel: Pixel, pen: Pixel | None) -> int:
    return 0 if pen is None else (pixel[0] - pen[0]) ** 2 + (pixel[1] - pen[1]) ** 2


def _turn_cost(recent: list[Pixel], current: Pixel, candidate: Pixel) -> tuple[int, float]:
    """Rate a step from `current` to `candidate`; lower is better.

    The first criterion is a straight step, because a diagonal one can leave a pixel undrawn. The second is a small turn.
    """
    step = (candidate[0] - current[0], candidate[1] - current[1])
    if not recent:
        return abs(step[0]) + abs(step[1]), 0.0
    heading = (current[0] - recent[0][0], current[1] - recent[0][1])
    straightness = (heading[0] * step[0] + heading[1] * step[1]) / max(1e-9, (heading[0] ** 2 + heading[1] ** 2) ** 0.5)
    return abs(step[0]) + abs(step[1]), -straightness


def strokes_to_moves(strokes: list[list[Pixel]]) -> npt.NDArray[np.int8]:
    """Convert strokes to the moves of a pen, (moves, 4) in the module's format; no moves for an empty image."""
    moves, row, column = [], -1, -1  # positions in moves start at 1
    for number, stroke in enumerate(strokes, start=1):
        for pixel in stroke:
            moves.append((pixel[1] - column, pixel[0] - row, 0, 0))
            row, column = pixel
        moves.append((0, 0, 1, int(number == len(strokes))))
    return np.array(moves, dtype=np.int8).reshape(-1, 4)


def moves_to_pixels(moves: npt.NDArray[np.integer]) -> set[Pixel]:
    """Convert the moves of a pen, (moves, 4), to the set of drawn pixels: the inverse of `strokes_to_moves`."""
    drawn = moves[(moves[:, 2] == 0)]
    columns, rows = np.cumsum(drawn[:, 0].astype(int)) - 1, np.cumsum(drawn[:, 1].astype(int)) - 1
    return {(int(row), int(column)) for row, column in zip(rows, columns, strict=True)}
