r"""Fast weights: a lateral connection made of the latest patterns of the sequence, which retrieves those like the present one.

After J. Ba, G. Hinton, V. Mnih, J. Leibo and C. Ionescu, "Using Fast Weights to Attend to the Recent Past" (arXiv:1610.06258,
equations 1 and 2). With the normalized activity n(h) of a layer, the decay λ and the rate η:

    A_t     = λ · A_{t−1} + (1 / units) · n(h_t) n(h_t)ᵀ                  from zero at the start of each sequence
    drive_1 = η · A_t · n(h_t)
    drive_s = η · A_t · n(n(h_t) + drive_{s−1})                            for further inner steps s

The last of these drives is added to those of the other connections. A pattern has a mean square of 1, so that n(h)ᵀ n(h) / units
is 1, and the options mean the same for every number of units. The matrix is never formed, since each sample and candidate would
need one of units × units. Its product with a pattern p is a sum over the patterns of the sequence, weighted by their similarity:

    A_t · p = Σ_τ λ^{t−τ} · (⟨n(h_τ), p⟩ / units) · n(h_τ)

In the inner loop of the paper, the drives of the slow weights stay the same while the fast weights act on a preliminary next
activity. A connection here knows only the present pattern, which takes the place of the constant drive. The normalization of
the paper, which keeps the inner loop bounded, is that of the pattern, n(…); `normalize` also gives the drive a fixed size.

Fast weights have no parameters: they follow the activity, and no gradient passes through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.model import functional
from RecurrentFF.model.connection_kinds import ConnectionKind, Place, Sources, signed_weights
from RecurrentFF.model.connections import Connection, Dense, Memory
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.options import Flag
from RecurrentFF.registry import register


class FastWeights(Connection):
    """The drive of fast weights, which are the sum of the outer products of the patterns that the sequence has had so far.

    Its memory is the tuple of these patterns, the latest first, each (units, candidates or 1, batch). It takes timesteps × units
    × candidates × batch numbers of the compute dtype; the patterns before the label has reached the layer have one candidate.

    Args:
        source: the name of the block whose patterns are kept. For a lateral connection, this is the layer itself.
        units: the units of the source, which are as many as those of the layer.
        decay: λ, from 0 to 1: the factor of A at each timestep.
        rate: η: the size of the drive. A negative rate lowers the activity of a pattern that has been there before.
        inner_steps: the number of drives that are computed one from the other; 1 for a single product with A.
        normalize: divide each drive by its root mean square over the units, before the rate multiplies it.
        kept: the largest number of patterns that are kept; 0 for all.
        epsilon: ε of the normalization.

    Raises:
        ValueError: decay is not in 0..1, inner_steps is below 1, or kept is negative.

    Examples:
        >>> fast, pattern = FastWeights("h1", 4), torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1)
        >>> drive, memory = fast([pattern], fast.initial_memory(pattern))
        >>> drive.flatten()  # the rate, 0.5, times the pattern itself
        tensor([ 0.5000, -0.5000,  0.5000, -0.5000])
    """

    def __init__(
        self,
        source: str,
        units: int,
        *,
        decay: float = 0.95,
        rate: float = 0.5,
        inner_steps: int = 1,
        normalize: bool = False,
        kept: int = 0,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__((source,))
        if not 0 <= decay <= 1 or inner_steps < 1 or kept < 0:
            raise ValueError(
                f"FastWeights: decay = {decay} must be in 0..1, inner_steps = {inner_steps} at least 1, and kept = {kept} at "
                "least 0"
            )
        self._units, self.decay, self.rate, self.inner_steps = units, decay, rate, inner_steps
        self.normalize, self.kept, self.epsilon = normalize, kept, epsilon

    @property
    def units(self) -> int:
        """The units of its drive."""
        return self._units

    @property
    def source_sizes(self) -> dict[str, int]:
        """The units of the source."""
        return {self.sources[0]: self._units}

    def extra_repr(self) -> str:
        """The source and the options."""
        options = f"decay={self.decay}, rate={self.rate}, inner_steps={self.inner_steps}, normalize={self.normalize}"
        return f"{self.sources[0]}, {options}, kept={self.kept or 'all'}"

    def initial_memory(self, like: Tensor, draws: BatchDraws | None = None) -> tuple[Tensor, ...]:
        """No patterns. See `Connection.initial_memory`."""
        return ()

    def values_kept(self, timesteps: int) -> int:
        """The numbers in the memory for each sample and candidate at the end of a sequence."""
        return self.units * kept_patterns(self.kept, timesteps)

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The drive of the fast weights, which contain the present pattern already. See `Connection.forward`.

        The drive is float32 where the patterns have a lower precision.
        """
        patterns = (reads[0], *(memory or ()))
        patterns = patterns[: self.kept] if self.kept else patterns
        present = reads[0].to(torch.promote_types(reads[0].dtype, torch.float32))
        drive = self._product(patterns, present)
        for _ in range(self.inner_steps - 1):
            drive = self._product(patterns, self._normalized(present + drive))
        return drive, patterns

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """Return an empty dictionary, since there are no parameters."""
        return {}

    def _product(self, patterns: Sequence[Tensor], probe: Tensor) -> Tensor:
        """η · A · probe, (units, candidates or 1, batch), normalized if that is asked for; the latest pattern comes first."""
        total, weight = torch.zeros_like(probe), 1 / self.units
        for pattern in patterns:
            total = total + weight * (pattern * probe).sum(0) * pattern
            weight *= self.decay
        return self.rate * (self._normalized(total) if self.normalize else total)

    def _normalized(self, values: Tensor) -> Tensor:
        """Values with a mean square of 1 over the units, as n(h)."""
        return functional.normalize(values, functional.mean_square(values), self.epsilon)


def kept_patterns(kept: int, timesteps: int) -> int:
    """The number of patterns that fast weights hold after a number of timesteps. With `kept` 0 they keep all."""
    return min(kept, timesteps) if kept else timesteps


@register("connection", "fast_weights")
@dataclass(frozen=True)
class FastWeightsKind(ConnectionKind):
    """Fast weights beside the full lateral connection: a drive that retrieves earlier patterns like the present one.

    After Ba et al. 2016, arXiv:1610.06258. They have no parameters. The memory of the kept patterns is timesteps × units for each
    sample and candidate.
    """

    sources: Sources = ("lateral",)
    """The layer's own activity, which is the only one that fast weights can serve."""
    decay: Annotated[float, Field(ge=0, le=1)] = 0.95
    """The factor λ of the fast weights at each timestep: 1 for no decay."""
    rate: Annotated[float, Field(allow_inf_nan=False)] = 0.5
    """The factor η of the drive. A negative rate makes a pattern that has been there before lower its own activity."""
    inner_steps: Annotated[int, Field(ge=1)] = 1
    """The number of products with the fast weights at a timestep.

    After the first, each is applied to the normalized sum of the present pattern and the drive so far.
    """
    normalize: Flag = False
    """Divide the drive by its root mean square over the units, so that its size is the rate, however many patterns are alike."""
    kept: Annotated[int, Field(ge=0)] = 0
    """The largest number of patterns that are kept, the latest ones; 0 keeps those of the whole sequence."""
    slow_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """The factor of the initial weights of the full lateral connection.

    These random weights mix each pattern with the one before it. With 0 they start at zero, and are learned.
    """

    def check(self) -> None:
        """Check that only the lateral direction is asked for."""
        if self.sources != ("lateral",):
            raise ValueError('fast weights retrieve a layer\'s own patterns; set sources = ["lateral"]')

    def values_kept(self, features: int, timesteps: int) -> int:
        """The patterns that a layer keeps of itself, for each sample and candidate. See `ConnectionKind.values_kept`."""
        return features * kept_patterns(self.kept, timesteps)

    def make(self, place: Place) -> list[Connection]:
        """The full lateral connection, and fast weights."""
        slow = Dense(place.sources, place.units, weight=self.slow_scale * torch.cat(signed_weights(place), 1))
        fast = FastWeights(
            place.layer,
            place.units,
            decay=self.decay,
            rate=self.rate,
            inner_steps=self.inner_steps,
            normalize=self.normalize,
            kept=self.kept,
        )
        return [slow, fast]
