"""A data set with the class numbers of another task."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from RecurrentFF.data.dataset import Batch, Dataset


class RelabeledDataset:
    """A data set with other class numbers.

    Args:
        dataset: the data set. Its labels are (samples,).
        numbers: the new number of each of its classes, (classes,).
    """

    def __init__(self, dataset: Dataset, numbers: Tensor) -> None:
        self.dataset = dataset
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.dataset)

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples."""
        return self.dataset.batch_count(size)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of the data set with their new class numbers."""
        for inputs, labels, mask in self.dataset.batches(size, order, epoch):
            yield Batch(inputs, self.numbers.to(labels.device)[labels.long()], mask)
