"""A folder of image files as a data set: one folder for each class, whose name is that of the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from RecurrentFF.data.augment import NO_AUGMENTATION, Augmentation
from RecurrentFF.data.source import Count, DataSource
from RecurrentFF.data.task import ImageFolderTask
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import SettingsError
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
