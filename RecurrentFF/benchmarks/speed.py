"""The speed benchmark: python -m RecurrentFF.benchmarks.speed compares the network with plain autograd code.

All variants are measured in turns, in one run. Samples per second are medians over the rounds. "of peak" is the fraction of
the highest rate of matrix products on this machine in that precision; only the necessary multiplications and additions count.
Prediction is by badness, unless a column names another method. "× plain" compares every method with plain code that predicts
by badness.
Memory is what a new process needs in addition to torch itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from RecurrentFF.atomic_files import write_text
from RecurrentFF.benchmarks.flags import VARIANTS, Parser, add_speed_flags, exit_code
from RecurrentFF.benchmarks.speed_measurements import (
    BATCH,
    LABELED,
    LAYERS,
    PRELABEL,
    Row,
    machine,
    measure,
    new_network,
    new_settings,
    operations,
    peak_rate,
    predicted_samples,
    runners,
    seconds,
)
from RecurrentFF.errors import SettingsError
from RecurrentFF.streams import write_line, write_output
from RecurrentFF.training import devices
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.figures import picture
from RecurrentFF.training.memory import require_memory

DESCRIPTION = "Measure the speed of the network against plain autograd code."


def table(rows: list[Row], peaks: dict[str, float], device: str) -> list[dict[str, Any]]:
    """The rows with rates, ratios to the plain variant of the same size, and fractions of the peak rate."""
    lines = []
    for row in rows:
        plain = next(other for other in rows if other.units == row.units and other.variant == VARIANTS[0])
        predicted = predicted_samples(row.units)
        train, predict = operations(new_network(row.units, row.variant, device, row.timesteps), BATCH, predicted)
        peak = peaks["bfloat16" if "bfloat16" in row.variant else "float32"]
        seconds_train, seconds_predict = statistics.median(row.train), statistics.median(row.predict)
        lines.append(
            {
                "network": f"{LAYERS}×{row.units}",
                "variant": row.variant,
                "train_samples_per_second": BATCH / seconds_train,
                "train_ratio": statistics.median(plain.train) / seconds_train,
                "train_fraction_of_peak": train / seconds_train / peak,
                "predict_samples_per_second": predicted / seconds_predict,
                "predict_ratio": statistics.median(plain.predict) / seconds_predict,
                "predict_fraction_of_peak": predict / seconds_predict / peak,
                **_other_methods(row, statistics.median(plain.predict)),
                "memory_mib": row.memory,
                "compile_seconds": row.compile_seconds,
            }
        )
    return lines


def _other_methods(row: Row, plain: float) -> dict[str, float]:
    """Rates of the methods of prediction that do not try all labels, and their ratios to plain code that does.

    Args:
        row: the measurements.
        plain: seconds for a prediction by badness with plain code.
    """
    rates: dict[str, float] = {}
    for method in ("propose_and_verify", "readout"):
        took = statistics.median(getattr(row, method))
        rates |= {f"{method}_samples_per_second": predicted_samples(row.units) / took, f"{method}_ratio": plain / took}
    return rates


def markdown(lines: list[dict[str, Any]]) -> str:
    """The table in Markdown."""
    text = [
        "| network | | training, samples/s | × plain | of peak | prediction, samples/s | × plain | of peak | propose and verify, "
        "samples/s | × plain | readout, samples/s | × plain | memory, MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join(text + [_line(**line) for line in lines])


def _line(network: str, variant: str, memory_mib: float | None, **values: float) -> str:
    cells = [network, variant]
    for task in ("train", "predict"):
        rate, ratio, fraction = (values[f"{task}_{name}"] for name in ("samples_per_second", "ratio", "fraction_of_peak"))
        cells += [f"{rate:,.0f}", f"{ratio:.1f}", f"{100 * fraction:.0f} %"]
    for method in ("propose_and_verify", "readout"):
        cells += [f"{values[f'{method}_samples_per_second']:,.0f}", f"{values[f'{method}_ratio']:.1f}"]
    return f"| {' | '.join(cells)} | {'–' if memory_mib is None else f'{memory_mib:,.0f}'} |"


SCALES: dict[str, tuple[int, ...]] = {
    "width": (125, 250, 500, 1000, 2000),
    "depth": (1, 2, 3, 5, 8),
    "batch": (50, 125, 250, 500, 1000),
    "label timesteps": (2, 4, 8, 15, 30),
}


def scaling(device: str, precision: str) -> dict[str, list[float]]:
    """Training samples per second of a 3×500 network with one of width, depth, batch and timesteps varied."""
    return {name: [_rate(name, value, device, precision) for value in values] for name, values in SCALES.items()}


def plot_scaling(rates: dict[str, list[float]], precision: str, path: Path) -> None:
    """Plot the result of `scaling` and save it as a PNG."""
    with picture(path, 13, 3.4) as figure:
        changed = f"3×500 units, batch {BATCH}, {PRELABEL} + {LABELED} timesteps, {precision}, and one of them changed"
        figure.suptitle(f"Speed of training: {changed}")
        all_axes = figure.subplots(1, len(SCALES), sharey=True)
        all_axes[0].set_ylabel("training samples/s")
        for axes, (name, values) in zip(all_axes, SCALES.items(), strict=True):
            axes.loglog(values, rates[name], marker=".")
            axes.set_xticks(values, [str(value) for value in values])
            axes.xaxis.minorticks_off()
            axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
            axes.yaxis.minorticks_off()
            axes.yaxis.set_major_formatter("{x:,g}")
            axes.set_xlabel({"width": "units of each layer", "depth": "layers", "batch": "samples of a batch"}.get(name, name))
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)


def _rate(name: str, value: int, device: str, precision: str) -> float:
    batch = value if name == "batch" else BATCH
    sizes = [value] * LAYERS if name == "width" else [500] * (value if name == "depth" else LAYERS)
    timesteps = value if name == "label timesteps" else LABELED
    network = new_network(500, precision, device, hidden_sizes=sizes, label_timesteps=timesteps)
    train = runners(network, precision, batch)["train"]
    train()
    return batch / statistics.median(seconds(train) for _ in range(3))


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = Parser(prog="python -m RecurrentFF.benchmarks.speed", description=DESCRIPTION)
    add_speed_flags(parser)
    return exit_code(lambda: run(parser.parse_args(argv)))


def run(arguments: argparse.Namespace) -> bool:
    """Measure what the arguments ask for, print the table, and write the files.

    Args:
        arguments: the values of the flags of `add_speed_flags`.

    Returns:
        True.

    Raises:
        SettingsError: a number is not positive, or a network does not fit into the memory.
        DeviceError: this machine does not have the device.
        OutputError: a file can't be written.
    """
    if min(arguments.rounds, *arguments.units, *arguments.timesteps) < 1:
        raise SettingsError("--rounds, --units and --timesteps take whole numbers above 0")
    _measure_all(arguments, str(devices.resolve_device(arguments.device)))
    return True


def _measure_all(arguments: argparse.Namespace, device: str) -> None:
    keep_freed_memory()
    precision = "bfloat16" if devices.has_fast_bfloat16(torch.device(device)) else "float32"
    variants = arguments.variants or [name for name in VARIANTS[1:] if precision == "bfloat16" or "bfloat16" not in name]
    used = {name.removesuffix(" compiled").removeprefix("plain ") for name in (VARIANTS[0], *variants)}
    prelabel, labeled = timesteps = tuple(arguments.timesteps)
    for units in arguments.units:
        require_memory(new_settings(units, VARIANTS[0], device, timesteps), torch.device(device))  # before minutes of work
    peaks = {name: peak_rate(device, name) for name in sorted(used, reverse=True)}
    write_line(f"{machine(device)}; torch {torch.__version__}; batch {BATCH}, {prelabel} + {labeled} timesteps")
    write_line("matrix products: " + ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in peaks.items()))
    if arguments.variants is None and precision == "float32":
        write_line("bfloat16 is left out: this device has no fast products of it (--variants bfloat16 measures it all the same)")
    rows: list[Row] = []
    for units in arguments.units:
        rows += measure(units, [VARIANTS[0], *variants], arguments.rounds, device, write_line, timesteps)
    lines = table(rows, peaks, device)
    try:
        write_output("\n" + markdown(lines))
    finally:  # also if standard output is on a full disk
        result = {"machine": machine(device), "torch": torch.__version__, "peaks": peaks, "table": lines}
        _write_files(arguments, result | {"measurements": [asdict(row) for row in rows]}, device, precision)


def _write_files(arguments: argparse.Namespace, result: dict[str, Any], device: str, precision: str) -> None:
    """Write the files that the arguments ask for, and measure what the picture shows."""
    rates = scaling(device, precision) if arguments.scaling is not None else {}
    if arguments.json is not None:
        result["scaling"] = {"values": SCALES, "samples_per_second": rates} if rates else None
        write_text(arguments.json, json.dumps(result, indent=2) + "\n")
    if arguments.scaling is not None:
        plot_scaling(rates, precision, arguments.scaling)


if __name__ == "__main__":
    sys.exit(main())
