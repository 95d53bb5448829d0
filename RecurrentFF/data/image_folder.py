"""A folder of image files as a data set: one folder for each class, whose name is that of the class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.data.augment import NO_AUGMENTATION, Augmentation
from RecurrentFF.data.source import Count, DataSource
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import DataError, SettingsError
from RecurrentFF.options import Flag
from RecurrentFF.registry import register

Side = Annotated[int, Field(ge=1)]


@register("data", "image_folder")
@dataclass(frozen=True)
class ImageFolder(DataSource):
    """A folder of image files, with a folder for each class.

    If it has the folders "train" and "test", those have the class folders. Otherwise, a tenth of the images, drawn at
    random and always the same, is the test set.
    """

    title: ClassVar[str] = "image folder"

    validation_samples: Count | None = None
    """The number of training images, drawn at random, which select the best epoch; if left out, a tenth."""
    data_dir: str | None = None
    """The folder of the images."""
    size: tuple[Side, Side] | None = None
    """The height and width to which images are scaled, in pixels. If left out, they are those of the first image."""
    grayscale: Flag = True
    """Convert images to one channel. If false, they have three."""
    augmentation: Augmentation = NO_AUGMENTATION
    """The random variation of training images, which must be square, drawn again in every epoch."""

    def task(self, transform: Transform | None = None) -> ImageFolderTask:
        """Read the images, and make the task, whose classes are named after the class folders.

        Args:
            transform: the transform to network inputs; None for standardized pixels.

        Raises:
            SettingsError: no folder is set.
            DataError: the images can't be read.
            InputError: the transform does not fit the images.
        """
        if self.data_dir is None:
            raise SettingsError("data.data_dir: the data set image_folder needs a folder; set data.data_dir", "data.data_dir")
        return ImageFolderTask(
            self.data_dir,
            size=self.size,
            grayscale=self.grayscale,
            validation=0.1 if self.validation_samples is None else self.validation_samples,
            test=0.1,
            transform=transform,
            augmentation=self.augmentation,
            train_samples=self.train_samples,
            test_samples=self.test_samples,
        )


class _Folder(NamedTuple):
    """The images of a folder."""

    images: Tensor
    """(samples, height, width) uint8, or (samples, 3, height, width)."""
    labels: list[str]
    """The class of each image."""
    classes: list[str]
    """The names of the class folders, sorted."""


class ImageFolderTask(TensorTask):
    """A task of image files in one folder for each class, whose name is that of the class. All images are read into memory.

    Args:
        folder: the folder of the class folders. If it has the folders "train" and "test", those have the class folders.
        size: (height, width) to which images are scaled, in pixels; None for that of the first image.
        grayscale: whether images are converted to one channel. If not, they have three.
        validation: as for `TensorTask`.
        test: a fraction or a number of the images; ignored if there is a folder "test".
        transform: as for `TensorTask`; None for `Pixels`.
        augmentation: as for `TensorTask`.
        name: the name of the data set; None for that of the folder.
        seed, train_samples, test_samples: as for `TensorTask`.

    Raises:
        DataError: the folder is missing, has no images, or has one that can't be read.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        size: tuple[int, int] | None = None,
        grayscale: bool = True,
        validation: float | int | None = 0.1,
        test: float | int | None = None,
        transform: Transform | None = None,
        augmentation: Augmentation | None = None,
        name: str | None = None,
        seed: int = 0,
        train_samples: int = 0,
        test_samples: int = 0,
    ) -> None:
        root = Path(folder)
        has_test = (root / "train").is_dir() and (root / "test").is_dir()
        train = _read_image_folder(root / "train" if has_test else root, size, grayscale)
        height, width = train.images.shape[-2:]
        separate = _read_image_folder(root / "test", (height, width), grayscale) if has_test else None
        super().__init__(
            train.images,
            train.labels,
            transform=transform,
            classes=train.classes,
            validation=validation,
            test=(separate.images, separate.labels) if separate is not None else test,
            augmentation=augmentation,
            name=name or root.resolve().name,
            seed=seed,
            train_samples=train_samples,
            test_samples=test_samples,
        )


def _read_image_folder(folder: Path, size: tuple[int, int] | None, grayscale: bool) -> _Folder:
    """Read the images of a folder of class folders.

    Raises:
        DataError: the folder is missing, has no images, or has one that can't be read.
    """
    from PIL import Image, UnidentifiedImageError  # imported late, with torchvision, which takes a second
    from torchvision.datasets import ImageFolder

    class VisibleFolders(ImageFolder):  # type: ignore[misc]  # torchvision has no types
        """The class folders, without hidden ones such as .git."""

        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            names = sorted(path.name for path in Path(directory).iterdir() if path.is_dir() and path.name[0] != ".")
            if not names:
                raise FileNotFoundError(f"no class folder in {directory}")
            return names, {name: number for number, name in enumerate(names)}

    try:
        files = VisibleFolders(str(folder))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{folder}: expected one folder of images for each class ({reason})") from None
    images = []
    for path, _ in files.samples:
        try:
            with Image.open(path) as image:
                converted = image.convert("L" if grayscale else "RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"{path}: not an image that can be read ({type(error).__name__}); remove or replace it") from None
        size = size or (converted.height, converted.width)
        if (converted.height, converted.width) != size:
            converted = converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        images.append(torch.from_numpy(np.array(converted)))
    pixels = torch.stack(images)
    return _Folder(
        pixels if grayscale else pixels.permute(0, 3, 1, 2).contiguous(),
        [files.classes[number] for _, number in files.samples],
        list(files.classes),
    )
