"""The runs in a folder as a table: what was trained, how far, and with which result. No checkpoint is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from RecurrentFF.benchmarks.run_files import read_config, read_epochs, read_summary, runs_below
from RecurrentFF.errors import DataError, printable

HEADER = ("run", "data", "network", "seed", "epochs", "validation", "test", "time", "state")
NUMBERS = ("seed", "epochs", "validation", "test", "time")
"""The columns that are aligned to the right."""

MAX_CELL = 200
"""Maximum number of characters in a column."""


@dataclass(frozen=True)
class Line:
    """One line of the table, as texts."""

    run: str
    """The path of the run's folder, below the folder that was searched."""
    data: str = ""
    """The name of the data set; "own" for data that a program passed."""
    network: str = ""
    """The sizes of all layers, or the name of a baseline."""
    seed: str = ""
    """The seed of the configuration."""
    epochs: str = ""
    """Finished epochs, and those of the configuration."""
    validation: str = ""
    """The highest validation accuracy."""
    test: str = ""
    """The test accuracy of a complete run."""
    time: str = ""
    """The duration of the run."""
    state: str = "unreadable"
    """One of "complete", "interrupted", "running" (another process is training in the folder) and "unreadable". A complete run
    of more than one process has their number, too."""


def table(folder: Path) -> str:
    """Describe all runs in a folder and in the folders below it.

    Raises:
        DataError: there is none.
    """
    runs = runs_below(folder)
    if not runs:
        raise DataError(f"{folder}: no run in this folder; start one with: rff train mnist")
    rows = [HEADER, *(tuple(printable(cell, MAX_CELL) for cell in astuple(_line(run, folder))) for run in runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join(_aligned(row, widths) for row in rows)


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    cells = zip(HEADER, row, widths, strict=True)
    return "  ".join(cell.rjust(width) if name in NUMBERS else cell.ljust(width) for name, cell, width in cells).rstrip()


def _line(run: Path, folder: Path) -> Line:
    name = str(run.relative_to(folder)) if run != folder else run.name
    try:
        epochs = read_epochs(run, ["validation_accuracy", "seconds"])
        return _described(name, read_config(run), read_summary(run), epochs, _is_locked(run))
    except (DataError, LookupError, TypeError, AttributeError):  # a configuration of another form
        return Line(name)


def _described(
    name: str, config: Mapping[str, Any], summary: Mapping[str, Any], epochs: list[dict[str, Any]], locked: bool
) -> Line:
    """Describe a run by the content of its files. A configuration of the former form has its keys in other sections."""
    network, former = config.get("network", {}), config.get("data_config", {})
    sizes = [network.get("input_size", former.get("data_size", "?"))]
    sizes += network.get("hidden_sizes") or config["model"]["hidden_sizes"]
    sizes += [network.get("num_classes", former.get("num_classes", "?"))]
    total = config["training"].get("epochs") or config["model"]["epochs"]
    done = len(epochs) or summary.get("epochs", 0)
    validated = [epoch["validation_accuracy"] for epoch in epochs if epoch["validation_accuracy"] is not None]
    complete = bool(summary) and summary["epochs"] == done
    seconds = summary["seconds"] if complete else sum(epoch["seconds"] for epoch in epochs)
    best = max(validated, default=summary.get("validation_accuracy"))
    return Line(
        name,
        str(config["data"]["name"] if "data" in config else former.get("dataset", "?")),
        summary.get("baseline") or "-".join(str(size) for size in sizes),
        str(config["training"].get("seed", "")),
        f"{done}/{total}",
        _percent(best),
        _percent(summary["test_accuracy"]) if complete else "",
        f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min",
        "running" if locked else f"complete{_together(summary)}" if complete else "interrupted",
    )


def _together(summary: Mapping[str, Any]) -> str:
    """Return how many processes have trained together, if there were several."""
    count = summary.get("processes", 1)
    return f", {count} processes" if count > 1 else ""


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{100 * accuracy:.2f} %"


def _is_locked(run: Path) -> bool:
    """Check if another process is training in a run's folder, where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return False
    try:
        descriptor = os.open(run, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # some file systems have no such locks
        return False
    finally:
        os.close(descriptor)
    return False
