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


NAMES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
"""The original files, unpacked."""


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
        DataError: the files are not there, and can't be downloaded.
    """
    folder = data_dir or platformdirs.user_cache_path("RecurrentFF") / "fashion_mnist"
    try:
        if data_dir is None:
            _download(folder)
        if (folder / "FashionMNIST").exists():
            splits = _read(folder, device)
        else:
            with TemporaryDirectory(prefix="recurrentff-fashion-mnist-") as unpacked:
                _unpack(folder, Path(unpacked) / "FashionMNIST" / "raw")
                splits = _read(Path(unpacked), device)
    except Exception as error:  # a damaged file, or a failing network, may mean anything to torchvision
        missing = f" and can't be downloaded ({reason_of(error)})" if data_dir is None else ""
        raise DataError(
            f"no readable Fashion-MNIST in {folder}{missing}; "
            + ("put its four original files there" if data_dir is not None else "name a folder of its four files with --data-dir")
        ) from None
    for images in splits:
        require_images(images, folder)
    return as_inputs(splits[0], _MEAN, _STD), as_inputs(splits[1], _MEAN, _STD)


def _read(folder: Path, device: torch.device | None) -> tuple[Digits, Digits]:
    """What is in a torchvision data folder."""
    from torchvision.datasets import FashionMNIST  # imported late: torchvision takes a second

    train, test = (FashionMNIST(str(folder), train=train) for train in (True, False))
    return Digits(train.data.to(device), train.targets.to(device)), Digits(test.data.to(device), test.targets.to(device))


def _unpack(folder: Path, raw: Path) -> None:
    """Lay a folder's files out in `raw` as torchvision reads them."""
    raw.mkdir(parents=True)
    for name in NAMES:
        packed = folder / f"{name}.gz"
        content = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
        (raw / name).write_bytes(content)


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
