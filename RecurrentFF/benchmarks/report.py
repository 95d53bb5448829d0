"""Results of several runs: python -m RecurrentFF.benchmarks.report FOLDER... [--csv FILE] [--plot PNG].

Each folder contains complete runs that differ only in their seed, as created with `--output-dir FOLDER`. It becomes one line of
the table. The folders of single runs, as in `runs/mnist-*`, become one line together.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from RecurrentFF.atomic_files import write_text
from RecurrentFF.benchmarks.flags import Parser, add_report_flags, exit_code
from RecurrentFF.benchmarks.run_files import read_config, read_epochs, read_summary
from RecurrentFF.errors import DataError, printable
from RecurrentFF.paths import kind_of, names_in
from RecurrentFF.settings import Settings
from RecurrentFF.streams import write_output
from RecurrentFF.training.figures import picture, show_unchanged
from RecurrentFF.training.plots import marked, scale_errors

DESCRIPTION = "Summarize the results of several runs, with one line for each folder, and one for all folders of single runs."

STAMP = re.compile(r"-\d{4}-\d\d-\d\d-\d{6}(-\w+)?$")
"""The date, time and number at the end of the name of a run's folder."""
MAX_NAMED = 5
"""The largest number of keys in the message about runs that differ."""


@dataclass(frozen=True)
class Run:
    """A complete run, as read from its folder."""

    name: str
    """The name of the run's group: of the folder that contains its folder, or of its folder without date and number."""
    folder: Path
    """The folder of the run."""
    config: dict[str, Any]
    """The values of its configuration by their keys, as in "network.dropout". They are not checked, apart from those below."""
    summary: dict[str, Any]
    epochs: list[dict[str, Any]]
    """The metrics of each epoch, from the lines of metrics.jsonl."""

    @property
    def test_error(self) -> float | None:
        """The test error, in percent; None without test samples."""
        return _percent(self.summary["test_accuracy"])

    @property
    def validation_error(self) -> float | None:
        """The validation error of the epoch whose weights were tested, in percent; None without validation samples."""
        return _percent(self.summary["validation_accuracy"])

    @property
    def seed(self) -> int:
        """The seed of the configuration."""
        return int(self.config["training.seed"])

    @property
    def identity(self) -> dict[str, Any]:
        """All that two runs of a group share, by its name: the configuration apart from the seed, and the baseline, if any."""
        return self.config | {"training.seed": None, "their baseline": self.summary.get("baseline")}


def _percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * (1 - float(accuracy))


def read_groups(folders: list[Path]) -> list[list[Run]]:
    """Read the groups of runs that the user names.

    Args:
        folders: each folder that contains runs makes a group. The folders of single runs make one group together.

    Raises:
        DataError: a folder can't be read, or the runs of a group can't be averaged.
    """
    single = [folder for folder in dict.fromkeys(folders) if is_run(folder)]
    groups = [read_runs(single)] if single else []
    position = folders.index(single[0]) if single else 0
    others = [read(folder) for folder in folders if folder not in single]
    return [*others[:position], *groups, *others[position:]]


def is_run(folder: Path) -> bool:
    """Check if a folder is that of a single run."""
    return any(kind_of(folder / name, DataError) == "file" for name in ("config.toml", "summary.json"))


def read(folder: Path) -> list[Run]:
    """Read the complete runs in a folder, ordered by seed.

    Raises:
        DataError: there is none, a file of a run can't be read, they differ in more than their seed, or two have the same one.
    """
    names = names_in(folder, DataError) if kind_of(folder, DataError) == "folder" else []
    complete = [folder / name for name in names if kind_of(folder / name / "summary.json", DataError) == "file"]
    if not complete:
        raise DataError(f"{folder}: contains no complete run; name the folder of a run, or one given as --output-dir")
    return _comparable([_run(run, folder.name) for run in complete])


def read_runs(folders: list[Path]) -> list[Run]:
    """Read single runs as one group, ordered by seed. Its name is that of their folders, without date and number.

    Raises:
        DataError: a run is not complete, a file can't be read, they differ in more than their seed, or two have the same one.
    """
    for folder in folders:
        if kind_of(folder / "summary.json", DataError) != "file":
            raise DataError(f"{folder}: the run is not complete; leave it out, or continue it with: rff resume {folder}")
    names = dict.fromkeys(STAMP.sub("", Path(os.path.realpath(folder)).name) for folder in folders)
    return _comparable([_run(folder, ", ".join(names)) for folder in folders])


def _run(folder: Path, name: str) -> Run:
    """Read a complete run.

    Args:
        folder: the run's folder.
        name: the name of its group.

    Raises:
        RecurrentFFError: a file is missing, or not one of a complete run.
    """
    epochs = read_epochs(folder, ["epoch", "loss", "train_accuracy", "validation_accuracy", "samples_per_second"])
    summary = read_summary(folder, ["test_accuracy", "validation_accuracy", "seconds"])
    if not epochs:
        raise DataError(f"{folder}: has no metrics of an epoch in metrics.jsonl; leave it out")
    validated = {epoch["validation_accuracy"] is not None for epoch in [*epochs, summary]}
    if len(validated) > 1:
        raise DataError(f"{folder}: only a part of metrics.jsonl and summary.json has a validation accuracy; leave the run out")
    return Run(name, folder, _config(folder), summary, epochs)


def _comparable(runs: list[Run]) -> list[Run]:
    """Order the runs of a group by seed.

    Raises:
        DataError: they differ in more than their seed, or two have the same one.
    """
    for run in runs[1:]:
        if run.identity != runs[0].identity:
            raise DataError(
                f"{runs[0].folder} and {run.folder}: differ in more than their seed, in {_differences(runs[0], run)}; name only "
                "the folders of runs with one configuration, for instance those with other seeds, as in: rff report RUN RUN"
            )
    by_seed: dict[int, Run] = {}
    for run in runs:
        seed = run.seed
        if seed in by_seed:
            raise DataError(f"{by_seed[seed].folder} and {run.folder}: two runs with the same seed, {seed}; move one away")
        by_seed[seed] = run
    return [by_seed[seed] for seed in sorted(by_seed)]


def _differences(run: Run, other: Run) -> str:
    """Name the keys in which two runs differ, up to five: "network.dropout, training.epochs and 2 more"."""
    one, two = run.identity, other.identity
    keys = [printable(key, 100) for key in one | two if one.get(key) != two.get(key)]
    named = keys if len(keys) <= MAX_NAMED else [*keys[:MAX_NAMED], f"{len(keys) - MAX_NAMED} more"]
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested dictionary by their keys, as in "network.dropout"."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def _config(run: Path) -> dict[str, Any]:
    """Read the configuration of a run as plain values. Keys that it lacks, as one of an earlier version, have their defaults.

    Components of the user's are values like others, so that no plugin is imported.

    Raises:
        DataError: the file can't be read, or has no valid seed or number of epochs.
    """
    values = flat(read_config(run))
    for key in ("training.seed", "training.epochs"):
        if isinstance(values.get(key), bool) or not isinstance(values.get(key), int):
            raise DataError(f"{run / 'config.toml'}: {key} is missing or no whole number; leave the run out")
    return flat(Settings().to_tree()) | values


def table(groups: list[list[Run]]) -> str:
    """Return a Markdown table with one line for each group: mean and standard deviation over its seeds."""
    lines = ["| runs | epochs | validation error | test error | time of a run |", "| --- | ---: | ---: | ---: | ---: |"]
    for runs in groups:
        minutes = statistics.mean(float(run.summary["seconds"]) for run in runs) / 60
        cells = [printable(runs[0].name), str(runs[0].config["training.epochs"])]
        cells += [spread([run.validation_error for run in runs]), spread([run.test_error for run in runs]), f"{minutes:.1f} min"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(percentages: list[float | None]) -> str:
    """Format percentages as "mean ± standard deviation % (each value)"; a single one without deviation, none as a dash."""
    values = [value for value in percentages if value is not None]
    if not values:
        return "–"
    each = ", ".join(f"{value:.2f}" for value in values)
    deviation = f" ± {statistics.stdev(values):.2f} % ({each})" if len(values) > 1 else " %"
    return f"{statistics.mean(values):.2f}{deviation}"


def as_csv(groups: list[list[Run]]) -> str:
    """Return CSV with one line for each epoch of each run; errors are in percent.

    The test error, which belongs to the weights of the best epoch, is on the line of the last epoch.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["runs", "seed", "epoch", "loss", "train_error", "validation_error", "test_error", "samples_per_second"])
    for run in (run for runs in groups for run in runs):
        for epoch in run.epochs:
            errors = [_error(epoch["train_accuracy"]), _error(epoch["validation_accuracy"])]
            tested = f"{run.test_error:.2f}" if epoch is run.epochs[-1] and run.test_error is not None else ""
            identity = [run.name, run.seed, epoch["epoch"], f"{epoch['loss']:.5f}"]
            writer.writerow([*identity, *errors, tested, f"{epoch['samples_per_second']:.0f}"])
    return file.getvalue()


def _error(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{100 * (1 - accuracy):.2f}"


def plot(groups: list[list[Run]], path: Path) -> None:
    """Plot the validation error over the epochs: each group's mean, and the range between its lowest and highest run.

    Groups without validation samples are left out. A group is shown up to the last epoch that all of its runs have.

    Raises:
        DataError: no group has validation samples.
        OutputError: the file can't be written.
    """
    groups = [runs for runs in groups if runs[0].validation_error is not None]
    if not groups:
        raise DataError("none of these runs has a validation error to plot; leave out --plot")
    with picture(path, 9, 5) as figure:
        axes = figure.subplots()
        for runs in groups:
            curves = [[100 * (1 - epoch["validation_accuracy"]) for epoch in run.epochs] for run in runs]
            columns = list(zip(*curves, strict=False))  # early stopping may end each run at another epoch
            epochs = [epoch["epoch"] for epoch in runs[0].epochs[: len(columns)]]
            mean = [statistics.mean(column) for column in columns]
            axes.plot(epochs, mean, label=runs[0].name, **marked("o", len(mean)))
            axes.fill_between(epochs, [min(column) for column in columns], [max(column) for column in columns], alpha=0.15)
        axes.locator_params("x", integer=True)
        axes.set(xlabel="epoch", ylabel="validation error, %")
        scale_errors(axes)
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
        show_unchanged(axes.legend(frameon=False).get_texts())


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, or 2 after an error, which is printed in one line."""
    parser = Parser(prog="python -m RecurrentFF.benchmarks.report", description=DESCRIPTION)
    add_report_flags(parser)
    return exit_code(lambda: run(parser.parse_args(argv)))


def run(arguments: argparse.Namespace) -> bool:
    """Print the table, and write the files that the arguments ask for.

    Args:
        arguments: the values of the flags of `add_report_flags`.

    Returns:
        True.

    Raises:
        RecurrentFFError: a folder can't be read, or a file can't be written.
    """
    groups = read_groups(arguments.folders)
    try:
        write_output(table(groups))
    finally:  # also if standard output is on a full disk
        if arguments.csv is not None:
            write_text(arguments.csv, as_csv(groups))
        if arguments.plot is not None:
            plot(groups, arguments.plot)
    return True


if __name__ == "__main__":
    sys.exit(main())
