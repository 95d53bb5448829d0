"""Moving MNIST: python -m RecurrentFF.benchmarks.moving_mnist.moving_mnist [--config-file FILE]."""

from __future__ import annotations

import sys

from RecurrentFF.benchmarks.benchmark import MOVING_MNIST
from RecurrentFF.benchmarks.cli import main

__all__ = ["MOVING_MNIST"]

if __name__ == "__main__":
    sys.exit(main(MOVING_MNIST))
