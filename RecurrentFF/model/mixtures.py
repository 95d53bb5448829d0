"""Mixed negatives: several sources, of which each sample gets the negatives of one, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.model.negatives import (
    Negatives,
    NegativeSource,
    ReadoutNegatives,
    SamplingContext,
    UniformNegatives,
    require_shapes,
)
from RecurrentFF.registry import ComponentOf, register

if TYPE_CHECKING:  # the network imports nothing from here, but its type is needed
    from RecurrentFF.model.network import Network


@register("negatives", "mixture")
@dataclass(frozen=True)
class MixtureNegatives(NegativeSource):
    """Negatives of several sources. Every sample of a batch gets all its negatives from one of them, drawn at random.

    All sources draw for the whole batch, so that their work adds up. At most one of them may train the readout.
    """

    sources: Annotated[tuple[Annotated[NegativeSource, ComponentOf("negatives")], ...], Field(min_length=1)] = (
        UniformNegatives(),
        ReadoutNegatives(),
    )
    """The sources, each a table of a name and its options, [[negatives.sources]]. They must have the same count."""
    weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    """The relative frequency of each source. The default is equal frequencies."""

    def check(self) -> None:
        """Check that the sources fit each other; raise ValueError if they don't."""
        if len(self.weights) not in (0, len(self.sources)):
            raise ValueError(f"weights: {len(self.weights)} numbers for {len(self.sources)} sources; give one for each")
        if len(counts := {source.count for source in self.sources}) > 1:
            raise ValueError(f"sources: their counts are {', '.join(map(str, sorted(counts)))}; set the same count in all")
        if sum(source.trains_readout for source in self.sources) > 1:
            raise ValueError("sources: more than one trains the readout; set trains_readout = false in the others")

    @property
    def count(self) -> int:  # type: ignore[override]
        """The number of negatives of each sample, that of every source."""
        return self.sources[0].count

    @property
    def gives_labels(self) -> bool:  # type: ignore[override]
        """True if a source gives different wrong labels."""
        return any(source.gives_labels for source in self.sources)

    @property
    def gives_inputs(self) -> bool:  # type: ignore[override]
        """True if every source gives inputs."""
        return all(source.gives_inputs for source in self.sources)

    @property
    def needs_images(self) -> bool:  # type: ignore[override]
        """True if a source needs images."""
        return any(source.needs_images for source in self.sources)

    @property
    def needs_circuit(self) -> bool:  # type: ignore[override]
        """True if a source needs a generative circuit."""
        return any(source.needs_circuit for source in self.sources)

    @property
    def reads_activity(self) -> bool:  # type: ignore[override]
        """True if a source reads the label-free activity."""
        return any(source.reads_activity for source in self.sources)

    @property
    def predicts(self) -> bool:  # type: ignore[override]
        """True if a source predicts."""
        return any(source.predicts for source in self.sources)

    @property
    def trains_readout(self) -> bool:  # type: ignore[override]
        """True if a source trains the readout."""
        return any(source.trains_readout for source in self.sources)

    def for_network(self, network: Network) -> NegativeSource:
        """The source for a network, with those of its sources for it."""
        return _MixtureOfNetwork(self, [source.for_network(network) for source in self.sources])

    def sample(self, context: SamplingContext) -> Negatives:
        """Refuse to draw: the source that `for_network` returns draws."""
        raise TypeError("MixtureNegatives.sample: call sample of what for_network(network) returns")


class _MixtureOfNetwork(NegativeSource):
    """The `MixtureNegatives` of one network. It has the states of its sources."""

    def __init__(self, options: MixtureNegatives, sources: Sequence[NegativeSource]) -> None:
        self.count = options.count
        self.sources = sources
        self.weights = torch.tensor(options.weights or [1.0] * len(sources))

    def sample(self, context: SamplingContext) -> Negatives:
        """Let all sources draw, and choose one of them for each sample."""
        drawn = [require_shapes(source.sample(context), source, context) for source in self.sources]
        limits = (self.weights.cumsum(0) / self.weights.sum())[:-1].to(context.inputs.device)
        chosen = torch.searchsorted(limits, context.draws.uniform("mixture"), right=True)
        labels, inputs = [negatives.labels for negatives in drawn], [negatives.inputs for negatives in drawn]
        losses = [negatives.readout_loss for negatives in drawn if negatives.readout_loss is not None]
        return Negatives(
            None if all(given is None for given in labels) else _chosen(labels, context.labels.unsqueeze(0), chosen),
            None if all(given is None for given in inputs) else _chosen(inputs, context.inputs, chosen),
            losses[0] if losses else None,
        )

    def state_dict(self) -> dict[str, Any]:
        """The states of all sources."""
        return {"sources": [source.state_dict() for source in self.sources]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`. Raises ValueError if it is that of other sources."""
        states = state.get("sources")
        if not isinstance(states, list) or len(states) != len(self.sources) or not all(isinstance(s, dict) for s in states):
            raise ValueError(f"not the state of a mixture of {len(self.sources)} sources of negatives")
        for source, own in zip(self.sources, states, strict=True):
            source.load_state_dict(own)


def _chosen(given: Sequence[Tensor | None], true: Tensor, chosen: Tensor) -> Tensor:
    """For each sample the labels or the inputs of one source; where that source gives none, the true ones.

    Args:
        given: of each source (..., batch).
        true: the true ones, which broadcast with those given.
        chosen: the index of a source for each sample, (batch,).
    """
    result = true
    for index, values in enumerate(given):
        result = result if values is None else torch.where(chosen == index, values, result)
    return result
