"""MNIST, and Fashion-MNIST: python -m RecurrentFF.benchmarks.mnist.mnist [--dataset fashion_mnist] [--config-file FILE]."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.benchmarks.benchmark import Benchmark, cut, images
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.errors import InputError
from RecurrentFF.settings import Settings
from RecurrentFF.settings.run import DataSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from RecurrentFF.data.dataset import Dataset, Splits
    from RecurrentFF.data.edges import Edges
    from RecurrentFF.data.moments import Normalisation


def data_size(settings: Settings) -> int:
    """Inputs that an image becomes."""
    data = settings.data_config
    return data.edge_directions * data.edge_places**2 if data.edge_directions else 28 * 28


def load(settings: Settings, device: torch.device) -> Splits:
    """Training, validation and test images `as_seen`; only the training images are distorted, before that."""
    from RecurrentFF.data import fashion_mnist, mnist
    from RecurrentFF.data.dataset import Splits, TensorDataset
    from RecurrentFF.data.distortion import DistortedImages, Distortion

    data = settings.data_config
    source = fashion_mnist if data.dataset == "fashion_mnist" else mnist
    splits = cut(settings, *source.load(Path(data.data_dir) if data.data_dir is not None else None, device))
    distortion = Distortion(data.shift, data.rotation, data.scaling, data.bending, data.cutout)

    def seen(part: Dataset | None) -> Dataset | None:
        if not isinstance(part, TensorDataset):
            return part
        return TensorDataset(as_seen(part.inputs, settings, background=source.BACKGROUND), part.labels)

    def distorted(part: Dataset) -> Dataset:
        assert isinstance(part, TensorDataset)
        return DistortedImages(
            part,
            distortion,
            seed=settings.training.seed,
            background=source.BACKGROUND,
            normalisation=_normalisation(data),
            seen_as=_edges(data),
        )

    train = distorted(splits.train) if any(distortion) else seen(splits.train)
    assert train is not None
    return Splits(train, *map(seen, splits[1:]))


AT_ONCE = 5000
"""Images that `as_seen` works on at once, for what they become in between is larger."""


def as_seen(images: Tensor, settings: Settings, *, background: float) -> Tensor:
    """Images as a network with these settings sees them: normalised, then as edges, or as they are where neither is asked for.

    Args:
        images: (n, side, side) or (n, side²), scaled as `data.mnist.load` does.
        background: value of an empty pixel, `data.mnist.BACKGROUND` or `data.fashion_mnist.BACKGROUND`.

    Returns:
        (n, data_size), the network's inputs.

    Raises:
        InputError: they are no such images.
    """
    import torch

    from RecurrentFF.data.edges import edges
    from RecurrentFF.data.moments import normalise

    flat = images.flatten(1) if images.dim() > 1 else images
    side = math.isqrt(flat.shape[-1])
    if not images.is_floating_point() or images.dim() not in (2, 3) or flat.shape[1] != side**2:
        raise InputError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: expected (images, side, side) or (images, side²) of "
            "floating-point numbers, scaled as by RecurrentFF.data.mnist.load"
        )
    how, parts = _edges(settings.data_config), []
    for part in torch.split(flat.view(-1, side, side), AT_ONCE):
        undone = normalise(part, _normalisation(settings.data_config), background=background)
        parts.append(edges(undone, how, background=background) if how else undone.flatten(1))
    return torch.cat(parts)


def _normalisation(data: DataSettings) -> Normalisation:
    from RecurrentFF.data.moments import Normalisation

    return Normalisation(data.deskew, data.size_normalisation)


def _edges(data: DataSettings) -> Edges | None:
    """None for pixels."""
    from RecurrentFF.data.edges import Edges

    return Edges(data.edge_directions, data.edge_places) if data.edge_directions else None


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
