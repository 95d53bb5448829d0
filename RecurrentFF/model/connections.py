"""Connections: the maps through which a layer is driven by the blocks that it reads.

A layer's drive is the sum of its connections' drives and its bias. A connection knows two things: the drive that its
sources give (`forward`), and the gradients of its own parameters (`gradients`). Nothing else in the package depends on
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
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.grad
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.model import functional

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
        self.sources = tuple(sources)

    @abstractmethod
    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The drive of the layer, and the memory for the next timestep.

        Args:
            reads: one tensor for each source, (features, candidates or 1, batch).
            memory: what `initial_memory` or the previous timestep returned.

        Returns:
            The drive, (units, candidates, batch), or (units, 1, batch) where all sources are the same for all candidates.
        """

    def gradients(self, reads: Sequence[Tensor], grad_drive: Tensor, memory: Memory = None) -> dict[str, Tensor]:
        """∂loss/∂parameter of each own parameter, by name. By default autograd differentiates `forward`.

        Args:
            reads, memory: those that `forward` was given at this timestep.
            grad_drive: (units, candidates, batch) ∂loss/∂drive.
        """
        parameters = {name: parameter.detach().requires_grad_() for name, parameter in self.named_parameters()}
        if not parameters:
            return {}
        with torch.enable_grad():
            drive, _ = torch.func.functional_call(self, parameters, (reads, memory))
        grads = torch.autograd.grad(drive, list(parameters.values()), _like(grad_drive, drive))
        return dict(zip(parameters, grads, strict=True))

    def source_gradient(self, index: int, reads: Sequence[Tensor], grad_drive: Tensor, memory: Memory = None) -> Tensor:
        """∂loss/∂reads[index], of the shape of that source; used only to perturb inputs. By default autograd computes it."""
        source = reads[index].detach().requires_grad_()
        with torch.enable_grad():
            drive, _ = self([*reads[:index], source, *reads[index + 1 :]], memory)
        return torch.autograd.grad(drive, source, _like(grad_drive, drive))[0]

    def initial_memory(self, candidates: int, batch: int) -> Memory:
        """The memory before the first timestep of a sequence. None, by default."""
        return None

    @property
    def dropout_masks(self) -> int:
        """The number of drives that dropout masks one by one: 1, unless the connection tells its sources apart."""
        return 1

    def masked_forward(self, reads: Sequence[Tensor], masks: Masks, memory: Memory = None) -> tuple[Tensor, Memory]:
        """`forward` under dropout; `masks` holds `dropout_masks` factors."""
        drive, memory = self(reads, memory)
        return masks[0] * drive, memory

    def masked_gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, masks: Masks, memory: Memory = None
    ) -> dict[str, Tensor]:
        """`gradients` under dropout, with the masks of the forward computation."""
        return self.gradients(reads, (masks[0] * grad_drive).to(grad_drive.dtype), memory)

    def apply_constraint(self) -> None:
        """Restore the constraints on the parameters, for instance zero weights, after the parameters were loaded."""


def _like(grad_drive: Tensor, drive: Tensor) -> Tensor:
    """∂loss/∂drive with the candidate axis and the type of `drive`."""
    return functional.sum_candidates(grad_drive, drive.shape[1]).to(drive.dtype)


class Dense(Connection):
    """A full connection: one weight matrix for all sources, side by side, [W_1 | W_2 | …].

    The default layer has a single one, [W_f | W_lat | −W_b]: three drives that are one matrix product.

    Args:
        sources: features of each source by name, in the order of the weight's columns.
        units: units of the layer.
        top_down: names of the sources whose block of the weight holds −W: their drive is subtracted.
        weight: (units, columns) initial weight, zero if left out.
        mask: (units, columns), 1 where a unit is connected and 0 elsewhere (receptive fields); None connects all.
            Weights are multiplied by it once, gradients at every timestep, so what is not connected stays zero.

    Attributes:
        weight: (units, columns) parameter.
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
        weight = torch.zeros(units, sum(sources.values())) if weight is None else weight
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter(weight if mask is None else weight * mask, requires_grad=False)

    def weights(self) -> dict[str, Tensor]:
        """The weight of each source by its name, (units, features), with the sign of the equations: W_b, not −W_b."""
        blocks = {source: self.weight[:, columns] for source, columns in self.columns.items()}
        return {source: -block if source in self.top_down else block for source, block in blocks.items()}

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The sum of the sources' drives, see `Connection.forward`."""
        drives = self._drives(reads)
        return sum(drives[1:], drives[0]), memory

    def gradients(self, reads: Sequence[Tensor], grad_drive: Tensor, memory: Memory = None) -> dict[str, Tensor]:
        """Closed form of the weight's gradient, see `Connection.gradients`."""
        return self._gradients(reads, [grad_drive] * len(reads))

    def source_gradient(self, index: int, reads: Sequence[Tensor], grad_drive: Tensor, memory: Memory = None) -> Tensor:
        """Closed form of a source's gradient, see `Connection.source_gradient`."""
        weight = self.weight[:, self.columns[self.sources[index]]].to(grad_drive.dtype)
        return functional.source_gradient(grad_drive, weight, reads[index].shape[1])

    @property
    def dropout_masks(self) -> int:
        """One mask for the drive of each source."""
        return len(self.sources)

    def masked_forward(self, reads: Sequence[Tensor], masks: Masks, memory: Memory = None) -> tuple[Tensor, Memory]:
        """The sum of the sources' drives, each times its mask."""
        drives = [mask * drive for mask, drive in zip(masks, self._drives(reads), strict=True)]
        return sum(drives[1:], drives[0]), memory

    def masked_gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, masks: Masks, memory: Memory = None
    ) -> dict[str, Tensor]:
        """The weight's gradient where the drive of each source was masked by itself."""
        return self._gradients(reads, [(mask * grad_drive).to(grad_drive.dtype) for mask in masks])

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
        weight = torch.cat(blocks, 1)
        return {"weight": weight if self.mask is None else weight.mul_(self.mask)}


class Conv2d(Connection):
    """A convolution: units in channels of a plane, which share their weights.

    Features and units are the flattened (channels, height, width) of a plane. A kernel of side 2·padding + 1 with
    stride 1 keeps height and width: as a lateral connection, each unit then reads its neighbors.

    Args:
        source: name of the block that is read.
        in_shape: (channels, height, width) of the source.
        channels: output channels.
        kernel_size: side of the square kernel.
        stride: distance of neighboring kernels.
        padding: zeros added at each side.
        sign: 1, or −1 for a top-down connection, whose drive is subtracted.
        weight: (channels, in_channels, kernel_size, kernel_size) initial weight, zero if left out.

    Attributes:
        shape: (channels, height, width) of the units.
        weight: the parameter.

    Raises:
        ValueError: the kernel does not fit into the padded plane.
    """

    def __init__(
        self,
        source: str,
        in_shape: tuple[int, int, int],
        channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        sign: float = 1.0,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__((source,))
        self.in_shape = in_shape
        self.shape = conv_shape(in_shape, channels, kernel_size, stride=stride, padding=padding)
        self.stride, self.padding, self.sign = stride, padding, sign
        self.weight = _parameter(weight, (channels, in_shape[0], kernel_size, kernel_size))

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The convolution of the source, see `Connection.forward`."""
        (read,) = reads
        planes = F.conv2d(_planes(read, self.in_shape), self.weight.to(read.dtype), stride=self.stride, padding=self.padding)
        return _units(self.sign * planes, read.shape[1]), memory

    def gradients(self, reads: Sequence[Tensor], grad_drive: Tensor, memory: Memory = None) -> dict[str, Tensor]:
        """Closed form of the kernel's gradient, see `Connection.gradients`."""
        (read,) = reads
        grad = self.sign * _planes(functional.sum_candidates(grad_drive, read.shape[1]), self.shape)
        return {"weight": _kernel_gradient(_planes(read, self.in_shape), self.weight, grad, self.stride, self.padding)}


class ConvTranspose2d(Connection):
    """A transposed convolution: the top-down counterpart of a `Conv2d` with the same kernel size, stride and padding.

    Args:
        source: name of the block that is read.
        in_shape: (channels, height, width) of the source.
        shape: (channels, height, width) of the units, from which that convolution would lead to the source.
        kernel_size, stride, padding: those of that convolution.
        sign: −1 by default: the drive from above is subtracted.
        weight: (in_channels, channels, kernel_size, kernel_size) initial weight, zero if left out.

    Attributes:
        weight: the parameter.

    Raises:
        ValueError: such a convolution of `shape` does not give `in_shape`.
    """

    def __init__(
        self,
        source: str,
        in_shape: tuple[int, int, int],
        shape: tuple[int, int, int],
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        sign: float = -1.0,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__((source,))
        fits = conv_shape(shape, in_shape[0], kernel_size, stride=stride, padding=padding)
        if fits != in_shape:
            raise ValueError(f"ConvTranspose2d: a convolution of {shape} gives {fits}, not in_shape = {in_shape}")
        self.in_shape, self.shape = in_shape, shape
        self.stride, self.padding, self.sign = stride, padding, sign
        self.weight = _parameter(weight, (in_shape[0], shape[0], kernel_size, kernel_size))
        bare = [(side - 1) * stride - 2 * padding + kernel_size for side in in_shape[1:]]
        self.output_padding = (shape[1] - bare[0], shape[2] - bare[1])

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The transposed convolution of the source, see `Connection.forward`."""
        (read,) = reads
        planes = F.conv_transpose2d(
            _planes(read, self.in_shape),
            self.weight.to(read.dtype),
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
        )
        return _units(self.sign * planes, read.shape[1]), memory

    def gradients(self, reads: Sequence[Tensor], grad_drive: Tensor, memory: Memory = None) -> dict[str, Tensor]:
        """Closed form of the kernel's gradient: that of the convolution with source and gradient exchanged."""
        (read,) = reads
        grad = self.sign * _planes(functional.sum_candidates(grad_drive, read.shape[1]), self.shape)
        return {"weight": _kernel_gradient(grad, self.weight, _planes(read, self.in_shape), self.stride, self.padding)}


def conv_shape(
    in_shape: tuple[int, int, int], channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
) -> tuple[int, int, int]:
    """(channels, height, width) of a convolution's output. Raises ValueError where the kernel does not fit."""
    height, width = ((side + 2 * padding - kernel_size) // stride + 1 for side in in_shape[1:])
    if min(height, width) < 1:
        raise ValueError(f"a kernel of side {kernel_size} does not fit into a plane of {in_shape[1:]} with padding {padding}")
    return channels, height, width


def _parameter(weight: Tensor | None, shape: tuple[int, ...]) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape) if weight is None else weight, requires_grad=False)


def _planes(units: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(channels·height·width, candidates, batch) → (candidates·batch, channels, height, width)."""
    return units.flatten(1).T.reshape(-1, *shape)


def _units(planes: Tensor, candidates: int) -> Tensor:
    """(candidates·batch, channels, height, width) → (channels·height·width, candidates, batch)."""
    return planes.flatten(1).T.view(-1, candidates, len(planes) // candidates)


def _kernel_gradient(source: Tensor, weight: Tensor, grad: Tensor, stride: int, padding: int) -> Tensor:
    """∂loss/∂kernel of a convolution from the planes that it reads and ∂loss/∂output, in the type of both."""
    conv2d_weight: Callable[..., Tensor] = torch.nn.grad.conv2d_weight
    return conv2d_weight(source, weight.shape, grad, stride=stride, padding=padding)
