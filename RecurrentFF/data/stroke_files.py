"""Where stroke sequences come from: traced once from the digits and kept in the user's cache folder, or the original text files.

The original data set is E. D. de Jong's "MNIST digits stroke sequence data" (see `strokes` for its rows).
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import signal
import sys
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import platformdirs
import torch
from torch import Tensor
from tqdm import tqdm

from RecurrentFF.data.mnist import Digits
from RecurrentFF.data.strokes import moves, skeleton, trace
from RecurrentFF.errors import DataError, OutputError
from RecurrentFF.writing import write_atomically

PART = 5000
"""Digits in a file of the cache: what an interruption costs at most."""
CHUNK = 250
"""Digits that a worker traces at a time."""
SIDE = 28
"""Height and width of a digit, in pixels."""
TRACING = 1
"""Version of `strokes`: raise it when the same digits come out as other moves."""


class Sequences(NamedTuple):
    """Pen strokes, one sequence after another."""

    moves: Tensor
    """(all moves, 4) int8: dx, dy, end of stroke, end of digit"""
    lengths: Tensor
    """(samples,) how many moves each has"""
    labels: Tensor
    """(samples,) class numbers"""


def traced(digits: Digits, cache: Path | None = None, workers: int | None = None) -> Sequences:
    """The digits' strokes: from the cache, or traced and put there, part by part, so that an interrupted tracing goes on.

    Args:
        digits: images and labels.
        cache: the folder of the parts; the user's cache folder if left out. Where it can't be written, nothing is kept.
        workers: processes that trace; one for each core if left out. The result doesn't depend on it.
    """
    images = digits.images.cpu().numpy()
    parts = np.split(images, range(PART, len(images), PART))
    folder = cache or platformdirs.user_cache_path("RecurrentFF") / "strokes"
    files = [folder / f"{_fingerprint(part)}.npz" for part in parts]
    found = [_read_part(file, len(part)) for file, part in zip(files, parts, strict=True)]
    missing = [number for number, part in enumerate(found) if part is None]
    chunks = [chunk for number in missing for chunk in np.split(parts[number], range(CHUNK, len(parts[number]), CHUNK))]
    done = _trace_all(chunks, workers)
    kept = True
    for number in missing:
        sequences: list[npt.NDArray[np.int8]] = []
        while len(sequences) < len(parts[number]):
            sequences += next(done)
        part = np.concatenate(sequences), np.array([len(sequence) for sequence in sequences])
        found[number] = part
        kept = kept and _keep(files[number], *part)
    rows, lengths = zip(*(part for part in found if part is not None), strict=True)
    device = digits.labels.device
    joined = torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(lengths))
    return Sequences(joined[0].to(device), joined[1].to(device), digits.labels)


Part = tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]
"""All moves of some sequences, (moves, 4), and each sequence's number of moves."""


def trace_digits(images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.int8]]:
    """The moves of each image."""
    return [moves(trace(skeleton(image))) for image in images]


def _fingerprint(images: npt.NDArray[np.uint8]) -> str:
    """Of all that the moves depend on: the pixels, this package's tracing, and scikit-image's thinning."""
    origin = f"{TRACING}, scikit-image {version('scikit-image')}, {images.shape}"
    return hashlib.sha256(origin.encode() + images.tobytes()).hexdigest()[:24]


def _read_part(file: Path, samples: int) -> Part | None:
    """A part of the cache; None where it is not there or damaged, so that it is made anew."""
    try:
        with np.load(file, allow_pickle=False) as part:
            rows, lengths = part["moves"], part["lengths"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    fits = rows.dtype == np.int8 and rows.shape == (lengths.sum(), 4) and lengths.shape == (samples,)
    return (rows, lengths) if fits else None


def _keep(file: Path, rows: npt.NDArray[np.int8], lengths: npt.NDArray[np.int64]) -> bool:
    """Write a part of the cache. Returns whether that could be done."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda path: np.savez_compressed(path, moves=rows, lengths=lengths))
    except (OSError, OutputError) as error:
        print(f"note: the strokes can't be kept ({error})", file=sys.stderr)
        return False
    return True


def _trace_all(chunks: list[npt.NDArray[np.uint8]], workers: int | None) -> Iterator[list[npt.NDArray[np.int8]]]:
    """`trace_digits` of one chunk after another, in other processes where the work is worth their start."""
    workers = workers if workers is not None else _cores()
    with tqdm(desc="tracing pen strokes, once", total=sum(map(len, chunks)), unit=" digits", leave=False, disable=None) as bar:
        if workers < 2 or len(chunks) <= 4:
            for chunk in chunks:
                yield trace_digits(chunk)
                bar.update(len(chunk))
            return
        # Fresh processes, for a copy of this one would hold the locks of its threads. Ctrl-C is for this one to handle.
        fresh = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, fresh, signal.signal, (signal.SIGINT, signal.SIG_IGN))
        try:
            for sequences in pool.map(trace_digits, chunks):
                yield sequences
                bar.update(len(sequences))
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_folder(folder: Path, split: str, labels: Tensor) -> Sequences:
    """The original data set's text files of one split, `{split}img-N-targetdata.txt` (ten columns that name the class, then the
    move), or where there are none `{split}img-N-inputdata.txt` (the move alone), N from 0 without a gap.

    Args:
        folder: holds the files, itself or in its folder "sequences".
        split: "train" or "test".
        labels: of the MNIST images, by N, for files without the class. The tensors go on its device.

    Raises:
        DataError: files are missing or are not of this form.
    """
    home = folder / "sequences" if (folder / "sequences").is_dir() else folder
    try:
        files = [path.name for path in home.iterdir()]
    except OSError as error:
        raise DataError(f"{home}: not a folder that can be read ({error.strerror})") from None
    for kind in ("targetdata", "inputdata"):
        pattern = re.compile(rf"{split}img-(\d+)-{kind}\.txt")
        names = {int(match[1]): match[0] for name in files if (match := pattern.fullmatch(name))}
        if names:
            break
    else:
        raise DataError(f"{home}: holds no {split}img-N-targetdata.txt; leave out --data-dir to trace the digits of this package")
    gap = next((number for number in range(len(names)) if number not in names), None)
    if gap is not None:
        raise DataError(f"{home / f'{split}img-{gap}-{kind}.txt'}: missing, but later ones are there; unpack the archive again")
    read = [read_file(home / names[number]) for number in range(len(names))]
    if len(read) > len(labels):
        raise DataError(f"{home}: {len(read)} {split} sequences, but MNIST has {len(labels)} {split} images")
    classes = [known if label is None else label for (label, _), known in zip(read, labels.tolist(), strict=False)]
    rows, lengths = np.concatenate([rows for _, rows in read]), [len(rows) for _, rows in read]
    tensors = torch.from_numpy(rows), torch.tensor(lengths), torch.tensor(classes)
    return Sequences(*(tensor.to(labels.device) for tensor in tensors))


def read_file(path: Path) -> tuple[int | None, npt.NDArray[np.int8]]:
    """The class that a file of the original data set names, if it has the ten columns for it, and its moves (moves, 4).

    Raises:
        DataError: it is not such a file.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
        if not lines:
            return None, np.zeros((0, 4), dtype=np.int8)
        table = np.array(lines, dtype=np.int64).reshape(len(lines), -1)
        classes, rows = table[:, :-4], table[:, -4:]
        marks = set(classes.flatten().tolist()) | set(rows[:, 2:].flatten().tolist())
        if classes.shape[1] not in (0, 10) or np.abs(rows).max() > 127 or not marks <= {0, 1}:
            raise ValueError("expected 4 or 14 whole numbers in a row, all but dx and dy 0 or 1")
        if rows[:-1, 3].any() or not rows[-1, 3]:
            raise ValueError("the last row, and no other, must end the digit")
        at = rows[:, :2].cumsum(0)
        if at.min() < 1 or at.max() > SIDE:
            raise ValueError(f"the pen leaves the image, 1 to {SIDE} in both directions")
        if classes.shape[1] and not ((classes == classes[0]).all() and classes[0].sum() == 1):
            raise ValueError("its ten class columns don't name one class")
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from None
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a stroke sequence ({error})") from None
    return int(classes[0].argmax()) if classes.shape[1] else None, rows.astype(np.int8)
