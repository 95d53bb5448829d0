"""The measurements of the benchmark of several processes: its variants in turns, by processes that live as long as it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from RecurrentFF.benchmarks import speed_measurements as speed
from RecurrentFF.distributed import Division, Session, session
from RecurrentFF.distributed.group import Group
from RecurrentFF.errors import ProcessError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.settings import Settings
from RecurrentFF.streams import write_line
from RecurrentFF.training import compiling
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.build import build

TIMEOUT = 3600.0
"""The seconds for which a process waits for another one."""
PINGS = {1: 200, 2**24: 8}
"""The number of messages of each size in bytes."""


@dataclass(frozen=True)
class Options:
    """The networks and the trainings that are measured."""

    units: tuple[int, ...] = (1000, 2000)
    """The widths of the networks."""
    layers: int = 4
    """The number of hidden layers."""
    batch: int = 250
    """The samples of a batch."""
    timesteps: tuple[int, int] = (speed.PRELABEL, speed.LABELED)
    """The timesteps before the label, and with it."""
    precision: str = "float32"
    """The precision of the patterns, "float32" or "bfloat16"."""
    reduce_precision: str = "float32"
    """The precision in which gradients are summed."""
    processes: int = 2
    """The number of processes."""
    rounds: int = 3
    """The number of measurements of each variant."""
    compile: bool = False
    """True if the layers' timestep is compiled."""

    def settings(self, units: int, mode: str = "auto") -> Settings:
        """The configuration of a network of this width."""
        prelabel, label = self.timesteps
        variant = f"{self.precision} compiled" if self.compile else self.precision
        return speed.new_settings(
            units,
            variant,
            "cpu",
            hidden_sizes=[units] * self.layers,
            prelabel_timesteps=prelabel,
            label_timesteps=label,
            distributed={"mode": mode, "reduce_precision": self.reduce_precision},
        )


@dataclass
class Row:
    """The measurements of one line of the table."""

    units: int
    """Units in each layer."""
    variant: str
    """The number of processes and threads, and the mode."""
    mode: str | None
    """"data" or "layer"; None of one process."""
    threads: int
    """The threads of each process."""
    division: Division | None = None
    """The division among the processes."""
    train: list[float] = field(default_factory=list)
    """Seconds of a training batch in each round."""
    processor: list[float] = field(default_factory=list)
    """Seconds of processors that this process used for it, with all its threads."""
    sent: dict[str, int] = field(default_factory=dict)
    """The bytes that this process sent for a batch, by purpose."""
    update: float | None = None
    """Seconds of an update of all weights, which all processes of the variant make at once; None where it is not measured."""

    @property
    def seconds(self) -> float:
        """The median of the seconds of a batch."""
        return statistics.median(self.train)


@dataclass
class Measured:
    """The measurements of one process."""

    rows: list[Row]
    """The lines of the table."""
    messages: dict[int, float]
    """The seconds that a message takes by its size in bytes, while as much arrives."""
    machine: str
    """The name of the processor."""


def start(options: Options) -> list[Measured]:
    """Start the processes, and let them measure.

    Returns:
        The measurements of each process.

    Raises:
        ProcessError: a process has failed.
    """
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=options.processes,
        run_id="rff-processes",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        results: dict[int, Measured] = elastic_launch(launch, measure)(options)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise ProcessError(
            f"process {rank} of the benchmark has failed; its error is above (exit code {failure.exitcode})"
        ) from None
    except SignalException:  # Ctrl-C, or a request to end; the processes have ended
        raise KeyboardInterrupt from None
    return [results[rank] for rank in sorted(results)]


def measure(options: Options) -> Measured:
    """Measure all variants, as one of the processes, all of which call this function."""
    keep_freed_memory()
    torch.set_num_threads(1)
    joined = session(TIMEOUT)
    assert joined is not None, "torchrun has started this process"
    messages = ping(joined.world)
    rows = [row for units in options.units for row in measure_width(joined, options, units)]
    return Measured(rows, messages, speed.machine("cpu"))


def ping(world: Group) -> dict[int, float]:
    """The seconds of a message to the next process, while one of the same size arrives from the process before, by its bytes."""
    found = {}
    for size, times in PINGS.items():
        sent, received = (torch.zeros(size, dtype=torch.uint8) for _ in range(2))
        took = []
        for _ in range(times + 1):
            start = time.perf_counter()
            message = world.send(sent, (world.index + 1) % world.size, 0)
            world.finish([message, world.receive(received, (world.index - 1) % world.size, 0)])
            took.append(time.perf_counter() - start)
        found[size] = statistics.median(took[1:])
    return found


def measure_width(joined: Session, options: Options, units: int) -> list[Row]:
    """Measure the variants of one width in turns, round by round, after a warm-up round that is not counted."""
    count = options.processes
    rows = [
        Row(units, "1 process × 1 thread", None, 1),
        Row(units, f"1 process × {count} threads", None, count),
        Row(units, f"{count} processes × 1 thread, data", "data", 1),
        Row(units, f"{count} processes × 1 thread, layer", "layer", 1),
    ]
    alone = _learner(joined, options, units, rows[0]) if joined.world.index == 0 else None
    learners = [alone, alone, *(_learner(joined, options, units, row) for row in rows[2:])]
    for number in range(options.rounds + 1):
        for row, learner in zip(rows, learners, strict=True):
            _measure_batch(joined, options, row, learner, counts=number > 0)
            if number > 0 and joined.world.index == 0:
                write_line(f"{options.layers}×{units}, {row.variant}: {options.batch / row.train[-1]:,.1f} samples/s", "stderr")
    if alone is not None:
        rows[0].update = update_seconds(alone)
    _barrier(joined.world)
    assert learners[-1] is not None
    rows[-1].update = update_seconds(learners[-1])
    return rows


def _learner(joined: Session, options: Options, units: int, row: Row) -> Learner:
    """The learner of a variant. Every process has a complete network, of which it trains its part."""
    settings = options.settings(units, row.mode or "auto")
    network = build(settings)
    if options.compile:
        compiling.prepare(network, lambda line: None)
    if row.mode is not None:
        network.processes = joined.processes(network, settings)
        row.division = network.processes.division
    return Learner(network)


def _measure_batch(joined: Session, options: Options, row: Row, learner: Learner | None, *, counts: bool) -> None:
    """Train one batch, and wait until all processes have done so. Those without a learner wait, and use no processor."""
    task = None if learner is None else _batch(learner, row, options.batch)
    torch.set_num_threads(row.threads)
    _barrier(joined.world)
    sent, start, processor = dict(joined.activity.sent), time.perf_counter(), time.process_time()
    if task is not None:
        task()
    row.sent = {purpose: size - sent.get(purpose, 0) for purpose, size in joined.activity.sent.items()}
    row.sent = {purpose: size for purpose, size in row.sent.items() if size}
    _barrier(joined.world)
    if counts:
        row.train.append(time.perf_counter() - start)
        row.processor.append(time.process_time() - processor)
    torch.set_num_threads(1)


def _barrier(world: Group) -> None:
    world.sum_in_place(torch.zeros(1))


def _batch(learner: Learner, row: Row, batch: int) -> Callable[[], object]:
    """A function that trains this process's part of a batch of random data."""
    inputs = torch.randn(batch, speed.INPUT_SIZE, generator=torch.Generator().manual_seed(0))
    labels, place = torch.arange(batch) % speed.CLASSES, BatchPlace()
    processes = learner.network.processes
    if row.division is not None and row.division.data_parts > 1:
        part: slice = processes.parts_of(batch)  # type: ignore[attr-defined]
        inputs, labels, place = inputs[part], labels[part], BatchPlace(0, 0, batch, part.start)

    def train() -> None:
        learner.place = place
        learner.train_batch(inputs, labels)

    return train


def update_seconds(learner: Learner) -> float:
    """The median seconds of an update of all modules."""
    modules = learner.network.local_modules
    zeros = {m.name: {name: torch.zeros_like(parameter) for name, parameter in m.named_parameters()} for m in modules}

    def update() -> None:
        for module in modules:
            learner.optimizers[module.name].step(zeros[module.name])

    return statistics.median(speed.seconds(update) for _ in range(5))
