r"""Eligibility traces: the learning rule reads a running sum of what the source was, in place of what it is now.

With a damping factor d below 1, the activity is a running mean, h_t = (1 − d)·h_{t−1} + d·activation(z_t), so that a weight
acts on h_t through all earlier timesteps. The exact derivative along the unit's own memory is

    ∂h_t/∂W = Σ_τ (1 − d)^(t − τ) · d·activation'(z_τ) · s_τᵀ

which takes a trace for each weight and sample. If activation'(z) hardly changes, it factorizes into the present activation' and a
trace for each unit of the source:

    e ← (1 − d)·e + s              ∂h_t/∂W ≈ d·activation'(z_t) · eᵀ

Before the label the network has d = 1, while the trace runs on; at the first timesteps with the label it therefore has more of
the past than the activity. With time constants of the units (`network.time_constants`), one decay stands for all of them.

The drive is that of a dense connection; only its gradient differs. (A factorized form of the eligibility traces in G. Bellec et
al., "A solution to the learning dilemma for recurrent networks of spiking neurons", Nature Communications 2020.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.model.connection_kinds import ConnectionKind, Place, signed_weights
from RecurrentFF.model.connections import Connection, Dense, Masks, Memory
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.registry import register


class Eligible(Dense):
    """A `Dense` connection whose gradient reads the trace e ← decay·e + s of each source s.

    Args:
        sources: features of each source by name, in the order of the weight's columns.
        units: units of the layer.
        decay: the fraction of a trace that remains after a timestep, from 0 to below 1; 0 gives the gradient of `Dense`.
        top_down: names of the sources whose drive is subtracted.
        weight: (units, columns) initial weight.
    """

    def __init__(
        self, sources: Mapping[str, int], units: int, decay: float, *, top_down: Sequence[str] = (), weight: Tensor | None = None
    ) -> None:
        super().__init__(sources, units, top_down=top_down, weight=weight)
        self.decay = decay

    def initial_memory(self, like: Tensor, draws: BatchDraws | None = None) -> Memory:
        """A trace of zeros for each source, (features, 1, batch). See `Connection.initial_memory`."""
        return [like.new_zeros(size, 1, like.shape[2]) for size in self.source_sizes.values()]

    def values_kept(self, timesteps: int) -> int:
        """The traces of the sources, see `Connection.values_kept`."""
        return sum(self.source_sizes.values())

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The drive of the present sources, and their traces. See `Connection.forward`."""
        return super().forward(reads)[0], self._after(reads, memory)

    def masked_forward(self, reads: Sequence[Tensor], masks: Masks, memory: Memory = None) -> tuple[Tensor, Memory]:
        """The sum of the sources' drives, each times its mask, and the traces of the sources."""
        return super().masked_forward(reads, masks)[0], self._after(reads, memory)

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """The weight's gradient with the traces in place of the sources, see `Connection.gradients`."""
        return super().gradients(_as_read(after, reads), grad_drive)

    def masked_gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, masks: Masks, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """The weight's gradient where the drive of each source is masked by itself, with the present masks."""
        return super().masked_gradients(_as_read(after, reads), grad_drive, masks)

    def _after(self, reads: Sequence[Tensor], memory: Memory) -> list[Tensor]:
        return [self.decay * trace + read for read, trace in zip(reads, memory, strict=True)]


def _as_read(traces: Sequence[Tensor], reads: Sequence[Tensor]) -> list[Tensor]:
    """The traces in the type of the sources."""
    return [trace.to(read.dtype) for trace, read in zip(traces, reads, strict=True)]


@register("connection", "eligibility")
@dataclass(frozen=True)
class EligibilityKind(ConnectionKind):
    """A full connection that learns from traces of its sources: its gradient reaches back through the unit's own memory."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """The fraction of a trace that remains after a timestep. The choice 1 − damping_factor approximates the exact gradient."""

    def values_kept(self, features: int, timesteps: int) -> int:
        """The trace of a source, for each sample and candidate. See `ConnectionKind.values_kept`."""
        return features

    def make(self, place: Place) -> list[Connection]:
        """One `Eligible` connection, whose weights from above have the sign of the equations, a minus."""
        weight = torch.cat(signed_weights(place), 1)
        return [Eligible(place.sources, place.units, self.decay, top_down=place.top_down, weight=weight)]
