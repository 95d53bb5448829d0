"""The data set interface of the training loop, and data sets made of tensors or of a loader."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from RecurrentFF.errors import DataError, InputError


class Batch(NamedTuple):
    """A batch of samples in the layout that the network takes."""

    inputs: Tensor
    """Network inputs: (batch, features) if static, else (timesteps, batch, features)."""
    labels: Tensor
    """Class numbers, (batch,)."""
    mask: Tensor | None = None
    """Valid timesteps, (timesteps, batch): true until the sequence ends. None if every timestep is valid."""


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


class TensorDataset:
    """A data set of static inputs and their labels, on any device.

    Args:
        inputs: (samples, features).
        labels: (samples,) integer class numbers.

    Raises:
        InputError: the shapes or types don't fit, or there are no samples.
    """

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        if inputs.dim() != 2 or labels.dim() != 1 or len(inputs) != len(labels):
            raise InputError(
                f"inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)}: expected (samples, features) and (samples,); "
                "images are flattened with inputs.flatten(1), sequences come from a loader"
            )
        if len(inputs) == 0:
            raise InputError("no samples; give at least one")
        if labels.is_floating_point():
            raise InputError(f"labels of type {labels.dtype}: expected integer class numbers")
        self.inputs = inputs
        self.labels = labels.long()

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
            with the shapes of `Batch`.

    Raises:
        InputError: the loader has no length, or is empty.
    """

    def __init__(self, loader: Iterable[Sequence[Any]]) -> None:
        try:
            self._batch_count = len(loader)  # type: ignore[arg-type]
        except TypeError:
            raise InputError(
                f"a {type(loader).__name__} is neither (inputs, labels) nor a loader that knows its number of batches; give "
                "tensors, a DataLoader over a data set of known size, or a list of batches"
            ) from None
        if self._batch_count == 0:
            raise InputError("the loader is empty; give at least one batch")
        self.loader = loader

    def __len__(self) -> int:
        """Return the number of samples if it is known without an iteration over the loader, else the number of batches."""
        sampler = getattr(self.loader, "sampler", None)
        if isinstance(self.loader, list | tuple):
            return sum(batch.labels.shape[-1] for batch in self.batches(0))
        return len(sampler) if isinstance(sampler, Sized) else self._batch_count

    def batch_count(self, size: int) -> int:
        """Return the loader's own number of batches, for any `size`."""
        return self._batch_count

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield the loader's batches; `size`, `order` and `epoch` are ignored.

        Raises:
            InputError: a batch is not (inputs, labels) or (inputs, labels, mask).
        """
        for batch in self.loader:
            if not (isinstance(batch, tuple | list) and len(batch) in (2, 3)):
                raise InputError(f"a batch of type {type(batch).__name__}: expected (inputs, labels) or (inputs, labels, mask)")
            yield Batch(*(torch.as_tensor(value) for value in batch if value is not None))


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


class Sliceable(Dataset, Protocol):
    """A data set that supports slicing."""

    def __getitem__(self, samples: slice) -> Sliceable:
        """Return a slice of the data set."""


def split(
    train: Sliceable,
    test: Sliceable,
    *,
    validation_samples: int,
    train_samples: int = 0,
    test_samples: int = 0,
    train_subset_samples: int = 0,
) -> Splits:
    """Split the data: the validation samples are taken from the end of the training set.

    Args:
        train: the whole training set.
        test: the whole test set.
        validation_samples: number of validation samples; 0 for no validation set.
        train_samples: number of training samples, from the beginning; 0 for all that remain.
        test_samples: number of test samples, from the beginning; 0 for all.
        train_subset_samples: number of training samples whose accuracy is reported, from the beginning; 0 for none.

    Raises:
        DataError: there are fewer samples than requested.
    """
    remaining = len(train) - validation_samples
    if remaining < max(1, train_samples):
        raise DataError(
            f"{validation_samples} validation samples leave {max(remaining, 0)} of {len(train)} for training, "
            f"fewer than {max(1, train_samples)}; lower "
            + ("data_config.validation_samples or " if validation_samples else "")
            + "data_config.train_samples"
        )
    if test_samples > len(test):
        raise DataError(f"data_config.test_samples = {test_samples}, but the test set has {len(test)}")
    selected = train[: train_samples or remaining]
    return Splits(
        train=selected,
        validation=train[remaining:] if validation_samples else None,
        test=test[: test_samples or len(test)],
        train_subset=selected[:train_subset_samples] if train_subset_samples else None,
    )
