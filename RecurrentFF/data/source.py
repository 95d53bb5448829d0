"""Data sources: the data sets that a configuration can name, and how their samples become a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from RecurrentFF.data.augment import Augmentation, augmented_dataset
from RecurrentFF.data.dataset import LabeledImages, LabeledSamples, SplitOptions, Splits, split
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.network_inputs import dataset_of
from RecurrentFF.data.raw import Label
from RecurrentFF.data.task import Task
from RecurrentFF.data.transforms import Transform, as_given
from RecurrentFF.registry import Component, register

Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class DataSource(Component, kind="data"):
    """The base class of data sets that a configuration can name. A subclass has `task`, which may return a `TensorTask`.

    The other class variables are for reports and for `task`.
    """

    title: ClassVar[str] = ""
    """The name of the data set in reports, such as "MNIST"."""
    default_transform: ClassVar[Transform] = Pixels()
    """The transform of a configuration that names none. Statistics that it leaves out are those of the data set."""
    gives_sequences: ClassVar[bool] = False
    """True if the samples are sequences of as many timesteps as the network has, whatever the transform."""
    high_is_dark: ClassVar[bool] = False
    """True if pictures show high pixels dark, as suits ink on paper, see `Task.high_is_dark`."""

    train_samples: Count = 0
    """The number of training samples; 0 means all that are not validation samples."""
    validation_samples: Count | None = 5000
    """The number of samples cut from the end of the training set, which select the best epoch.

    With 0, all samples are trained on, and the weights of the last epoch are kept.
    """
    test_samples: Count = 0
    """The number of test samples; 0 means all."""

    @property
    def validation_count(self) -> int:
        """The number of validation samples of a data set that cuts them from the end of its training set."""
        return 5000 if self.validation_samples is None else self.validation_samples

    def task(self, transform: Transform | None = None) -> Task | None:
        """Make the task, without reading data if possible.

        Args:
            transform: the transform to network inputs; None for that of the data set.

        Raises:
            DataError: the data can't be read.
            InputError: the transform does not fit the samples.
        """
        raise NotImplementedError


@register("data", "own")
@dataclass(frozen=True)
class Own(DataSource):
    """Data that a program passes, as in rff.fit(network, data). A configuration can't train on it from the command line."""

    title: ClassVar[str] = "own data"

    validation_samples: Count | None = None
    """The number of validation samples that are used, from the beginning; if left out, all that the program passes."""

    def task(self, transform: Transform | None = None) -> None:
        """Return None: a program passes the data."""


class SourceTask(Task):
    """A task that reads its data when it is first trained on.

    Args:
        source: the data source, which has the number of samples of each split.
        input_shape: the shape of a raw sample.
        classes: the class names in the order of their numbers.
        transform: the transform to network inputs, fitted.
        load: a function that makes the data sets. It may raise DataError.
    """

    def __init__(
        self,
        source: DataSource,
        input_shape: tuple[int, ...],
        classes: tuple[Label, ...],
        transform: Transform,
        load: Callable[[Transform, SplitOptions], Splits],
    ) -> None:
        super().__init__(source.title, input_shape, classes, transform, source.high_is_dark)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "_load", load)
        _ = self.input_size  # refuses a transform that does not fit the samples

    source: DataSource
    _load: Callable[[Transform, SplitOptions], Splits]

    def make_splits(self, options: SplitOptions) -> Splits:
        """Read the data, and make the data sets of a training. The task's own numbers of samples are those of the source."""
        source, validation_samples = self.source, options.validation_samples
        options = options._replace(
            train_samples=options.train_samples or source.train_samples,
            validation_samples=source.validation_count if validation_samples is None else validation_samples,
            test_samples=options.test_samples or source.test_samples,
        )
        return self._load(self.transform, options)


def fitted_transform(
    source: DataSource,
    transform: Transform | None,
    read: Callable[[], LabeledImages],
    **statistics: float,
) -> Transform:
    """Return the transform of a data set with its statistics.

    Args:
        source: the data set.
        transform: the transform that was chosen; None for the data set's default.
        read: a function that reads the training images. It is called only if the transform needs other statistics.
        statistics: the known statistics of the data set, in place of options of these names that are None.
    """
    chosen = (transform if transform is not None else source.default_transform).filled(**statistics)
    if chosen.is_fitted:
        return chosen
    images = read().images
    remaining = max(1, len(images) - source.validation_count)
    return chosen.fitted(as_given(images[: source.train_samples or remaining], chosen))


def image_splits(
    train: LabeledImages, test: LabeledImages, transform: Transform, augmentation: Augmentation, options: SplitOptions
) -> Splits:
    """Make data sets of images: split and transform them. Training images are augmented first, if any limit is set.

    Args:
        train: all training images.
        test: all test images.
        transform: the fitted transform.
        augmentation: limits of the augmentation.
        options: seed, timesteps, and the number of samples of each split.

    Raises:
        DataError: there are too few samples.
    """
    selected, *others = split(LabeledSamples(*train), LabeledSamples(*test), options)
    return Splits(
        augmented_dataset(selected, transform, augmentation, seed=options.seed)
        if augmentation
        else dataset_of(selected, transform, options.timesteps),
        *(None if part is None else dataset_of(part, transform, options.timesteps) for part in others),
    )
