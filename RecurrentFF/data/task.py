"""Tasks: what the samples and classes of a network are, how samples become network inputs, and the data to train on.

A task travels with the network and is saved with it, without its data, so that a loaded network accepts raw samples.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from RecurrentFF.data.augment import Augmentation, augmented_dataset
from RecurrentFF.data.dataset import (
    Batch,
    Dataset,
    LabeledSamples,
    LoaderDataset,
    RelabeledDataset,
    SequenceDataset,
    Splits,
    TensorDataset,
    is_dataset,
)
from RecurrentFF.data.raw import Label, as_labels, as_samples, is_pair, listed
from RecurrentFF.data.transforms import Identity, ImageTransform, Pixels, Prepared, Standardize, Transform, as_given
from RecurrentFF.errors import DataError, InputError
from RecurrentFF.registry import make, tree_of

Part = Any
"""A part of the data: a fraction in 0..1, a number of samples, separate data, or None for no such part.

Separate data are (samples, labels), or a loader of such batches; or a data set of network inputs and class numbers.
"""


@dataclass(frozen=True)
class Task:
    """The samples and classes of a network, and the transform from raw samples to network inputs."""

    name: str
    """The name of the data set, for reports."""
    input_shape: tuple[int, ...]
    """The shape of a raw sample, without batch axis, timesteps, or a channel axis of 1."""
    classes: tuple[Label, ...]
    """The names of the classes, in the order of their numbers."""
    transform: Transform
    """The fitted transform from raw samples to network inputs."""

    @property
    def input_size(self) -> int:
        """The number of network inputs at a timestep."""
        return self.transform.output_size(self.input_shape)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def labels_are_text(self) -> bool:
        """True if any class has a text as its name."""
        return any(isinstance(name, str) for name in self.classes)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """The shape of the image in the network inputs, (height, width) or (channels, height, width); None if there is none."""
        return self.input_shape if self.transform.gives_images and len(self.input_shape) in (2, 3) else None

    def prepare(self, samples: Any, timesteps: int | None = None) -> Prepared:
        """Convert raw samples to network inputs and the mask of their valid timesteps.

        Args:
            samples: a tensor, numpy array, nested list or pandas frame of shape (n, *input_shape), flattened (n, values), or
                (n, 1, height, width). If the transform takes sequences, also (timesteps, n, *input_shape) or flattened.
            timesteps: number of timesteps that a transform to sequences gives; None for as many as the samples need.

        Raises:
            InputError: the samples have the wrong shape, type or range.
        """
        raw, length = self._raw(as_samples(samples))
        prepared = self.transform.prepare(as_given(raw, self.transform), timesteps)
        if length is None:
            return prepared
        return Prepared(prepared.inputs.view(length, -1, prepared.inputs.shape[-1]))

    def inputs(self, samples: Any, timesteps: int | None = None) -> Tensor:
        """Convert raw samples to network inputs, (n, features) or (timesteps, n, features). The arguments are as in `prepare`."""
        return self.prepare(samples, timesteps).inputs

    def class_numbers(self, labels: Any) -> Tensor:
        """Convert labels to class numbers.

        Args:
            labels: the class names of n samples, as a tensor, array, list or pandas column, (n,) or (n, 1). If all classes have
                texts as names, class numbers are accepted, too.

        Returns:
            (n,) int64, on the CPU.

        Raises:
            InputError: a label is unknown, or the labels are one-hot.
        """
        values = as_labels(labels)
        numbers = {name: number for number, name in enumerate(self.classes)}
        if values and all(isinstance(name, str) for name in self.classes) and not any(isinstance(v, str) for v in values):
            numbers = {number: number for number in range(self.num_classes)}
        try:
            return torch.tensor([numbers[value] for value in values], dtype=torch.long)
        except KeyError:
            sample, value = next((i, value) for i, value in enumerate(values) if value not in numbers)
            raise InputError(f"label {value!r} of sample {sample}: unknown class; expected {listed(self.classes)}") from None

    def names(self, numbers: Tensor) -> list[Label] | Tensor:
        """Convert class numbers (n,) to class names: a list if any is a text, else a tensor of integers."""
        if self.labels_are_text:
            return [self.classes[number] for number in numbers.tolist()]
        return torch.tensor(self.classes, dtype=torch.long, device=numbers.device)[numbers]

    def splits(
        self,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        timesteps: int | None = None,
        train_samples: int = 0,
        validation_samples: int | None = None,
        test_samples: int = 0,
        train_subset_samples: int = 0,
    ) -> Splits:
        """Make the data sets of a training.

        Args:
            device: device of the tensors.
            seed: seed of random variation of the training samples.
            timesteps: number of timesteps of generated sequences; None for as many as the samples need.
            train_samples: number of training samples, from the beginning; 0 for the task's own choice.
            validation_samples: number of validation samples, 0 for no validation; None for the task's own choice.
            test_samples: number of test samples, from the beginning; 0 for the task's own choice.
            train_subset_samples: number of training samples whose accuracy is reported; 0 for none.

        Raises:
            DataError: the task has no data, the data can't be read, or there are too few samples.
        """
        raise DataError(f"the task '{self.name}' from a checkpoint has no data; pass data=… to train or evaluate on")

    def adapted_to(self, other: Task) -> Task:
        """Return the same data with the transform and the class numbers of another task, as a network made for that one needs.

        Classes are the same if their names are. A task of network inputs, whose transform is `Identity`, keeps it.

        Args:
            other: the task of the network.

        Raises:
            InputError: the samples have another shape, or the other task does not have a class.
        """
        numbers = _class_numbers_in(self, other)
        keeps = isinstance(self.transform, Identity) or (self.transform, self.input_shape) == (other.transform, other.input_shape)
        if keeps and self.classes == other.classes:
            return self
        adapted = self if keeps else self._transformed_by(other)
        if numbers == list(range(other.num_classes)):
            return adapted
        return _RelabeledTask(adapted, other.classes, torch.tensor(numbers))

    def _transformed_by(self, other: Task) -> Task:
        """Return the same data with the transform of another task.

        Raises:
            InputError: the samples have another shape.
        """
        shapes = (self.input_shape, other.input_shape)
        flattened = 1 in map(len, shapes) and math.prod(shapes[0]) == math.prod(shapes[1])
        if self.input_shape != other.input_shape and not flattened:
            raise InputError(
                f"the task '{self.name}' has samples of shape {self.input_shape}, but the network was made for samples of shape "
                f"{other.input_shape}; bring them to that shape, or build a network for them"
            )
        adapted = copy.copy(self)
        object.__setattr__(adapted, "input_shape", other.input_shape)
        object.__setattr__(adapted, "transform", other.transform)
        return adapted

    def show(self, dataset: Dataset, samples: int) -> Tensor:
        """Arrange the first samples of a data set as images.

        Args:
            dataset: one of the data sets from `splits`.
            samples: the number of samples.

        Returns:
            (timesteps, samples, height, width), of any range of values. Static inputs have one timestep.
        """
        if isinstance(dataset, RelabeledDataset):
            dataset = dataset.dataset
        drawn = getattr(dataset, "show", None)
        if drawn is not None:
            images: Tensor = drawn(samples)
            return images
        inputs = next(iter(dataset.batches(samples))).inputs[..., :samples, :]
        return self.transform.show(inputs, self.input_shape)

    def without_data(self) -> Task:
        """Return the task as it is saved with a network."""
        return Task(self.name, self.input_shape, self.classes, self.transform)

    def to_tree(self) -> dict[str, Any]:
        """Return the task as nested dictionaries, lists and plain values, as a checkpoint has it."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "classes": list(self.classes),
            "transform": tree_of(self.transform),
        }

    @staticmethod
    def from_tree(tree: Mapping[str, Any], transform: Transform | None = None) -> Task:
        """Make a task from what `to_tree` returned.

        Args:
            tree: the saved task.
            transform: the transform, for one that is not registered; None for the saved one.

        Raises:
            DataError: the tree is not a saved task.
            SettingsError: the transform is not registered.
        """
        try:
            name, shape, classes = str(tree["name"]), tree["input_shape"], tree["classes"]
            made = transform if transform is not None else make("transform", tree["transform"], "transform")
            return Task(name, tuple(int(length) for length in shape), tuple(classes), made)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a saved task ({error!r}); save the network again") from None

    def _raw(self, samples: Tensor) -> tuple[Tensor, int | None]:
        """Bring samples to the shape (n, *input_shape).

        Returns:
            The samples, and their number of timesteps: with t timesteps, they are (t · n, *input_shape). None without timesteps.

        Raises:
            InputError: the samples have another shape.
        """
        shape, size = self.input_shape, math.prod(self.input_shape)
        found = tuple(samples.shape)
        sequences = self.transform.takes_sequences
        if 0 in found:
            raise InputError(f"samples of shape {found}: no samples; give at least one")
        if found[1:] == shape or (len(found) == 2 and found[1] == size):
            return samples.reshape(-1, *shape), None
        if sequences and (found[2:] == shape or (len(found) == 3 and found[2] == size)):
            return samples.reshape(-1, *shape), found[0]
        if len(shape) == 2 and found[1:] in ((1, *shape), (*shape, 1)):
            return samples.reshape(-1, *shape), None
        allowed = [("n", *shape), ("n", size), *([("timesteps", "n", *shape)] if sequences else [])]
        hint = "; add an axis for the batch, as in samples[None]" if found == shape else ""
        texts = dict.fromkeys(f"({', '.join(map(str, axes))})" for axes in allowed)
        raise InputError(f"samples of shape {found}: the task '{self.name}' expects {' or '.join(texts)}{hint}")


class _RelabeledTask(Task):
    """A task whose data sets have the class numbers of another task.

    Args:
        task: the task.
        classes: the classes of the other task.
        numbers: the number there of each class of `task`, (classes,).
    """

    def __init__(self, task: Task, classes: tuple[Label, ...], numbers: Tensor) -> None:
        super().__init__(task.name, task.input_shape, classes, task.transform)
        object.__setattr__(self, "_task", task)
        object.__setattr__(self, "_numbers", numbers)

    _task: Task
    _numbers: Tensor

    def splits(self, **options: Any) -> Splits:
        """Make the data sets of a training, with the class numbers of the other task."""
        parts = self._task.splits(**options)
        return Splits(*(part if part is None else RelabeledDataset(part, self._numbers) for part in parts))  # type: ignore[arg-type]


def _class_numbers_in(task: Task, other: Task) -> list[int]:
    """Return the number that each class of a task has in another one. A number and its text are the same name.

    Raises:
        InputError: the other task does not have a class.
    """
    texts = {str(name): number for number, name in enumerate(other.classes)}
    names: dict[Label, int] = {name: number for number, name in enumerate(other.classes)}
    found = [names.get(name, texts.get(str(name))) for name in task.classes]
    if None in found:
        raise InputError(
            f"the task '{task.name}' has a class {task.classes[found.index(None)]!r}, which is none of the network's: "
            f"{listed(other.classes)}"
        )
    return [number for number in found if number is not None]


def _classes_of(classes: int | Iterable[Any] | None, labels: Iterable[Label] = ()) -> tuple[Label, ...]:
    """Return the names of classes.

    Args:
        classes: the names; a number of classes, which are then named 0, 1, …; or None for those that occur in the labels, sorted.
        labels: the labels.

    Raises:
        InputError: there are fewer than two classes, or a name occurs twice.
    """
    if isinstance(classes, int | Integral):
        names: tuple[Label, ...] = tuple(range(int(classes)))
    elif classes is not None:
        names = tuple(as_labels(list(classes)))
    else:
        names = tuple(sorted(set(labels), key=lambda name: (isinstance(name, str), name)))
    if len(names) < 2:
        raise InputError(f"classes {listed(names) or 'none'}: expected at least two")
    if len(set(names)) < len(names):
        raise InputError(f"classes {listed(names)}: a name occurs twice; give each class its own")
    return names


def dataset_of(samples: LabeledSamples, transform: Transform, timesteps: int | None) -> Dataset:
    """Make a data set of the network inputs of raw samples, all of them computed at once.

    Args:
        samples: raw samples (n, *input_shape).
        transform: the transform to network inputs.
        timesteps: number of timesteps of a transform to sequences.
    """
    return prepared_dataset(transform.prepare(as_given(samples.samples, transform), timesteps), samples.labels)


def prepared_dataset(prepared: Prepared, labels: Tensor) -> Dataset:
    """Make a data set of network inputs and class numbers (n,).

    Raises:
        InputError: their numbers differ.
    """
    if prepared.inputs.shape[-2] != len(labels):
        raise InputError(f"{prepared.inputs.shape[-2]} samples and {len(labels)} labels: expected as many of each")
    if prepared.inputs.dim() == 2:
        return TensorDataset(prepared.inputs, labels)
    return SequenceDataset(prepared.inputs, labels, prepared.mask)


def separate_dataset(task: Task, data: Any, device: torch.device, timesteps: int | None) -> Dataset:
    """Make a data set of network inputs from data beside the training samples of a task.

    Args:
        task: the task, whose transform and classes are those of the data.
        data: (samples, labels), a loader of such batches, or a data set of network inputs, which is returned unchanged.
        device: the device of the network inputs.
        timesteps: number of timesteps of a transform to sequences.

    Raises:
        InputError: samples or labels are not those of the task.
    """
    if is_dataset(data):
        return data
    if is_pair(data):
        prepared = task.prepare(as_samples(data[0]).to(device), timesteps)
        return prepared_dataset(prepared, task.class_numbers(data[1]).to(device))
    return _TransformedLoader(data, task, device, timesteps)


class TensorTask(Task):
    """A task whose samples are in memory. The transform is fitted on the training samples only.

    Args:
        samples: (n, ...) as a tensor, numpy array, nested list or pandas frame. A channel axis of 1 is dropped. Samples with
            timesteps, (timesteps, n, ...), need a transform that takes sequences, such as `Frames`.
        labels: (n,) class names, texts or whole numbers, as a tensor, array, list or pandas column.
        transform: the transform to network inputs; None for `Pixels` if the samples are images (two or three axes, or square
            images of uint8 that are flattened), else `Standardize`.
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
        transform: Transform | None = None,
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
        raw, names = as_samples(samples), as_labels(labels)
        sequences = transform is not None and transform.takes_sequences and raw.dim() > 2 and len(raw) != len(names)
        if raw.dim() < 2 or raw.shape[int(sequences)] != len(names):
            raise InputError(f"samples {tuple(raw.shape)} and {len(names)} labels: expected (n, ...) samples and n labels")
        drawn, separate = _sizes_and_data({"test": test, "validation": validation})
        others = [name for part in separate.values() if is_pair(part) for name in as_labels(part[1])]
        shape = _sample_shape(raw[0] if sequences else raw, transform) if input_shape is None else tuple(input_shape)
        chosen = transform if transform is not None else Pixels() if len(shape) in (2, 3) else Standardize()
        super().__init__(name, shape, _classes_of(classes, [*names, *others]), chosen)
        parts = _draw_parts(self._labeled(raw, names), drawn, seed)
        parts |= {key: self._labeled(*part) for key, part in separate.items() if is_pair(part)}
        loaders = {key: part for key, part in separate.items() if not is_pair(part)}
        train = parts["train"].samples
        object.__setattr__(self, "transform", chosen.fitted(as_given(train.reshape(-1, *shape), chosen)))
        object.__setattr__(self, "_parts", parts)
        object.__setattr__(self, "_loaders", loaders)
        object.__setattr__(self, "_augmentation", augmentation)
        object.__setattr__(self, "_sizes", (train_samples, test_samples))
        _ = self.input_size  # refuses a transform that does not fit the samples

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
        rows, length = self._raw(as_samples(samples))
        if length is not None:
            rows = rows.view(length, -1, *self.input_shape).transpose(0, 1)
        if len(rows) != len(numbers):
            raise InputError(f"{len(rows)} samples and {len(numbers)} labels: expected as many of each")
        return LabeledSamples(rows, numbers)

    def _dataset(self, part: LabeledSamples, timesteps: int | None) -> Dataset:
        sequences = part.samples.dim() > len(self.input_shape) + 1
        samples = part.samples.transpose(0, 1) if sequences else part.samples
        return prepared_dataset(self.prepare(samples, timesteps), part.labels)

    def splits(
        self,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        timesteps: int | None = None,
        train_samples: int = 0,
        validation_samples: int | None = None,
        test_samples: int = 0,
        train_subset_samples: int = 0,
    ) -> Splits:
        """Make the data sets of a training. Fewer samples than there are can be chosen, from the beginning of each part.

        Raises:
            DataError: there are too few samples, or some of a loader are requested.
        """
        sizes = {
            "train": train_samples or self._sizes[0],
            "validation": validation_samples,
            "test": test_samples or self._sizes[1],
        }
        place = torch.device(device)
        skipped = "validation" if validation_samples == 0 else None
        parts = {key: _first(part.to(place), key, sizes[key]) for key, part in self._parts.items() if key != skipped}
        data = {key: self._dataset(part, timesteps) for key, part in parts.items() if key != "train"}
        for key, loader in self._loaders.items():
            if sizes[key]:
                raise DataError(f"{key}_samples = {sizes[key]}, but a loader decides on the number of samples; leave it out")
            if key != skipped:
                data[key] = separate_dataset(self, loader, place, timesteps)
        train, subset = parts["train"], parts["train"][:train_subset_samples]
        return Splits(
            augmented_dataset(train, self.transform, self._augmentation, seed=seed)
            if self._augmentation
            else self._dataset(train, timesteps),
            data.get("validation"),
            data.get("test"),
            self._dataset(subset, timesteps) if train_subset_samples else None,
        )


def _first(samples: LabeledSamples, part: str, count: int | None) -> LabeledSamples:
    """Return the first samples of a part; all of them if `count` is 0 or None."""
    if count and count > len(samples):
        raise DataError(f"{part}_samples = {count}, but the task has {len(samples)} {part} samples; lower it")
    return samples[: count or len(samples)]


def _sizes_and_data(parts: Mapping[str, Part]) -> tuple[dict[str, float | int], dict[str, Any]]:
    """Divide parts into the sizes of those to draw and the data of the others. Parts of None or 0 samples are left out.

    Raises:
        InputError: a part is neither a number, nor (samples, labels), nor a loader.
    """
    sizes: dict[str, float | int] = {}
    data: dict[str, Any] = {}
    for name, part in parts.items():
        if isinstance(part, Integral):
            sizes[name] = int(part)
        elif isinstance(part, Real):
            sizes[name] = float(part)
        elif part is not None:
            data[name] = part
            if not (is_pair(part) or is_dataset(part)):
                LoaderDataset(part)  # refuses what is no loader
    return {name: size for name, size in sizes.items() if size != 0}, data


def _draw_parts(samples: LabeledSamples, sizes: Mapping[str, float | int], seed: int) -> dict[str, LabeledSamples]:
    """Draw parts of the samples at random. Each part keeps the order of the samples; the rest is the part "train".

    Args:
        samples: all samples.
        sizes: the size of each part, as a fraction or a number.
        seed: the seed of the draw.

    Raises:
        InputError: a size is invalid.
        DataError: no samples remain for training.
    """
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    parts = {}
    for name, size in sizes.items():
        if size < 0 or (isinstance(size, float) and size >= 1):
            raise InputError(f"{name} = {size}: expected a fraction in 0..1, a whole number of samples, or (samples, labels)")
        count = max(1, round(size * len(samples))) if isinstance(size, float) else size
        parts[name], order = samples[order[:count].sort().values], order[count:]
        if len(order) == 0:
            raise DataError(f"{name} = {size} leaves none of the {len(samples)} samples for training; lower it")
    return {"train": samples[order.sort().values] if parts else samples} | parts


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


class _TransformedLoader(LoaderDataset):
    """A loader's batches, transformed on a device."""

    def __init__(self, loader: Iterable[Sequence[Any]], task: Task, device: torch.device, timesteps: int | None) -> None:
        super().__init__(loader)
        self.task = task
        self.device = device
        self.timesteps = timesteps

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield the loader's batches as network inputs; `size` and `order` are ignored."""
        for samples, labels, mask in self._raw_batches(epoch):
            prepared = self.task.prepare(as_samples(samples).to(self.device), self.timesteps)
            numbers = self.task.class_numbers(labels).to(self.device)
            yield Batch(prepared.inputs, numbers, prepared.mask if mask is None else torch.as_tensor(mask).to(self.device))

    def _sample_count(self, labels: Any) -> int:
        return len(as_labels(labels))


class LoaderTask(Task):
    """A task whose samples come from a loader, such as a torch DataLoader, batch by batch. The loader decides on their order.

    Args:
        loader: batches (samples, labels) or (samples, labels, mask), of known number.
        input_shape: the shape of a sample, without a channel axis of 1.
        classes: the class names in the order of their numbers, or the number of classes, which are then named 0, 1, ….
        validation: a loader of validation samples, or (samples, labels), or a data set of network inputs, or None for none.
        test: the test samples, in the same forms.
        transform: the transform to network inputs; it is fitted on the first batch if need be, which a loader that shuffles draws
            at random: for the same statistics in every run, give `transform.fitted(samples)`. None if the batches are network
            inputs already. The network then predicts from network inputs, too.
        name: the name of the data set.

    Raises:
        InputError: the loader has no length or is empty, or the transform does not fit the samples.
    """

    def __init__(
        self,
        loader: Iterable[Sequence[Any]],
        *,
        input_shape: Sequence[int],
        classes: int | Iterable[Any],
        validation: Any = None,
        test: Any = None,
        transform: Transform | None = None,
        name: str = "loader",
    ) -> None:
        super().__init__(name, tuple(input_shape), _classes_of(classes), transform if transform is not None else Identity())
        loaders = {"train": loader, "validation": validation, "test": test}
        for key, part in loaders.items():
            if part is not None and not is_pair(part):
                _ = is_dataset(part) or LoaderDataset(part)  # refuses what is no loader
            elif part is not None and key == "train":
                raise InputError("LoaderTask of (samples, labels): expected a loader; use TensorTask(samples, labels)")
        object.__setattr__(self, "_loaders", loaders)
        if not self.transform.is_fitted:
            first, _, _ = next(LoaderDataset(loader)._raw_batches(0))
            raw, _ = self._raw(as_samples(first))
            object.__setattr__(self, "transform", self.transform.fitted(as_given(raw, self.transform)))
        _ = self.input_size  # refuses a transform that does not fit the samples

    _loaders: dict[str, Any]

    def splits(
        self,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        timesteps: int | None = None,
        train_samples: int = 0,
        validation_samples: int | None = None,
        test_samples: int = 0,
        train_subset_samples: int = 0,
    ) -> Splits:
        """Make the data sets of a training. There is no training subset, and the loader decides on the number of samples.

        Raises:
            DataError: a number of samples is requested.
        """
        if train_samples or validation_samples or test_samples:
            raise DataError(
                "a loader decides on the number of samples; leave out train_samples, validation_samples, test_samples"
            )

        data = {
            key: separate_dataset(self, part, torch.device(device), timesteps)
            for key, part in self._loaders.items()
            if part is not None and not (key == "validation" and validation_samples == 0)
        }
        return Splits(data["train"], data.get("validation"), data.get("test"))


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
