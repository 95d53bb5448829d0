"""Benchmarks: the data sets that have a command of their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """A command that trains on a data set, or on one of a few that are alike."""

    name: str
    """The name of the benchmark."""
    data: tuple[str, ...]
    """The registered names of its data sets. The first one is the default."""
    description: str
    """The text at the top of `--help`."""


MNIST = Benchmark("mnist", ("mnist", "fashion_mnist"), "Train a Recurrent Forward-Forward network on MNIST.")
MOVING_MNIST = Benchmark(
    "moving_mnist", ("moving_mnist",), "Train a Recurrent Forward-Forward network on single-digit Moving MNIST."
)
SEQ_MNIST = Benchmark(
    "seq_mnist", ("seq_mnist",), "Train a Recurrent Forward-Forward network on the pen strokes of MNIST's digits."
)
