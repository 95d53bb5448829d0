"""Sources of stroke sequences: traced from the digits and cached in the user's cache folder, or read from the original files.

The original data set is E. D. de Jong's "MNIST digits stroke sequence data". Module `strokes` describes its format.
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

from RecurrentFF.atomic_files import write_atomically
from RecurrentFF.data.dataset import LabeledImages
from RecurrentFF.data.strokes import skeleton, strokes_to_moves, trace
from RecurrentFF.errors import DataError, OutputError

IMAGES_PER_FILE = 5000
"""Number of images in a file of the cache. An interruption loses at most the tracing of these images."""
IMAGES_PER_TASK = 250
"""Number of images that a worker process traces in one task."""
SIDE = 28
"""Height and width of a digit, in pixels."""
TRACING_VERSION = 1
"""Version of module `strokes`. Increase it when the same digits give other moves, so that cached files are not used."""


class Sequences(NamedTuple):
    """Pen-stroke sequences, concatenated."""

    moves: Tensor
    """Moves of all sequences, (all moves, 4) int8: dx, dy, end of stroke, end of digit."""
    lengths: Tensor
    """Number of moves of each sequence, (samples,)."""
    labels: Tensor
    """Class numbers, (samples,)."""


StrokeArrays = tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]
"""Moves of some sequences, (moves, 4), and the number of moves of each sequence."""


def trace_cached(digits: LabeledImages, cache: Path | None = None, workers: int | None = None) -> Sequences:
    """Trace the strokes of digits, or read them from the cache if they were traced before.

    The cache is written file by file, so that an interrupted tracing resumes where it stopped.

    Args:
        digits: images and labels.
        cache: folder of the cache files; None for the user's cache folder. If it can't be written, nothing is cached.
        workers: number of worker processes; None for one per core. The result does not depend on it.

    Returns:
        The sequences, on the device of the labels.
    """
    images = digits.images.cpu().numpy()
    groups = np.split(images, range(IMAGES_PER_FILE, len(images), IMAGES_PER_FILE))
    folder = cache or platformdirs.user_cache_path("RecurrentFF") / "strokes"
    files = [folder / f"{_cache_key(group)}.npz" for group in groups]
    arrays = [_read_cache_file(file, len(group)) for file, group in zip(files, groups, strict=True)]
    missing = [number for number, cached in enumerate(arrays) if cached is None]
    tasks = [
        task
        for number in missing
        for task in np.split(groups[number], range(IMAGES_PER_TASK, len(groups[number]), IMAGES_PER_TASK))
    ]
    results = _trace_tasks(tasks, workers)
    writable = True
    for number in missing:
        sequences: list[npt.NDArray[np.int8]] = []
        while len(sequences) < len(groups[number]):
            sequences += next(results)
        traced = np.concatenate(sequences), np.array([len(sequence) for sequence in sequences])
        arrays[number] = traced
        writable = writable and _write_cache_file(files[number], *traced)
    moves, lengths = zip(*(group for group in arrays if group is not None), strict=True)
    device = digits.labels.device
    joined = torch.from_numpy(np.concatenate(moves)), torch.from_numpy(np.concatenate(lengths))
    return Sequences(joined[0].to(device), joined[1].to(device), digits.labels)


def trace_images(images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.int8]]:
    """Trace images (n, height, width); return the moves of each image, (moves, 4)."""
    return [strokes_to_moves(trace(skeleton(image))) for image in images]


def _cache_key(images: npt.NDArray[np.uint8]) -> str:
    """Hash everything on which the moves depend: the pixels, this package's tracing, and scikit-image's thinning."""
    origin = f"{TRACING_VERSION}, scikit-image {version('scikit-image')}, {images.shape}"
    return hashlib.sha256(origin.encode() + images.tobytes()).hexdigest()[:24]


def _read_cache_file(file: Path, samples: int) -> StrokeArrays | None:
    """Read a file of the cache; return None if it is missing or damaged, so that its images are traced again."""
    try:
        with np.load(file, allow_pickle=False) as content:
            moves, lengths = content["moves"], content["lengths"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    fits = moves.dtype == np.int8 and moves.shape == (lengths.sum(), 4) and lengths.shape == (samples,)
    return (moves, lengths) if fits else None


def _write_cache_file(file: Path, moves: npt.NDArray[np.int8], lengths: npt.NDArray[np.int64]) -> bool:
    """Write a file of the cache; print a note and return False if that fails."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda path: np.savez_compressed(path, moves=moves, lengths=lengths))
    except (OSError, OutputError) as error:
        print(f"note: the strokes can't be cached ({error})", file=sys.stderr)
        return False
    return True


def _trace_tasks(tasks: list[npt.NDArray[np.uint8]], workers: int | None) -> Iterator[list[npt.NDArray[np.int8]]]:
    """Yield the result of `trace_images` for each task in order, from worker processes if there is enough work for them."""
    workers = workers if workers is not None else _available_cores()
    with tqdm(desc="tracing pen strokes, once", total=sum(map(len, tasks)), unit=" digits", leave=False, disable=None) as bar:
        if workers < 2 or len(tasks) <= 4:
            for task in tasks:
                yield trace_images(task)
                bar.update(len(task))
            return
        # Spawned processes, because a fork would copy the locks of this process's threads in a locked state. Workers ignore
        # Ctrl-C: this process handles it.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
        try:
            for sequences in pool.map(trace_images, tasks):
                yield sequences
                bar.update(len(sequences))
        finally:
            pool.shutdown(cancel_futures=True)


def _available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        raise DataError(
            f"{home}: contains no {split}img-N-targetdata.txt; leave out --data-dir to trace the digits of this package"
        )
    gap = next((number for number in range(len(names)) if number not in names), None)
    if gap is not None:
        raise DataError(f"{home / f'{split}img-{gap}-{kind}.txt'}: missing, although later files exist; unpack the archive again")
    read = [read_file(home / names[number]) for number in range(len(names))]
    if len(read) > len(labels):
        raise DataError(f"{home}: {len(read)} {split} sequences, but MNIST has {len(labels)} {split} images")
    classes = [known if label is None else label for (label, _), known in zip(read, labels.tolist(), strict=False)]
    moves, lengths = np.concatenate([moves for _, moves in read]), [len(moves) for _, moves in read]
    tensors = torch.from_numpy(moves), torch.tensor(lengths), torch.tensor(classes)
    return Sequences(*(tensor.to(labels.device) for tensor in tensors))


def read_file(path: Path) -> tuple[int | None, npt.NDArray[np.int8]]:
    """Read a file of the original data set.

    Returns:
        The class number, None if the file has no columns for it; and the moves, (moves, 4).

    Raises:
        DataError: the file can't be read or is not in the format.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
        if not lines:
            return None, np.zeros((0, 4), dtype=np.int8)
        table = np.array(lines, dtype=np.int64).reshape(len(lines), -1)
        classes, moves = table[:, :-4], table[:, -4:]
        flags = set(classes.flatten().tolist()) | set(moves[:, 2:].flatten().tolist())
        if classes.shape[1] not in (0, 10) or np.abs(moves).max() > 127 or not flags <= {0, 1}:
            raise ValueError("expected 4 or 14 whole numbers in a line, all but dx and dy 0 or 1")
        if moves[:-1, 3].any() or not moves[-1, 3]:
            raise ValueError("the last line, and no other, must end the digit")
        positions = moves[:, :2].cumsum(0)
        if positions.min() < 1 or positions.max() > SIDE:
            raise ValueError(f"the pen leaves the image, 1 to {SIDE} in both directions")
        if classes.shape[1] and not ((classes == classes[0]).all() and classes[0].sum() == 1):
            raise ValueError("its ten class columns don't name one class")
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from None
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a stroke sequence ({error})") from None
    return int(classes[0].argmax()) if classes.shape[1] else None, moves.astype(np.int8)
