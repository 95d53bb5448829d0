"""The IDX format, in which the files of MNIST are: an array of bytes after a header with its sizes, compressed by gzip or not.

The header is 00 00, the code of the type (08 for unsigned bytes), the number of dimensions, and the size of each dimension as a
big-endian number of four bytes. The format is described at https://yann.lecun.com/exdb/mnist.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib

import numpy as np
import torch
from torch import Tensor

from RecurrentFF.errors import DataError

MAX_SAMPLES = 1_000_000
"""The largest number of samples that a file may have."""

_GZIP_MARK = b"\x1f\x8b"
_MAX_COMPRESSION = 1032
"""The number of bytes that one compressed byte stands for at most. The format of gzip allows no more."""


def read_idx(content: bytes, place: str, shape: tuple[int | None, ...]) -> Tensor:
    """Read an array of unsigned bytes from the content of a file. What is not as expected is refused before it is unpacked.

    Args:
        content: the content of the file, compressed by gzip or not.
        place: the name of the file, for messages.
        shape: the expected size of each dimension; None for any number of samples up to `MAX_SAMPLES`.

    Returns:
        The array, uint8, of the shape that the header says.

    Raises:
        DataError: the content is not in the format, damaged, of another shape, or of another length than the header says.

    Examples:
        >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "labels", (None,))
        tensor([7, 9], dtype=torch.uint8)
    """
    packed = content[:2] == _GZIP_MARK
    stream = gzip.GzipFile(fileobj=io.BytesIO(content)) if packed else io.BytesIO(content)
    try:
        sizes = _sizes(stream.read(4 + 4 * len(shape)), place, shape)
        size = math.prod(sizes)
        possible = not packed or size <= _MAX_COMPRESSION * len(content)
        data = stream.read(size + 1) if possible else b""  # at the end of the data, gzip compares its checksum
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{place}: damaged, it can't be unpacked ({error}); download it again") from None
    if len(data) != size:
        found = "more" if len(data) > size else "fewer"
        raise DataError(f"{place}: its header says {_text(sizes)} bytes, but it has {found}; download it again")
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).reshape(sizes).copy())


def _sizes(header: bytes, place: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Read the sizes of the dimensions from a header.

    Raises:
        DataError: they are not as expected.
    """
    mark = bytes([0, 0, 8, len(shape)])
    if header[:4] != mark:
        raise DataError(
            f"{place}: no IDX file of unsigned bytes with {len(shape)} dimensions (it begins with the bytes "
            f"'{header[:4].hex(' ')}' instead of '{mark.hex(' ')}'); download it again"
        )
    if len(header) < 4 + 4 * len(shape):
        raise DataError(f"{place}: the file ends within its header; download it again")
    sizes: tuple[int, ...] = struct.unpack(f">{len(shape)}I", header[4:])
    for size, expected in zip(sizes, shape, strict=True):
        if size != expected if expected is not None else not 0 < size <= MAX_SAMPLES:
            wanted = tuple(f"1 to {MAX_SAMPLES:,}" if each is None else each for each in shape)
            raise DataError(f"{place}: its header says {_text(sizes)} bytes; expected {_text(wanted)}")
    return sizes


def _text(sizes: tuple[int | str, ...]) -> str:
    return " × ".join(f"{size:,}" if isinstance(size, int) else size for size in sizes)
