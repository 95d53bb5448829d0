"""Strategies of bytes that are nearly valid: samples with a few changes of bits, bytes, numbers, words and parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import TypeVar

from hypothesis import strategies as st

Edit = Callable[[bytes], bytes]
Value = TypeVar("Value")

NUMBERS = (0, 1, -1, 2, 127, 255, 256, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
"""Numbers at which an integer of some size overflows."""

DEEP = [(opening * depth, closing * depth) for depth in (300, 900, 10_000)
        for opening, closing in ((b"[", b"]"), (b"{a=", b"}"), (b'{"a":', b"}"), (b"a.", b""))]  # fmt: skip
"""The beginnings and ends of lists, dictionaries and keys with many levels."""

WORDS = (
    b"", b"0", b"-1", b"+1", b"01", b"1_0", b"0x10", b"2147483648", b"9223372036854775808", b"1e400", b"-0.0", b"1e-400", b"nan",
    b"inf", b"-inf", b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b'""', b"''", b'"', b"=", b".", b",", b"\n", b"\r",
    b"\t", b"#", b"\0", b"\x1b[31m", b"\\", b"\\u0000", b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85",
    b"\xe2\x80\xa8", b"\xd9\xa3", b"1979-05-27", b"07:32:00", b"name", b"~", b"/", b"..", b"%s", b"$", b"9" * 400, b"9" * 5000,
    b"a" * 2000, b"a" * 10**6, *(opening + b"1" + closing for opening, closing in DEEP), *(opening for opening, _ in DEEP),
)  # fmt: skip
"""Words that a number, a text, a list or a sign is replaced with."""


def among(values: Sequence[Value]) -> st.SearchStrategy[Value]:
    """One of some values, as `sampled_from`, whose error messages would contain all of them."""
    return st.integers(0, len(values) - 1).map(lambda index: values[index])


positions = st.integers(0, 2**16)
lengths = st.one_of(st.integers(1, 16), st.integers(1, 2**12))


def mutated(samples: Sequence[bytes], *, text: bool = False) -> st.SearchStrategy[bytes]:
    """Samples with none to six changes.

    Args:
        samples: valid files.
        text: they consist of words, which are then replaced, moved and repeated.
    """
    kinds = [flips, bytes_set, truncations, cuts, repetitions, numbers, insertions(samples)]
    edits = st.one_of(*kinds, *([words, swaps] * 4 if text else []))
    return st.builds(applied, among(samples), st.lists(edits, max_size=6))


def applied(data: bytes, edits: Sequence[Edit]) -> bytes:
    """Apply changes to bytes, one after the other."""
    return reduce(lambda changed, edit: edit(changed), edits, data)


def _flip(position: int, bit: int, data: bytes) -> bytes:
    at = position % max(len(data), 1)
    return data[:at] + bytes(byte ^ (1 << bit) for byte in data[at : at + 1]) + data[at + 1 :]


def _set(position: int, value: bytes, data: bytes) -> bytes:
    at = position % max(len(data), 1)
    return data[:at] + value + data[at + len(value) :]


def _truncate(position: int, data: bytes) -> bytes:
    return data[: position % (len(data) + 1)]


def _cut(position: int, length: int, data: bytes) -> bytes:
    at = position % (len(data) + 1)
    return data[:at] + data[at + length :]


def _repeat(position: int, length: int, times: int, data: bytes) -> bytes:
    at = position % (len(data) + 1)
    return data[:at] + data[at : at + length] * times + data[at + length :]


def _insert(position: int, start: int, length: int, other: bytes, data: bytes) -> bytes:
    at, start = position % (len(data) + 1), start % (len(other) + 1)
    return data[:at] + other[start : start + length] + data[at:]


def _number(position: int, value: int, size: int, big_endian: bool, data: bytes) -> bytes:
    return _set(position, (value % 256**size).to_bytes(size, "big" if big_endian else "little"), data)


def _word(position: int, word: bytes, data: bytes) -> bytes:
    parts = re.findall(rb"[\w.+-]+|\s+|.", data, flags=re.DOTALL) or [b""]
    parts[position % len(parts)] = word
    return b"".join(parts)


def _swap(position: int, other: int, data: bytes) -> bytes:
    parts = data.split(b"\n")
    one, two = position % len(parts), other % len(parts)
    parts[one], parts[two] = parts[two], parts[one]
    return b"\n".join(parts)


flips = st.builds(partial, st.just(_flip), positions, st.integers(0, 7))
bytes_set = st.builds(partial, st.just(_set), positions, st.binary(min_size=1, max_size=8))
truncations = st.builds(partial, st.just(_truncate), positions)
cuts = st.builds(partial, st.just(_cut), positions, lengths)
repetitions = st.builds(partial, st.just(_repeat), positions, lengths, st.sampled_from([2, 3, 100]))
sizes = st.sampled_from([1, 2, 4, 8])
numbers = st.builds(partial, st.just(_number), positions, among(NUMBERS), sizes, st.booleans())
words = st.builds(partial, st.just(_word), positions, among(WORDS))
swaps = st.builds(partial, st.just(_swap), positions, positions)


def insertions(samples: Sequence[bytes]) -> st.SearchStrategy[Edit]:
    """Changes that insert a part of another sample, at any place."""
    return st.builds(partial, st.just(_insert), positions, positions, lengths, among(samples))
