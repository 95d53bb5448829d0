r"""The protocol between the package and a program that is a black box. Importing this module does not import torch.

The program reads requests from its standard input and writes answers to its standard output. All numbers are little-endian:

    start      the package writes 8 bytes, "RFFB" and the version of this protocol as uint32, now 1; the program writes "RFFB"
               and the version that it knows
    request    uint32 length, uint32 rows, uint32 columns, and rows · columns numbers as float32, one row after the other;
               the length counts the bytes that follow it, 8 + 4 · rows · columns
    answer     a frame of the same form, with the same numbers of rows and columns, all of them finite
    end        the package closes the program's standard input; at its end, the program ends

A row is one sample (under one candidate label), a column is one unit of the block that is read. The program must read a
whole request before it writes the answer, must flush its output after each answer, and must write nothing else to it.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

MAGIC = b"RFFB"
"""The first four bytes that both sides write."""
VERSION = 1
"""The version of the protocol."""
START = struct.Struct("<4sI")
"""The first bytes of both sides: `MAGIC` and `VERSION`."""
HEADER = struct.Struct("<III")
"""The header of a frame: the number of bytes that follow the first number, rows and columns."""


def frame_header(rows: int, columns: int) -> bytes:
    """The header of a frame of rows × columns numbers. Raises struct.error if they are more than fit into a frame."""
    return HEADER.pack(HEADER.size - 4 + 4 * rows * columns, rows, columns)


def serve(function: Callable[[Any], Any]) -> None:
    """Be the program: answer requests until the standard input ends. For programs written in Python.

    Standard output belongs to the protocol; what the function prints is written to standard error instead.

    Args:
        function: takes (rows, columns) float32 as a NumPy array, and returns numbers of the same shape.

    Examples:
        python -c "from RecurrentFF.model.black_box_protocol import serve; serve(lambda rows: rows > 0.5)"
    """
    source = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as target:
        os.dup2(2, 1)
        source.read(START.size)
        target.write(START.pack(MAGIC, VERSION))
        target.flush()
        while header := source.read(HEADER.size):
            _, rows, columns = HEADER.unpack(header)
            request = np.frombuffer(source.read(4 * rows * columns), "<f4").reshape(rows, columns)
            answer = np.asarray(function(request), "<f4")
            target.write(frame_header(*answer.shape) + answer.tobytes())
            target.flush()
