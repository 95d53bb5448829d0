"""Fashion-MNIST by torchvision, which downloads it: 70,000 pictures of clothes in the format of MNIST.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", 2017,
arXiv:1708.07747.
"""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import platformdirs
import torch

from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.data.mnist import Digits, as_inputs, reason_of, require_images
from RecurrentFF.errors import DataError

_MEAN, _STD = 0.2860, 0.3530  # of all training pixels, scaled to 0..1

BACKGROUND = -_MEAN / _STD
"""Value of an empty pixel in the inputs of the network."""


_NAMES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def load(data_dir: Path | None = None, device: torch.device | None = None) -> tuple[TensorDataset, TensorDataset]:
    """The 60,000 training and 10,000 test pictures as inputs of the network, in their original order.

    Args:
        data_dir: an existing torchvision data folder (the one that holds FashionMNIST/raw), or a folder of the four original
            files, packed (.gz) or not; used as it is. None for a torchvision folder in the user's cache folder, to which they
            are downloaded the first time.
        device: where the tensors go; none for the CPU.

    Returns:
        Training and test set; inputs (samples, 784) float32 of about unit mean square, row by row of the picture.

    Raises:
        DataError: the files are not there, can't be read, or can't be downloaded.
    """
    folder = data_dir or _downloaded(platformdirs.user_cache_path("RecurrentFF") / "fashion_mnist")
    pictures = folder / "FashionMNIST" / "raw" if (folder / "FashionMNIST").exists() else folder
    try:
        train, test = _read_folder(pictures)
    except Exception as error:  # a damaged file may mean anything to torchvision
        remedy = "put its four original files there" if data_dir is not None else f"delete {folder}, and it is downloaded anew"
        raise DataError(f"no readable Fashion-MNIST in {pictures} ({reason_of(error)}); {remedy}") from None
    splits = [Digits(part.images.to(device), part.labels.to(device)) for part in (train, test)]
    for images in splits:
        require_images(images, folder)
    return as_inputs(splits[0], _MEAN, _STD), as_inputs(splits[1], _MEAN, _STD)


def _read_folder(folder: Path) -> tuple[Digits, Digits]:
    """Training and test pictures of the four files in `folder`, packed or not, by torchvision, which wants them unpacked and in a
    folder of its layout."""
    from torchvision.datasets import FashionMNIST  # imported late: torchvision takes a second

    with TemporaryDirectory(prefix="recurrentff-fashion-mnist-") as laid_out:
        raw = Path(laid_out) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for name in _NAMES:
            packed = folder / f"{name}.gz"
            if (folder / name).exists() or not packed.exists():
                (raw / name).symlink_to((folder / name).resolve(strict=True))
            else:
                (raw / name).write_bytes(gzip.decompress(packed.read_bytes()))
        train, test = (FashionMNIST(laid_out, train=train) for train in (True, False))
    return Digits(train.data, train.targets), Digits(test.data, test.targets)


def _downloaded(folder: Path) -> Path:
    """A torchvision folder that holds the pictures. Raises DataError if it must be downloaded and can't be."""
    try:
        _download(folder)
    except Exception as error:  # a failing network or disk may mean anything to torchvision
        raise DataError(
            f"no Fashion-MNIST in {folder}, and it can't be downloaded ({reason_of(error)}); "
            "name a folder of its four files with --data-dir"
        ) from None
    return folder


def _download(folder: Path) -> None:
    """Have `folder` hold the pictures, all of them or none."""
    from torchvision.datasets import FashionMNIST

    if (folder / "FashionMNIST").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".writing-", dir=folder) as unfinished:
        FashionMNIST(unfinished, download=True)
        with contextlib.suppress(OSError):  # another process was faster
            (Path(unfinished) / "FashionMNIST").rename(folder / "FashionMNIST")
