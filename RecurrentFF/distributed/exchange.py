"""The exchange of patterns between processes that have different layers of a network.

At every timestep, each layer reads the patterns that its sources had at the previous one. A pattern is therefore sent as soon as
its layer has computed it, and arrives while the process computes its other layers, and learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.errors import ProcessError

if TYPE_CHECKING:
    from RecurrentFF.distributed.group import Group
    from RecurrentFF.model.layers import LocalModule


class BlockPlace(NamedTuple):
    """A block of the network, as every process knows it."""

    units: int
    """The number of units."""
    sources: tuple[str, ...]
    """The names of the blocks that it reads."""
    dropout: bool
    """True if dropout makes its candidates differ in training."""
    owner: int
    """The process that has it, among those that divide the layers."""
    tag: int
    """The number of its messages."""


@dataclass(frozen=True)
class Routes:
    """The patterns that a process sends and receives at each timestep."""

    blocks: Mapping[str, BlockPlace]
    """All local modules by name."""
    outgoing: Mapping[str, tuple[int, ...]]
    """For each own block that others read, the processes that do."""
    incoming: Mapping[str, int]
    """For each block of another process that is read here, its process."""

    @classmethod
    def of(cls, modules: Sequence[LocalModule], owners: Mapping[str, int], index: int) -> Routes:
        """The routes of a process.

        Args:
            modules: all local modules of the network.
            owners: the process of each module by its name.
            index: the number of this process.
        """
        blocks = {
            module.name: BlockPlace(module.units, module.sources, bool(getattr(module, "dropout", 0)), owners[module.name], tag)
            for tag, module in enumerate(modules)
        }
        readers = readers_of({name: block.sources for name, block in blocks.items()}, owners)
        outgoing = {name: each for name, each in readers.items() if blocks[name].owner == index}
        # In the order of the modules, in which the owner sends them: nccl knows messages by their order alone.
        return cls(blocks, outgoing, {name: block.owner for name, block in blocks.items() if index in readers.get(name, ())})

    def candidates_after(self, before: Mapping[str, int], *, is_training: bool) -> dict[str, int]:
        """The number of candidates of each block after a timestep: 1 as long as it is the same for all.

        Args:
            before: the numbers before the timestep, also those of "x" and "y".
            is_training: true with dropout, by which candidates differ.
        """
        clamped = max(before["x"], before["y"])
        return {
            name: max(
                before[name], *(before[source] for source in block.sources), clamped if block.dropout and is_training else 1
            )
            for name, block in self.blocks.items()
        }


def readers_of(sources: Mapping[str, Sequence[str]], owners: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The processes that read each block of another process, by the block's name; blocks that none reads are left out.

    Args:
        sources: the names of the blocks that each local module reads, by the module's name.
        owners: the process of each module by its name.
    """
    readers: dict[str, dict[int, None]] = {}  # in order, each once
    for name, read in sources.items():
        for source in read:
            if source in owners and owners[source] != owners[name]:
                readers.setdefault(source, {})[owners[name]] = None
    return {name: tuple(each) for name, each in readers.items()}


class PatternExchange:
    """The exchange of one state, see `processes.Exchange` for its methods.

    Args:
        routes: what is sent and received.
        group: the processes that divide the layers.
        device: where the patterns are.
    """

    def __init__(self, routes: Routes, group: Group, device: torch.device) -> None:
        self.routes = routes
        self.group = group
        self.device = device
        self._batch, self._dtype, self._is_training = 0, torch.float32, False
        self._candidates: dict[str, int] = {}
        self._arriving: dict[str, tuple[Tensor, Any]] = {}
        self._leaving: list[tuple[Tensor, Any]] = []

    def begin(self, batch: int, compute_dtype: torch.dtype, *, is_training: bool) -> dict[str, Tensor]:
        """Begin a sequence. Returns the patterns of zero activity of the blocks that are read from other processes."""
        self._batch, self._dtype, self._is_training = batch, compute_dtype, is_training
        self._candidates = dict.fromkeys(self.routes.blocks, 1)
        return {name: self._buffer(name, 1).zero_() for name in self.routes.incoming}

    def expect(self, candidates: Mapping[str, int]) -> None:
        """Begin to receive the patterns of the timestep that follows."""
        before = {**self._candidates, **candidates}
        self._candidates = self.routes.candidates_after(before, is_training=self._is_training)
        for name, source in self.routes.incoming.items():
            buffer = self._buffer(name, self._candidates[name])
            self._arriving[name] = buffer, self.group.receive(buffer, source, self.routes.blocks[name].tag)

    def send(self, name: str, pattern: Tensor) -> None:
        """Begin to send a pattern to the processes that read it.

        Raises:
            ProcessError: its number of candidates is not that of all other kinds of layers.
        """
        if name not in self.routes.outgoing:
            return
        if pattern.shape[1] != self._candidates[name]:
            raise ProcessError(
                f"{name}: its activity has {pattern.shape[1]} candidates, but the blocks that it reads lead to "
                f'{self._candidates[name]}; a module of its own kind needs distributed.mode = "data"'
            )
        pattern = pattern.contiguous()
        for target in self.routes.outgoing[name]:
            self._leaving.append((pattern, self.group.send(pattern, target, self.routes.blocks[name].tag)))

    def received(self) -> dict[str, Tensor]:
        """Wait for the patterns of other processes' blocks, and until the own ones have left."""
        self.group.finish([work for _, work in (*self._arriving.values(), *self._leaving)])
        patterns = {name: buffer for name, (buffer, _) in self._arriving.items()}
        self._arriving.clear()
        self._leaving.clear()
        return patterns

    def _buffer(self, name: str, candidates: int) -> Tensor:
        return torch.empty(self.routes.blocks[name].units, candidates, self._batch, dtype=self._dtype, device=self.device)
