"""A group of processes: the operations of torch.distributed that a training needs, with errors for people and a count of bytes.

Every operation that waits for other processes goes through `Group`, so that a failure of another process is met in one place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from RecurrentFF.errors import ProcessError, first_line

T = TypeVar("T")


@dataclass
class Activity:
    """The work of the main thread of this process in its group. The watch of other processes reads it from another thread."""

    operations: int = 0
    """The number of operations so far."""
    waits: bool = False
    """True while the process waits for others."""
    sent: dict[str, int] = field(default_factory=dict)
    """The bytes that this process has sent, by purpose: "gradients", "patterns", "sums", "gathered" and "state".

    Those of a sum over n processes are 2 · (n − 1) / n times its size, as in the ring algorithm."""
    lost: str | None = None
    """The message about another process that has failed, after which no operation can succeed. The watch sets it."""
    told: bool = False
    """True if the main thread has met that failure, and so ends by itself."""
    explain: Callable[[str], str] = lambda reason: f"another process has ended ({reason})"
    """Makes the message about a failed operation from the words of torch: which process failed, and why."""

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """An operation that waits for other processes.

        Raises:
            ProcessError: another process has failed, or does not answer.
        """
        if self.lost is not None:
            self.told = True
            raise ProcessError(self.lost)
        self.operations += 1
        self.waits = True
        try:
            yield
        except RuntimeError as error:  # those of torch.distributed are subclasses, and plain ones come from gloo
            message, self.told = self.explain(first_line(error)), True
            raise ProcessError(message) from None
        finally:
            self.waits = False

    def count(self, purpose: str, size: float) -> None:
        """Add bytes that this process sends."""
        self.sent[purpose] = self.sent.get(purpose, 0) + int(size)


class Group:
    """Some of the processes of a training.

    Args:
        ranks: the numbers of the processes.
        group: the group of torch.distributed with these processes.
        activity: of this process.
        batched: true to begin all messages of a timestep together, as nccl needs it: two single messages that cross each other
            would wait for ever.
    """

    def __init__(self, ranks: Sequence[int], group: dist.ProcessGroup, activity: Activity, *, batched: bool = False) -> None:
        self.ranks = tuple(ranks)
        self.group = group
        self.activity = activity
        self.size = len(self.ranks)
        self.index = self.ranks.index(dist.get_rank())
        self._batched = batched

    def sum_in_place(self, tensor: Tensor, purpose: str = "sums") -> Tensor:
        """Add up a tensor over the processes."""
        self.activity.count(purpose, self._of_ring(tensor))
        with self.activity.waiting():
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def begin_sum(self, tensor: Tensor) -> Any:
        """Begin to add up a contiguous tensor in place. `finish` waits for what is returned."""
        self.activity.count("gradients", self._of_ring(tensor))
        with self.activity.waiting():
            return dist.all_reduce(tensor, group=self.group, async_op=True)

    def sum_together(self, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Add up several small tensors by one operation. They keep their shapes and types."""
        exact = any(part.dtype == torch.float64 for part in parts)
        flat = torch.cat([part.reshape(-1).to(torch.float64 if exact else torch.float32) for part in parts])
        pieces = torch.split(self.sum_in_place(flat), [part.numel() for part in parts])
        return tuple(piece.view(part.shape).to(part.dtype) for piece, part in zip(pieces, parts, strict=True))

    def gather(self, tensor: Tensor, sizes: Sequence[int]) -> Tensor:
        """Gather the tensors of all processes along the last axis.

        Args:
            tensor: (…, size).
            sizes: the size of each process's last axis.
        """
        longest = max(sizes)
        padded = torch.zeros(*tensor.shape[:-1], longest, dtype=tensor.dtype, device=tensor.device)
        padded[..., : tensor.shape[-1]] = tensor
        parts = [torch.empty_like(padded) for _ in sizes]
        self.activity.count("gathered", padded.nbytes * (self.size - 1))
        with self.activity.waiting():
            dist.all_gather(parts, padded, group=self.group)
        return torch.cat([part[..., :size] for part, size in zip(parts, sizes, strict=True)], -1)

    def broadcast(self, tensor: Tensor, source: int) -> Tensor:
        """Copy a contiguous tensor of one process into those of the others, in place.

        Args:
            tensor: of one shape and type in all processes.
            source: the index of the process in this group.
        """
        if self.index == source:
            self.activity.count("state", tensor.nbytes * (self.size - 1))
        with self.activity.waiting():
            dist.broadcast(tensor, self.ranks[source], group=self.group)
        return tensor

    def objects(self, own: T) -> list[T]:
        """The objects of all processes, which are small."""
        found: list[Any] = [None] * self.size
        with self.activity.waiting():
            dist.all_gather_object(found, own, group=self.group)
        return found

    def object_of(self, source: int, make: Callable[[], T]) -> T:
        """An object that one process makes, in all processes."""
        found: list[Any] = [make() if self.index == source else None]
        with self.activity.waiting():
            dist.broadcast_object_list(found, self.ranks[source], group=self.group)
        return found[0]  # type: ignore[no-any-return]

    def received_from(self, source: int) -> Any:
        """The object that another process makes with `object_of`."""
        return self.object_of(source, lambda: None)

    def send(self, tensor: Tensor, target: int, tag: int) -> Any:
        """Begin to send a contiguous tensor to the process of this index in the group. `finish` waits for what is returned."""
        self.activity.count("patterns", tensor.nbytes)
        return self._message(dist.isend, tensor, target, tag)

    def receive(self, tensor: Tensor, source: int, tag: int) -> Any:
        """Begin to receive a tensor from the process of this index in the group."""
        return self._message(dist.irecv, tensor, source, tag)

    def finish(self, begun: Sequence[Any]) -> None:
        """Wait for sums and messages that have begun."""
        with self.activity.waiting():
            messages = [work for work in begun if isinstance(work, dist.P2POp)]
            others = [work for work in begun if work is not None and not isinstance(work, dist.P2POp)]
            for work in [*others, *(dist.batch_isend_irecv(messages) if messages else [])]:
                work.wait()

    def _message(self, operation: Callable[..., Any], tensor: Tensor, other: int, tag: int) -> Any:
        if tensor.numel() == 0:
            return None
        if self._batched:
            return dist.P2POp(operation, tensor, self.ranks[other], self.group, tag)
        with self.activity.waiting():
            return operation(tensor, self.ranks[other], group=self.group, tag=tag)

    def _of_ring(self, tensor: Tensor) -> float:
        return 2 * (self.size - 1) / self.size * tensor.nbytes
