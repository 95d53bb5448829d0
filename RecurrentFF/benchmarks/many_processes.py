"""The speed of trainings by many processes, as the model of the cost predicts it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from RecurrentFF.benchmarks import speed_measurements as speed
from RecurrentFF.distributed import Division
from RecurrentFF.distributed.cost import GPU_NETWORK, Machine, efficiency
from RecurrentFF.distributed.workload import BlockWork, Workload

UNITS = 2000
"""The units of a layer."""


@dataclass(frozen=True)
class Case:
    """A training by many processes: layer_parts layers, each in a process of its own, and as many such rows as data_parts."""

    layer_parts: int
    """The number of layers."""
    data_parts: int
    """The number of parts of the batch."""
    batch: int
    """The samples of a batch."""

    @property
    def processes(self) -> int:
        """The number of processes."""
        return self.layer_parts * self.data_parts

    def __str__(self) -> str:
        """The processes, the network and the batch."""
        rows = f"{self.layer_parts} × {self.data_parts}" if self.data_parts > 1 else str(self.processes)
        return f"{rows}: {self.layer_parts}×{UNITS} units, batch {self.batch:,}"


CASES = (Case(8, 1, 500), Case(64, 1, 500), Case(64, 16, 8000))
"""The trainings that are predicted, by 8, 64 and 1,024 processes."""


def chain(layers: int, units: int, batch: int, bytes_per_element: int = 4) -> Workload:
    """The training of a network of dense layers, as `speed.new_settings` describes it, without the network itself.

    The timesteps suffice for the input to reach the top layer, and for the label to reach the first one and stay as long.

    Args:
        layers: the number of layers.
        units: the units of each.
        batch: the samples of a batch.
        bytes_per_element: the bytes of an element of a pattern, and of a gradient that is summed.
    """
    sizes = {"x": speed.INPUT_SIZE, **{f"h{number}": units for number in range(1, layers + 1)}, "y": speed.CLASSES}
    names, blocks = list(sizes), []
    for index in range(1, layers + 1):
        sources = {source: units * sizes[source] for source in names[index - 1 : index + 2]}
        blocks.append(BlockWork(names[index], units, sources, (units, sum(sources.values()))))
    return Workload(
        tuple(blocks),
        speed.CLASSES,
        batch,
        max(speed.PRELABEL, layers),
        max(speed.LABELED, 2 * layers),
        learns_before_label=False,
        compute_bytes=bytes_per_element,
        reduce_bytes=bytes_per_element,
    )


def predictions(machine: Machine) -> list[dict[str, Any]]:
    """The efficiency of each case, in layer mode (with data parts where it has them) and in data mode, on three networks.

    Args:
        machine: this machine, as it was measured.
    """
    machines = {
        "this machine": (machine, 4),
        "its processes on 10 Gbit/s, 50 µs": (replace(machine, bandwidth=1.25e9, latency=50e-6, overlaps=True), 4),
        "GPUs of 100 TFLOP/s on 400 Gbit/s, 2 µs": (GPU_NETWORK, 2),
    }
    lines = []
    for case in CASES:
        for name, (each, size) in machines.items():
            work = chain(case.layer_parts, UNITS, case.batch, size)
            layers = tuple((block.name,) for block in work.blocks)
            divisions = {"layer": Division(case.data_parts, layers), "data": Division(case.processes, (sum(layers, ()),))}
            found = {mode: efficiency(work, division, each) for mode, division in divisions.items()}
            lines.append({"case": str(case), "processes": case.processes, "network": name, **found, "machine": asdict(each)})
    return lines


def markdown(lines: list[dict[str, Any]]) -> str:
    """The table in Markdown: the speed of a process relative to that of a single one, and in brackets that of all together."""
    text = ["| processes | connected by | divided by layers | by samples alone |", "| --- | --- | ---: | ---: |"]
    for line in lines:
        cells = [f"{100 * line[mode]:.0f} % ({line[mode] * line['processes']:,.1f} times)" for mode in ("layer", "data")]
        text.append(f"| {' | '.join([line['case'], line['network'], *cells])} |")
    return "\n".join(text)
