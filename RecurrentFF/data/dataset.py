"""What the training loop asks of a data set, and the plainest one: tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from RecurrentFF.errors import DataError, InputError


class Batch(NamedTuple):
    """Some samples, as the network takes them."""

    inputs: Tensor
    """(batch, features) or (timesteps, batch, features)"""
    labels: Tensor
    """(batch,) class numbers"""
    mask: Tensor | None = None
    """(timesteps, batch), true where a sequence is not over; None where all timesteps count"""


class Dataset(Protocol):
    """Something that can be gone through in batches, again and again."""

    def __len__(self) -> int:
        """Number of samples."""

    def batch_count(self, size: int) -> int:
        """How many batches of `size` samples there are."""

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Batches of `size` samples (the last may be smaller), in the given order of sample numbers, else as they stand.

        `epoch`, from 0, is for data that is made anew for every epoch.
        """


class TensorDataset:
    """Static inputs (samples, features) and their labels (samples,), on any device. A batch is an index.

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
        """How many batches of `size` samples there are; the last may be smaller."""
        return math.ceil(len(self) / size)

    def __getitem__(self, samples: slice) -> TensorDataset:
        """A part of the data set, as views."""
        return TensorDataset(self.inputs[samples], self.labels[samples])

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Batches of `size` samples, in the given order of sample numbers, else as they stand."""
        if order is None:
            yield from map(Batch, torch.split(self.inputs, size), torch.split(self.labels, size))
            return
        if len(order):  # an empty tensor would split into one empty batch
            for index in torch.split(order.to(self.labels.device), size):
                yield Batch(self.inputs[index], self.labels[index])


class LoaderDataset:
    """A torch DataLoader, or any sized iterable of (inputs, labels) or (inputs, labels, mask) batches, as `Batch` has them. It
    sets the batch size and the order itself.

    Raises:
        InputError: it has no length, or is empty.
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
        """The samples as far as the loader tells without being gone through; its batches if it doesn't."""
        sampler = getattr(self.loader, "sampler", None)
        if isinstance(self.loader, list | tuple):
            return sum(batch.labels.shape[-1] for batch in self.batches(0))
        return len(sampler) if isinstance(sampler, Sized) else self._batch_count

    def batch_count(self, size: int) -> int:
        """The loader's own number of batches."""
        return self._batch_count

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """The loader's batches, whatever size and order are asked for."""
        for batch in self.loader:
            if not (isinstance(batch, tuple | list) and len(batch) in (2, 3)):
                raise InputError(f"a batch of type {type(batch).__name__}: expected (inputs, labels) or (inputs, labels, mask)")
            yield Batch(*(torch.as_tensor(part) for part in batch if part is not None))


class Splits(NamedTuple):
    """What a run trains on, decides by, and reports."""

    train: Dataset
    validation: Dataset | None = None
    """Decides which epoch is best."""
    test: Dataset | None = None
    train_probe: Dataset | None = None
    """A fixed part of the training set, whose accuracy is reported beside the others."""


class Sliceable(Dataset, Protocol):
    """A data set that can be cut."""

    def __getitem__(self, samples: slice) -> Sliceable:
        """A part of the data set."""


def split(
    train: Sliceable,
    test: Sliceable,
    *,
    validation_samples: int,
    train_samples: int = 0,
    test_samples: int = 0,
    probe_samples: int = 0,
) -> Splits:
    """Cut the validation samples from the end of the training set; 0 means all that are left for training and all for test, none
    for validation and as probe.

    Raises:
        DataError: there are fewer samples than asked for.
    """
    rest = len(train) - validation_samples
    if rest < max(1, train_samples):
        raise DataError(
            f"{validation_samples} validation samples leave {max(rest, 0)} of {len(train)} for training, "
            f"fewer than {max(1, train_samples)}; lower "
            + ("data_config.validation_samples or " if validation_samples else "")
            + "data_config.train_samples"
        )
    if test_samples > len(test):
        raise DataError(f"data_config.test_samples = {test_samples}, but the test set has {len(test)}")
    kept = train[: train_samples or rest]
    return Splits(
        train=kept,
        validation=train[rest:] if validation_samples else None,
        test=test[: test_samples or len(test)],
        train_probe=kept[:probe_samples] if probe_samples else None,
    )
