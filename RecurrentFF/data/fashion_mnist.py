"""The Fashion-MNIST data set: 70,000 images of clothes in the format of MNIST, downloaded at first use.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", 2017,
arXiv:1708.07747.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from urllib.request import urlopen

import torch

from RecurrentFF.data.cache import cache_folder
from RecurrentFF.data.dataset import LabeledImages, TensorDataset
from RecurrentFF.data.mnist import Mnist, as_inputs
from RecurrentFF.data.mnist_files import NAMES, read_folder, read_images
from RecurrentFF.data.source import SourceTask, fitted_transform
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import DataError, first_line
from RecurrentFF.paths import kind_of, reason_of
from RecurrentFF.registry import register
from RecurrentFF.streams import note_once

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

_FOLDER = "FashionMNIST"
"""The name of torchvision's folder."""
_MAX_BYTES = 50_000_000
"""The largest size of a file that is downloaded. The images for training have 26 MB."""
_TIMEOUT = 30
"""The time in seconds after which an address that does not answer is given up."""


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
        data_dir: as for `load`.
        device: as for `load`.

    Returns:
        Training and test images.

    Raises:
        DataError: as for `load`.
    """
    if data_dir is not None:
        return read_folder(data_dir, _FOLDER, "put its four original files there", device)
    cache = cache_folder("fashion_mnist")
    if cache is None or not _exists(cache / _FOLDER):
        return _download(cache, device)
    try:
        return read_folder(cache, _FOLDER, "download them again", device)
    except DataError as error:
        return _download(cache, device, damage=error)


@register("data", "fashion_mnist")
@dataclass(frozen=True)
class FashionMnist(Mnist):
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes of 28 × 28 pixels, downloaded at first use."""

    title: ClassVar[str] = "Fashion-MNIST"
    high_is_dark: ClassVar[bool] = True

    data_dir: str | None = None
    """An existing torchvision data folder, or a folder of the four original files. If left out, the files are downloaded."""

    def task(self, transform: Transform | None = None) -> SourceTask:
        """Make the task, whose classes are named `CLASSES`. The arguments and errors are those of `DataSource.task`."""
        fitted = fitted_transform(self, transform, lambda: self._read(None)[0], mean=_MEAN, std=_STD)
        return SourceTask(self, (28, 28), CLASSES, fitted, self._splits)

    def _read(self, device: torch.device | None) -> tuple[LabeledImages, LabeledImages]:
        return read(Path(self.data_dir) if self.data_dir is not None else None, device)


def _exists(path: Path) -> bool:
    try:
        return kind_of(path, DataError) is not None
    except DataError:  # a cache folder that this user may not read
        return False


def _download(
    cache: Path | None, device: torch.device | None, damage: DataError | None = None
) -> tuple[LabeledImages, LabeledImages]:
    """Download and read the images, and keep the files in the cache.

    Args:
        cache: the torchvision folder to make; None to keep nothing.
        device: device of the tensors; None for the CPU.
        damage: why the folder that is there can't be read. It is replaced.

    Raises:
        DataError: a file can't be downloaded, or is not the original one.
    """
    from torchvision.datasets import FashionMNIST  # imported late: torchvision takes a second

    note_once("downloading Fashion-MNIST, 30 MB" + ("" if damage is None else f", in place of a damaged one ({damage})"))
    try:
        contents = {name: _fetch(name, md5, FashionMNIST.mirrors) for name, md5 in FashionMNIST.resources}
        images = read_images([(contents[f"{name}.gz"], f"{name}.gz") for name in NAMES], device)
    except DataError as error:
        lack = f"no Fashion-MNIST in {cache or 'a cache folder'}" if damage is None else f"Fashion-MNIST is damaged ({damage})"
        raise DataError(
            f"{lack}, and it can't be downloaded ({error}); name a folder of its four files with --data-dir"
        ) from None
    if cache is not None:
        _keep(contents, cache, replace=damage is not None)
    return images


def _fetch(name: str, md5: str, mirrors: Sequence[str]) -> bytes:
    """Download a file from the first address that has it.

    Raises:
        DataError: none has it.
    """
    reason = "no address is known"
    for mirror in mirrors:
        try:
            with urlopen(mirror + name, timeout=_TIMEOUT) as response:
                content: bytes = response.read(_MAX_BYTES + 1)
        except (OSError, HTTPException, ValueError) as error:
            reason = first_line(error)
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
            return content
        reason = "its checksum differs"
    raise DataError(f"{name}: {reason}")


def _keep(contents: dict[str, bytes], cache: Path, *, replace: bool) -> None:
    """Write all files to the cache, or none and a note if that fails. With `replace`, those that are there are deleted then."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".writing-", dir=cache, ignore_cleanup_errors=True) as unfinished:
            raw = Path(unfinished) / _FOLDER / "raw"
            raw.mkdir(parents=True)
            for name, content in contents.items():
                (raw / name).write_bytes(content)
            if replace:
                with contextlib.suppress(FileNotFoundError):  # another process is replacing it, too
                    (cache / _FOLDER).rename(Path(unfinished) / "damaged")
            with contextlib.suppress(OSError):  # another process has finished first
                raw.parent.rename(cache / _FOLDER)
    except OSError as error:
        note_once(f"Fashion-MNIST can't be cached, and is downloaded at every start ({cache}: {reason_of(error)})")
