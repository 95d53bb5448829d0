"""The division of a training among processes, as the model meets it. `Processes` is one process, which has everything.

Two things can be divided. Of a batch, each process may have a part of the samples: what is a sum over samples is then summed over
these processes. Of the layers, each process may have some: a layer needs nothing but the patterns that its sources had at the
previous timestep, so that these alone are exchanged, and no gradient. `RecurrentFF.distributed` divides by torch.distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor


class BatchPlace(NamedTuple):
    """The place of a batch in a training, on which its random draws depend."""

    epoch: int = 0
    """The number of the epoch, from 0."""
    first: int = 0
    """The number of the first sample of the whole batch within the epoch, from 0."""
    whole: int | None = None
    """The number of samples of the whole batch; None if this process has all of them."""
    start: int = 0
    """The index of this process's first sample in the whole batch."""
    is_padding: bool = False
    """True if the whole batch has fewer samples than parts, so that this process has a sample of another one, which does not
    count."""

    def size_of(self, batch: int) -> int:
        """The number of samples of the whole batch, of which this process has `batch`."""
        return batch if self.whole is None else self.whole


class BatchShare:
    """The part of a batch that a process has: here all of it. What is a sum over the samples of the whole batch is a method.

    Args:
        size: the number of samples of the whole batch.
        part: the samples that this process has.
    """

    def __init__(self, size: int, part: slice) -> None:
        self.size = size
        self.part = part

    @property
    def is_whole(self) -> bool:
        """True if this process has all samples."""
        return True

    def summed(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """The sum of each of these tensors over all processes that have a part of the batch."""
        return parts

    def gathered(self, tensor: Tensor) -> Tensor:
        """A tensor of this process's samples, (…, batch), as that of all samples of the batch, (…, whole batch)."""
        return tensor

    def own(self, indices: Tensor) -> Tensor:
        """The indices, within this process's part, of those samples of the whole batch that are in it."""
        return indices


class Reduction(Protocol):
    """A sum of gradients over processes that has begun."""

    @property
    def is_finished(self) -> bool:
        """True if the sums need not be waited for."""

    def wait(self) -> Mapping[str, Tensor]:
        """The sums by the parameters' names, when they are there."""


class _Finished(NamedTuple):
    """The gradients of the only process."""

    gradients: Mapping[str, Tensor]
    is_finished: bool = True

    def wait(self) -> Mapping[str, Tensor]:
        """The gradients."""
        return self.gradients


class Exchange(Protocol):
    """The exchange of patterns between processes that have different layers, timestep by timestep."""

    def begin(self, batch: int, compute_dtype: torch.dtype, *, is_training: bool) -> dict[str, Tensor]:
        """Begin a sequence.

        Args:
            batch: the number of samples.
            compute_dtype: the type of the patterns.
            is_training: true with dropout, by which the patterns of candidates differ.

        Returns:
            The patterns of zero activity, (units, 1, batch), of other processes' blocks that this one reads.
        """

    def expect(self, candidates: Mapping[str, int]) -> None:
        """Prepare for the patterns of a timestep, of which the input and the label are now clamped.

        Args:
            candidates: the number of candidates of "x" and "y", 1 where it is the same for all.
        """

    def send(self, name: str, pattern: Tensor) -> None:
        """Send the pattern that a block of this process has after the timestep to the processes that read it."""

    def received(self) -> dict[str, Tensor]:
        """The patterns of other processes' blocks that this one reads, by name, when all are there."""


M = TypeVar("M")


class Processes:
    """The processes that train a network together: one, which has all samples and all layers."""

    index: int = 0
    """The number of this process."""
    count: int = 1
    """The number of processes."""
    divides_layers: bool = False
    """True if this process has only some of the layers."""

    def has(self, name: str) -> bool:
        """True if this process has the local module of this name."""
        return True

    def share(self, place: BatchPlace, batch: int) -> BatchShare:
        """This process's part of a batch, which has `batch` samples."""
        return BatchShare(batch, slice(None))

    def reduce(self, name: str, gradients: Mapping[str, Tensor], share: BatchShare) -> Reduction:
        """Begin to sum the gradients of a module, by the parameters' names, over the processes that have parts of the batch."""
        return _Finished(gradients)

    def sum_over_layers(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """The sum of each of these tensors over the processes among which the layers are divided."""
        return parts

    def sum_input_gradients(self, gradients: Sequence[Tensor | None], like: Tensor) -> Tensor | None:
        """The sum of the gradients ∂loss/∂x of all modules that read the input; None if there is none.

        Args:
            gradients: of this process's modules.
            like: the input, of the shape of the sum.
        """
        given = [gradient for gradient in gradients if gradient is not None]
        return torch.stack(given).sum(0) if given else None

    def computed_by(self, name: str, compute: Callable[[], Tensor], like: Tensor) -> Tensor:
        """A tensor that only the process with a certain module can compute, in all processes.

        Args:
            name: the name of the module.
            compute: computes the tensor. Only that process calls it.
            like: a tensor of its shape, type and device.
        """
        return compute()

    def exchange(self) -> Exchange | None:
        """The exchange of patterns for a new state; None if this process has all layers."""
        return None

    def own(self, modules: Sequence[M]) -> list[M]:
        """Those of the local modules that this process has."""
        return [module for module in modules if self.has(module.name)]  # type: ignore[attr-defined]


ONE_PROCESS = Processes()
"""The only process of a training that is not divided."""
WHOLE = BatchShare(0, slice(None))
"""All samples of a batch, for a module that is used outside of a training."""
