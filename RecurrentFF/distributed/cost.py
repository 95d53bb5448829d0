"""A model of the cost of one training batch that is divided among processes: multiplications, memory, and messages.

The timesteps of all processes follow each other in lockstep: a timestep takes as long as that of the slowest process. Within it,
a process computes its modules one after the other. The sum of a module's gradients travels while the next module computes, and
its pattern while all later ones do; what has not arrived by then is waited for. On a machine whose processors also carry the
messages (`Machine.overlaps` is false), nothing is hidden, and the times of messages are added.

What is left out: the input, evaluations and checkpoints; element-wise operations, which are part of the measured rate of
multiplications; the contention of processes for memory; layers that are frozen; and the messages of a few options, which are peer
normalization, hard examples, adversarial noise, negatives that predict or take other samples' inputs, and the generative circuit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from RecurrentFF.distributed.division import Division, divide, part_of
from RecurrentFF.distributed.exchange import readers_of
from RecurrentFF.distributed.workload import BlockWork, Timestep, Workload
from RecurrentFF.errors import SettingsError

if TYPE_CHECKING:
    from RecurrentFF.model.network import Network
    from RecurrentFF.settings import Settings

UPDATE_PASSES = 5
"""The passes of an update over memory: the gradient, the weight and its mean square are read, the latter two also written."""


@dataclass(frozen=True)
class Machine:
    """The speed of a process, and of the network between two of them."""

    rate: float
    """The multiplications, each with an addition, that a process makes in a second."""
    memory: float
    """The bytes a second that an optimizer reads and writes."""
    bandwidth: float
    """The bytes a second that a process sends while it receives as many."""
    latency: float
    """The seconds that a message of no bytes takes."""
    overlaps: bool = True
    """True if messages travel while the processor computes; false if it has to carry them."""

    def transfer(self, size: float) -> float:
        """The seconds of a message of some bytes."""
        return self.latency + size / self.bandwidth

    def sum(self, size: float, processes: int) -> float:
        """The seconds of a sum of some bytes over processes, by the ring algorithm: 2 · (n − 1) messages, one after the other."""
        return 2 * (processes - 1) * self.transfer(size / processes)


CPU_NETWORK = Machine(rate=5e10, memory=1e10, bandwidth=1.25e9, latency=50e-6)
"""A core of a CPU with bfloat16 or AVX-512, and Ethernet of 10 Gbit/s."""
GPU_NETWORK = Machine(rate=5e13, memory=2e12, bandwidth=5e10, latency=2e-6)
"""A GPU of 100 TFLOP/s and 2 TB/s, and InfiniBand of 400 Gbit/s."""


class Load(NamedTuple):
    """The work of a process in one batch."""

    multiplications: int
    """The multiplications. A timestep multiplies each pattern that a layer reads with its weight, and learning does so once more;
    what is the same for all candidates counts once."""
    memory: int
    """The bytes that the optimizers read and write."""

    def plus(self, multiplications: int, memory: int) -> Load:
        """The work with some more."""
        return Load(self.multiplications + multiplications, self.memory + memory)


class _Traffic(NamedTuple):
    """The messages of a division at each timestep: for each module, the number of processes that read its pattern."""

    readers: Mapping[str, int]
    division: Division
    samples: int
    """The samples of a process: the largest part of the batch."""

    @classmethod
    def of(cls, work: Workload, division: Division, index: int = 0) -> _Traffic:
        """The messages of the processes with the part of this index of each batch."""
        sources = {block.name: tuple(block.sources) for block in work.blocks}
        readers = {name: len(each) for name, each in readers_of(sources, division.owners).items()}
        part = part_of(work.batch, division.data_parts, index)
        return cls(readers, division, part.stop - part.start)

    def pattern(self, work: Workload, block: BlockWork, step: Timestep) -> int:
        """The bytes of a module's pattern."""
        return block.units * step.candidates[block.name] * self.samples * work.compute_bytes


def loads(work: Workload, division: Division | None = None) -> list[Load]:
    """The work of each part of the layers in one batch, for the largest part of the batch.

    Args:
        work: the training of a batch.
        division: the division among processes; None for one process.
    """
    division = _whole(work) if division is None else division
    samples, totals = _Traffic.of(work, division).samples, [Load(0, 0)] * division.layer_parts
    for step in work.timesteps():
        for block in work.blocks:
            part, memory = division.owners[block.name], update_bytes(work, block) if work.learns(block, step) else 0
            multiplied = samples * _products(work, block, step)
            totals[part] = totals[part].plus(step.repeats * multiplied, step.repeats * memory)
    return totals


def update_bytes(work: Workload, block: BlockWork) -> int:
    """The bytes that an update of a module reads and writes."""
    return UPDATE_PASSES * work.weight_bytes * sum(block.parameters)


def bytes_sent(work: Workload, division: Division, index: int) -> dict[str, int]:
    """The bytes that a process sends in one batch, by purpose, as `Activity.sent` counts them.

    Args:
        work: the training of a batch.
        division: the division among processes.
        index: the number of the process.
    """
    parts, layers = division.data_parts, division.layer_parts
    traffic, own = _Traffic.of(work, division, index // layers), set(division.modules[index % layers])
    sent = {"gradients": 0, "patterns": 0}
    for step in work.timesteps():
        for block in (block for block in work.blocks if block.name in own):
            sent["patterns"] += step.repeats * traffic.readers.get(block.name, 0) * traffic.pattern(work, block, step)
            if work.learns(block, step):
                reduced = (ring_bytes(parts, elements * work.reduce_bytes) for elements in block.parameters)
                sent["gradients"] += step.repeats * sum(reduced)
    sent["sums"] = sum(ring_bytes(count, size) for count, size in _sums(work, division, traffic.samples))
    return {purpose: size for purpose, size in sent.items() if size}


def ring_bytes(processes: int, size: int) -> int:
    """The bytes that each process sends for a sum of some bytes by the ring algorithm."""
    return int(2 * (processes - 1) / processes * size)


def seconds(work: Workload, division: Division, machine: Machine) -> float:
    """The seconds of one batch. The assumptions are at the top of this module."""
    traffic, blocks = _Traffic.of(work, division), {block.name: block for block in work.blocks}
    parts = [[blocks[name] for name in names] for names in division.modules]
    total = sum(machine.sum(size, count) for count, size in _sums(work, division, traffic.samples))
    for step in work.timesteps():
        total += step.repeats * max(_seconds_of(work, traffic, machine, part, step) for part in parts)
    return total


def seconds_of_one(work: Workload, machine: Machine) -> float:
    """The seconds of one batch in one process."""
    return seconds(work, _whole(work), machine)


def efficiency(work: Workload, division: Division, machine: Machine) -> float:
    """The speed per process, relative to that of one process that trains the same network on the same batch."""
    processes = division.data_parts * division.layer_parts
    return seconds_of_one(work, machine) / seconds(work, division, machine) / processes


def better_mode(network: Network, settings: Settings, processes: int, machine: Machine | None = None) -> str:
    """The mode that is expected to be faster, "data" or "layer", the same in all processes.

    Args:
        network: the network.
        settings: the configuration, with distributed.mode = "auto".
        processes: the number of processes.
        machine: the machine; by default a nominal one, with a CPU or a GPU as the network has.
    """
    options = settings.distributed
    if options.layer_processes is not None or options.layers_per_process is not None:
        return "layer"  # as was asked for
    try:
        by_layers = divide(network, options, processes, "layer")
    except SettingsError:
        return "data"
    if network.settings.network.batch_normalization:
        return "layer"  # it needs whole batches
    work = Workload.of(network, settings)
    by_samples = replace(_whole(work), data_parts=processes)
    machine = machine or (GPU_NETWORK if network.device.type == "cuda" else CPU_NETWORK)
    return "layer" if seconds(work, by_layers, machine) <= seconds(work, by_samples, machine) else "data"


def _whole(work: Workload) -> Division:
    return Division(1, (tuple(block.name for block in work.blocks),))


def _products(work: Workload, block: BlockWork, step: Timestep) -> int:
    """The multiplications of a module at a timestep, for one sample."""
    forward = sum(multiplied * step.reads[source] for source, multiplied in block.sources.items())
    return forward * (2 if work.learns(block, step) else 1)


def _sums(work: Workload, division: Division, samples: int) -> Iterator[tuple[int, int]]:
    """The small sums after the label-free timesteps and after a batch: the number of processes, and the bytes of each."""
    layers, element = sum(block.is_hidden_layer for block in work.blocks), 8 if work.weight_bytes == 8 else 4
    measured = 3 * work.label_timesteps * layers  # the loss, and badness of the positive and the negative candidates
    units = sum(block.units for block in work.blocks if block.is_hidden_layer)
    if division.layer_parts > 1:
        yield division.layer_parts, element * (measured + samples)
        if work.trains_readout:
            yield division.layer_parts, element * samples * work.classes
            yield division.layer_parts, element * work.classes * units
    if division.data_parts > 1:
        yield division.data_parts, element * (measured + work.label_timesteps + 2)
        if work.trains_readout:
            yield division.data_parts, element * work.classes * (units + 1)


def _seconds_of(work: Workload, traffic: _Traffic, machine: Machine, blocks: list[BlockWork], step: Timestep) -> float:
    """The seconds of a timestep in one process, until its own patterns have arrived where they are read."""
    now = free = arrival = update = 0.0  # the network is free at `free`; the sums of the module before arrive at `arrival`
    for block in blocks:
        now += traffic.samples * _products(work, block, step) / machine.rate
        message = traffic.readers.get(block.name, 0) * machine.transfer(traffic.pattern(work, block, step))
        learns, parts = work.learns(block, step), traffic.division.data_parts
        reduction = sum(machine.sum(n * work.reduce_bytes, parts) for n in block.parameters) if learns else 0.0
        if machine.overlaps:
            free = max(free, now) + message + reduction if message or reduction else free
        else:
            now += message + reduction
        if learns:
            now = max(now, arrival) + update  # of the module before this one, while the sums of this one travel
            arrival, update = free if reduction else 0.0, update_bytes(work, block) / machine.memory
    return max(max(now, arrival) + update, free)
