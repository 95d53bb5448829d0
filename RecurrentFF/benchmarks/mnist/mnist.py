"""MNIST, and Fashion-MNIST: python -m RecurrentFF.benchmarks.mnist.mnist [--dataset fashion_mnist] [--config-file FILE]."""

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
    """Training, validation and test images. Only the training images are distorted; then all are normalised."""
    from RecurrentFF.data import fashion_mnist, mnist
    from RecurrentFF.data.distortion import DistortedImages, Distortion
    from RecurrentFF.data.moments import Normalisation, normalised

    data = settings.data_config
    source = fashion_mnist if data.dataset == "fashion_mnist" else mnist
    train, test = source.load(Path(data.data_dir) if data.data_dir is not None else None, device)
    undone = Normalisation(data.deskew, data.size_normalisation)
    splits = cut(settings, *(normalised(images, undone, background=source.BACKGROUND) for images in (train, test)))
    how = Distortion(data.shift, data.rotation, data.scaling, data.bending, data.cutout)
    if not any(how):
        return splits
    images, seed = train[: len(splits.train)], settings.training.seed
    return splits._replace(train=DistortedImages(images, how, seed=seed, background=source.BACKGROUND, normalisation=undone))


MNIST = Benchmark(
    name="mnist",
    datasets=("MNIST", "fashion_mnist"),
    description="Train a Recurrent Forward-Forward network on MNIST.",
    default_config=Path(__file__).with_name("default.toml"),
    data_size=lambda settings: 28 * 28,
    num_classes=10,
    load=load,
    show=images,
)

if __name__ == "__main__":
    sys.exit(main(MNIST))
