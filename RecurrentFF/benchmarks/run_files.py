"""The files that tell what a run is and how far it got. Whatever is in them, reading gives checked values, or one error."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from RecurrentFF import toml
from RecurrentFF.errors import DataError, first_line, printable
from RecurrentFF.paths import kind_of, names_in, read_text, reported

MAX_BYTES = 64 * 2**20
"""Maximum size of such a file: that of the metrics of some 50,000 epochs."""

_HIGHEST = 1e18
_RANGES: dict[str, tuple[float, float, bool]] = {
    "epoch": (1, _HIGHEST, False),
    "epochs": (0, _HIGHEST, False),
    "loss": (-_HIGHEST, _HIGHEST, False),
    "processes": (1, _HIGHEST, False),
    "samples_per_second": (0, _HIGHEST, False),
    "seconds": (0, _HIGHEST, False),
    "test_accuracy": (0, 1, True),
    "train_accuracy": (0, 1, True),
    "validation_accuracy": (0, 1, True),
}
"""The numbers in these files: the lowest and the highest value, and whether there may be none."""


def runs_below(folder: Path) -> list[Path]:
    """All folders in and below a folder that have a configuration of a run, sorted.

    Raises:
        DataError: the folder can't be looked at.
    """
    if kind_of(folder, DataError) != "folder":
        return []
    names_in(folder, DataError)  # os.walk passes over a folder that can't be read
    return sorted(Path(parent) for parent, _, files in os.walk(folder) if "config.toml" in files)


def newest_run(path: Path) -> Path:
    """The run in a folder of runs whose configuration was written last; the path itself if it is a run, or has no runs.

    Raises:
        DataError: the folder can't be looked at.
    """
    runs = runs_below(path)
    if not runs or path in runs:
        return path
    with reported(path, DataError):
        return max(runs, key=lambda run: (run / "config.toml").stat().st_mtime_ns)


def read_config(run: Path) -> dict[str, Any]:
    """The content of config.toml, which is not checked.

    Raises:
        DataError: the file is missing, or not valid TOML.
    """
    file = run / "config.toml"
    try:
        return toml.loads(read_text(file, DataError, MAX_BYTES))
    except toml.TOMLDecodeError as error:
        raise DataError(f"{file}: not valid TOML ({first_line(error)})") from None


def read_summary(run: Path, required: Sequence[str] = ()) -> dict[str, Any]:
    """The content of summary.json, with its numbers checked; empty if the run is not complete.

    Args:
        run: the folder of the run.
        required: the names that must be in it.

    Raises:
        DataError: the file can't be read, or a value is missing or wrong.
    """
    file = run / "summary.json"
    text = _text(file)
    return {} if text is None else _checked(text, required, str(file))


def read_epochs(run: Path, required: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The metrics of each finished epoch from metrics.jsonl, with its numbers checked; empty without this file.

    Args:
        run: the folder of the run.
        required: the names that must be in each line.

    Raises:
        DataError: the file can't be read, or a value is missing or wrong.
    """
    file = run / "metrics.jsonl"
    lines = (_text(file) or "").splitlines()
    return [_checked(line, required, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]


def _text(file: Path) -> str | None:
    """The content of a text file; None if there is none."""
    return None if kind_of(file, DataError) is None else read_text(file, DataError, MAX_BYTES)


def _checked(text: str, required: Sequence[str], place: str) -> dict[str, Any]:
    """A JSON object with checked numbers.

    Raises:
        DataError: it is something else, or a value is missing or wrong.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise DataError(f"{place}: not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise DataError(f"{place}: not valid JSON ({first_line(error)})") from None
    if not isinstance(content, dict):
        raise DataError(f"{place}: expected a JSON object")
    missing = [name for name in required if name not in content]
    if missing:
        raise DataError(f"{place}: has no '{missing[0]}'")
    for name in _RANGES.keys() & content.keys():
        _require_number(content, name, place)
    if not isinstance(content.get("baseline"), str | None):
        raise DataError(f"{place}: 'baseline' is not a name")
    return content


def _require_number(content: Mapping[str, Any], name: str, place: str) -> None:
    low, high, optional = _RANGES[name]
    value = content[name]
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        expected = f"a number from {low:g} to {high:g}" if high < _HIGHEST else "a number"
        raise DataError(f"{place}: '{name}' is {printable(_shown(value), 40)}, not {expected}")


def _shown(value: object) -> str:
    """A value as a text; its type if it is long or nested, since writing such a number or list may fail by itself."""
    return repr(value) if isinstance(value, str | float | None) else f"of type {type(value).__name__}"
