"""A folder of image files as a data set: one folder for each class, whose name is that of the class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.data.arguments import sides_of
from RecurrentFF.data.augment import NO_AUGMENTATION, Augmentation
from RecurrentFF.data.image_files import class_folders, image_files, read_image
from RecurrentFF.data.source import Count, DataSource
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import DataError, SettingsError
from RecurrentFF.options import Flag
from RecurrentFF.paths import expanded, kind_of, reported
from RecurrentFF.registry import register

Side = Annotated[int, Field(ge=1)]


@register("data", "image_folder")
@dataclass(frozen=True)
class ImageFolder(DataSource):
    """A folder of image files, with a folder for each class.

    If it has the folders "train" and "test", those have the class folders. Otherwise, a tenth of the images, drawn at
    random and always the same, is the test set: a tenth of each class, and at least one image of each class with two or more, if
    there are that many test images.
    """

    title: ClassVar[str] = "image folder"

    validation_samples: Count | None = None
    """The number of training images, drawn at random from each class by its share, which select the best epoch; if left out, a
    tenth."""
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
        size: (height, width) to which images are scaled, in pixels; one number for both, or None for the size of the first image.
        grayscale: whether images are converted to one channel. If not, they have three.
        validation: as for `TensorTask`, but each class has its share of the images that are drawn, as of those for the test.
        test: a fraction or a number of the images; ignored if there is a folder "test". Each class has its share of them,
            rounded; where there are as many of them as classes, each class with two or more images has at least one. One image of
            each class remains for training, as long as that is possible.
        transform: as for `TensorTask`; None for `Pixels`.
        augmentation: as for `TensorTask`.
        name: the name of the data set; None for that of the folder.
        seed: as for `TensorTask`.
        train_samples: as for `TensorTask`.
        test_samples: as for `TensorTask`.

    Raises:
        DataError: the folder is missing, has no images, or has one that can't be read.
        InputError: another argument is invalid.
    """

    _draws_by_class: ClassVar[bool] = True

    def __init__(
        self,
        folder: str | Path,
        *,
        size: tuple[int, int] | int | None = None,
        grayscale: bool = True,
        validation: float | int | None = 0.1,
        test: float | int | None = None,
        transform: Transform | str | None = None,
        augmentation: Augmentation | None = None,
        name: str | None = None,
        seed: int = 0,
        train_samples: int = 0,
        test_samples: int = 0,
    ) -> None:
        root, sides = expanded(folder, DataError), sides_of(size)
        has_test = all(kind_of(root / part, DataError) == "folder" for part in ("train", "test"))
        train = _read_image_folder(root / "train" if has_test else root, sides, grayscale)
        height, width = train.images.shape[-2:]
        separate = _read_image_folder(root / "test", (height, width), grayscale) if has_test else None
        with reported(root, DataError):
            full_name = root.resolve().name
        super().__init__(
            train.images,
            train.labels,
            transform=transform,
            classes=train.classes,
            validation=validation,
            test=(separate.images, separate.labels) if separate is not None else test,
            augmentation=augmentation,
            name=name or full_name,
            seed=seed,
            train_samples=train_samples,
            test_samples=test_samples,
        )


def _read_image_folder(folder: Path, size: tuple[int, int] | None, grayscale: bool) -> _Folder:
    """Read the images of a folder of class folders.

    Raises:
        DataError: the folder is missing, has no images, or has one that can't be read.
    """
    classes = class_folders(folder)
    files = [(path, name) for name in classes for path in image_files(folder / name)]
    height, width = size or read_image(files[0][0], None, grayscale).shape[:2]
    try:
        images = np.empty((len(files), height, width) + (() if grayscale else (3,)), dtype=np.uint8)
    except (MemoryError, ValueError):
        raise DataError(
            f"{folder}: {len(files):,} images of {height:,} × {width:,} pixels do not fit into the memory; set a smaller size"
        ) from None
    for number, (path, _) in enumerate(files):
        images[number] = read_image(path, (height, width), grayscale)
    pixels = torch.from_numpy(images)
    return _Folder(
        pixels if grayscale else pixels.permute(0, 3, 1, 2).contiguous(),
        [name for _, name in files],
        classes,
    )
