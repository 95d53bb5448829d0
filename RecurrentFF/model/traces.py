r"""Traces: a layer reads linear memories of its sources in place of the sources themselves.

For each source with the pattern s, and with the matrices A and B of a linear memory (see `linear_memories`), at every timestep

    m ← A·m + B·s            the memory, K values for each unit of the source
    drive = Σ_k W_k · n(m_k)         where n(m) = m / sqrt(mean(m²) + ε), as for an activity

W is learned; A and B are fixed. The memory depends on no weight of the layer, so that n(m_k) is the exact derivative of the
drive through all timesteps: this is online learning without backpropagation through time, at the cost of the memory itself. With
complex A it is the case of independent recurrent units whose eigenvalues are not learned, for which N. Zucchet et al. ("Online
learning of long-range dependencies", arXiv:2305.15947) derive traces of this form. The source is taken as constant, as
in every connection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.model.connection_kinds import ConnectionKind, Place, Sources
from RecurrentFF.model.connections import Connection, Dense, Masks, Memory
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.linear_memories import Dynamics, joined, leaky, legendre, oscillating, total
from RecurrentFF.options import Flag
from RecurrentFF.registry import register

TimeConstant = Annotated[float, Field(ge=1, allow_inf_nan=False)]
EPSILON = 1e-8
"""The ε of the normalized memory."""


class Traces(Connection):
    """A full connection from memories of the sources.

    Args:
        dense: the connection with the weights. A source of n features is K · n features of it: m_1, then m_2, ….
        dynamics: the matrices A and B of the memory.
        normalized: true reads n(m_k), false the memory m_k itself.

    Attributes:
        dense: the connection with the weights.

    Raises:
        ValueError: the features of `dense` are not a multiple of the size of the memory.

    Examples:
        >>> Traces(Dense({"h1": 3 * 500}, 500), leaky([1.0, 4.0, 16.0])).source_sizes
        {'h1': 500}
    """

    transition: Tensor
    input: Tensor

    def __init__(self, dense: Dense, dynamics: Dynamics, *, normalized: bool = True) -> None:
        super().__init__(dense.sources)
        self.dense = dense
        self.normalized = normalized
        if any(size % len(dynamics.input) for size in dense.source_sizes.values()):
            raise ValueError(f"Traces: a memory of {len(dynamics.input)} values, but the weights are for {dense.source_sizes}")
        for name, matrix in dynamics._asdict().items():
            self.register_buffer(name, matrix.to(dense.weight.dtype), persistent=False)

    def extra_repr(self) -> str:
        """The size of the memory, and whether it is normalized."""
        return f"memory of {len(self.input)} values, normalized={self.normalized}"

    def weights(self) -> dict[str, Tensor]:
        """The weights of each source by its name, (units, K · features), with the sign of the equations."""
        return self.dense.weights()

    @property
    def units(self) -> int:
        """The units of its drive."""
        return self.dense.units

    @property
    def source_sizes(self) -> dict[str, int]:
        """The features of each source by name."""
        return {source: size // len(self.input) for source, size in self.dense.source_sizes.items()}

    @property
    def dropout_masks(self) -> int:
        """One mask for the drive of each source."""
        return self.dense.dropout_masks

    def initial_memory(self, like: Tensor, draws: BatchDraws | None = None) -> Memory:
        """An empty memory for each source, (K, features, 1, batch). See `Connection.initial_memory`."""
        return [like.new_zeros(len(self.input), size, 1, like.shape[2]) for size in self.source_sizes.values()]

    def values_kept(self, timesteps: int) -> int:
        """The K values of each feature of the sources, see `Connection.values_kept`."""
        return sum(self.dense.source_sizes.values())

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The drive of the memories, which include the present sources. See `Connection.forward`."""
        memory = self._after(reads, memory)
        return self.dense(self._patterns(memory, reads))[0], memory

    def masked_forward(self, reads: Sequence[Tensor], masks: Masks, memory: Memory = None) -> tuple[Tensor, Memory]:
        """The sum of the drives of the sources' memories, each times its mask."""
        memory = self._after(reads, memory)
        return self.dense.masked_forward(self._patterns(memory, reads), masks)[0], memory

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """Closed form of the weights' gradient, see `Connection.gradients`."""
        return {f"dense.{k}": g for k, g in self.dense.gradients(self._patterns(after, reads), grad_drive).items()}

    def masked_gradient(self, grad_drive: Tensor, masks: Masks | None, index: int) -> Tensor:
        """∂loss/∂drive of one source, before its own mask."""
        return self.dense.masked_gradient(grad_drive, masks, index)

    def masked_gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, masks: Masks, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """The weights' gradient where the drive of each source was masked by itself."""
        own = self.dense.masked_gradients(self._patterns(after, reads), grad_drive, masks)
        return {f"dense.{name}": gradient for name, gradient in own.items()}

    def drives(self, reads: Sequence[Tensor], memory: Memory = None) -> dict[str, Tensor]:
        """The drive of each source's memory by its name, see `Connection.drives`."""
        return self.dense.drives(self._patterns(self._after(reads, memory), reads))

    def apply_constraint(self) -> None:
        """Set the weights of units that are not connected to zero."""
        self.dense.apply_constraint()

    def _after(self, reads: Sequence[Tensor], memory: Memory) -> list[Tensor]:
        """A·m + B·s for each source, (K, features, candidates or 1, batch)."""
        updated = []
        for read, before in zip(reads, memory, strict=True):
            kept = (self.transition @ before.flatten(1)).view(before.shape)
            updated.append(kept + self.input[:, None, None, None] * read)
        return updated

    def _patterns(self, memory: Sequence[Tensor], reads: Sequence[Tensor]) -> list[Tensor]:
        """n(m_1), …, n(m_K) of each source, one below the other, in the type of the sources."""
        patterns = []
        for after, read in zip(memory, reads, strict=True):
            scale = torch.rsqrt(after.square().mean(1, keepdim=True) + EPSILON) if self.normalized else 1
            patterns.append((after * scale).to(read.dtype).flatten(0, 1))
        return patterns


@register("connection", "traces")
@dataclass(frozen=True)
class TracesKind(ConnectionKind):
    """Linear memories of the sources: running means, damped oscillations, or a Legendre memory, through learned weights.

    The layer keeps them for the length of a sequence. Each value of a memory has a weight matrix of its own.
    """

    sources: Sources = ("lateral",)
    """The layer's own activity. With "forward", the memory is one of the input, or of the layer below."""
    memory: Literal["leaky", "oscillating", "legendre"] = "leaky"
    """The kind of memory.

    The value "leaky" gives running means with the time constants. The value "oscillating" gives a damped oscillation, two
    values, for each time constant and its period. The value "legendre" gives the first Legendre coefficients of a sliding window.
    """
    time_constants: tuple[TimeConstant, ...] = (1.0, 4.0, 16.0)
    """The time constants of the running means or of the oscillations, in timesteps. A running mean of 1 is the present value.

    A Legendre memory has none.
    """
    periods: tuple[TimeConstant, ...] = ()
    """The periods of the oscillations, in timesteps, one for each time constant."""
    order: Annotated[int, Field(ge=1, le=64)] = 4
    """The number of Legendre coefficients; for memory = "legendre" only."""
    window: TimeConstant = 16.0
    """The length of the window of the Legendre coefficients, in timesteps; for memory = "legendre" only."""
    accumulate: Flag = False
    """Remember the sum of all that a source was in the sequence, too."""
    normalized: Flag = True
    """Read each value of a memory divided by its root mean square over the units, so that a fading memory keeps its size.

    If false, memories are read unchanged.
    """
    weight_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The factor of the initial weights. With 1, all memories of a source together drive the layer as strongly as the source."""

    def check(self) -> None:
        """Check that there is a memory, and that each oscillation has a period."""
        if self.memory == "oscillating" and len(self.periods) != len(self.time_constants):
            raise ValueError(
                f"memory = 'oscillating': {len(self.time_constants)} time_constants and {len(self.periods)} periods; give one "
                "period for each time constant"
            )
        if self.memory != "oscillating" and self.periods:
            raise ValueError(f"memory = '{self.memory}' has no periods; leave them out, or set memory = 'oscillating'")
        default = TracesKind.order, TracesKind.window
        if self.memory != "legendre" and (self.order, self.window) != default:
            raise ValueError(f"memory = '{self.memory}' has no order and window; leave them out, or set memory = 'legendre'")
        if self.memory == "legendre" and self.time_constants != TracesKind.time_constants:
            raise ValueError("memory = 'legendre' has no time_constants; leave them out, and set order and window")
        if self.memory != "legendre" and not (self.time_constants or self.accumulate):
            raise ValueError("there is nothing to remember: give time_constants, or set accumulate = true")

    def values_kept(self, features: int, timesteps: int) -> int:
        """The memory of a source, for each sample and candidate. See `ConnectionKind.values_kept`."""
        return features * self.weights_per_value

    @property
    def weights_per_value(self) -> int:
        """The number K of the values of a memory."""
        return len(self.dynamics().input)

    def dynamics(self) -> Dynamics:
        """The matrices A and B of the memory."""
        memories = [total()] if self.accumulate else []
        if self.memory == "legendre":
            return joined([legendre(self.order, self.window), *memories])
        if not self.time_constants:
            return joined(memories)
        timed = oscillating(self.time_constants, self.periods) if self.periods else leaky(self.time_constants)
        return joined([timed, *memories])

    def make(self, place: Place) -> list[Connection]:
        """One `Traces` connection, whose weights from above have the sign of the equations, a minus."""
        dynamics, blocks = self.dynamics(), []
        values = len(dynamics.input)
        for source in place.sources:
            block = torch.cat([place.initial_weight(source) for _ in range(values)], 1)
            sign = -1 if source in place.top_down else 1
            blocks.append(sign * self.weight_scale / math.sqrt(values) * block)
        sizes = {source: values * size for source, size in place.sources.items()}
        dense = Dense(sizes, place.units, top_down=place.top_down, weight=torch.cat(blocks, 1))
        return [Traces(dense, dynamics, normalized=self.normalized)]
