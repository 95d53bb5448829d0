"""MNIST: python -m RecurrentFF.benchmarks.mnist.mnist [--config-file FILE]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.benchmarks.benchmark import Benchmark
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.settings import Settings

if TYPE_CHECKING:
    import torch

    from RecurrentFF.data.dataset import Splits


def load(settings: Settings, device: torch.device) -> Splits:
    """Training, validation and test digits."""
    from RecurrentFF.data import mnist
    from RecurrentFF.data.dataset import split

    data = settings.data_config
    train, test = mnist.load(Path(data.data_dir) if data.data_dir is not None else None, device)
    return split(
        train,
        test,
        validation_samples=data.validation_samples,
        train_samples=data.train_samples,
        test_samples=data.test_samples,
        probe_samples=settings.training.train_accuracy_samples,
    )


MNIST = Benchmark(
    name="mnist",
    dataset="MNIST",
    description="Train a Recurrent Forward-Forward network on MNIST.",
    default_config=Path(__file__).with_name("default.toml"),
    data_size=28 * 28,
    num_classes=10,
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(MNIST))
