"""Connections that drive whole channels of a convolutional layer, by weights that are the same at all positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from RecurrentFF.model import functional
from RecurrentFF.model.connections import Connection, Memory
from RecurrentFF.model.initialization import initial_weight


class PerChannel(Connection):
    """A connection from all features of a source to every channel: the drive of a channel is the same at all its positions.

    With it, a label meets shared features at every position alike. A full connection has a weight for each position instead.

    Args:
        source: name of the block that is read.
        features: number of features of the source.
        shape: (channels, height, width) of the units.
        sign: 1, or −1 for a top-down connection, whose drive is subtracted.
        weight: (channels, features) initial weight, that of a forward connection if left out.

    Attributes:
        shape: (channels, height, width) of the units.
        weight: the parameter.

    Raises:
        ValueError: the weight is of another shape.

    Examples:
        >>> PerChannel("y", 10, (16, 14, 14), sign=-1).weight.shape
        torch.Size([16, 10])
    """

    def __init__(
        self, source: str, features: int, shape: tuple[int, int, int], *, sign: float = 1.0, weight: Tensor | None = None
    ) -> None:
        super().__init__((source,))
        if weight is None:
            weight = initial_weight("forward", (shape[0], features))
        if weight.shape != (shape[0], features):
            raise ValueError(f"PerChannel: weight of shape {tuple(weight.shape)}, expected {(shape[0], features)}")
        self.shape, self.sign = shape, sign
        self.weight = nn.Parameter(weight, requires_grad=False)

    @property
    def units(self) -> int:
        """The units of its drive."""
        return math.prod(self.shape)

    @property
    def source_sizes(self) -> dict[str, int]:
        """The number of features of the source."""
        return {self.sources[0]: self.weight.shape[1]}

    def extra_repr(self) -> str:
        """The source, and the shape of the units."""
        return f"{self.source_sizes} -> {self.shape}"

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The drive of each channel, repeated at all positions, see `Connection.forward`."""
        (read,) = reads
        drive = self.sign * functional.linear_drive(self.weight.to(read.dtype), read)
        return drive.unsqueeze(1).expand(-1, self._positions, -1, -1).reshape(self.units, *drive.shape[1:]), memory

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """Closed form of the weight's gradient: that of a dense connection, from the sum of ∂loss/∂drive over positions."""
        (read,) = reads
        grad = functional.sum_candidates(grad_drive, read.shape[1])
        channels = grad.view(-1, self._positions, *grad.shape[1:]).sum(1)
        return {"weight": self.sign * functional.weight_gradient(channels, read)}

    @property
    def _positions(self) -> int:
        return self.shape[1] * self.shape[2]
