"""MNIST: python -m RecurrentFF.benchmarks.mnist.mnist [--config-file FILE]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.benchmarks.cli import Benchmark, main
from RecurrentFF.settings import Settings

if TYPE_CHECKING:
    import torch

    from RecurrentFF.data.dataset import Splits


def load(settings: Settings, data_dir: Path | None, device: torch.device) -> Splits:
    """Training, validation and test digits."""
    from RecurrentFF.data import mnist
    from RecurrentFF.data.dataset import split

    train, test = mnist.load(data_dir, device)
    return split(
        train,
        test,
        validation_samples=settings.data_config.validation_samples,
        train_samples=settings.data_config.train_samples,
        test_samples=settings.data_config.test_samples,
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
