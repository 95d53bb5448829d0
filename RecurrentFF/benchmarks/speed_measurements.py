"""The measurements of the speed benchmark: the network and plain autograd code, training and predicting in turns."""

from __future__ import annotations

import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.reference import Reference
from RecurrentFF.settings import Settings
from RecurrentFF.settings.network import PredictionMethod
from RecurrentFF.training import compiling
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.build import build

PREDICTIONS: dict[str, PredictionMethod] = {
    "predict": "badness",
    "propose_and_verify": "propose_and_verify",
    "readout": "readout",
}
"""The methods of prediction by the names of their columns."""
LAYERS, BATCH, INPUT_SIZE, CLASSES = 3, 500, 784, 10
PRELABEL, LABELED = 10, 15
"""Timesteps without and with the label, where none are asked for."""


Timesteps = tuple[int, int]
"""The number of timesteps without and with the label."""


@dataclass
class Row:
    """The measurements of one line of the table: a network of one width, in one variant."""

    units: int
    """Units in each layer."""
    variant: str
    """One of VARIANTS."""
    timesteps: Timesteps | None = None
    """Timesteps without and with the label; None for PRELABEL and LABELED."""
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


def new_network(units: int, variant: str, device: str, timesteps: Timesteps | None = None, **arguments: Any) -> Network:
    """Build a network of this width for the benchmark's inputs, in the precision of the variant.

    Args:
        units: units in each layer.
        variant: one of VARIANTS.
        device: the device.
        timesteps: those without and with the label; None for PRELABEL and LABELED.
        arguments: other keys of the configuration.
    """
    return build(new_settings(units, variant, device, timesteps, **arguments))


def new_settings(units: int, variant: str, device: str, timesteps: Timesteps | None = None, **arguments: Any) -> Settings:
    """The configuration of `new_network`."""
    prelabel, labeled = timesteps or (PRELABEL, LABELED)
    shape: dict[str, Any] = {
        "hidden_sizes": [units] * LAYERS,
        "prelabel_timesteps": prelabel,
        "label_timesteps": labeled,
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


def measure(
    units: int,
    variants: list[str],
    rounds: int,
    device: str,
    log: Callable[[str], object],
    timesteps: Timesteps | None = None,
) -> list[Row]:
    """Measure the variants in turns, round by round, after a warm-up round that is not counted."""
    rows, work = [], []
    for variant in variants:
        row, network = Row(units, variant, timesteps), new_network(units, variant, device, timesteps)
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
        row.memory = memory(units, row.variant, device, timesteps) if "compiled" not in row.variant else None
        log(f"3×{units} {row.variant}: {BATCH / statistics.median(row.train):,.0f} samples/s in training")
    return rows


def memory(units: int, variant: str, device: str, timesteps: Timesteps | None = None) -> float:
    """The peak memory of training and predicting in MiB: on the GPU, or of a new process in addition to torch itself."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (units, variant, device, timesteps))


def _memory(units: int, variant: str, device: str, timesteps: Timesteps | None) -> float:
    torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
    keep_freed_memory()
    before = _resident()
    for task in runners(new_network(units, variant, device, timesteps), variant).values():
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


def machine(device: str) -> str:
    """The name of the processor or GPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} threads"
