"""The MNIST data set, read from the four original files in this package. Needs no network and no preparation.

Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", 1998; CC BY-SA 3.0, see mnist_idx/README.md.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import torch

from RecurrentFF.data.augment import NO_AUGMENTATION, Augmentation
from RecurrentFF.data.dataset import LabeledImages as LabeledImages
from RecurrentFF.data.dataset import SplitOptions, Splits, TensorDataset
from RecurrentFF.data.source import DataSource, SourceTask, fitted_transform, image_splits
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import DataError
from RecurrentFF.registry import register

# Mean and standard deviation of all training pixels, scaled to 0..1. Standardization by them gives a mean square of about 1.
_MEAN, _STD = 0.1307, 0.3081

BACKGROUND = -_MEAN / _STD
"""Value of an empty pixel in the network's inputs."""

_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load(data_dir: Path | None = None, device: torch.device | None = None) -> tuple[TensorDataset, TensorDataset]:
    """Load the 60,000 training and 10,000 test digits as network inputs, in their original order.

    Args:
        data_dir, device: as for `read`.

    Returns:
        Training and test set; inputs (samples, 784) float32 of about unit mean square, each image in row-major order.

    Raises:
        DataError: as for `read`.
    """
    train, test = read(data_dir, device)
    return as_inputs(train, _MEAN, _STD), as_inputs(test, _MEAN, _STD)


@register("data", "mnist")
@dataclass(frozen=True)
class Mnist(DataSource):
    """The MNIST digits of this package, or of a folder: 60,000 training and 10,000 test images of 28 × 28 pixels."""

    title: ClassVar[str] = "MNIST"

    data_dir: str | None = None
    """An existing torchvision data folder to read instead of the digits of this package."""
    augmentation: Augmentation = NO_AUGMENTATION
    """The random variation of training images, drawn again in every epoch."""

    def check(self) -> None:
        """Check the augmentation against the side of a digit."""
        self.augmentation.check_side(28)

    def task(self, transform: Transform | None = None) -> SourceTask:
        """Make the task, whose classes are the digits 0 to 9. The arguments and errors are those of `DataSource.task`."""
        fitted = fitted_transform(self, transform, lambda: self._read(None)[0], mean=_MEAN, std=_STD)
        return SourceTask(self, (28, 28), tuple(range(10)), fitted, self._splits)

    def _read(self, device: torch.device | None) -> tuple[LabeledImages, LabeledImages]:
        return read(Path(self.data_dir) if self.data_dir is not None else None, device)

    def _splits(self, transform: Transform, options: SplitOptions) -> Splits:
        return image_splits(*self._read(options.device), transform, self.augmentation, options)


def as_inputs(data: LabeledImages, mean: float, std: float) -> TensorDataset:
    """Convert images to network inputs (samples, 784): (pixel − mean) / std, with pixels scaled to 0..1."""
    from torchvision.transforms.v2 import functional as transforms  # imported late: torchvision takes a second

    images = transforms.to_dtype(data.images.unsqueeze(1), torch.float32, scale=True)
    return TensorDataset(transforms.normalize(images, [mean], [std], inplace=True).flatten(1), data.labels)


def read(data_dir: Path | None = None, device: torch.device | None = None) -> tuple[LabeledImages, LabeledImages]:
    """Read the 60,000 training and 10,000 test digits, in their original order.

    Args:
        data_dir: an existing torchvision data folder (the one that contains MNIST/raw), which is not changed; None for the
            files of this package.
        device: device of the tensors; None for the CPU.

    Returns:
        Training and test images.

    Raises:
        DataError: `data_dir` contains no MNIST, or files of the package are damaged.
    """
    if data_dir is not None:
        return _read_folder(data_dir, device)
    with TemporaryDirectory(prefix="recurrentff-mnist-") as folder:
        unpack(Path(folder))
        return _read_folder(Path(folder), device)


def unpack(folder: Path) -> None:
    """Unpack the package's files into a folder, in the layout of torchvision.

    Raises:
        DataError: a file of the package is damaged.
    """
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, md5 in _MD5.items():
        packed = resources.files("RecurrentFF.data") / "mnist_idx" / f"{name}.gz"
        try:
            content = gzip.decompress(packed.read_bytes())
        except (OSError, EOFError) as error:
            raise DataError(f"{packed}: can't be read ({error}); reinstall RecurrentFF") from None
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"{packed}: not the original MNIST file (its checksum differs); reinstall RecurrentFF")
        (raw / name).write_bytes(content)


def _read_folder(folder: Path, device: torch.device | None) -> tuple[LabeledImages, LabeledImages]:
    from torchvision.datasets import MNIST

    splits = []
    for train in (True, False):
        try:
            dataset = MNIST(str(folder), train=train)
        except Exception as error:  # a damaged file can make torchvision raise any exception
            reason = "files are missing" if "not found" in str(error) else reason_of(error)
            raise DataError(
                f"{folder}: no readable torchvision MNIST in MNIST/raw ({reason}); leave out --data-dir to use the digits that "
                "come with this package"
            ) from None
        splits.append(LabeledImages(dataset.data.to(device), dataset.targets.to(device)))
        require_images(splits[-1], folder)
    return splits[0], splits[1]


def reason_of(error: Exception) -> str:
    """Summarize in one line an exception that torchvision raised for unreadable files."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else "a file is not in the IDX format"


def require_images(data: LabeledImages, folder: Path) -> None:
    """Check that there is one label for each 28 × 28 image, and that the labels are 0 to 9.

    Raises:
        DataError: the check fails; the message names `folder`.
    """
    images, labels = data
    if images.shape != (len(labels), 28, 28) or len(labels) == 0:
        raise DataError(f"{folder}: {len(labels)} labels for images of shape {tuple(images.shape)}; expected as many of 28 × 28")
    if not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise DataError(f"{folder}: labels run from {labels.min()} to {labels.max()}; expected 0 to 9")
