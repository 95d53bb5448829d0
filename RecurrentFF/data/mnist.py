"""The MNIST data set, read from the four original files in this package. Needs no network and no preparation.

Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", 1998; CC BY-SA 3.0, see mnist_idx/README.md.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar

import torch

from RecurrentFF.data.augment import NO_AUGMENTATION, Augmentation
from RecurrentFF.data.dataset import LabeledImages as LabeledImages
from RecurrentFF.data.dataset import SplitOptions, Splits, TensorDataset
from RecurrentFF.data.mnist_files import NAMES, read_folder, read_images
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
    high_is_dark: ClassVar[bool] = True

    data_dir: str | None = None
    """A folder of the four original files, or torchvision's, to read instead of the digits of this package."""
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
        data_dir: an existing folder of the four original files, compressed (.gz) or not, or a torchvision data folder, which has
            them in MNIST/raw. It is not changed. None for the files of this package.
        device: device of the tensors; None for the CPU.

    Returns:
        Training and test images.

    Raises:
        DataError: `data_dir` contains no MNIST, or files of the package are damaged.
    """
    if data_dir is not None:
        return read_folder(data_dir, "MNIST", "leave out --data-dir to use the digits that come with this package", device)
    return read_images([_packaged(name) for name in NAMES], device)


def _packaged(name: str) -> tuple[bytes, str]:
    """Return the content of a file of the package, unpacked, and its name for messages.

    Raises:
        DataError: the file is damaged or missing.
    """
    packed = resources.files("RecurrentFF.data") / "mnist_idx" / f"{name}.gz"
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed}: can't be read ({error}); reinstall RecurrentFF") from None
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != _MD5[name]:
        raise DataError(f"{packed}: not the original MNIST file (its checksum differs); reinstall RecurrentFF")
    return content, str(packed)
