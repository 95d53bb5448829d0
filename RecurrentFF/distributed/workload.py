"""The parts of a training batch, for a model of its cost: the blocks of a network, and the timesteps of a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import torch

from RecurrentFF.distributed.division import cost
from RecurrentFF.distributed.exchange import BlockPlace, Routes

if TYPE_CHECKING:
    from RecurrentFF.model.layers import LocalModule
    from RecurrentFF.model.network import Network
    from RecurrentFF.settings import Settings


class BlockWork(NamedTuple):
    """The work of a local module."""

    name: str
    """Its name."""
    units: int
    """The number of units."""
    sources: Mapping[str, int]
    """For each block that it reads, the multiplications of one pattern for one sample."""
    parameters: tuple[int, ...]
    """The number of elements of each parameter."""
    dropout: bool = False
    """True if dropout makes its candidates differ in training."""
    is_hidden_layer: bool = True
    """True for a layer with badness."""

    @classmethod
    def of(cls, module: LocalModule, sizes: Mapping[str, int]) -> BlockWork:
        """The work of a module. That of a layer of dense connections is exact.

        Args:
            module: the module.
            sizes: the size of each block by name.
        """
        total, read = cost(module), sum(sizes[source] for source in module.sources)
        sources = {source: total * sizes[source] // max(1, read) for source in module.sources}
        parameters = tuple(parameter.numel() for parameter in module.parameters())
        dropout = bool(getattr(module, "dropout", 0))
        return cls(module.name, module.units, sources, parameters, dropout, module.is_hidden_layer)


class Timestep(NamedTuple):
    """A timestep of a batch, and of those like it that follow."""

    reads: Mapping[str, int]
    """For each block, the number of its patterns that layers multiply with their weights; 0 where nothing must be computed."""
    candidates: Mapping[str, int]
    """For each local module, the candidates of its activity after the timestep."""
    learns: bool
    """True with the label."""
    repeats: int
    """The number of such timesteps."""


@dataclass(frozen=True)
class Workload:
    """The training of a network on one batch, whose input does not change over time."""

    blocks: tuple[BlockWork, ...]
    """The local modules, bottom to top."""
    classes: int
    """The number of classes."""
    batch: int
    """The number of samples of the whole batch."""
    prelabel_timesteps: int
    """The timesteps without label, at which nothing is learned."""
    label_timesteps: int
    """The timesteps with the label."""
    inputs: int = 1
    """The number of inputs of each sample: 1, or also wrong ones."""
    labels: int = 2
    """The number of labels of each sample: the true one and the wrong ones; 1 in training without labels."""
    learns_before_label: bool = True
    """True if a layer learns also before the label has reached it."""
    trains_readout: bool = False
    """True if the negatives train the readout."""
    weight_bytes: int = 4
    """The bytes of a weight."""
    compute_bytes: int = 4
    """The bytes of an element of a pattern."""
    reduce_bytes: int = 4
    """The bytes of an element of a gradient that is summed over processes."""

    @classmethod
    def of(cls, network: Network, settings: Settings, batch: int | None = None) -> Workload:
        """The workload of a training.

        Args:
            network: the network.
            settings: the configuration.
            batch: the number of samples of a batch; that of the configuration if left out.
        """
        options, negatives, dtype = settings.network, settings.negatives, network.dtype
        sizes = {**network.sizes, **{module.name: module.units for module in network.local_modules}}
        reduced = torch.bfloat16 if settings.distributed.reduce_precision == "bfloat16" else dtype
        shows_labels = negatives.gives_labels and not settings.training.label_free
        return cls(
            blocks=tuple(BlockWork.of(module, sizes) for module in network.local_modules),
            classes=network.num_classes,
            batch=settings.training.batch_size if batch is None else batch,
            prelabel_timesteps=options.prelabel_timesteps,
            label_timesteps=options.label_timesteps,
            inputs=1 + negatives.count * negatives.gives_inputs,
            labels=1 + negatives.count * shows_labels,
            learns_before_label=not settings.learning_needs_label,
            trains_readout=negatives.trains_readout,
            weight_bytes=dtype.itemsize,
            compute_bytes=network.compute_dtype.itemsize,
            reduce_bytes=reduced.itemsize,
        )

    def timesteps(self) -> Iterator[Timestep]:
        """The timesteps of a batch; those that follow each other and are alike are one element."""
        for step, group in groupby(self._each_timestep()):
            yield step._replace(repeats=sum(1 for _ in group))

    def learns(self, block: BlockWork, step: Timestep) -> bool:
        """True if a module has gradients at a timestep."""
        return step.learns and (self.learns_before_label or step.candidates[block.name] > 1)

    def _each_timestep(self) -> Iterator[Timestep]:
        places = {b.name: BlockPlace(b.units, tuple(b.sources), b.dropout, 0, tag) for tag, b in enumerate(self.blocks)}
        routes = Routes(places, {}, {})
        before = dict.fromkeys([*places, "x", "y"], 1)
        for inputs in sorted({1, self.inputs}):  # wrong inputs have label-free activity of their own
            before = dict.fromkeys(places, 1) | {"x": inputs, "y": 1}
            for t in range(self.prelabel_timesteps):
                after = routes.candidates_after(before, is_training=True)
                # A layer without activity drives nothing, and a static input drives but once.
                reads = dict.fromkeys(before, 0) | {"x": inputs, "y": 1} if t == 0 else before | {"x": 0}
                yield Timestep(reads, after, False, 1)
                before = before | after
        before |= {"x": self.inputs, "y": self.labels}
        for _ in range(self.label_timesteps):
            after = routes.candidates_after(before, is_training=True)
            yield Timestep(before, after, True, 1)
            before = before | after
