"""Seq MNIST: python -m RecurrentFF.benchmarks.seq_mnist.seq_mnist [--config-file FILE]."""

from __future__ import annotations

import sys

from RecurrentFF.benchmarks.benchmark import SEQ_MNIST
from RecurrentFF.benchmarks.cli import main

__all__ = ["SEQ_MNIST"]

if __name__ == "__main__":
    sys.exit(main(SEQ_MNIST))
