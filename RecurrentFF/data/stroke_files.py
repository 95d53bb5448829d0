"""Stroke sequences from the text files of the original data set.

This is E. D. de Jong's "MNIST digits stroke sequence data". Module `strokes` describes its format.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from RecurrentFF.data.files import read_data_file, require_folder
from RecurrentFF.data.strokes import fault_of
from RecurrentFF.errors import DataError
from RecurrentFF.paths import expanded, kind_of, names_in

SIDE = 28
"""Height and width of a digit, in pixels."""

_MAX_BYTES = 1_000_000
"""The largest size of a file. A digit of 28 × 28 pixels has some 50 lines of 30 bytes."""

_NOT_NUMBERS, _LONG_NUMBER = re.compile(rb"[^-0-9 \t\r\n]"), re.compile(rb"[0-9]{4}")
_REMEDY = "leave out --data-dir to trace the digits of this package"


class Sequences(NamedTuple):
    """Pen-stroke sequences, concatenated."""

    moves: Tensor
    """Moves of all sequences, (all moves, 4) int8: dx, dy, end of stroke, end of digit."""
    lengths: Tensor
    """Number of moves of each sequence, (samples,)."""
    labels: Tensor
    """Class numbers, (samples,)."""


def read_folder(folder: Path, split: str, labels: Tensor) -> Sequences:
    """Read one split of the original data set from its text files.

    The files are `{split}img-N-targetdata.txt`, with ten columns for the class before those of the move. If there are none, they
    are `{split}img-N-inputdata.txt`, with the move only. N starts at 0 and has no gap.

    Args:
        folder: folder that contains the files, or a folder "sequences" with the files.
        split: "train" or "test".
        labels: class number of each MNIST image, for files without the class. The tensors are put on its device.

    Returns:
        The sequences, in the order of N.

    Raises:
        DataError: files are missing or are not in this format.
    """
    folder = expanded(folder, DataError)
    home = folder / "sequences" if kind_of(folder / "sequences", DataError) == "folder" else folder
    names = _file_names(home, split)
    if len(names) > len(labels):
        raise DataError(f"{home}: {len(names)} {split} sequences, but MNIST has {len(labels)} {split} images")
    read = [read_file(home / name) for name in names]
    classes = [known if label is None else label for (label, _), known in zip(read, labels.tolist(), strict=False)]
    moves, lengths = np.concatenate([moves for _, moves in read]), [len(moves) for _, moves in read]
    tensors = torch.from_numpy(moves), torch.tensor(lengths), torch.tensor(classes)
    return Sequences(*(tensor.to(labels.device) for tensor in tensors))


def _file_names(folder: Path, split: str) -> list[str]:
    """Return the names of the files of a split, in the order of their numbers.

    Raises:
        DataError: there are none, or one is missing.
    """
    require_folder(folder, _REMEDY)
    files = names_in(folder, DataError)
    for kind in ("targetdata", "inputdata"):
        pattern = re.compile(rf"{split}img-(0|[1-9][0-9]*)-{kind}\.txt")
        names = {int(match[1]): name for name in files if (match := pattern.fullmatch(name))}
        gap = next((number for number in range(len(names)) if number not in names), None)
        if gap is not None:
            missing = folder / f"{split}img-{gap}-{kind}.txt"
            raise DataError(f"{missing}: missing, although later files exist; unpack the archive again")
        if names:
            return [names[number] for number in range(len(names))]
    raise DataError(f"{folder}: contains no {split}img-N-targetdata.txt; {_REMEDY}")


def read_file(path: Path) -> tuple[int | None, npt.NDArray[np.int8]]:
    """Read a file of the original data set.

    Returns:
        The class number, None if the file has no columns for it; and the moves, (moves, 4).

    Raises:
        DataError: the file can't be read or is not in the format.
    """
    try:
        return parse(read_data_file(path, _MAX_BYTES))
    except ValueError as error:
        raise DataError(f"{path}: not a stroke sequence ({error})") from None


def parse(content: bytes) -> tuple[int | None, npt.NDArray[np.int8]]:
    """Read the content of a file of the original data set, as `read_file` does.

    Lines may end in any way, also with spaces, and may be empty. A byte order mark of UTF-8 at the beginning is left out.

    Raises:
        ValueError: the content is not in the format; the message says why.
    """
    content = content.removeprefix(codecs.BOM_UTF8)
    if strange := _NOT_NUMBERS.search(content):
        line = len((content[: strange.start()] + b"x").splitlines())  # a lone carriage return ends a line, too
        raise ValueError(f"line {line} has other characters than those of whole numbers")
    lines = [numbers for line in content.decode("ascii").splitlines() if (numbers := line.split())]
    if not lines:
        return None, np.zeros((0, 4), dtype=np.int8)
    columns = len(lines[0])
    if columns not in (4, 14) or {len(line) for line in lines} != {columns} or _LONG_NUMBER.search(content):
        raise ValueError("expected 4 or 14 whole numbers in a line, of at most 3 digits")
    table = np.array(lines, dtype=np.int64)
    classes, moves = table[:, :-4], table[:, -4:]
    if np.abs(moves).max() > 127 or not ((classes == 0) | (classes == 1)).all():
        raise ValueError("expected moves of at most 127 pixels, and 0 or 1 in the columns of the class")
    if (fault := fault_of(moves, np.array([len(moves)]), SIDE, SIDE)) is not None:
        raise ValueError(fault)
    if columns == 14 and not ((classes == classes[0]).all() and classes[0].sum() == 1):
        raise ValueError("its ten class columns don't name one class")
    return int(classes[0].argmax()) if columns == 14 else None, moves.astype(np.int8)
