"""The data set interface of the training loop, data sets made of tensors or of a loader, and the split of samples."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar

import torch
from torch import Tensor

from RecurrentFF.data.loading import kept_randomness, length_of, require_readable_again, seeded_order
from RecurrentFF.data.panels import WithPicture
from RecurrentFF.data.time_first import BatchFirst, parts_of
from RecurrentFF.errors import DataError, InputError
from RecurrentFF.layouts import warn_if_ambiguous
from RecurrentFF.tensors import as_labels, as_numbers, errors_at


class Batch(NamedTuple):
    """A batch of samples in the layout that the network takes."""

    inputs: Tensor
    """Network inputs: (batch, features) if static, else (timesteps, batch, features)."""
    labels: Tensor
    """Class numbers, (batch,)."""
    mask: Tensor | None = None
    """Valid timesteps, (timesteps, batch): true until the sequence ends. None if every timestep is valid."""


def require_batch(batch: object) -> Batch:
    """A batch of a data set, itself. Raises InputError if the data set yields something else, such as a plain tuple."""
    if not isinstance(batch, Batch):
        raise InputError(
            f"a data set of network inputs yields a {type(batch).__name__}; let its method batches yield "
            "RecurrentFF.data.dataset.Batch(inputs, labels), or give a DataLoader"
        )
    return batch


class Dataset(Protocol):
    """A data set that can be iterated over in batches any number of times."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples."""

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches of samples.

        Args:
            size: samples in a batch; the last batch may be smaller.
            order: sample numbers in the order in which they are taken; None for stored order.
            epoch: the epoch number, from 0, for data that is generated again in every epoch.
        """


class TensorDataset(WithPicture):
    """A data set of static inputs and their labels, on any device.

    Args:
        inputs: (samples, features).
        labels: (samples,) or (samples, 1) integer class numbers.

    Raises:
        InputError: the shapes or types don't fit, or there are no samples.
    """

    def __init__(self, inputs: Any, labels: Any) -> None:
        inputs, labels = as_numbers(inputs, "inputs"), as_labels(labels)
        if labels.shape[1:] == (1,):
            labels = labels.squeeze(1)
        if inputs.dim() != 2 or labels.dim() != 1 or len(inputs) != len(labels):
            raise InputError(
                f"inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)}: expected (samples, features) and (samples,); "
                f"{_shape_hint(inputs, labels)}"
            )
        if len(inputs) == 0:
            raise InputError("no samples; give at least one")
        self.inputs = inputs
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples; the last one may be smaller."""
        return math.ceil(len(self) / size)

    def __getitem__(self, samples: slice) -> TensorDataset:
        """Return a slice of the data set, as views."""
        return TensorDataset(self.inputs[samples], self.labels[samples])

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches of `size` samples in the given order of sample numbers, by default as views in stored order."""
        if order is None:
            yield from map(Batch, torch.split(self.inputs, size), torch.split(self.labels, size))
            return
        if len(order):  # an empty tensor would split into one empty batch
            for index in torch.split(order.to(self.labels.device), size):
                yield Batch(self.inputs[index], self.labels[index])


class LoaderDataset:
    """A data set whose batches come from a loader, which decides on their size and order.

    Args:
        loader: a torch DataLoader, or any iterable of known length. Its batches are (inputs, labels) or (inputs, labels, mask),
            with the shapes of `Batch`, or `BatchFirst` of it. If its sampler has a method `set_epoch`, that is called with the
            number of each epoch.
        seed: the seed of the order of a DataLoader that shuffles without a generator of its own; None for the global generator.
        batch_first: false if the program has said that time comes first; None if it has said nothing, which warns where batches
            have as many samples as timesteps.

    Raises:
        InputError: the loader has no length or too large a one, is empty, or has samples without labels.
    """

    def __init__(
        self, loader: Iterable[Sequence[Any]] | BatchFirst, *, seed: int | None = None, batch_first: bool | None = None
    ) -> None:
        self._is_batch_first = isinstance(loader, BatchFirst)
        loader = loader.loader if isinstance(loader, BatchFirst) else loader
        self._batch_count = length_of(loader)
        if isinstance(sampler := getattr(loader, "sampler", None), Sized):
            length_of(sampler)  # refuses a wrong one before a batch is read, which could be of any size
        self.loader = loader
        self.seed = seed
        self.batch_first = batch_first

    def __len__(self) -> int:
        """Return the number of samples if it is known without an iteration over the loader, else the number of batches."""
        sampler = getattr(self.loader, "sampler", None)
        if isinstance(self.loader, list | tuple):
            return sum(self._sample_count(number, *batch) for number, batch in enumerate(self._raw_batches(0), start=1))
        return length_of(sampler) if isinstance(sampler, Sized) else self._batch_count

    def batch_count(self, size: int) -> int:
        """Return the loader's own number of batches, for any `size`."""
        return self._batch_count

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield the loader's batches; `size` and `order` are ignored.

        Raises:
            InputError: a batch is not (inputs, labels) or (inputs, labels, mask) of numbers, or the loader gives none. The
                message begins with the number of the batch, from 1.
        """
        return self._converted(self._raw_batches(epoch))

    def looked_at(self) -> Iterator[Batch]:
        """Yield the first batch, or all those of a list, and leave every source of randomness as it was.

        Raises:
            InputError: a batch is not one, or the loader can be read only once.
        """
        raw = self._raw_batches(0, first_look=True)
        if isinstance(self.loader, list | tuple):  # its batches exist already: reading them draws nothing
            yield from self._converted(raw)
            return
        # Nothing is yielded before the randomness is restored: a look that is never finished would restore it much later.
        with kept_randomness(self.loader), closing(raw):
            first = list(islice(self._converted(raw), 1))
        yield from first

    def _converted(self, batches: Iterator[tuple[Any, Any, Any]]) -> Iterator[Batch]:
        """Convert batches as the loader gives them, and number those that can't be converted."""
        for number, (samples, labels, mask) in enumerate(batches, start=1):
            with errors_at(f"batch {number}"):
                batch = self._batch(samples, labels, mask)
            yield batch

    def _batch(self, samples: Any, labels: Any, mask: Any) -> Batch:
        """Convert a batch as the loader gives it."""
        batch = Batch(_batched(samples), as_labels(labels), None if mask is None else as_numbers(mask, "mask"))
        warn_if_ambiguous(batch.inputs, self.batch_first)
        return batch

    def _raw_batches(self, epoch: int, *, first_look: bool = False) -> Generator[tuple[Any, Any, Any], None, None]:
        """Yield samples, labels, and the mask or None, with time first. A `first_look` finds out if they can be read again.

        Raises:
            InputError: a batch is not (inputs, labels) or (inputs, labels, mask), there is none, there are more than the loader
                has announced, or they can be read only once.
        """
        set_epoch = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if callable(set_epoch):
            set_epoch(epoch)
        number = 0
        with seeded_order(self.loader, self.seed, epoch):
            batches, announced = iter(self.loader), length_of(self.loader)
            if first_look:
                require_readable_again(self.loader, batches)
            for number, batch in enumerate(batches, start=1):
                if number > announced:
                    raise InputError(f"the loader promises {announced} batches, but gives more; its __len__ must be their number")
                yield parts_of(batch, number, self._is_batch_first)
        if number == 0:
            raise InputError(
                f"the loader promises {self._batch_count} batches, but gives none; it must give them anew in every epoch, which "
                "an iterator can't: give a DataLoader or a list"
            )

    def _sample_count(self, number: int, samples: Any, labels: Any, mask: Any) -> int:
        """Count the samples of a batch by its inputs, (batch, features) or (timesteps, batch, features).

        Raises:
            InputError: they have other axes.
        """
        with errors_at(f"batch {number}"):
            return _batched(samples).shape[-2]


def _batched(samples: Any) -> Tensor:
    """Convert the inputs of a batch to a tensor. Raises InputError if they have no axis for the batch."""
    inputs = as_numbers(samples, "inputs")
    if inputs.dim() < 2:
        raise InputError(
            f"inputs of shape {tuple(inputs.shape)}: expected (batch, features); give inputs[None], or for a list of samples a "
            "DataLoader with a batch_size"
        )
    return inputs


def _shape_hint(inputs: Tensor, labels: Tensor) -> str:
    """Return what to do about inputs and labels of a wrong shape."""
    if labels.dim() == 2:
        return "one-hot? give labels.argmax(1)"
    if inputs.dim() == 1:
        return "a single sample needs an axis for the samples, as in inputs[None]"
    return "images are flattened with inputs.flatten(1), sequences come from a loader"


def is_dataset(data: Any) -> TypeGuard[Dataset]:
    """Tell a data set of network inputs from other kinds of data."""
    return hasattr(data, "batches") and hasattr(data, "batch_count")


class Splits(NamedTuple):
    """The data sets of a run: training, validation, test, and a training subset for the training accuracy."""

    train: Dataset
    """Data set to train on."""
    validation: Dataset | None = None
    """Data set by whose accuracy the best epoch is chosen; None for no choice."""
    test: Dataset | None = None
    """Data set of the final accuracy; None for no test."""
    train_subset: Dataset | None = None
    """Fixed subset of the training set, whose accuracy is reported beside the others; None for no report."""


class LabeledImages(NamedTuple):
    """Unprocessed images and their labels."""

    images: Tensor
    """Pixels, (samples, height, width) uint8."""
    labels: Tensor
    """Class numbers, (samples,)."""


class LabeledSamples:
    """Raw samples and their class numbers.

    Args:
        samples: (n, *shape).
        labels: (n,) class numbers.
    """

    def __init__(self, samples: Tensor, labels: Tensor) -> None:
        self.samples = samples
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> LabeledSamples:
        """Return some of the samples: a slice, as views, or those of the given numbers."""
        return LabeledSamples(self.samples[index], self.labels[index])

    def to(self, device: torch.device) -> LabeledSamples:
        """Return the samples on a device."""
        return LabeledSamples(self.samples.to(device), self.labels.to(device))


class SequenceDataset(WithPicture):
    """A data set of sequences, their masks and labels, on any device.

    Args:
        inputs: (timesteps, samples, features).
        labels: (samples,) class numbers.
        mask: valid timesteps, (timesteps, samples); None if all are valid.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, mask: Tensor | None = None) -> None:
        self.inputs = inputs
        self.labels = labels
        self.mask = mask

    def __len__(self) -> int:
        return len(self.labels)

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples; the last one may be smaller."""
        return math.ceil(len(self) / size)

    def __getitem__(self, samples: slice) -> SequenceDataset:
        """Return a slice of the data set, as views."""
        mask = None if self.mask is None else self.mask[:, samples]
        return SequenceDataset(self.inputs[:, samples], self.labels[samples], mask)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches of `size` samples in the given order of sample numbers, by default in stored order."""
        order = torch.arange(len(self)) if order is None else order
        if len(order):  # an empty tensor would split into one empty batch
            for index in torch.split(order.to(self.labels.device), size):
                yield Batch(self.inputs[:, index], self.labels[index], None if self.mask is None else self.mask[:, index])


class SplitOptions(NamedTuple):
    """Options of the data sets that a task makes."""

    device: torch.device
    """Device of the tensors."""
    seed: int = 0
    """Seed of random variation of the training data."""
    timesteps: int | None = None
    """Number of timesteps of generated sequences; None for as many as the samples need."""
    train_samples: int = 0
    """Number of training samples, from the beginning; 0 for all that remain."""
    validation_samples: int | None = None
    """Number of validation samples, 0 for no validation set; None for the task's own choice."""
    test_samples: int = 0
    """Number of test samples, from the beginning; 0 for all."""
    train_subset_samples: int = 0
    """Number of training samples whose accuracy is reported, from the beginning; 0 for none."""


class Sliceable(Protocol):
    """Samples that have a number and can be sliced."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self: S, samples: slice) -> S:
        """Return a slice of the samples."""


S = TypeVar("S", bound=Sliceable)


def split(train: S, test: S, options: SplitOptions) -> tuple[S, S | None, S, S | None]:
    """Split samples: the validation samples are taken from the end of the training set.

    Args:
        train: the whole training set.
        test: the whole test set.
        options: the number of samples of each split.

    Returns:
        The samples of training, validation (None without validation samples), test, and the training subset (None without).

    Raises:
        DataError: there are fewer samples than requested.
    """
    validation_samples = options.validation_samples or 0
    remaining = len(train) - validation_samples
    if remaining < max(1, options.train_samples):
        raise DataError(
            f"{validation_samples} validation samples leave {max(remaining, 0)} of {len(train)} for training, "
            f"fewer than {max(1, options.train_samples)}; lower "
            + ("data.validation_samples or " if validation_samples else "")
            + "data.train_samples"
        )
    if options.test_samples > len(test):
        raise DataError(f"data.test_samples = {options.test_samples}, but the test set has {len(test)}; lower it")
    selected = train[: options.train_samples or remaining]
    return (
        selected,
        train[remaining:] if validation_samples else None,
        test[: options.test_samples or len(test)],
        selected[: options.train_subset_samples] if options.train_subset_samples else None,
    )
