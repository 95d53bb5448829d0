"""Pickles that are written by hand: values that are shared, nested or circular, and calls of functions."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping

EMPTY_LIST, APPEND, EMPTY_TUPLE, PAIR = b"]", b"a", b")", b"\x86"
SAVE, REPEAT = b"q\x00", b"h\x00"
"""The operations that save the last value, and that repeat the saved one."""


def text(value: str) -> bytes:
    """The operations that make a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """The operations that make a whole number of 32 bits."""
    return b"J" + struct.pack("<i", value)


def shared_pairs(depth: int) -> bytes:
    """The operations that make a pair of twice the same pair, and so on: 2 to the power of `depth` leaves."""
    return EMPTY_TUPLE + SAVE + (REPEAT + PAIR + SAVE) * depth


def deep_list(depth: int) -> bytes:
    """The operations that make a list in a list, and so on."""
    return EMPTY_LIST * depth + APPEND * (depth - 1)


def call(module: str, name: str, argument: str) -> bytes:
    """The operations that call a function with a text."""
    return b"c" + f"{module}\n{name}\n".encode() + text(argument) + b"\x85R"


STORED = 70
"""The number of values in the first tensor of the first checkpoint in a former format, which "tensor" refers to."""

VALUES = {
    "pairs": shared_pairs(30),
    "few pairs": shared_pairs(12),
    "many pairs": shared_pairs(2000),
    "deep": deep_list(100_000),
    "less deep": deep_list(700),
    "circular": EMPTY_LIST + SAVE + REPEAT + APPEND,
    "circular dictionary": b"}" + SAVE + text("a") + REPEAT + b"s",
    "call": call("os", "system", "true"),
    "allowed call": call("collections", "OrderedDict", "ab"),
    "storage": call("torch", "FloatStorage", "ab"),
    "set": b"c__builtin__\nset\n" + EMPTY_LIST + b"\x85R",
    "large number": b"\x8a\xff" + b"\x7f" * 255,
    "none": b"N",
    "tensor": b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    + number(STORED) + b"tQ" + number(0) + number(2) + b"\x85" + number(1) + b"\x85\x89ccollections\nOrderedDict\n)RtR",
    "stretched tensor": b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0")
    + text("cpu") + number(STORED) + b"tQ" + number(0) + number(10**6) + number(10**6) + PAIR + number(0) + number(0) + PAIR
    + b"\x89ccollections\nOrderedDict\n)RtR",
}  # fmt: skip
"""The operations that make one value, by a description of it."""


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    """A pickle of a dictionary of texts and values."""
    return b"\x80\x02}" + b"".join(text(key) + value + b"s" for key, value in entries.items()) + b"."


def archive(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED, zeros: str | None = None) -> bytes:
    """A zip archive, always with the same bytes.

    Args:
        files: the content of each file by its name.
        compression: the method, as in `zipfile`.
        zeros: the name of a further file, of 600 MiB of zeros; None for no such file.
    """
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
        for name, content in files.items():
            written.writestr(zipfile.ZipInfo(name), content, compression)
        if zeros is not None:
            entry = zipfile.ZipInfo(zeros)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with written.open(entry, "w", force_zip64=True) as file:
                for _ in range(600):
                    file.write(bytes(2**20))
    return target.getvalue()


def files_in(content: bytes) -> dict[str, bytes]:
    """The files in a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        return {name: source.read(name) for name in source.namelist()}
