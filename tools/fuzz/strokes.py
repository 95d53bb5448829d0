"""The targets "strokes", files of the original stroke sequences, and "cache", a file of the cache of traced strokes."""

from __future__ import annotations

import io
import zipfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from RecurrentFF.data.dataset import LabeledImages
from RecurrentFF.data.stroke_cache import trace_cached
from RecurrentFF.data.stroke_files import Sequences, read_file, read_folder
from tools.fuzz import pickles
from tools.fuzz.contract import ContractError, answer
from tools.fuzz.mutations import NUMBERS, among, mutated
from tools.fuzz.parts import folder_with, packed, unpacked
from tools.fuzz.target import Target

INPUT = "trainimg-{}-inputdata.txt"
TARGET = "trainimg-{}-targetdata.txt"
"""The names of the files of the original data set."""
DIGITS = 2
"""The number of images whose strokes are traced."""


def check_folder(example: bytes) -> None:
    """Read each file of a folder by itself, and all together."""
    files = unpacked(example)
    folder = folder_with(files)
    for name in files:
        answer(partial(read_file, folder / name), str(folder / name))
    sequences = answer(partial(read_folder, folder, "train", torch.arange(3)), str(folder))
    if sequences is not None:
        require_sequences(sequences, None)


def check_cache(example: bytes) -> None:
    """Read the strokes of two digits with a damaged cache, which must not change them."""
    folder = folder_with({}) / "cache"
    folder.mkdir(exist_ok=True)
    (folder / cache_file().name).write_bytes(example)
    sequences = answer(partial(trace_cached, digits(), cache=folder))
    assert sequences is not None
    require_sequences(sequences, DIGITS)


def require_sequences(sequences: Sequences, number: int | None) -> None:
    """Check the form of sequences.

    Raises:
        ContractError: types, shapes or lengths are wrong.
    """
    moves, lengths, labels = sequences
    right = moves.dtype == torch.int8 and moves.shape == (int(lengths.sum()), 4) and len(lengths) == len(labels)
    if not right or (number is not None and len(lengths) != number) or bool((lengths < 0).any()):
        raise ContractError("sequences of another form", f"{moves.dtype} {tuple(moves.shape)}, {lengths.tolist()[:9]}")


# ---------------------------------------------------------------- examples


def lines(moves: list[list[int]], label: int | None = None) -> bytes:
    """The text of a file of moves, with columns for the class if there is a label."""
    classes = [] if label is None else [int(number == label) for number in range(10)]
    return b"".join(" ".join(map(str, [*classes, *move])).encode() + b"\n" for move in moves)


SHORT = [[5, 6, 0, 0], [1, -1, 1, 0], [3, 0, 0, 1]]
"""A valid sequence of moves."""
FILES = [lines(SHORT), lines(SHORT, 3), lines([[28, 28, 1, 1]], 0), b""]
"""Valid files."""


def tables() -> st.SearchStrategy[bytes]:
    """Numbers in lines, of any number of columns."""
    number = st.one_of(st.integers(-3, 3), st.integers(0, 1), among([*NUMBERS, -129, 28, 29, 10**30]))
    width = st.sampled_from([1, 2, 3, 4, 5, 13, 14, 15])
    table = width.flatmap(lambda columns: st.lists(st.lists(number, min_size=columns, max_size=columns), max_size=4))
    return st.one_of(table, st.lists(st.lists(number, max_size=5), max_size=3)).map(lines)


def folder_examples() -> st.SearchStrategy[bytes]:
    """Folders with some files of one or both kinds."""
    content = st.one_of(among(FILES), mutated(FILES, text=True), tables())
    numbers = st.sampled_from(["0", "0", "0", "1", "2", "00", "9" * 30, "٣", "-1", ""])
    names = st.builds(str.format, st.sampled_from([INPUT, TARGET]), numbers)
    return st.dictionaries(names, content, min_size=1, max_size=4).map(packed)


@cache
def digits() -> LabeledImages:
    """Two small digits."""
    images = torch.zeros(DIGITS, 28, 28, dtype=torch.uint8)
    images[0, 5:20, 14], images[1, 10, 8:20] = 255, 255
    return LabeledImages(images, torch.tensor([1, 7]))


@cache
def cache_file() -> Path:
    """The file that the digits have in the cache, in a folder that has no other."""
    folder = folder_with({}) / "valid"
    trace_cached(digits(), cache=folder)
    (file,) = folder.iterdir()
    return file


def array_file(array: Any) -> bytes:
    """The file of an array in an archive."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def archive(arrays: dict[str, Any], compression: int) -> bytes:
    """An archive of arrays as numpy writes it; of other names and bytes, too."""
    files = {f"{name}.npy": array if isinstance(array, bytes) else array_file(array) for name, array in arrays.items()}
    return pickles.archive(files, compression)


@cache
def valid_arrays() -> dict[str, Any]:
    """The arrays of the valid cache file."""
    with np.load(io.BytesIO(cache_file().read_bytes())) as content:
        return dict(content)


@cache
def odd_arrays() -> list[Any]:
    """Arrays of other types and shapes, and none."""
    moves, lengths = valid_arrays()["moves"], valid_arrays()["lengths"]
    total = int(lengths.sum())
    types: list[Any] = [np.float32, np.float64, np.int8, np.int64, np.uint64, np.complex64, bool]
    return [
        moves, lengths, *(moves.astype(dtype) for dtype in types), *(lengths.astype(dtype) for dtype in types),
        np.array([total + 5, -5]), np.array([total, 0]), np.array([total + 0.5, -0.5]), np.array([np.nan, 1.0]),
        np.array(["a", "b"]), np.array([b"1", b"2"]), np.array(total), np.array([[total, 0]]), np.array([], dtype=np.int64),
        np.array([2**62, 2**62]), np.zeros(2, dtype="M8[s]"), np.zeros((0, 4), dtype=np.int8), np.zeros(2, dtype=np.int64),
        np.zeros(3, dtype=[("a", "i4")]), np.array([None, {}]), np.zeros(10**8, dtype=np.int8), b"", b"\x93NUMPY",
        header("|i1", (10**12, 4)), header("|i1", (-1, 4)), header("|O", (2,)), header("<i8", (2**63, 2**63)),
        header("|i1", ((),)), header("<f4,(1000,1000)<f8", (2,)), header("__import__('os')", (2,)),
    ]  # fmt: skip


def header(dtype: str, shape: tuple[Any, ...]) -> bytes:
    """The beginning of an array file, without the values."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(16)


def cache_examples() -> st.SearchStrategy[bytes]:
    """Cache files with changed bytes, changed array files in a valid archive, and arrays of other forms."""
    valid = archive(valid_arrays(), zipfile.ZIP_DEFLATED)
    contents = [array_file(array) for array in valid_arrays().values()]
    array = st.one_of(among(odd_arrays()), mutated(contents))
    arrays = st.one_of(
        st.fixed_dictionaries({"moves": array, "lengths": array}),
        st.fixed_dictionaries({"moves": st.just(contents[0]), "lengths": array}),
        st.fixed_dictionaries({"moves": array, "lengths": st.just(contents[1])}),
        st.dictionaries(st.sampled_from(["moves", "lengths", "", "../a", "moves.npy"]), array, max_size=3),
    )
    compression = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    return st.one_of(mutated([valid, contents[0]]), st.builds(archive, arrays, compression))


TARGETS = [Target("strokes", folder_examples, check_folder), Target("cache", cache_examples, check_cache)]
