"""MNIST and Fashion-MNIST: python -m RecurrentFF.benchmarks.mnist.mnist [--dataset fashion_mnist] [--config-file FILE]."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.benchmarks.benchmark import Benchmark, make_splits, show_images
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.errors import InputError
from RecurrentFF.settings import Settings
from RecurrentFF.settings.run import DataSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from RecurrentFF.data.dataset import Dataset, Splits
    from RecurrentFF.data.moments import NormalizationConfig
    from RecurrentFF.data.oriented_gradients import OrientedGradientConfig


def data_size(settings: Settings) -> int:
    """Return the number of network inputs for an image: its features, or its pixels."""
    data = settings.data_config
    return data.edge_directions * data.edge_places**2 if data.edge_directions else 28 * 28


def load(settings: Settings, device: torch.device) -> Splits:
    """Load training, validation and test images, preprocessed. Training images are augmented first, if so configured.

    Raises:
        DataError: the files are missing or damaged, or there are too few samples.
    """
    from RecurrentFF.data import fashion_mnist, mnist
    from RecurrentFF.data.augment import AugmentationConfig, AugmentedImages
    from RecurrentFF.data.dataset import Splits, TensorDataset

    data = settings.data_config
    source = fashion_mnist if data.dataset == "fashion_mnist" else mnist
    splits = make_splits(settings, *source.load(Path(data.data_dir) if data.data_dir is not None else None, device))
    augmentation = AugmentationConfig(data.shift, data.rotation, data.scaling, data.bending, data.cutout)

    def preprocessed(dataset: Dataset | None) -> Dataset | None:
        if not isinstance(dataset, TensorDataset):
            return dataset
        return TensorDataset(preprocess(dataset.inputs, settings, background=source.BACKGROUND), dataset.labels)

    def augmented(dataset: Dataset) -> Dataset:
        assert isinstance(dataset, TensorDataset)
        return AugmentedImages(
            dataset,
            augmentation,
            seed=settings.training.seed,
            background=source.BACKGROUND,
            normalization=_normalization_config(data),
            features=_feature_config(data),
        )

    train = augmented(splits.train) if any(augmentation) else preprocessed(splits.train)
    assert train is not None
    return Splits(train, *map(preprocessed, splits[1:]))


CHUNK_SIZE = 5000
"""Number of images that `preprocess` processes at once, because its intermediate results are larger than the images."""


def preprocess(images: Tensor, settings: Settings, *, background: float) -> Tensor:
    """Convert images to the inputs of a network with these settings.

    The settings `deskew` and `size_normalization` turn on the normalization, and `edge_directions` the conversion to
    oriented-gradient features. Without them the inputs are the pixels.

    Args:
        images: (n, side, side) or (n, side²), scaled as by `data.mnist.load`.
        settings: the settings of the network.
        background: value of an empty pixel, `data.mnist.BACKGROUND` or `data.fashion_mnist.BACKGROUND`.

    Returns:
        (n, data_size).

    Raises:
        InputError: the images have another shape or type.
    """
    import torch

    from RecurrentFF.data.moments import normalize
    from RecurrentFF.data.oriented_gradients import oriented_gradients

    flat = images.flatten(1) if images.dim() > 1 else images
    side = math.isqrt(flat.shape[-1])
    if not images.is_floating_point() or images.dim() not in (2, 3) or flat.shape[1] != side**2:
        raise InputError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: expected (images, side, side) or (images, side²) of "
            "floating-point numbers, scaled as by RecurrentFF.data.mnist.load"
        )
    normalization, features = _normalization_config(settings.data_config), _feature_config(settings.data_config)
    inputs = []
    for chunk in torch.split(flat.view(-1, side, side), CHUNK_SIZE):
        normalized = normalize(chunk, normalization, background=background)
        inputs.append(oriented_gradients(normalized, features, background=background) if features else normalized.flatten(1))
    return torch.cat(inputs)


def _normalization_config(data: DataSettings) -> NormalizationConfig:
    from RecurrentFF.data.moments import NormalizationConfig

    return NormalizationConfig(data.deskew, data.size_normalization)


def _feature_config(data: DataSettings) -> OrientedGradientConfig | None:
    """Return the options of the oriented-gradient features; None for pixels."""
    from RecurrentFF.data.oriented_gradients import OrientedGradientConfig

    return OrientedGradientConfig(data.edge_directions, data.edge_places) if data.edge_directions else None


def show(settings: Settings, dataset: Dataset, samples: int) -> Tensor:
    """Show the first samples as images (1, samples, height, width): their pixels, or the tiled maps of their features."""
    from RecurrentFF.data.oriented_gradients import tile_maps

    data = settings.data_config
    if data.edge_directions == 0:
        return show_images(settings, dataset, samples)
    return tile_maps(next(iter(dataset.batches(samples))).inputs, data.edge_directions).unsqueeze(0)


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
