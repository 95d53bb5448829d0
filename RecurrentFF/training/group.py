"""The processes of a training, as the training loop meets them: one, or those that `torchrun` has started."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from RecurrentFF.data.dataset import Batch, Dataset, LoaderDataset, Splits, require_batch
from RecurrentFF.distributed import DividedProcesses, Session, session
from RecurrentFF.errors import ProcessError, SettingsError
from RecurrentFF.launch import announce, has_announced
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.processes import ONE_PROCESS, BatchPlace
from RecurrentFF.settings import Settings
from RecurrentFF.training.same_data import facts_about, require_same_batch

if TYPE_CHECKING:
    from RecurrentFF.training.interruption import Interruption
    from RecurrentFF.training.progress import Progress
    from RecurrentFF.training.trainer import BatchLearner


T = TypeVar("T")


class TrainingGroup:
    """The processes of a training. With one process, nothing is divided.

    Args:
        processes: the division among several processes; None for one.
        session: the membership of this process in their group; None for one.
    """

    def __init__(self, processes: DividedProcesses | None = None, session: Session | None = None) -> None:
        self.processes = processes
        self._session = session

    @classmethod
    def of(cls, network: Network, settings: Settings, splits: Splits) -> TrainingGroup:
        """The group that this process belongs to.

        Args:
            network: the network.
            settings: the configuration of the training.
            splits: the data sets.

        Raises:
            SettingsError: the settings don't fit the number of processes, or are not the same in all of them; or a baseline is to
                be trained by several.
            ProcessError: the processes can't join each other, or an earlier training in this program has failed.
        """
        joined = None if settings.distributed.mode == "none" else session(settings.distributed.timeout)
        if joined is None:
            return cls()
        if not isinstance(network, Network):
            raise SettingsError("--baseline: a baseline is trained by one process; start it without torchrun")
        if settings.training.on_divergence == "retry":
            raise SettingsError(
                'training.on_divergence = "retry": several processes might return to different epochs; set it to "stop"'
            )
        if has_announced():
            raise ProcessError("an earlier training in this program has failed, and the processes went apart; start it again")
        return cls(joined.processes(network, settings, facts_about(splits)), joined)

    def __str__(self) -> str:
        """The number of processes and what is divided among them, as in "2: layers h1 | h2"."""
        return "1" if self.processes is None else f"{self.count}: {self.processes.division}"

    @property
    def index(self) -> int:
        """The number of this process."""
        return 0 if self.processes is None else self.processes.index

    @property
    def count(self) -> int:
        """The number of processes."""
        return 1 if self.processes is None else self.processes.count

    @property
    def is_first(self) -> bool:
        """True in the process that writes and speaks for all."""
        return self.index == 0

    # ---------------------------------------------------------------- training

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """A training, at whose error the other processes end, too, as a context manager. After it, each may end by itself."""
        if self._session is None:
            yield
            return
        self._session.watch.training(begins=True)
        try:
            yield
        except BaseException as error:
            announce(error)
            raise
        self._session.watch.training(begins=False)

    @contextlib.contextmanager
    def divided(self, network: Network) -> Iterator[None]:
        """Let a network compute only what this process has, as a context manager."""
        network.processes = ONE_PROCESS if self.processes is None else self.processes
        try:
            yield
        finally:
            network.processes = ONE_PROCESS

    def batches(
        self, train: Dataset, size: int, order: Tensor, epoch: int, *, batches: int = 0, samples: int = 0
    ) -> Iterator[tuple[BatchPlace, Batch]]:
        """This process's part of each remaining batch of an epoch, and the place of the batch.

        Args:
            train: the training samples.
            size: the number of samples of a whole batch.
            order: the order of the remaining samples of the epoch.
            epoch: the number of the epoch, from 0.
            batches: the number of batches that are done, which a loader yields once more.
            samples: the number of samples in them.

        Raises:
            InputError: at the first batch, if the processes have read different ones.
        """
        processes = self.processes
        if processes is not None and processes.data.size > 1 and not isinstance(train, LoaderDataset):
            yield from _parts(processes, train, size, order, epoch, samples)
            return
        skipped = batches if isinstance(train, LoaderDataset) else 0
        for number, batch in enumerate(islice(train.batches(size, order, epoch), skipped, None)):
            whole = require_batch(batch).inputs.shape[-2]
            if processes is None:
                yield BatchPlace(epoch, samples), batch
            else:
                if number == 0:
                    require_same_batch(processes.world, batch)
                place, part = _place(processes, epoch, samples, whole)
                yield place, _part(batch, part)
            samples += whole

    def agree_to_stop(self, interruption: Interruption, progress: Progress) -> bool:
        """Find out if all processes end after this batch, since one was interrupted, or has stopped the training."""
        if self._session is not None:
            self._session.watch.has_trained = True
        if self.processes is not None:
            interrupted, stopped = self.processes.any(interruption.received, bool(progress.stopped))
            interruption.agreed = interrupted  # and not a signal that has come meanwhile
            if stopped and not progress.stopped:
                progress.stopped = "in another process"
        return interruption.requested or bool(progress.stopped)

    def complete(self, network: Network, evaluated: Network, learner: BatchLearner) -> None:
        """Bring the weights and the optimizers' states of all layers to all processes, so that each has the whole training."""
        processes = self.processes
        if processes is None or not processes.divides_layers:
            return
        with self.divided(network):
            processes.complete(network)
        if evaluated is not network:
            with self.divided(evaluated):
                processes.complete(evaluated)
        if isinstance(learner, Learner):
            optimizers = learner.optimizers
            found = processes.complete_states(list(optimizers), lambda name: optimizers[name].state_dict())
            for name, state in found.items():
                optimizers[name].load_state_dict(state)

    def own_part(self, batch: Batch) -> Batch:
        """This process's part of a batch."""
        processes = self.processes
        return batch if processes is None else _part(batch, processes.parts_of(batch.inputs.shape[-2]))

    @property
    def layer_parts(self) -> int:
        """The number of processes among which the layers are divided."""
        return 1 if self.processes is None else self.processes.layers.size

    # ---------------------------------------------------------------- evaluation

    def has_batch(self, number: int) -> bool:
        """True if this process predicts the batch of this number, from 1, in an evaluation."""
        return (number - 1) % self.count == self.index

    def of_first(self, make: Callable[[], T]) -> T:
        """An object that the first process makes, in all processes."""
        return make() if self.processes is None else self.processes.from_first(make)

    def summed(self, counts: Tensor) -> Tensor:
        """The sum of whole numbers over all processes."""
        return counts if self.processes is None else self.processes.sum_counts(counts)


def _parts(
    processes: DividedProcesses, train: Dataset, size: int, order: Tensor, epoch: int, samples: int
) -> Iterator[tuple[BatchPlace, Batch]]:
    """This process's parts of batches whose samples the order chooses, so that it makes only its own ones."""
    for first in range(0, len(order), size):
        whole = min(size, len(order) - first)
        place, part = _place(processes, epoch, samples + first, whole)
        own = order[first + part.start : first + part.stop]
        batch = next(iter(train.batches(len(own), own, epoch)))
        if first == 0:
            require_same_batch(processes.layers, batch)
        yield place, batch


def _place(processes: DividedProcesses, epoch: int, first: int, whole: int) -> tuple[BatchPlace, slice]:
    """The place of this process's part of a batch, and the part itself: the first sample, as padding, where it has none."""
    part = processes.parts_of(whole)
    is_padding = part.start == part.stop
    part = slice(0, 1) if is_padding else part
    return BatchPlace(epoch, first, whole, part.start, is_padding), part


def _part(batch: Batch, part: slice) -> Batch:
    """Some of the samples of a batch."""
    return Batch(batch.inputs[..., part, :], batch.labels[..., part], None if batch.mask is None else batch.mask[:, part])
