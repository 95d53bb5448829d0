"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from RecurrentFF.benchmarks.benchmark import Benchmark
from RecurrentFF.errors import RecurrentFFError, SettingsError
from RecurrentFF.settings import Settings

INTERRUPTED = 130
"""The exit code of a program that was ended by Ctrl-C."""


def main(benchmark: Benchmark, argv: Sequence[str] | None = None) -> int:
    """Run a benchmark from the command line.

    Args:
        benchmark: the benchmark.
        argv: the arguments; the default is those of the program.

    Returns:
        The exit code: 0, 2 after an error (which is printed in one line), or 130 after Ctrl-C.
    """
    try:
        arguments = argument_parser(benchmark).parse_args(argv)
        finished = (_start if arguments.resume is None else _resume)(benchmark, arguments)
    except RecurrentFFError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0 if finished else INTERRUPTED


def _start(benchmark: Benchmark, arguments: argparse.Namespace) -> bool:
    settings = Settings.from_file(arguments.config_file or benchmark.default_config)
    settings = _with_flags(settings, arguments)
    benchmark.check_keys(settings)
    settings = benchmark.complete(settings)
    if settings.model.should_load_weights and settings.training.weights is None:
        raise SettingsError("model.should_load_weights is true: name the checkpoint to start from with --weights FILE")

    parent = arguments.output_dir or Path("runs")
    if arguments.baseline is not None and settings.model.should_load_weights:
        raise SettingsError(f"--baseline {arguments.baseline}: a baseline has its own initial weights; leave out --weights")
    if arguments.baseline is not None:
        from RecurrentFF.benchmarks import baselines  # imported late, with torch

        baselines.run(benchmark, settings, arguments.baseline, parent)
        return True

    from RecurrentFF.benchmarks import run

    return run.start(benchmark, settings, parent)


def _resume(benchmark: Benchmark, arguments: argparse.Namespace) -> bool:
    fixed = ("config_file", "overrides", "weights", "seed", "output_dir", "baseline", "dataset")
    if any(getattr(arguments, flag) for flag in fixed):
        raise SettingsError(
            "--resume keeps the configuration of its run; it can be combined with --device, --epochs and --data-dir only"
        )

    from RecurrentFF.benchmarks import run

    return run.resume(benchmark, arguments.resume, lambda settings: _with_flags(settings, arguments))


def _with_flags(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """Apply --set, then the flags that stand for a single key, so that these take precedence."""
    overrides = list(arguments.overrides)
    written = [f"--set {override}" for override in overrides]
    flags = {
        "--device": ("device.device", arguments.device),
        "--epochs": ("model.epochs", arguments.epochs),
        "--seed": ("training.seed", arguments.seed),
        "--dataset": ("data_config.dataset", arguments.dataset),
        "--data-dir": ("data_config.data_dir", arguments.data_dir),
        "--weights": ("training.weights", arguments.weights),
    }
    for flag, (key, value) in flags.items():
        if value is not None:
            overrides.append(f"{key}={json.dumps(str(value.absolute())) if isinstance(value, Path) else value}")
            written.append(f"{flag} {value}")
    if arguments.weights is not None:
        overrides.append("model.should_load_weights=true")
        written.append(f"--weights {arguments.weights}")
    return settings.override(overrides, written) if overrides else settings


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake as a SettingsError, in one line."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; --help lists the flags")


def argument_parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    """Create the parser of a benchmark's command line."""
    module = f"RecurrentFF.benchmarks.{benchmark.name}.{benchmark.name}"
    parser = _Parser(prog=f"python -m {module}", description=benchmark.description)
    add = parser.add_argument
    add("--config-file", type=Path, metavar="FILE", help="TOML configuration (default: the benchmark's own)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        help="override a key of the configuration, e.g. --set model.ff_adam.learning_rate=1e-3; repeatable",
    )
    add("--device", help='"auto", "cpu", "cuda", "cuda:N" or "mps"')
    add("--epochs", metavar="N", help="number of epochs to train")
    add("--seed", metavar="N", help="seed of all randomness: weights, sample order, negative labels, dropout, data")
    add("--output-dir", type=Path, metavar="DIR", help="folder in which the run's folder is created (default: runs)")
    parser.set_defaults(dataset=None)
    if len(benchmark.datasets) > 1:
        add("--dataset", metavar="NAME", help=f"one of {', '.join(benchmark.datasets)} (default: {benchmark.datasets[0]})")
    add("--data-dir", type=Path, metavar="DIR", help="an existing data folder instead of the built-in data")
    add(
        "--baseline",
        choices=["logistic", "gru"],
        help="train a baseline on the same data, by backpropagation: logistic regression, or a GRU of equal size",
    )
    add("--weights", type=Path, metavar="FILE", help="start from the weights of this checkpoint")
    add("--resume", type=Path, metavar="RUN_DIR", help="resume an interrupted run, in its folder and with its configuration")
    return parser
