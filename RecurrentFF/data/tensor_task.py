"""A task of samples in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from RecurrentFF.data.arguments import classes_of, require_name, shape_of, transform_of, whole_number
from RecurrentFF.data.augment import Augmentation, augmented_dataset
from RecurrentFF.data.dataset import Dataset, LabeledSamples, SplitOptions, Splits
from RecurrentFF.data.image_transforms import ImageTransform, Pixels
from RecurrentFF.data.network_inputs import prepared_dataset, separate_dataset
from RecurrentFF.data.panels import KEPT_SAMPLES, some_of_each_class
from RecurrentFF.data.parts import Part, draw_parts, first_samples, sizes_and_data
from RecurrentFF.data.raw import as_class_names, is_pair
from RecurrentFF.data.task import Task
from RecurrentFF.data.transforms import Standardize, Transform, as_given
from RecurrentFF.errors import DataError, InputError
from RecurrentFF.messages import shown
from RecurrentFF.tensors import as_numbers


class TensorTask(Task):
    """A task whose samples are in memory. The transform is fitted on the training samples only.

    Args:
        samples: (n, ...) as a tensor, numpy array, nested list or pandas frame. A channel axis of 1 is dropped. Samples with
            timesteps, (timesteps, n, ...), need a transform that takes sequences, such as `Frames`.
        labels: (n,) class names, texts or whole numbers, as a tensor, array, list or pandas column.
        transform: the transform to network inputs, or its name; None for `Pixels` if the samples are images (two or three axes,
            or square images of uint8 that are flattened), else `Standardize`.
        classes: the class names in the order of their numbers, or the number of classes; None for those in the labels, sorted.
        validation: the validation samples that select the best epoch: a fraction or a number of the samples, drawn at random, or
            separate data, or None for none. Separate data are (samples, labels), a loader of such batches, or a data set of
            network inputs and class numbers.
        test: the test samples, in the same forms.
        augmentation: random variation of the training images, which must be square; None for none.
        name: the name of the data set.
        seed: seed of the draw of validation and test samples.
        train_samples: number of training samples to use, from the beginning; 0 for all.
        test_samples: number of test samples to use, from the beginning; 0 for all.
        input_shape: the shape of a raw sample, without a channel axis of 1, for samples that may be flattened; None to find it.

    Raises:
        InputError: samples or labels are of the wrong shape, type or range, or their numbers differ.
        DataError: there are too few samples.
    """

    def __init__(
        self,
        samples: Any,
        labels: Any,
        *,
        transform: Transform | str | None = None,
        classes: int | Iterable[Any] | None = None,
        validation: Part = 0.1,
        test: Part = None,
        augmentation: Augmentation | None = None,
        name: str = "tensors",
        seed: int = 0,
        train_samples: int = 0,
        test_samples: int = 0,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        train_samples, test_samples = whole_number(train_samples, "train_samples"), whole_number(test_samples, "test_samples")
        seed, given = whole_number(seed, "seed", lowest=-(2**63)), transform_of(transform)
        if not isinstance(augmentation, Augmentation | None):
            raise InputError(f"augmentation = {shown(augmentation)}: expected an Augmentation, or None for none")
        raw, names = as_numbers(samples), as_class_names(labels)
        sequences = given is not None and given.takes_sequences and raw.dim() > 2 and len(raw) != len(names)
        if raw.dim() < 2 or raw.shape[int(sequences)] != len(names):
            raise InputError(f"samples {tuple(raw.shape)} and {len(names)} labels: expected (n, ...) samples and n labels")
        drawn, separate = sizes_and_data({"test": test, "validation": validation})
        others = [name for part in separate.values() if is_pair(part) for name in as_class_names(part[1])]
        shape = _sample_shape(raw[0] if sequences else raw, given) if input_shape is None else shape_of(input_shape)
        chosen = given if given is not None else Pixels() if len(shape) in (2, 3) else Standardize()
        super().__init__(require_name(name), shape, classes_of(classes, [*names, *others]), chosen)
        labeled = self._labeled(raw, names)
        parts = draw_parts(labeled, drawn, seed, labeled.labels if self._draws_by_class else None)
        parts |= {key: self._labeled(*part) for key, part in separate.items() if is_pair(part)}
        loaders = {key: part for key, part in separate.items() if not is_pair(part)}
        train = parts["train"].samples
        object.__setattr__(self, "transform", chosen.fitted(as_given(train.reshape(-1, *shape), chosen)))
        object.__setattr__(self, "_parts", parts)
        object.__setattr__(self, "_loaders", loaders)
        object.__setattr__(self, "_augmentation", augmentation)
        object.__setattr__(self, "_sizes", (train_samples, test_samples))
        _ = self.input_size  # refuses a transform that does not fit the samples

    _draws_by_class: ClassVar[bool] = False
    """True if each class has its share of the samples that are drawn, see `draw_parts`."""
    _parts: dict[str, LabeledSamples]
    _loaders: dict[str, Any]
    _augmentation: Augmentation | None
    _sizes: tuple[int, int]

    def _transformed_by(self, other: Task) -> Task:
        adapted = super()._transformed_by(other)
        parts = {}
        for key, (samples, labels) in ((key, (part.samples, part.labels)) for key, part in self._parts.items()):
            outer = samples.shape[: samples.dim() - len(self.input_shape)]  # (n,) or (n, timesteps)
            parts[key] = LabeledSamples(samples.reshape(*outer, *other.input_shape), labels)
        object.__setattr__(adapted, "_parts", parts)
        return adapted

    def _labeled(self, samples: Any, labels: Any) -> LabeledSamples:
        """Bring samples to the shape (n, *input_shape), or (n, timesteps, *input_shape), and labels to class numbers."""
        numbers = self.class_numbers(labels)
        rows, length = self._raw(as_numbers(samples))
        if length is not None:
            rows = rows.view(length, -1, *self.input_shape).transpose(0, 1)
        if len(rows) != len(numbers):
            raise InputError(f"{len(rows)} samples and {len(numbers)} labels: expected as many of each")
        return LabeledSamples(rows, numbers)

    def _dataset(self, part: LabeledSamples, timesteps: int | None) -> Dataset:
        sequences = part.samples.dim() > len(self.input_shape) + 1
        samples = part.samples.transpose(0, 1) if sequences else part.samples
        kept = part.samples[some_of_each_class(part.labels, KEPT_SAMPLES)]
        return prepared_dataset(self.prepare(samples, timesteps), part.labels, kept.transpose(0, 1) if sequences else kept)

    def make_splits(self, options: SplitOptions) -> Splits:
        """Make the data sets of a training. Fewer samples than there are can be chosen, from the beginning of each part.

        Raises:
            DataError: there are too few samples, or some of a loader are requested.
        """
        sizes = {
            "train": options.train_samples or self._sizes[0],
            "validation": options.validation_samples,
            "test": options.test_samples or self._sizes[1],
        }
        skipped = "validation" if options.validation_samples == 0 else None
        parts = {
            key: first_samples(part.to(options.device), key, sizes[key]) for key, part in self._parts.items() if key != skipped
        }
        data = {key: self._dataset(part, options.timesteps) for key, part in parts.items() if key != "train"}
        for key, loader in self._loaders.items():
            if sizes[key]:
                raise DataError(f"{key}_samples = {sizes[key]}, but a loader decides on the number of samples; leave it out")
            if key != skipped:
                data[key] = separate_dataset(self, loader, options.device, options.timesteps)
        train, subset = parts["train"], parts["train"][: options.train_subset_samples]
        return Splits(
            augmented_dataset(train, self.transform, self._augmentation, seed=options.seed)
            if self._augmentation
            else self._dataset(train, options.timesteps),
            data.get("validation"),
            data.get("test"),
            self._dataset(subset, options.timesteps) if options.train_subset_samples else None,
        )


def _sample_shape(samples: Tensor, transform: Transform | None) -> tuple[int, ...]:
    """Find the shape of a raw sample: without a channel axis of 1, and that of a square image if flat samples are images.

    Args:
        samples: (n, ...). Flat samples are images if they are uint8, or if the transform is one of images.
        transform: the transform that was chosen, if any.

    Raises:
        InputError: the channels of color images come last.
    """
    shape = tuple(samples.shape[1:])
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        return shape[1:] if shape[0] == 1 else shape[:2]
    if len(shape) == 3 and shape[2] in (3, 4) and shape[0] not in (3, 4):
        raise InputError(f"images of shape {shape}: expected (channels, height, width); use samples.transpose(0, 3, 1, 2)")
    side = math.isqrt(shape[0])
    images = samples.dtype == torch.uint8 and transform is None
    images = images or isinstance(transform, ImageTransform) or (transform is not None and transform.gives_sequences)
    if len(shape) == 1 and images and side > 1 and side**2 == shape[0]:
        return (side, side)
    return shape
