"""The .ts format of the UEA and UCR archive of time series (https://www.timeseriesclassification.com): labeled sequences as text.

Lines that begin with # are comments, and lines that begin with @ are facts, such as "@classLabel true a b". After the line
"@data", each line is a sequence: for each dimension its values, separated by commas, then the class. Dimensions and class are
separated by colons.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from RecurrentFF.errors import DataError
from RecurrentFF.paths import read_text

MAX_BYTES = 500_000_000
"""The largest size of a file that is read."""

_STRANGE = re.compile(r"[^-+0-9.eE, \t]")


class TimeSeries(NamedTuple):
    """Labeled sequences of a file."""

    sequences: list[npt.NDArray[np.float64]]
    """One array (timesteps, dimensions) for each sequence."""
    labels: list[str]
    """The class of each sequence."""
    classes: tuple[str, ...]
    """The classes in the order of the file's own list."""


def read_ts_file(path: Path) -> TimeSeries:
    """Read a file in the .ts format.

    Raises:
        DataError: the file can't be read, or is not in the format: the message names the line. Sequences with time stamps,
            missing values, dimensions of different lengths, or another number of dimensions than a line @dimensions says are
            refused, too.
    """
    text = read_text(path, DataError, MAX_BYTES)
    try:
        return parse(text)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def parse(text: str) -> TimeSeries:
    """Read the text of a file in the .ts format, with line ends of any kind, as `read_ts_file` does.

    Raises:
        ValueError: the text is not in the format; the message says where and why.
    """
    facts: dict[str, list[str]] = {}
    classes: tuple[str, ...] | None = None
    sequences: list[npt.NDArray[np.float64]] = []
    labels: list[str] = []
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        try:
            if classes is None:
                classes = _classes_after_fact(words, facts)
                continue
            sequence, label = _sequence(line, classes)
            stated = facts.get("@dimensions", facts.get("@dimension"))
            if stated and str(sequence.shape[1]) != stated[0]:
                raise ValueError(f"{sequence.shape[1]} dimensions, but the line @dimensions says {stated[0]}")
            if sequences and sequence.shape[1] != sequences[0].shape[1]:
                raise ValueError(f"{sequence.shape[1]} dimensions, but the sequences before have {sequences[0].shape[1]}")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        sequences.append(sequence)
        labels.append(label)
    if classes is None or not sequences:
        raise ValueError("no sequences; expected lines of them after a line @data")
    return TimeSeries(sequences, labels, classes)


def _classes_after_fact(words: list[str], facts: dict[str, list[str]]) -> tuple[str, ...] | None:
    """Add a line before the data to the facts. After the last one, @data, return the names of the classes."""
    if not words[0].startswith("@"):
        raise ValueError("expected a line that begins with # or @ before the line @data")
    if words[0].lower() != "@data":
        facts[words[0].lower()] = words[1:]
        return None
    if facts.get("@timestamps", ["false"])[0].lower() != "false":
        raise ValueError("the sequences have time stamps, which are not read; write the values alone, with @timeStamps false")
    has_classes, *classes = facts.get("@classlabel", ["false"]) or ["false"]
    if has_classes.lower() != "true" or len(classes) < 2:
        raise ValueError("no line @classLabel true with the names of at least two classes is before it")
    return tuple(classes)


def _sequence(line: str, classes: tuple[str, ...]) -> tuple[npt.NDArray[np.float64], str]:
    """Read a line of the data: a sequence (timesteps, dimensions), and its class."""
    *dimensions, label = line.strip().split(":")
    label = label.strip()
    if label not in classes:
        raise ValueError(
            f"its class '{label[:20]}' is none of those in @classLabel, or the line is incomplete; expected dimensions, then a "
            "class, after colons"
        )
    if strange := next((found for values in dimensions if (found := _STRANGE.search(values))), None):
        raise ValueError(f"a value has '{strange[0]}', which is in no number; missing values must be replaced first")
    columns = [np.array(values.split(","), dtype=np.float64) for values in dimensions]
    lengths = sorted({len(column) for column in columns})
    if len(lengths) != 1:
        raise ValueError(f"its dimensions have different numbers of values ({', '.join(map(str, lengths)) or 'none'})")
    table = np.stack(columns, 1)
    if not np.isfinite(table).all():
        raise ValueError("a value is too large for a number of 64 bits")
    return table, label
