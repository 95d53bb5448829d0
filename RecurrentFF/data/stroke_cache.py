"""Stroke sequences that are traced from the digits once, and then kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import io
import math
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from RecurrentFF.atomic_files import write_atomically
from RecurrentFF.data.cache import cache_folder
from RecurrentFF.data.dataset import LabeledImages
from RecurrentFF.data.files import read_data_file
from RecurrentFF.data.stroke_files import Sequences
from RecurrentFF.data.strokes import StrokeArrays, are_drawn_on, trace_image
from RecurrentFF.errors import OutputError
from RecurrentFF.paths import kind_of, reported
from RecurrentFF.streams import QuietStream, note_once

IMAGES_PER_FILE = 5000
"""Number of images in a file of the cache. An interruption loses at most the tracing of these images."""
TRACING_VERSION = 1
"""Version of module `strokes`. Increase it when the same digits give other moves, so that cached files are not used."""

Number = TypeVar("Number", bound=np.generic)

_MAX_BYTES = 50_000_000
"""The largest size of a file of the cache. One of 5,000 digits has some 100 KB."""


def trace_cached(digits: LabeledImages, cache: Path | None = None) -> Sequences:
    """Trace the strokes of digits, or read them from the cache if they were traced before.

    The cache is written file by file, so that an interrupted tracing resumes where it stopped.

    Args:
        digits: images and labels.
        cache: folder of the cache files; None for the user's cache folder. If it can't be written, nothing is cached.

    Returns:
        The sequences, on the device of the labels.
    """
    images = digits.images.cpu().numpy()
    groups = np.split(images, range(IMAGES_PER_FILE, len(images), IMAGES_PER_FILE))
    folder = cache or cache_folder("strokes")
    files = [None if folder is None else folder / f"{_cache_key(group)}.npz" for group in groups]
    arrays = [None if file is None else read_cache_file(file, group) for file, group in zip(files, groups, strict=True)]
    missing = sum(len(group) for group, cached in zip(groups, arrays, strict=True) if cached is None)
    stream = QuietStream("stderr")
    with tqdm(desc="tracing pen strokes, once", total=missing, unit=" digits", file=stream, leave=False, disable=None) as bar:
        joined = [
            cached if cached is not None else _trace(group, file, bar)
            for group, cached, file in zip(groups, arrays, files, strict=True)
        ]
    moves, lengths = (torch.from_numpy(np.concatenate(field)).to(digits.labels.device) for field in zip(*joined, strict=True))
    return Sequences(moves, lengths, digits.labels)


def _trace(images: npt.NDArray[np.uint8], file: Path | None, bar: tqdm[NoReturn]) -> StrokeArrays:
    """Trace images (n, height, width), write the moves to a file of the cache, and advance the progress bar."""
    traced: list[npt.NDArray[np.int8]] = []
    for image in images:
        traced.append(trace_image(image))
        bar.update()
    moves, lengths = np.concatenate(traced), np.array([len(sequence) for sequence in traced], dtype=np.int64)
    if file is not None:
        _write_cache_file(file, moves, lengths)
    return moves, lengths


def _cache_key(images: npt.NDArray[np.uint8]) -> str:
    """Hash everything on which the moves depend: the pixels, this package's tracing, and scikit-image's thinning."""
    origin = f"{TRACING_VERSION}, scikit-image {version('scikit-image')}, {images.shape}"
    return hashlib.sha256(origin.encode() + images.tobytes()).hexdigest()[:24]


def read_cache_file(file: Path, images: npt.NDArray[np.uint8]) -> StrokeArrays | None:
    """Read a file of the cache.

    Args:
        file: the file, which may be missing, damaged, or any other thing.
        images: the digits of the file, (n, height, width).

    Returns:
        The moves and the number of moves of each digit; None if they can't be read or are not those of such digits.
    """
    try:
        content = read_data_file(file, _MAX_BYTES)
        with warnings.catch_warnings(), zipfile.ZipFile(io.BytesIO(content)) as archive:
            warnings.simplefilter("error")  # numpy warns of a damaged header
            lengths = _read_array(archive, "lengths.npy", np.int64, (len(images),))
            moves = _read_array(archive, "moves.npy", np.int8, (min(int(lengths.sum()), images.size * 2), 4))
        return (moves, lengths) if are_drawn_on(moves, lengths, images) else None
    except Exception:  # a damaged archive makes zipfile and numpy raise any exception
        return None


def _read_array(archive: zipfile.ZipFile, name: str, dtype: type[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
    """Read an array that numpy has saved, without reserving memory for one of another shape.

    Raises:
        ValueError: it has another type or shape.
    """
    with archive.open(name) as entry:
        if np.lib.format.read_magic(entry) != (1, 0):
            raise ValueError("another version of the format")
        if np.lib.format.read_array_header_1_0(entry) != (shape, False, np.dtype(dtype)):
            raise ValueError("another type or shape")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return np.frombuffer(entry.read(size + 1), dtype).reshape(shape)  # reading to the end compares the checksum


def _write_cache_file(file: Path, moves: npt.NDArray[np.int8], lengths: npt.NDArray[np.int64]) -> None:
    """Write a file of the cache, or tell the user, once, that this fails."""
    try:
        with reported(file.parent, OutputError, "can't be made"):
            file.parent.mkdir(parents=True, exist_ok=True)
        if kind_of(file, OutputError) == "other":
            raise OutputError(f"{file}: not a file; delete it")
        write_atomically(file, lambda path: np.savez_compressed(path, moves=moves, lengths=lengths))
    except OutputError as error:
        note_once(f"the strokes can't be cached ({error})")
