"""The accuracy on MNIST through black boxes: python -m RecurrentFF.benchmarks.black_boxes --seeds 0 1 2.

Each network has two hidden layers. The first one reads the image directly, and the last one the label. Whatever the layers read
of each other, upwards and downwards, and of themselves, passes through one kind of black box:

    none          the same network without a box
    spikes        stochastic spikes
    quantization  1, 2, 3 or 4 bits
    noise         Gaussian noise of half the size of the activity
    table         a lookup table whose values rise and fall
    callable      a Python function: the tenth of the units that are most active in a sample are read as 1, the others as 0
    process       another program, over a pipe: a unit is read as 1 where it is above a threshold, and else as 0
    blocked       a control: nothing passes, so that no layer knows both image and label

The weights of the epoch with the best validation accuracy are chosen. The test set is read once for each network, at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.benchmarks.flags import Parser, exit_code
from RecurrentFF.model.black_box_functions import (
    BlackBoxFunction,
    ChildProcess,
    Noise,
    Quantization,
    Spikes,
    Table,
    python_function,
)
from RecurrentFF.model.black_boxes import BlackBoxKind
from RecurrentFF.settings import Settings
from RecurrentFF.streams import write_output
from RecurrentFF.training.build import build
from RecurrentFF.training.evaluation import evaluate
from RecurrentFF.training.fit import fit

PROGRAM = (sys.executable, "-c", "from RecurrentFF.model.black_box_protocol import serve; serve(lambda rows: rows > 0.5)")
"""The command of the program behind the kind "process"."""


def most_active(rows: Tensor) -> Tensor:
    """The tenth of the units that are most active in each sample as 1, the others as 0; (n, units) → (n, units)."""
    chosen = rows.topk(max(1, rows.shape[1] // 10), 1).indices
    return torch.zeros_like(rows).scatter_(1, chosen, 1.0)


FUNCTIONS: dict[str, BlackBoxFunction | None] = {
    "none": None,
    "spikes": Spikes(),
    "quantization-1": Quantization(bits=1),
    "quantization-2": Quantization(bits=2),
    "quantization-3": Quantization(bits=3),
    "quantization-4": Quantization(bits=4),
    "noise": Noise(),
    "table": Table(values=(0.0, 2.0, 0.5, 1.5, 1.0)),
    "callable": python_function(most_active),
    "process": ChildProcess(command=PROGRAM),
    "blocked": python_function(torch.zeros_like),
}
"""The kinds of black boxes, in the order of the table."""

SETTINGS: dict[str, Any] = {
    "hidden_sizes": [300, 200],
    "prelabel_timesteps": 3,
    "label_timesteps": 5,
    "prediction_window": [2, 4],
    "objective": {"name": "pairwise", "alpha": 16.0},
    "negatives": {"name": "readout", "optimizer": {"name": "adam", "learning_rate": 1e-3}},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "schedule": "cosine",
    "transform": {"name": "oriented_gradients", "directions": 8, "grid_size": 10},
    "batch_size": 100,
    "train_accuracy_samples": 0,
    "weight_averaging": 0.99,
    "precision": "float32",
}
"""The configuration of all networks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train the networks, and print the table.

    Returns:
        The exit code: 0, or 2 after an error.
    """
    return exit_code(lambda: _run(_parser().parse_args(argv)))


def _parser() -> Parser:
    text = "Train networks on MNIST whose layers read each other through black boxes."
    parser = Parser(prog="python -m RecurrentFF.benchmarks.black_boxes", description=text)
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="the seeds of the networks (default: 0 1 2)")
    add("--epochs", type=int, default=3, help="epochs of each network (default: 3)")
    add("--train-samples", type=int, default=20_000, help="training digits (default: 20000)")
    add("--validation-samples", type=int, default=5_000, help="validation digits (default: 5000)")
    add("--test-samples", type=int, default=0, help="test digits (default: 0, all)")
    add("--kinds", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS), help="kinds of black boxes (default: all)")
    add("--device", default="cpu", help="the device (default: cpu)")
    return parser


def _run(arguments: argparse.Namespace) -> bool:
    write_output(f"{'black box':<16}{'test':>17}{'validation':>13}   test of each seed; seconds of a network")
    for kind in arguments.kinds:
        start = time.perf_counter()
        found = [accuracies(kind, seed, arguments) for seed in arguments.seeds]
        tests, validations = (torch.tensor(values) for values in zip(*found, strict=True))
        seconds = (time.perf_counter() - start) / len(found)
        deviation = f"± {100 * float(tests.std()):.2f}" if len(found) > 1 else ""
        each = ", ".join(f"{100 * test:.2f}" for test, _ in found)
        write_output(
            f"{kind:<16}{100 * float(tests.mean()):>8.2f} {deviation:>6} %{100 * float(validations.mean()):>11.2f} %   "
            f"{each}; {seconds:.0f} s"
        )
    return True


def accuracies(kind: str, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """The test accuracy of a new network, and the best validation accuracy of its epochs, from 0 to 1.

    Args:
        kind: a key of `FUNCTIONS`.
        seed: the seed of the training.
        options: the flags of the command.
    """
    data = {
        "name": "mnist",
        "train_samples": options.train_samples,
        "validation_samples": options.validation_samples,
        "test_samples": options.test_samples,
    }
    connections = connections_through(FUNCTIONS[kind])
    arguments = SETTINGS | {"data": data, "connections": connections, "seed": seed, "epochs": options.epochs}
    settings = Settings.from_arguments(**arguments, device=options.device)
    task = settings.data.task(settings.transform)
    assert task is not None
    network = build(settings, task=task)
    history = fit(network, task, quiet=True)
    best = max(metrics.validation_accuracy or 0.0 for metrics in history)
    return evaluate(network, task, method="badness").accuracy, best


def connections_through(function: BlackBoxFunction | None) -> list[BlackBoxKind]:
    """The connections between two hidden layers, and of each with itself, through a function; none without a function."""
    if function is None:
        return []
    return [
        BlackBoxKind(layers=(1,), sources=("lateral", "backward"), function=function),
        BlackBoxKind(layers=(2,), sources=("forward", "lateral"), function=function),
    ]


if __name__ == "__main__":
    sys.exit(main())
