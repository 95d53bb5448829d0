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
    from torch import Tensor

    from RecurrentFF.data.dataset import Dataset, Splits, TensorDataset


def data_size(settings: Settings) -> int:
    """Inputs that an image becomes."""
    data = settings.data_config
    return data.edge_directions * data.edge_places**2 if data.edge_directions else 28 * 28


def load(settings: Settings, device: torch.device) -> Splits:
    """Training, validation and test images as `as_seen`; only the training images are distorted, before that."""
    from RecurrentFF.data import fashion_mnist, mnist
    from RecurrentFF.data.distortion import DistortedImages, Distortion
    from RecurrentFF.data.edges import EdgeImages, Edges
    from RecurrentFF.data.moments import Normalisation

    data, seed = settings.data_config, settings.training.seed
    source = fashion_mnist if data.dataset == "fashion_mnist" else mnist
    train, test = source.load(Path(data.data_dir) if data.data_dir is not None else None, device)
    splits = cut(settings, *(as_seen(images, settings, background=source.BACKGROUND) for images in (train, test)))
    how = Distortion(data.shift, data.rotation, data.scaling, data.bending, data.cutout)
    if not any(how):
        return splits
    undone = Normalisation(data.deskew, data.size_normalisation)
    images = train[: len(splits.train)]
    distorted = DistortedImages(images, how, seed=seed, background=source.BACKGROUND, normalisation=undone)
    return splits._replace(
        train=EdgeImages(distorted, Edges(data.edge_directions, data.edge_places), background=source.BACKGROUND)
    )


def as_seen(images: TensorDataset, settings: Settings, *, background: float) -> TensorDataset:
    """Images as a network with these settings sees them: normalised, then as edges, or as they are where neither is asked for.

    Args:
        images: square, row by row, scaled as `data.mnist.load` does.
        background: value of an empty pixel, `data.mnist.BACKGROUND`.
    """
    from RecurrentFF.data.edges import Edges, as_edges
    from RecurrentFF.data.moments import Normalisation, normalised

    data = settings.data_config
    undone = normalised(images, Normalisation(data.deskew, data.size_normalisation), background=background)
    return as_edges(undone, Edges(data.edge_directions, data.edge_places), background=background)


def show(settings: Settings, dataset: Dataset, samples: int) -> Tensor:
    """The images; or of each a map of the edges in every direction, beside and below each other."""
    from RecurrentFF.data.edges import tiled

    data = settings.data_config
    if data.edge_directions == 0:
        return images(settings, dataset, samples)
    return tiled(next(iter(dataset.batches(samples))).inputs, data.edge_directions).unsqueeze(0)


MNIST = Benchmark(
    name="mnist",
    datasets=("MNIST", "fashion_mnist"),
    description="Train a Recurrent Forward-Forward network on MNIST.",
    default_config=Path(__file__).with_name("default.toml"),
    data_size=data_size,
    num_classes=10,
    load=load,
    show=show,
)

if __name__ == "__main__":
    sys.exit(main(MNIST))
