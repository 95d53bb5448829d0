"""The processes of a training, divided by torch.distributed: `model.processes.Processes` for more than one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from RecurrentFF.distributed.division import Division, part_of
from RecurrentFF.distributed.exchange import PatternExchange, Routes
from RecurrentFF.distributed.group import Group
from RecurrentFF.model.processes import BatchPlace, BatchShare, Exchange, Processes, Reduction

if TYPE_CHECKING:
    from RecurrentFF.model.network import Network
    from RecurrentFF.settings import DistributedSettings


T = TypeVar("T")


class DividedShare(BatchShare):
    """The part of a batch that a process has, where the batch is divided.

    Args:
        size: the number of samples of the whole batch.
        part: the samples that this process has.
        group: the processes with the other parts.
        is_padding: true if they do not count, see `BatchPlace`.
    """

    def __init__(self, size: int, part: slice, group: Group, is_padding: bool) -> None:
        super().__init__(size, part)
        self.group = group
        self.is_padding = is_padding

    @property
    def is_whole(self) -> bool:
        """False: other processes have other samples."""
        return False

    def summed(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """The sum of each of these tensors over all parts of the batch."""
        return self.group.sum_together([torch.zeros_like(part) for part in parts] if self.is_padding else parts)

    def gathered(self, tensor: Tensor) -> Tensor:
        """A tensor of this process's samples, (…, batch), as that of all samples of the batch, (…, whole batch)."""
        parts = [part_of(self.size, self.group.size, index) for index in range(self.group.size)]
        return self.group.gather(tensor, [part.stop - part.start for part in parts])

    def own(self, indices: Tensor) -> Tensor:
        """The indices, within this process's part, of those samples of the whole batch that are in it."""
        inside = (indices >= self.part.start) & (indices < self.part.stop)
        own: Tensor = indices[inside] - self.part.start
        return own


class GradientSum:
    """A sum of gradients that has begun, see `processes.Reduction`.

    Args:
        group: the processes with parts of the batch.
        gradients: the own gradients by the parameters' names.
        dtype: the type in which they are summed.
    """

    is_finished = False

    def __init__(self, group: Group, gradients: Mapping[str, Tensor], dtype: torch.dtype | None) -> None:
        self._group = group
        self._sums = {name: gradient.to(dtype or gradient.dtype).contiguous() for name, gradient in gradients.items()}
        self._works = [group.begin_sum(tensor) for tensor in self._sums.values()]

    def wait(self) -> Mapping[str, Tensor]:
        """The sums by the parameters' names, when they are there."""
        self._group.finish(self._works)
        return self._sums


class DividedProcesses(Processes):
    """The processes among which a training is divided.

    Args:
        network: the network that is trained, complete in each process.
        division: the parts of batches and layers.
        world: all processes.
        data: the processes with the same layers, and other parts of each batch.
        layers: the processes with the same part of each batch, and other layers.
        options: the section [distributed] of the configuration.
    """

    def __init__(
        self, network: Network, division: Division, world: Group, data: Group, layers: Group, options: DistributedSettings
    ) -> None:
        self.division, self.world, self.data, self.layers = division, world, data, layers
        self.index, self.count = world.index, world.size
        self.divides_layers = division.layer_parts > 1
        self._dtype = torch.bfloat16 if options.reduce_precision == "bfloat16" else network.dtype
        self._own = frozenset(division.modules[layers.index])
        self._device = network.device
        self._routes = Routes.of(network.local_modules, division.owners, layers.index)
        owners = {division.owners[module.name] for module in network.local_modules if "x" in module.sources}
        self._x_is_divided = len(owners) > 1

    def has(self, name: str) -> bool:
        """True if this process has the local module of this name."""
        return name in self._own

    def share(self, place: BatchPlace, batch: int) -> BatchShare:
        """This process's part of a batch, which has `batch` samples."""
        if self.data.size == 1:
            return BatchShare(batch, slice(None))
        return DividedShare(place.size_of(batch), slice(place.start, place.start + batch), self.data, place.is_padding)

    def reduce(self, name: str, gradients: Mapping[str, Tensor], share: BatchShare) -> Reduction:
        """Begin to sum the gradients of a module over the parts of the batch."""
        if share.is_whole:
            return super().reduce(name, gradients, share)
        if isinstance(share, DividedShare) and share.is_padding:
            gradients = {name: torch.zeros_like(gradient) for name, gradient in gradients.items()}
        return GradientSum(self.data, gradients, self._dtype)

    def sum_over_layers(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """The sum of each of these tensors over the parts of the layers."""
        return self.layers.sum_together(parts) if self.divides_layers else parts

    def sum_input_gradients(self, gradients: Sequence[Tensor | None], like: Tensor) -> Tensor | None:
        """The sum of ∂loss/∂x over all modules that read the input; None where no module of any process has one."""
        own = super().sum_input_gradients(gradients, like)
        if not self._x_is_divided:
            return own
        known = torch.zeros_like(like) if own is None else own
        total, count = self.layers.sum_together([known, known.new_full((), own is not None)])
        return total if count > 0 else None

    def computed_by(self, name: str, compute: Callable[[], Tensor], like: Tensor) -> Tensor:
        """A tensor that the process with the module of this name computes, in all processes."""
        if not self.divides_layers:
            return compute()
        result = compute().to(like.dtype).contiguous() if self.has(name) else torch.empty_like(like)
        return self.layers.broadcast(result, self.division.owners[name])

    def exchange(self) -> Exchange | None:
        """The exchange of patterns for a new state; None if the layers are not divided."""
        return PatternExchange(self._routes, self.layers, self._device) if self.divides_layers else None

    # ---------------------------------------------------------------- between batches

    def parts_of(self, batch: int) -> slice:
        """The samples of a whole batch that this process has."""
        return part_of(batch, self.data.size, self.data.index)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set in any process."""
        found = self.world.sum_in_place(torch.tensor(flags, dtype=torch.int32))
        return tuple((found > 0).tolist())

    def sum_counts(self, counts: Tensor) -> Tensor:
        """The sum of whole numbers over all processes."""
        return self.world.sum_in_place(counts.clone())

    def from_first(self, make: Callable[[], T]) -> T:
        """An object that the first process makes, in all processes."""
        return self.world.object_of(0, make)

    def complete(self, network: Network) -> None:
        """Bring the weights of all layers of a network, each from the process that has it, to all processes.

        The readout is the same in all of them already.
        """
        if not self.divides_layers:
            return
        for module in network.local_modules:
            owner = self.division.owners[module.name]
            for tensor in (*module.parameters(), *module.buffers()):
                self._broadcast(tensor.detach(), owner)

    def complete_states(self, names: Sequence[str], state: Callable[[str], Any]) -> dict[str, Any]:
        """The states of modules, each from the process that has the module.

        Args:
            names: the modules.
            state: returns the state of one of this process's modules.

        Returns:
            Those of other processes' modules by name.
        """
        if not self.divides_layers:
            return {}
        found = {}
        for name in names:
            value = self.layers.object_of(self.division.owners[name], lambda name=name: _on_cpu(state(name)))  # type: ignore[misc]
            if not self.has(name):
                found[name] = value
        return found

    def _broadcast(self, tensor: Tensor, owner: int) -> None:
        whole = tensor.contiguous()
        self.layers.broadcast(whole, owner)
        if whole is not tensor:
            tensor.copy_(whole)


def _on_cpu(value: Any) -> Any:
    """A state with its tensors on the CPU, so that any process can read it."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list | tuple) else value
