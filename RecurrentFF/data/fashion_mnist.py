"""Fashion-MNIST by torchvision, which downloads it: 70,000 pictures of clothes in the format of MNIST.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", 2017,
arXiv:1708.07747.
"""

from __future__ import annotations

import contextlib
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


def load(data_dir: Path | None = None, device: torch.device | None = None) -> tuple[TensorDataset, TensorDataset]:
    """The 60,000 training and 10,000 test pictures as inputs of the network, in their original order.

    Args:
        data_dir: an existing torchvision data folder (the one that holds FashionMNIST/raw), used as it is; none for one in the
            user's cache folder, to which they are downloaded the first time.
        device: where the tensors go; none for the CPU.

    Returns:
        Training and test set; inputs (samples, 784) float32 of about unit mean square, row by row of the picture.

    Raises:
        DataError: the files are not there, and can't be downloaded.
    """
    from torchvision.datasets import FashionMNIST  # imported late: torchvision takes a second

    folder = data_dir or platformdirs.user_cache_path("RecurrentFF") / "fashion_mnist"
    splits = []
    for train in (True, False):
        try:
            if data_dir is None:
                _download(folder)
            dataset = FashionMNIST(str(folder), train=train)
        except Exception as error:  # a damaged file, or a failing network, may mean anything to torchvision
            missing = f" and can't be downloaded ({reason_of(error)})" if data_dir is None else ""
            raise DataError(
                f"no readable Fashion-MNIST in {folder / 'FashionMNIST' / 'raw'}{missing}; put its four original files there"
                + ("" if data_dir is not None else ", or name the folder that holds FashionMNIST/raw with --data-dir")
            ) from None
        images = Digits(dataset.data.to(device), dataset.targets.to(device))
        require_images(images, folder)
        splits.append(as_inputs(images, _MEAN, _STD))
    return splits[0], splits[1]


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
