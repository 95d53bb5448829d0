"""MNIST: python -m RecurrentFF.benchmarks.mnist.mnist [--config-file FILE]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.benchmarks.benchmark import Benchmark, cut, images
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.settings import Settings

if TYPE_CHECKING:
    import torch

    from RecurrentFF.data.dataset import Splits


def load(settings: Settings, device: torch.device) -> Splits:
    """Training, validation and test digits."""
    from RecurrentFF.data import mnist

    folder = settings.data_config.data_dir
    return cut(settings, *mnist.load(Path(folder) if folder is not None else None, device))


MNIST = Benchmark(
    name="mnist",
    dataset="MNIST",
    description="Train a Recurrent Forward-Forward network on MNIST.",
    default_config=Path(__file__).with_name("default.toml"),
    data_size=lambda settings: 28 * 28,
    num_classes=10,
    load=load,
    show=images,
)

if __name__ == "__main__":
    sys.exit(main(MNIST))
