"""The speed benchmark: python -m RecurrentFF.benchmarks.speed compares the network with plain autograd code.

All variants are measured in turns, in one run. Samples per second are medians over the rounds. "of peak" is the fraction of
the highest rate of matrix products on this machine in that precision; only the necessary multiplications and additions count.
Prediction is by badness, unless a column names another method.
Memory is what a new process needs in addition to torch itself.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.atomic_files import write_text
from RecurrentFF.benchmarks.flags import VARIANTS, Parser, add_speed_flags, exit_code
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.reference import Reference
from RecurrentFF.settings import Settings
from RecurrentFF.settings.network import PredictionMethod
from RecurrentFF.streams import write_line, write_output
from RecurrentFF.training import compiling, devices
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.build import build
from RecurrentFF.training.figures import picture
from RecurrentFF.training.memory import require_memory

DESCRIPTION = "Measure the speed of the network against plain autograd code."

PREDICTIONS: dict[str, PredictionMethod] = {
    "predict": "badness",
    "propose_and_verify": "propose_and_verify",
    "readout": "readout",
}
"""The methods of prediction by the names of their columns."""
LAYERS, BATCH, INPUT_SIZE, CLASSES = 3, 500, 784, 10
PRELABEL, LABELED = 10, 15


@dataclass
class Row:
    """The measurements of one line of the table: a network of one width, in one variant."""

    units: int
    """Units in each layer."""
    variant: str
    """One of VARIANTS."""
    train: list[float] = field(default_factory=list)
    """Seconds for a training batch in each round."""
    predict: list[float] = field(default_factory=list)
    """Seconds for a prediction by badness in each round."""
    propose_and_verify: list[float] = field(default_factory=list)
    """Seconds for a prediction by the badness of the readout's two likeliest labels in each round."""
    readout: list[float] = field(default_factory=list)
    """Seconds for a prediction by the readout in each round."""
    memory: float | None = None
    """Memory in MiB of a process that trains and predicts; None for compiled variants, whose process holds the compiler."""
    compile_seconds: float = 0.0
    """Seconds that compiling took."""


def new_network(units: int, variant: str, device: str, **arguments: Any) -> Network:
    """Build a network of this width for the benchmark's inputs, in the precision of the variant."""
    return build(new_settings(units, variant, device, **arguments))


def new_settings(units: int, variant: str, device: str, **arguments: Any) -> Settings:
    """The configuration of `new_network`."""
    shape: dict[str, Any] = {
        "hidden_sizes": [units] * LAYERS,
        "prelabel_timesteps": PRELABEL,
        "label_timesteps": LABELED,
    } | arguments
    precision = "bfloat16" if "bfloat16" in variant else "float32"
    return Settings.from_arguments(input_size=INPUT_SIZE, num_classes=CLASSES, precision=precision, device=device,
                                   objective="pairwise", compile="compiled" in variant, **shape)  # fmt: skip


def predicted_samples(units: int) -> int:
    """The number of samples in a measured prediction: fewer for wide layers, where plain code would take minutes."""
    return BATCH if units <= 1000 else 100


def runners(network: Network, variant: str, batch: int = BATCH) -> dict[str, Callable[[], object]]:
    """The functions to measure, by their names in `Row`. All return only when the device has finished."""
    device = network.device
    inputs = torch.randn(batch, INPUT_SIZE, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(batch, device=device) % CLASSES
    few = inputs[: predicted_samples(network.settings.network.hidden_sizes[0])]
    if variant.startswith("plain"):
        plain, timesteps = Reference(network), network.settings.timesteps
        sequence, few_sequence = (x.expand(timesteps, -1, -1) for x in (inputs, few))
        candidates = [y.expand(timesteps, -1) for y in (labels, (labels + 1) % CLASSES)]
        train: Callable[[], object] = partial(plain.train_batch, [sequence] * 2, candidates)
        predict = partial(plain.predict, few_sequence)
    else:
        train, predict = partial(Learner(network).train_batch, inputs, labels), partial(network.predict_inputs, few)
    work = {"train": train} | {name: partial(predict, method=method) for name, method in PREDICTIONS.items()}
    return {name: _synchronized(task, device) for name, task in work.items()}


def _synchronized(work: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """The same function, but it returns only when the device has finished."""

    def done() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return done


def seconds(work: Callable[[], object]) -> float:
    """The number of seconds that a function takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(units: int, variants: list[str], rounds: int, device: str, log: Callable[[str], object]) -> list[Row]:
    """Measure the variants in turns, round by round, after a warm-up round that is not counted."""
    rows, work = [], []
    for variant in variants:
        row, network = Row(units, variant), new_network(units, variant, device)
        start = time.perf_counter()
        if network.settings.device.compile:
            compiling.prepare(network, log)
        row.compile_seconds = time.perf_counter() - start
        rows.append(row)
        work.append(runners(network, variant))
    for number in range(rounds + 1):
        for row, tasks in zip(rows, work, strict=True):
            for name, task in tasks.items():
                took = seconds(task)
                if number > 0:
                    getattr(row, name).append(took)
    for row in rows:
        row.memory = memory(units, row.variant, device) if "compiled" not in row.variant else None
        log(f"3×{units} {row.variant}: {BATCH / statistics.median(row.train):,.0f} samples/s in training")
    return rows


def memory(units: int, variant: str, device: str) -> float:
    """The peak memory of training and predicting in MiB: on the GPU, or of a new process in addition to torch itself."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (units, variant, device))


def _memory(units: int, variant: str, device: str) -> float:
    torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
    keep_freed_memory()
    before = _resident()
    for task in runners(new_network(units, variant, device), variant).values():
        task()
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return _resident() - before


def _resident() -> float:
    """The peak memory of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage includes the parent's memory there
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def peak_rate(device: str, precision: str) -> float:
    """The highest rate of matrix products on the device, among several shapes, in operations per second."""
    dtype, best = getattr(torch, precision), 0.0
    for rows, columns, units in ((1000, 1500, 500), (1000, 6000, 2000), (2048, 2048, 2048), (4096, 4096, 4096)):
        a, b = (torch.randn(*shape, device=device).to(dtype) for shape in ((rows, columns), (columns, units)))
        work = _synchronized(partial(_repeat, a, b, repeats := max(1, int(2e10 / (rows * columns * units)))), a.device)
        work()
        best = max(best, 2 * rows * columns * units * repeats / min(seconds(work) for _ in range(3)))
    return best


def _repeat(a: Tensor, b: Tensor, times: int) -> None:
    for _ in range(times):
        a @ b


def operations(network: Network, batch: int, predicted: int) -> tuple[float, float]:
    """The multiplications and additions that a training batch and a prediction need at least, with a static input.

    What is the same for all candidates counts once: the input, and every layer that the label has not reached.

    Args:
        network: a network of fully connected layers.
        batch: samples of a training batch.
        predicted: samples of a prediction.
    """
    settings, sizes = network.settings, network.sizes
    reads = {layer.name: layer.sources for layer in network.hidden_layers()}

    def drives(layer: str, reached: set[str], candidates: int, static_input: bool = False) -> int:
        """One timestep of a layer for one sample: what the label has reached counts for each candidate."""
        sources = [source for source in reads[layer] if not (static_input and source == "x")]
        return 2 * sizes[layer] * sum(sizes[source] * (candidates if source in reached else 1) for source in sources)

    settling = 0
    for layer, sources in reads.items():
        changing = drives(layer, set(), 1, static_input=True)
        static = drives(layer, set(), 1) - changing  # a static input drives but once
        label = 2 * sizes[layer] * sizes["y"] if "y" in sources else 0
        later = max(0, settings.network.prelabel_timesteps - 1)  # at the first timestep, only input and label are active
        settling += static + label * min(1, settings.network.prelabel_timesteps) + later * changing
    train, predict, reached = batch * settling, predicted * settling, {"y"}
    for t in range(settings.network.label_timesteps):
        reached_next = {layer for layer, sources in reads.items() if reached & set(sources)}
        for layer in reads:
            learns = layer in reached_next or not settings.learning_needs_label
            train += batch * (1 + learns) * drives(layer, reached, 2)
            if t <= settings.prediction_window[1]:
                predict += predicted * drives(layer, reached, sizes["y"], static_input=True)
        reached = reached_next | {"y"}
    return train, predict


def table(rows: list[Row], peaks: dict[str, float], device: str) -> list[dict[str, Any]]:
    """The rows with rates, ratios to the plain variant of the same size, and fractions of the peak rate."""
    lines = []
    for row in rows:
        plain = next(other for other in rows if other.units == row.units and other.variant == VARIANTS[0])
        predicted = predicted_samples(row.units)
        train, predict = operations(new_network(row.units, row.variant, device), BATCH, predicted)
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
                "propose_and_verify_samples_per_second": predicted / statistics.median(row.propose_and_verify),
                "readout_samples_per_second": predicted / statistics.median(row.readout),
                "memory_mib": row.memory,
                "compile_seconds": row.compile_seconds,
            }
        )
    return lines


def markdown(lines: list[dict[str, Any]]) -> str:
    """The table in Markdown."""
    text = [
        "| network | | training, samples/s | × plain | of peak | prediction, samples/s | × plain | of peak | propose and verify, "
        "samples/s | readout, samples/s | memory, MiB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join(text + [_line(**line) for line in lines])


def _line(network: str, variant: str, memory_mib: float | None, **values: float) -> str:
    cells = [network, variant]
    for task in ("train", "predict"):
        rate, ratio, fraction = (values[f"{task}_{name}"] for name in ("samples_per_second", "ratio", "fraction_of_peak"))
        cells += [f"{rate:,.0f}", f"{ratio:.1f}", f"{100 * fraction:.0f} %"]
    cells += [f"{values[f'{method}_samples_per_second']:,.0f}" for method in ("propose_and_verify", "readout")]
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


def machine(device: str) -> str:
    """The name of the processor or GPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"


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
    if min(arguments.rounds, *arguments.units) < 1:
        raise SettingsError("--rounds and --units take whole numbers above 0")
    _measure_all(arguments, str(devices.resolve_device(arguments.device)))
    return True


def _measure_all(arguments: argparse.Namespace, device: str) -> None:
    keep_freed_memory()
    precision = "bfloat16" if devices.has_fast_bfloat16(torch.device(device)) else "float32"
    variants = arguments.variants or [name for name in VARIANTS[1:] if precision == "bfloat16" or "bfloat16" not in name]
    used = {name.removesuffix(" compiled").removeprefix("plain ") for name in (VARIANTS[0], *variants)}
    for units in arguments.units:
        require_memory(new_settings(units, VARIANTS[0], device), torch.device(device))  # before minutes of work
    peaks = {name: peak_rate(device, name) for name in sorted(used, reverse=True)}
    write_line(f"{machine(device)}; torch {torch.__version__}; batch {BATCH}, {PRELABEL} + {LABELED} timesteps")
    write_line("matrix products: " + ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {name}" for name, rate in peaks.items()))
    if arguments.variants is None and precision == "float32":
        write_line("bfloat16 is left out: this device has no fast products of it (--variants bfloat16 measures it all the same)")
    rows: list[Row] = []
    for units in arguments.units:
        rows += measure(units, [VARIANTS[0], *variants], arguments.rounds, device, write_line)
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
