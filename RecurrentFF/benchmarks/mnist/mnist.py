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
    """Training, validation and test digits. Only the training digits are distorted."""
    from RecurrentFF.data import mnist
    from RecurrentFF.data.distortion import DistortedImages, Distortion

    data = settings.data_config
    train, test = mnist.load(Path(data.data_dir) if data.data_dir is not None else None, device)
    splits = cut(settings, train, test)
    how = Distortion(data.shift, data.rotation, data.scaling, data.bending, data.cutout)
    if not any(how):
        return splits
    images = train[: len(splits.train)]
    return splits._replace(train=DistortedImages(images, how, seed=settings.training.seed, background=mnist.BACKGROUND))


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
