"""The Fashion-MNIST data set: 70,000 images of clothes in the format of MNIST, downloaded and read by torchvision.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", 2017,
arXiv:1708.07747.
"""

from __future__ import annotations

import contextlib
import gzip
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import platformdirs
import torch

from RecurrentFF.data.dataset import LabeledImages, TensorDataset
from RecurrentFF.data.mnist import Mnist, as_inputs, reason_of, require_images
from RecurrentFF.data.source import SourceTask, fitted_transform
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import DataError
from RecurrentFF.registry import register

_MEAN, _STD = 0.2860, 0.3530  # of all training pixels, scaled to 0..1

BACKGROUND = -_MEAN / _STD
"""Value of an empty pixel in the network's inputs."""

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""The official names of the classes, in the order of their numbers."""

_NAMES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def load(data_dir: Path | None = None, device: torch.device | None = None) -> tuple[TensorDataset, TensorDataset]:
    """Load the 60,000 training and 10,000 test images as network inputs, in their original order.

    Args:
        data_dir: an existing torchvision data folder (the one that contains FashionMNIST/raw), or a folder of the four original
            files, compressed (.gz) or not. It is not changed. None for a torchvision folder in the user's cache folder, to which
            the files are downloaded the first time.
        device: device of the tensors; None for the CPU.

    Returns:
        Training and test set; inputs (samples, 784) float32 of about unit mean square, each image in row-major order.

    Raises:
        DataError: the files are missing, can't be read, or can't be downloaded.
    """
    train, test = read(data_dir, device)
    return as_inputs(train, _MEAN, _STD), as_inputs(test, _MEAN, _STD)


def read(data_dir: Path | None = None, device: torch.device | None = None) -> tuple[LabeledImages, LabeledImages]:
    """Read the 60,000 training and 10,000 test images, in their original order.

    Args:
        data_dir, device: as for `load`.

    Returns:
        Training and test images.

    Raises:
        DataError: as for `load`.
    """
    folder = data_dir or _downloaded(platformdirs.user_cache_path("RecurrentFF") / "fashion_mnist")
    raw = folder / "FashionMNIST" / "raw" if (folder / "FashionMNIST").exists() else folder
    try:
        splits = _read_folder(raw)
    except Exception as error:  # a damaged file can make torchvision raise any exception
        remedy = "put its four original files there" if data_dir is not None else f"delete {folder} to download it again"
        raise DataError(f"no readable Fashion-MNIST in {raw} ({reason_of(error)}); {remedy}") from None
    train, test = (LabeledImages(split.images.to(device), split.labels.to(device)) for split in splits)
    for split in (train, test):
        require_images(split, folder)
    return train, test


@register("data", "fashion_mnist")
@dataclass(frozen=True)
class FashionMnist(Mnist):
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes of 28 × 28 pixels, downloaded at first use."""

    title: ClassVar[str] = "Fashion-MNIST"

    data_dir: str | None = None
    """An existing torchvision data folder, or a folder of the four original files. If left out, the files are downloaded."""

    def task(self, transform: Transform | None = None) -> SourceTask:
        """Make the task, whose classes are named `CLASSES`. The arguments and errors are those of `DataSource.task`."""
        fitted = fitted_transform(self, transform, lambda: self._read(None)[0], mean=_MEAN, std=_STD)
        return SourceTask(self, (28, 28), CLASSES, fitted, self._splits)

    def _read(self, device: torch.device | None) -> tuple[LabeledImages, LabeledImages]:
        return read(Path(self.data_dir) if self.data_dir is not None else None, device)


def _read_folder(folder: Path) -> tuple[LabeledImages, LabeledImages]:
    """Read the training and test images from the four files in a folder, compressed or not.

    torchvision requires uncompressed files in its own folder layout, so the files are linked or unpacked into a temporary folder.
    """
    from torchvision.datasets import FashionMNIST  # imported late: torchvision takes a second

    with TemporaryDirectory(prefix="recurrentff-fashion-mnist-") as torchvision_folder:
        raw = Path(torchvision_folder) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for name in _NAMES:
            packed = folder / f"{name}.gz"
            if (folder / name).exists() or not packed.exists():
                (raw / name).symlink_to((folder / name).resolve(strict=True))
            else:
                (raw / name).write_bytes(gzip.decompress(packed.read_bytes()))
        train, test = (FashionMNIST(torchvision_folder, train=train) for train in (True, False))
    return LabeledImages(train.data, train.targets), LabeledImages(test.data, test.targets)


def _downloaded(folder: Path) -> Path:
    """Download the data set to a torchvision folder unless it is there, and return the folder.

    Raises:
        DataError: the download fails.
    """
    try:
        _download(folder)
    except Exception as error:  # a network or disk failure can make torchvision raise any exception
        raise DataError(
            f"no Fashion-MNIST in {folder}, and it can't be downloaded ({reason_of(error)}); "
            "name a folder of its four files with --data-dir"
        ) from None
    return folder


def _download(folder: Path) -> None:
    """Download all files to `folder`, or none if the download fails. Do nothing if they are there."""
    from torchvision.datasets import FashionMNIST

    if (folder / "FashionMNIST").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".writing-", dir=folder) as unfinished:
        FashionMNIST(unfinished, download=True)
        with contextlib.suppress(OSError):  # another process has finished first
            (Path(unfinished) / "FashionMNIST").rename(folder / "FashionMNIST")
