"""Results of several runs: python -m RecurrentFF.benchmarks.report FOLDER... [--csv FILE] [--plot PNG].

Each folder contains complete runs that differ only in their seed, as created with `--output-dir FOLDER`. It becomes one line of
the table.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from RecurrentFF.atomic_files import write_atomically, write_text
from RecurrentFF.benchmarks.cli import with_plugin_hint
from RecurrentFF.benchmarks.flags import Parser, add_report_flags, exit_code
from RecurrentFF.errors import DataError
from RecurrentFF.settings import Settings
from RecurrentFF.settings.tree import import_modules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DESCRIPTION = "Summarize the results of several runs, with one line for each folder."


@dataclass(frozen=True)
class Run:
    """A complete run, as read from its folder."""

    name: str
    """The name of the folder that contains the run's folder."""
    settings: Settings
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
    def identity(self) -> tuple[Settings, object]:
        """All that two runs with the same name share: the settings apart from the seed, and the baseline, if it is one."""
        return self.settings.with_arguments(seed=0), self.summary.get("baseline")


def _percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * (1 - float(accuracy))


def read(folder: Path) -> list[Run]:
    """Read the complete runs in a folder, ordered by seed.

    Raises:
        DataError: there is none, a file of a run can't be read, two runs have the same seed, or they differ in more than it.
    """
    runs = []
    for file in sorted(folder.glob("*/summary.json")):
        try:
            epochs = [json.loads(line) for line in (file.parent / "metrics.jsonl").read_text().splitlines()]
            run = Run(folder.name, _settings(file.parent / "config.toml"), json.loads(file.read_text()), epochs)
            assert (run.test_error or 0) >= 0 <= (run.validation_error or 0) and epochs[-1]["epoch"]
        except (OSError, ValueError, LookupError, TypeError, AssertionError) as error:
            raise DataError(f"{file.parent}: not a readable run of the network ({type(error).__name__}: {error})") from None
        runs.append(run)
    if not runs:
        raise DataError(f"{folder}: contains no complete run; name the folder that was given as --output-dir")
    runs.sort(key=lambda run: run.settings.training.seed)
    if len({run.settings.training.seed for run in runs}) < len(runs):
        raise DataError(f"{folder}: contains two runs with the same seed; remove one")
    if any(run.identity != runs[0].identity for run in runs):
        raise DataError(
            f"{folder}: contains runs that differ in more than their seed; give each configuration its own --output-dir"
        )
    return runs


def _settings(file: Path) -> Settings:
    """Read the configuration of a run. The plugins that it names are not imported."""
    return with_plugin_hint(
        lambda: Settings.from_file(file, import_plugins=False),
        lambda: tomllib.loads(file.read_text(encoding="utf-8")).get("plugins"),
    )


def table(groups: list[list[Run]]) -> str:
    """Return a Markdown table with one line for each group: mean and standard deviation over its seeds."""
    lines = ["| runs | epochs | validation error | test error | time of a run |", "| --- | ---: | ---: | ---: | ---: |"]
    for runs in groups:
        minutes = statistics.mean(float(run.summary["seconds"]) for run in runs) / 60
        cells = [runs[0].name, str(runs[0].settings.training.epochs)]
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
            identity = [run.name, run.settings.training.seed, epoch["epoch"], f"{epoch['loss']:.5f}"]
            writer.writerow([*identity, *errors, tested, f"{epoch['samples_per_second']:.0f}"])
    return file.getvalue()


def _error(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{100 * (1 - accuracy):.2f}"


def plot(groups: list[list[Run]], path: Path) -> None:
    """Plot the validation error over the epochs: each group's mean, and the range between its lowest and highest run.

    Groups without validation samples are left out.

    Raises:
        DataError: no group has validation samples.
        OutputError: the file can't be written.
    """
    from matplotlib.figure import Figure

    groups = [runs for runs in groups if runs[0].validation_error is not None]
    if not groups:
        raise DataError("none of these runs has a validation error to plot; leave out --plot")
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for runs in groups:
        curves = [[100 * (1 - epoch["validation_accuracy"]) for epoch in run.epochs] for run in runs]
        epochs, columns = [epoch["epoch"] for epoch in runs[0].epochs], list(zip(*curves, strict=True))
        axes.plot(epochs, [statistics.mean(column) for column in columns], label=runs[0].name)
        axes.fill_between(epochs, [min(column) for column in columns], [max(column) for column in columns], alpha=0.15)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(xlabel="epoch", ylabel="validation error, %")
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    write_atomically(path, lambda file: figure.savefig(file, dpi=110, format="png"))


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
    import_modules(arguments.plugins)
    groups = [read(folder) for folder in arguments.folders]
    print(table(groups))
    if arguments.csv is not None:
        write_text(arguments.csv, as_csv(groups))
    if arguments.plot is not None:
        plot(groups, arguments.plot)
    return True


if __name__ == "__main__":
    sys.exit(main())
