"""Moving MNIST: python -m RecurrentFF.benchmarks.moving_mnist.moving_mnist [--config-file FILE]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.benchmarks.benchmark import Benchmark, make_splits, show_images
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.settings import Settings

if TYPE_CHECKING:
    import torch

    from RecurrentFF.data.dataset import Splits


def load(settings: Settings, device: torch.device) -> Splits:
    """Load training, validation and test videos. Only training videos get new velocities in every epoch.

    Raises:
        DataError: the data can't be read, or there are too few samples.
    """
    from RecurrentFF.data import mnist
    from RecurrentFF.data.moving_mnist import MovingDigits

    folder, seed = settings.data_config.data_dir, settings.training.seed
    train, test = mnist.read(Path(folder) if folder is not None else None, device)
    videos = MovingDigits(train, settings.timesteps, seed=seed, split="train")
    splits = make_splits(settings, videos, MovingDigits(test, settings.timesteps, seed=seed, split="test"))
    return splits._replace(train=videos[: len(splits.train)].with_fresh_velocities(settings.data_config.fresh_velocities))


MOVING_MNIST = Benchmark(
    name="moving_mnist",
    datasets=("Moving MNIST",),
    description="Train a Recurrent Forward-Forward network on single-digit Moving MNIST.",
    default_config=Path(__file__).with_name("default.toml"),
    data_size=lambda settings: 64 * 64,
    num_classes=10,
    load=load,
    show=show_images,
)

if __name__ == "__main__":
    sys.exit(main(MOVING_MNIST))
