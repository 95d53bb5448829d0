"""MNIST and Fashion-MNIST: python -m RecurrentFF.benchmarks.mnist.mnist [--dataset fashion_mnist] [--config-file FILE]."""

from __future__ import annotations

import sys

from RecurrentFF.benchmarks.benchmark import MNIST
from RecurrentFF.benchmarks.cli import main

__all__ = ["MNIST"]

if __name__ == "__main__":
    sys.exit(main(MNIST))
