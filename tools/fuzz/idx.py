"""The target "idx": a file of images or labels in the format of MNIST, compressed or not."""

from __future__ import annotations

import gzip
from functools import partial

import torch
from hypothesis import strategies as st

from RecurrentFF.data.idx import read_idx
from tools.fuzz.contract import ContractError, answer
from tools.fuzz.mutations import NUMBERS, among, mutated
from tools.fuzz.target import Target

SHAPES: list[tuple[int | None, ...]] = [(None,), (None, 28, 28), (2, 3, 3)]
"""The shapes that readers expect."""


def check(example: bytes) -> None:
    """Read a file as if it had labels, or images."""
    for shape in SHAPES:
        array = answer(partial(read_idx, example, "train-images", shape), "train-images")
        if array is None:
            continue
        fits = len(array.shape) == len(shape) and all(
            size in (None, found) for size, found in zip(shape, array.shape, strict=True)
        )
        if array.dtype != torch.uint8 or not fits:
            raise ContractError("an array of another form", f"{array.dtype} {tuple(array.shape)}")


def idx(kind: int, sizes: list[int], data: bytes) -> bytes:
    """The bytes of a file: the code of a type, the size of each dimension, and the values."""
    return bytes([0, 0, kind, len(sizes) % 256]) + b"".join((size % 2**32).to_bytes(4, "big") for size in sizes) + data


VALID = [idx(8, [3], b"\1\2\3"), idx(8, [2, 3, 3], bytes(range(18))), idx(8, [1, 28, 28], bytes(784))]
"""Valid files."""
ZEROS = 10**9
"""The number of zeros that a short compressed file unpacks to, a billion."""


def packed(data: bytes) -> bytes:
    """A file compressed by gzip, always with the same bytes."""
    return gzip.compress(data, mtime=0)


def bombs() -> st.SearchStrategy[bytes]:
    """Short files that unpack to many zeros, with a header of this size or another: members of gzip."""
    megabyte = packed(bytes(2**20))
    beginning = among([packed(data) for data in (*VALID, idx(8, [ZEROS], b""), idx(8, [10**5, 28, 28], b""), b"")])
    return st.builds(lambda first, times: first + megabyte * times, beginning, st.sampled_from([0, 1, 3, ZEROS // 2**20]))


def examples() -> st.SearchStrategy[bytes]:
    """Files with changed bytes, and headers of any sizes, compressed or not."""
    size = st.one_of(st.integers(0, 30), among(NUMBERS))
    kinds = st.sampled_from([8, 8, 8, 9, 0x0D, 0])
    made = st.builds(idx, kinds, st.lists(size, max_size=4), st.binary(max_size=40))
    plain = st.one_of(mutated(VALID), made)
    compressed = st.one_of(plain.map(packed), mutated([packed(data) for data in VALID]))
    return st.one_of(*[plain, compressed] * 10, bombs())


TARGETS = [Target("idx", examples, check)]
