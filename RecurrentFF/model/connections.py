"""Connections: the maps through which a layer is driven by the blocks that it reads.

A layer's pre-activation z is the sum of its connections' drives and its bias. A connection knows two things: the drive that
its sources give (`forward`), and the gradients of its own parameters (`gradients`). Nothing else in the package depends on
the kind of a connection, so a new kind is one class:

    class Gain(Connection):
        def __init__(self, source, units):
            super().__init__((source,))
            self.weight = nn.Parameter(torch.ones(units, 1, 1), requires_grad=False)

        def forward(self, reads, memory=None):
            return self.weight * reads[0], memory

Tensors are (features, candidates or 1, batch), as in `functional`. A source comes in the compute dtype, which may be
of lower precision than the parameters; a drive may be of either.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from RecurrentFF.model import functional
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.initialization import Kind, initial_weight

Memory = Any
"""The memory of a connection within a sequence, for instance the past patterns of fast weights; None for no memory."""
Masks = Sequence[Tensor]
"""Dropout factors of drives, each (units, candidates, batch): 0, or 1/(1 − probability)."""


class Connection(nn.Module, ABC):
    """The map from one or several blocks to the drive of a layer. It learns from ∂loss/∂drive and its sources alone.

    Args:
        sources: names of the blocks that it reads ("x", "h1", …, "y"), in the order of `reads`.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        super().__init__()
        if isinstance(sources, str):
            raise TypeError(
                f"{type(self).__name__}: sources = {sources!r}, expected a sequence of names, for instance ({sources!r},)"
            )
        self.sources = tuple(sources)

    @abstractmethod
    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The drive of the layer, and the memory for the next timestep.

        Args:
            reads: one tensor for each source, (features, candidates or 1, batch).
            memory: what `initial_memory` or the previous timestep returned. It must not be changed in place.

        Returns:
            The drive, (units, candidates, batch), or (units, 1, batch) where all sources are the same for all candidates;
            and the memory, which may also hold what `gradients` needs, for instance a random sample.
        """

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """∂loss/∂parameter of each own parameter, by name.

        By default autograd differentiates `forward`, which is computed a second time from `before`. A connection whose
        drive is random, or has no derivative, overrides this and uses what `forward` left in `after`.

        Args:
            reads: those that `forward` was given at this timestep.
            grad_drive: (units, candidates, batch) ∂loss/∂drive.
            before: the memory that `forward` was given.
            after: the memory that it returned.
        """
        parameters = {name: parameter.detach().requires_grad_() for name, parameter in self.named_parameters()}
        with torch.enable_grad():
            drive, _ = torch.func.functional_call(self, parameters, (reads, before))
        grads = _autograd(drive, list(parameters.values()), grad_drive)
        return dict(zip(parameters, grads, strict=True))

    def source_gradient(
        self, index: int, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> Tensor:
        """∂loss/∂reads[index], of the shape of that source; used only to perturb inputs.

        By default autograd computes it, as in `gradients`; it is zero where the drive has no derivative.
        """
        source = reads[index].detach().requires_grad_()
        with torch.enable_grad():
            drive, _ = self([*reads[:index], source, *reads[index + 1 :]], before)
        return _autograd(drive, [source], grad_drive)[0]

    def drives(self, reads: Sequence[Tensor], memory: Memory = None) -> dict[str, Tensor]:
        """The drive of each source by its name, for a record. Their sum is the drive of `forward`, whose arguments these are.

        By default, sources that are read together have one drive, and their names are joined, as in "x+h2".
        """
        return {"+".join(self.sources): self(reads, memory)[0]}

    def initial_memory(self, like: Tensor, draws: BatchDraws | None = None) -> Memory:
        """The memory before the first timestep of a sequence. None, by default.

        Args:
            like: the layer's initial activity, (units, 1, batch), whose batch size, type and device a memory may take. A
                memory that differs between candidates must broadcast over their axis, for it starts with one for all.
            draws: the random numbers of a training sequence; None in a prediction.
        """
        return None

    def values_kept(self, timesteps: int) -> int:
        """The numbers in the memory for each sample and candidate after some timesteps, by which a prediction sizes its batches.

        By default 0, for a memory that is small beside the activity.
        """
        return 0

    @property
    def source_sizes(self) -> dict[str, int]:
        """The features of each source by name, as far as the connection knows them; they are checked against the blocks."""
        return {}

    @property
    def units(self) -> int | None:
        """The units of its drive, which are checked against those of the layer; None if the connection does not know."""
        return None

    @property
    def dropout_masks(self) -> int:
        """The number of drives that dropout masks one by one: 1, unless the connection masks each source by itself."""
        return 1

    def masked_forward(self, reads: Sequence[Tensor], masks: Masks, memory: Memory = None) -> tuple[Tensor, Memory]:
        """`forward` under dropout; `masks` holds `dropout_masks` factors."""
        drive, memory = self(reads, memory)
        return masks[0] * drive, memory

    def masked_gradient(self, grad_drive: Tensor, masks: Masks | None, index: int) -> Tensor:
        """∂loss/∂drive of the source at `index`, before it was masked; with `masks` None, the gradient itself."""
        return grad_drive if masks is None else (masks[0] * grad_drive).to(grad_drive.dtype)

    def masked_gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, masks: Masks, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """`gradients` under dropout, with the masks of the forward computation."""
        return self.gradients(reads, self.masked_gradient(grad_drive, masks, 0), before, after)

    def apply_constraint(self) -> None:
        """Restore the constraints on the parameters, for instance zero weights, after the parameters were loaded."""


def _autograd(drive: Tensor, inputs: Sequence[Tensor], grad_drive: Tensor) -> tuple[Tensor, ...]:
    """The gradients of a drive by autograd; zeros for what it does not depend on."""
    if not inputs or not drive.requires_grad:
        return tuple(torch.zeros_like(tensor) for tensor in inputs)
    grad = functional.sum_candidates(grad_drive, drive.shape[1]).to(drive.dtype)
    return torch.autograd.grad(drive, list(inputs), grad, allow_unused=True, materialize_grads=True)


class Dense(Connection):
    """A full connection: one weight matrix for all sources, side by side, [W_1 | W_2 | …].

    The default layer has a single one, [W_f | W_lat | −W_b]: three drives that are one matrix product.

    Args:
        sources: features of each source by name, in the order of the weight's columns.
        units: units of the layer.
        top_down: names of the sources whose block of the weight holds −W: their drive is subtracted.
        weight: (units, columns) initial weight. If left out, it is drawn from torch's default generator, as `initialization`
            says: for `top_down` sources that of backward connections, or from the label for "y", else that of forward ones.
        mask: (units, columns), 1 where a unit is connected and 0 elsewhere (receptive fields); None connects all.
            Weights are multiplied by it once, gradients at every timestep, so what is not connected stays zero.

    Attributes:
        weight: (units, columns) parameter.

    Raises:
        ValueError: the weight is of another shape, or top_down names what is not a source.
    """

    mask: Tensor | None

    def __init__(
        self,
        sources: Mapping[str, int],
        units: int,
        *,
        top_down: Sequence[str] = (),
        weight: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__(tuple(sources))
        self.top_down = frozenset(top_down)
        edges = pairwise(accumulate(sources.values(), initial=0))
        self.columns = {source: slice(*edge) for source, edge in zip(sources, edges, strict=True)}
        if not self.top_down <= sources.keys():
            raise ValueError(f"Dense: top_down = {list(top_down)} must be among the sources, {', '.join(sources)}")
        if weight is None:
            weight = torch.cat([self._initial_block(source, units, features) for source, features in sources.items()], 1)
        if weight.shape != (units, sum(sources.values())):
            raise ValueError(f"Dense: weight of shape {tuple(weight.shape)}, expected {(units, sum(sources.values()))}")
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(weight if mask is None else weight * mask, requires_grad=False)

    def _initial_block(self, source: str, units: int, features: int) -> Tensor:
        above = source in self.top_down
        kind: Kind = ("label" if source == "y" else "backward") if above else "forward"
        block = initial_weight(kind, (units, features))
        return -block if above else block

    @property
    def units(self) -> int:
        """The units of its drive."""
        return len(self.weight)

    def drives(self, reads: Sequence[Tensor], memory: Memory = None) -> dict[str, Tensor]:
        """The drive of each source by its name, see `Connection.drives`."""
        return dict(zip(self.sources, self._drives(reads), strict=True))

    def extra_repr(self) -> str:
        """The sizes of the sources and the number of units."""
        return f"{self.source_sizes} -> {self.units}"

    def weights(self) -> dict[str, Tensor]:
        """The weight of each source by its name, (units, features), with the sign of the equations: W_b, not −W_b."""
        blocks = {source: self.weight[:, columns] for source, columns in self.columns.items()}
        return {source: -block if source in self.top_down else block for source, block in blocks.items()}

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The sum of the sources' drives, see `Connection.forward`."""
        drives = self._drives(reads)
        return sum(drives[1:], drives[0]), memory

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """Closed form of the weight's gradient, see `Connection.gradients`."""
        return self._gradients(reads, [grad_drive] * len(reads))

    def source_gradient(
        self, index: int, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> Tensor:
        """Closed form of a source's gradient, see `Connection.source_gradient`."""
        weight = self.weight[:, self.columns[self.sources[index]]].to(grad_drive.dtype)
        return functional.source_gradient(grad_drive, weight, reads[index].shape[1])

    @property
    def source_sizes(self) -> dict[str, int]:
        """The features of each source by name."""
        return {source: columns.stop - columns.start for source, columns in self.columns.items()}

    @property
    def dropout_masks(self) -> int:
        """One mask for the drive of each source."""
        return len(self.sources)

    def masked_forward(self, reads: Sequence[Tensor], masks: Masks, memory: Memory = None) -> tuple[Tensor, Memory]:
        """The sum of the sources' drives, each times its mask."""
        drives = [mask * drive for mask, drive in zip(masks, self._drives(reads), strict=True)]
        return sum(drives[1:], drives[0]), memory

    def masked_gradient(self, grad_drive: Tensor, masks: Masks | None, index: int) -> Tensor:
        """∂loss/∂drive of one source, before its own mask."""
        return grad_drive if masks is None else (masks[index] * grad_drive).to(grad_drive.dtype)

    def masked_gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, masks: Masks, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """The weight's gradient where the drive of each source was masked by itself."""
        return self._gradients(reads, [self.masked_gradient(grad_drive, masks, index) for index in range(len(reads))])

    def apply_constraint(self) -> None:
        """Set the weights of units that are not connected to zero."""
        if self.mask is not None:
            self.weight.mul_(self.mask)

    def _drives(self, reads: Sequence[Tensor]) -> list[Tensor]:
        """The drive of each source, in the type of the parameters, so that their sum loses no precision."""
        weight, dtype = self.weight.to(reads[0].dtype), self.weight.dtype
        blocks = (weight[:, columns] for columns in self.columns.values())
        return [functional.linear_drive(block, read).to(dtype) for block, read in zip(blocks, reads, strict=True)]

    def _gradients(self, reads: Sequence[Tensor], grad_drives: Sequence[Tensor]) -> dict[str, Tensor]:
        blocks = [functional.weight_gradient(grad, read) for grad, read in zip(grad_drives, reads, strict=True)]
        weight = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)
        return {"weight": weight if self.mask is None else weight.mul_(self.mask)}
