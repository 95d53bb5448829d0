"""Tasks: what the samples and classes of a network are, how samples become network inputs, and the data to train on.

A task travels with the network and is saved with it, without its data, so that a loaded network accepts raw samples.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Batch, Dataset, SplitOptions, Splits
from RecurrentFF.data.panels import Images, Panel, shows_the_same
from RecurrentFF.data.raw import Label, as_class_names, listed
from RecurrentFF.data.relabeled import RelabeledDataset
from RecurrentFF.data.transforms import Identity, Prepared, Transform, as_given
from RecurrentFF.errors import DataError, InputError
from RecurrentFF.registry import make, name_of, names, tree_of
from RecurrentFF.tensors import as_numbers, without_invalid


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
    high_is_dark: bool = field(default=False, repr=False, compare=False)
    """Show high pixels dark in pictures, as suits ink on paper, such as digits. By default gray images have their true colors:
    high pixels are light. A checkpoint does not record this: a loaded task has what the data set of its configuration says."""

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

    def prepare(self, samples: Any, timesteps: int | None = None, mask: Any = None) -> Prepared:
        """Convert raw samples to network inputs and the mask of their valid timesteps.

        Args:
            samples: a tensor, numpy array, nested list or pandas frame of shape (n, *input_shape), flattened (n, values), or
                (n, 1, height, width). If the transform takes sequences, also (timesteps, n, *input_shape) or flattened.
            timesteps: number of timesteps that a transform to sequences gives; None for as many as the samples need.
            mask: (timesteps, n), true where an input is valid. What is not finite elsewhere does not matter. None for all.

        Raises:
            InputError: the samples have the wrong shape, type or range.
        """
        numbers = as_numbers(samples)
        raw, length = self._raw(numbers if mask is None else without_invalid(numbers, as_numbers(mask, "mask").bool()))
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
                texts as names, class numbers are accepted with a warning, since they may be meant in another way.

        Returns:
            (n,) int64, on the CPU.

        Raises:
            InputError: a label is unknown, or the labels are one-hot.
        """
        values = as_class_names(labels)
        numbers = {name: number for number, name in enumerate(self.classes)}
        if values and all(isinstance(name, str) for name in self.classes) and not any(isinstance(v, str) for v in values):
            numbers = {number: number for number in range(self.num_classes)}
            warnings.warn(
                f"labels are numbers, but the classes are texts: they are taken as class numbers, 0 for '{self.classes[0]}', 1 "
                f"for '{self.classes[1]}' and so on; give class names if that is not what they mean",
                stacklevel=2,
            )
        try:
            return torch.tensor([numbers[value] for value in values], dtype=torch.long)
        except KeyError:
            sample, value = next((i, value) for i, value in enumerate(values) if value not in numbers)
            raise InputError(f"label {value!r} of sample {sample}: unknown class; expected {listed(self.classes)}") from None

    def samples_of(self, inputs: Tensor, stacklevel: int = 2) -> Tensor:
        """Convert network inputs back to samples, where the transform allows that.

        Args:
            inputs: (n, features) or (timesteps, n, features).
            stacklevel: where a warning points: 2 for the caller, 3 for the caller of that, and so on.

        Returns:
            Samples of the task's own shape and scale, (n, *input_shape): images have pixels in 0..1. With timesteps, they have an
            axis before. If the transform can't be inverted, as that to oriented gradients, the inputs themselves, with a warning.
        """
        samples = self.transform.inverse(inputs)
        if samples is None:
            warnings.warn(
                f"the transform '{name_of(self.transform)}' can't be undone: these are network inputs, {inputs.shape[-1]} "
                "features of each sample, and no samples",
                stacklevel=stacklevel,
            )
            return inputs
        return samples.reshape(*samples.shape[:-1], *self.input_shape)

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
        samples = (train_samples, validation_samples, test_samples, train_subset_samples)
        return self.make_splits(SplitOptions(torch.device(device), seed, timesteps, *samples))

    def make_splits(self, options: SplitOptions) -> Splits:
        """Make the data sets of `splits`. A task with data overrides this.

        Raises:
            DataError: as for `splits`.
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

    def show(self, dataset: Dataset, samples: int) -> list[Panel]:
        """Arrange some samples of a data set for a picture: as a person knows them, and as the network sees them.

        A data set may say what a person knows by any of three methods, each with the number of samples as its argument: `show`
        draws images, (timesteps, samples, height, width), whose ink is high; `originals` returns raw samples, (samples,
        *input_shape), with timesteps before or without, or None; `distorted` returns them after random variation. Of a data set
        without these, network inputs alone are shown. The samples are those of `shown_batch`.

        Args:
            dataset: one of the data sets from `splits`.
            samples: the number of samples. There may be fewer.

        Returns:
            The panels, from the raw samples to the network inputs.
        """
        batch = shown_batch(dataset, samples)
        if isinstance(dataset, RelabeledDataset):
            dataset = dataset.dataset
        inputs, mask = batch.inputs[..., :samples, :], None if batch.mask is None else batch.mask[:, :samples]
        panels = self._known(dataset, samples)
        last = panels[-1] if panels else None
        for panel in self.transform.show_inputs(inputs, mask, self.input_shape):
            if isinstance(panel, Images) and isinstance(last, Images) and shows_the_same(last, panel):
                panels[-1] = last._replace(caption=f"{last.caption}; the network input is the same, in another scale")
            else:
                panels.append(panel)
        return [panel._replace(dark=True) if isinstance(panel, Images) and self.high_is_dark else panel for panel in panels]

    def _known(self, dataset: Dataset, samples: int) -> list[Panel]:
        """Return the first samples of a data set as a person knows them, and after random variation."""
        methods = {name: getattr(dataset, name, None) for name in ("show", "originals", "distorted")}
        if methods["show"] is not None:
            return [Images(getattr(dataset, "shown", "samples"), methods["show"](samples).unsqueeze(2), dark=True)]
        originals = None if methods["originals"] is None else methods["originals"](samples)
        if originals is None:
            return []
        originals = originals.narrow(-len(self.input_shape) - 1, 0, min(samples, originals.shape[-len(self.input_shape) - 1]))
        distorted = None if methods["distorted"] is None else methods["distorted"](samples)
        return self.transform.show_samples(originals, distorted, self.input_shape)

    def without_data(self) -> Task:
        """Return the task as it is saved with a network."""
        return Task(self.name, self.input_shape, self.classes, self.transform, self.high_is_dark)

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


def shown_batch(dataset: Dataset, samples: int) -> Batch:
    """Return the samples of a data set that `Task.show` shows, as one batch.

    Args:
        dataset: a data set. If it has a method `samples_to_show`, this is given the number of samples, and returns the numbers of
            those that are shown, (samples,), which its `originals` and `distorted` return, too. Otherwise the first ones are.
        samples: the number of samples. The batch may have fewer, or more, if the data set decides on their number.
    """
    source = dataset.dataset if isinstance(dataset, RelabeledDataset) else dataset
    choose = getattr(source, "samples_to_show", None)
    return next(iter(dataset.batches(samples, None if choose is None else choose(samples))))


class _RelabeledTask(Task):
    """A task whose data sets have the class numbers of another task.

    Args:
        task: the task.
        classes: the classes of the other task.
        numbers: the number there of each class of `task`, (classes,).
    """

    def __init__(self, task: Task, classes: tuple[Label, ...], numbers: Tensor) -> None:
        super().__init__(task.name, task.input_shape, classes, task.transform, task.high_is_dark)
        object.__setattr__(self, "_task", task)
        object.__setattr__(self, "_numbers", numbers)

    _task: Task
    _numbers: Tensor

    def make_splits(self, options: SplitOptions) -> Splits:
        """Make the data sets of a training, with the class numbers of the other task."""
        parts = self._task.make_splits(options)
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


def require_task(value: Any) -> Task:
    """Return a value if it is a task.

    Args:
        value: what a program has passed in place of a task.

    Raises:
        InputError: it is something else.
    """
    if isinstance(value, Task):
        return value
    known = [name for name in names("data") if name != "own"]
    if isinstance(value, str) and value in known:
        raise InputError(f"task = {value!r}: a data set of this name is chosen by data={value!r}")
    found = f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
    raise InputError(f"task is {found}: expected a task, such as rff.TensorTask(samples, labels)")
