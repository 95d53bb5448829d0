"""The benchmark of several processes: python -m RecurrentFF.benchmarks.processes compares them with one, and with a model.

It starts its own processes on this machine, which measure all variants in turns, in one run: one process with one thread, one
with as many threads as there are processes, and all processes with one thread each, in data mode and in layer mode. Where only
one of them computes, the others sleep. A measurement is a whole training batch, and speeds are medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import Any

import torch

from RecurrentFF.atomic_files import write_text
from RecurrentFF.benchmarks import many_processes
from RecurrentFF.benchmarks.flags import Parser, exit_code, user_path
from RecurrentFF.benchmarks.measured_processes import Measured, Options, start
from RecurrentFF.distributed.cost import Machine, bytes_sent, loads, seconds, update_bytes
from RecurrentFF.distributed.workload import Workload
from RecurrentFF.errors import SettingsError
from RecurrentFF.streams import write_line, write_output
from RecurrentFF.training.build import build

DESCRIPTION = "Measure the training by several processes of this machine against one process."


def fitted(options: Options, units: int, measured: Measured) -> Machine:
    """The machine as the model of the cost sees it: from one process with one thread, from updates of all at once, and messages.

    If there are no more processors than processes, they carry the messages, too.

    Args:
        options: what was measured.
        units: the width of the network.
        measured: the measurements of the first process.
    """
    alone, *_, together = (row for row in measured.rows if row.units == units)
    assert alone.update is not None and together.update is not None, "these two variants measure their updates"
    work = workload(options, units)
    (load,), update = loads(work), sum(update_bytes(work, block) for block in work.blocks)
    (small, latency), (large, longest) = sorted(measured.messages.items())
    bandwidth = (large - small) / max(longest - latency, 1e-9)
    rate = load.multiplications / max(alone.seconds - load.memory / update * alone.update, 1e-9)
    return Machine(rate, update / together.update, bandwidth, latency, overlaps=processors() > options.processes)


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def table(options: Options, measured: list[Measured]) -> list[dict[str, Any]]:
    """The rows with speeds, those that the model predicts, and the bytes sent per sample, predicted and counted."""
    lines, first, batch = [], measured[0].rows, options.batch
    for index, row in enumerate(first):
        work, one = workload(options, row.units), next(r for r in first if r.units == row.units)
        predicted = sent = None
        if row.division is not None:
            predicted = one.seconds / seconds(work, row.division, fitted(options, row.units, measured[0]))
            sent = sum(sum(bytes_sent(work, row.division, i).values()) for i in range(options.processes)) / batch
        counted = sum(sum(each.rows[index].sent.values()) for each in measured) / batch
        lines.append(
            {
                "network": f"{options.layers}×{row.units}",
                "variant": row.variant,
                "samples_per_second": batch / row.seconds,
                "ratio": one.seconds / row.seconds,
                "predicted_ratio": predicted,
                "processor_ratio": sum(sum(each.rows[index].processor) for each in measured) / sum(one.processor),
                "bytes_per_sample": counted if row.division is not None else None,
                "predicted_bytes_per_sample": sent,
            }
        )
    return lines


def workload(options: Options, units: int) -> Workload:
    """The training of a batch that is measured, for the model of the cost."""
    network = build(options.settings(units))
    return Workload.of(network, network.settings, options.batch)


def markdown(lines: list[dict[str, Any]]) -> str:
    """The table in Markdown."""
    text = [
        "| network | | samples/s | × one process | predicted | processor time | sent per sample, KB | predicted |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join(text + [_line(**line) for line in lines])


def _line(network: str, variant: str, samples_per_second: float, ratio: float, **values: float | None) -> str:
    def cell(name: str, form: str, unit: float = 1) -> str:
        value = values[name]
        return "–" if value is None else f"{value / unit:{form}}"

    sent = [cell(name, ",.1f", 1000) for name in ("bytes_per_sample", "predicted_bytes_per_sample")]
    ratios = [f"{ratio:.2f}", cell("predicted_ratio", ".2f"), cell("processor_ratio", ".2f")]
    return f"| {' | '.join([network, variant, f'{samples_per_second:,.1f}', *ratios, *sent])} |"


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    return exit_code(lambda: run(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser, known = Parser(prog="python -m RecurrentFF.benchmarks.processes", description=DESCRIPTION), Options()
    add = parser.add_argument
    add("--units", type=int, nargs="+", default=known.units, help="units of each layer (default: 1000 2000)")
    add("--layers", type=int, default=known.layers, help="hidden layers (default: 4)")
    add("--batch", type=int, default=known.batch, help="samples of a batch (default: 250)")
    text = "timesteps before the label, and with it (default: 10 15)"
    add("--timesteps", type=int, nargs=2, metavar=("BEFORE", "WITH"), default=known.timesteps, help=text)
    precisions = ("float32", "bfloat16")
    add("--precision", choices=precisions, default=known.precision, help="of the patterns (default: float32)")
    text = "in which gradients are summed (default: float32)"
    add("--reduce-precision", choices=precisions, default=known.reduce_precision, help=text)
    add("--processes", type=int, default=known.processes, help="number of processes (default: 2)")
    add("--rounds", type=int, default=known.rounds, help="measurements of each; their medians are shown (default: 3)")
    add("--compile", action="store_true", help="compile the layers' timestep")
    add("--predict", action="store_true", help="predict the speed of 8, 64 and 1,024 processes, too")
    add("--json", type=user_path, metavar="FILE", help="write everything measured to this file")
    return parser


def run(arguments: argparse.Namespace) -> bool:
    """Measure what the arguments ask for, print the tables, and write the file.

    Returns:
        True.

    Raises:
        SettingsError: a number is too small.
        ProcessError: a process has failed.
        OutputError: the file can't be written.
    """
    given = {name: value for name, value in vars(arguments).items() if name in Options.__dataclass_fields__}
    options = Options(**given | {"units": tuple(arguments.units), "timesteps": tuple(arguments.timesteps)})
    if min(options.rounds, options.batch, *options.units, options.timesteps[1]) < 1 or options.timesteps[0] < 0:
        raise SettingsError("--units, --batch, --rounds and the timesteps with the label take whole numbers above 0")
    if not 2 <= options.processes <= options.layers:
        raise SettingsError(
            f"--processes: {options.processes} for {options.layers} layers; choose from 2 to the number of layers"
        )
    for units in options.units:
        workload(options, units)  # which says before any work if a network is too large, or its options don't fit
    measured = start(options)
    lines = table(options, measured)
    machine = fitted(options, max(options.units), measured[0])
    write_line(f"{measured[0].machine}; {processors()} processors; torch {torch.__version__}; {options.precision}, batch "
               f"{options.batch}, {options.timesteps[0]} + {options.timesteps[1]} timesteps")  # fmt: skip
    write_line(described(machine))
    write_output("\n" + markdown(lines))
    predicted = many_processes.predictions(machine) if arguments.predict else []
    if predicted:
        write_output("\n" + many_processes.markdown(predicted))
    if arguments.json is not None:
        result = {"options": asdict(options), "machine": asdict(machine), "table": lines, "predictions": predicted}
        processes = [asdict(each) for each in measured]
        write_text(arguments.json, json.dumps(result | {"measurements": processes}, indent=2) + "\n")
    return True


def described(machine: Machine) -> str:
    """A machine in one line."""
    return (
        f"one process: {2 * machine.rate / 1e9:,.0f} GFLOP/s, {machine.memory / 1e9:,.1f} GB/s in updates; messages: "
        f"{machine.bandwidth / 1e9:,.2f} GB/s, {machine.latency * 1e6:,.0f} µs"
        + ("" if machine.overlaps else ", carried by the processors that compute")
    )


if __name__ == "__main__":
    sys.exit(main())
