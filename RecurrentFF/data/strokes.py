"""Conversion of digit images to pen strokes: threshold, thin to a skeleton, and trace the skeleton as moves of a pen.

The format is Edwin D. de Jong's (MNIST digits stroke sequence data set). A move has four integers: dx, dy, end of stroke, end of
digit. The dx and dy of the first move are the starting position, x to the right and y down, starting at 1. After the last pixel
of a stroke, a move (0, 0, 1, e) lifts the pen, with e = 1 at the end of the digit.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

THRESHOLD = 127
"""Largest value of a background pixel; brighter pixels belong to the digit."""

MAX_SIDE = 127
"""Largest height and width of an image. A move has signed bytes, and the first one is a position."""

Pixel = tuple[int, int]
"""Row and column of a pixel, starting at 0."""

StrokeArrays = tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]
"""Moves of some sequences, (moves, 4), and the number of moves of each sequence."""

# Straight neighbors come before diagonal ones, so that the pen does not cut a corner and leave its pixel undrawn.
_NEIGHBORS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def trace_image(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Trace an image (height, width) of at most `MAX_SIDE` pixels a side; return its moves, (moves, 4)."""
    return strokes_to_moves(trace(skeleton(image)))


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
    unvisited = {(row, column) for row, column in np.argwhere(lines).tolist()}
    neighbors = {pixel: _neighbors(pixel, unvisited) for pixel in unvisited}
    strokes: list[list[Pixel]] = []
    while unvisited:
        starts = [pixel for pixel in unvisited if len(unvisited.intersection(neighbors[pixel])) <= 1] or list(unvisited)
        pen = strokes[-1][-1] if strokes else None
        start = min(starts, key=lambda pixel: (_squared_distance(pixel, pen), pixel))
        strokes.append(_trace_stroke(start, unvisited, neighbors))
    return strokes


def _trace_stroke(start: Pixel, unvisited: set[Pixel], neighbors: dict[Pixel, list[Pixel]]) -> list[Pixel]:
    """Trace one stroke from `start`, and remove its pixels from `unvisited`."""
    stroke = [start]
    unvisited.remove(start)
    while candidates := [pixel for pixel in neighbors[stroke[-1]] if pixel in unvisited]:
        recent = stroke[-4:-1]  # the direction of the pen is measured over a few pixels
        straightest = candidates[0] if len(candidates) == 1 else min(candidates, key=partial(_turn_cost, recent, stroke[-1]))
        stroke.append(straightest)
        unvisited.remove(straightest)
    return stroke


def _neighbors(pixel: Pixel, pixels: set[Pixel]) -> list[Pixel]:
    row, column = pixel
    return [neighbor for down, right in _NEIGHBORS if (neighbor := (row + down, column + right)) in pixels]


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


def fault_of(moves: npt.NDArray[np.integer], lengths: npt.NDArray[np.int64], height: int, width: int) -> str | None:
    """Check that sequences are in the module's format, wherever they come from.

    Args:
        moves: moves of all sequences, (moves, 4).
        lengths: number of moves of each sequence.
        height, width: size of the images, in pixels.

    Returns:
        What is wrong, in a few words; None if nothing is.
    """
    if (len(lengths) and not 0 <= lengths.min() <= lengths.max() <= len(moves)) or lengths.sum() != len(moves):
        return "its numbers of moves are not those of the moves"
    if not ((moves[:, 2:] == 0) | (moves[:, 2:] == 1)).all():
        return "the ends of strokes and digits must be 0 or 1"
    is_last = np.zeros(len(moves), dtype=bool)
    is_last[lengths[lengths > 0].cumsum() - 1] = True
    if not np.array_equal(moves[:, 3] == 1, is_last):
        return "the last move, and no other, must end the digit"
    positions = _positions(moves, lengths)
    if len(moves) and (positions.min() < 1 or (positions > (width, height)).any()):
        return f"the pen leaves the image, 1 to {width} from left to right and 1 to {height} down"
    return None


def are_drawn_on(moves: npt.NDArray[np.int8], lengths: npt.NDArray[np.int64], images: npt.NDArray[np.uint8]) -> bool:
    """Tell if sequences can be those of images: they are in the format, and draw on pixels of the digits only.

    Args:
        moves: moves of all sequences, (moves, 4).
        lengths: number of moves of each sequence.
        images: (n, height, width), the same number as sequences.
    """
    if len(lengths) != len(images) or fault_of(moves, lengths, *images.shape[1:]) is not None:
        return False
    drawn, samples = moves[:, 2] == 0, np.repeat(np.arange(len(lengths)), lengths)
    columns, rows = (_positions(moves, lengths) - 1)[drawn].T
    return bool((images[samples[drawn], rows, columns] > THRESHOLD).all())


def _positions(moves: npt.NDArray[np.integer], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the position of the pen after each move, (moves, 2): x and y, starting at 1."""
    positions = np.concatenate([np.zeros((1, 2), dtype=np.int64), moves[:, :2].cumsum(0, dtype=np.int64)])
    starts = lengths.cumsum() - lengths
    relative: npt.NDArray[np.int64] = positions[1:] - np.repeat(positions[starts], lengths, axis=0)
    return relative
