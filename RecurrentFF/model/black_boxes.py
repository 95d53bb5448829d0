r"""Black boxes: connections that read activity through a function that has no derivative, or none that anybody knows.

    drive = W · f(n(source))

The function f may be random spikes, a coarse quantization, noise, a lookup table, any Python function, or another program:
see `black_box_functions`. The weights behind it learn by the same rule as others, because the gradient of a layer's own loss
stops at what the layer reads:

    ∂loss/∂W = ∂loss/∂drive · f(n(source))ᵀ

Neither the derivative of f nor a second evaluation is needed: the values of the forward computation are kept for the
gradient. Backpropagation needs ∂f/∂n(source) to reach the layer below, which is zero almost everywhere for spikes, quantization
and tables, and unknown for programs. (Hinton 2022, arXiv:2212.13345, section 1: a black box in the forward pass prevents
backpropagation, unless a differentiable model of it is learned, and changes nothing for the Forward-Forward algorithm.)
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.errors import BlackBoxError, printable
from RecurrentFF.model.black_box_functions import BlackBoxFunction, Draws, Spikes, checked, seed_of
from RecurrentFF.model.connection_kinds import ConnectionKind, DenseKind, Place, Sources
from RecurrentFF.model.connections import Connection, Masks, Memory
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.registry import ComponentOf, make, register


class BoxMemory(NamedTuple):
    """The memory of a black-box connection between two timesteps."""

    draws: BatchDraws | None = None
    """The random numbers of a training batch; None in a prediction."""
    timestep: int = 0
    """The number of timesteps since the sequence began."""
    outputs: tuple[Tensor, ...] = ()
    """The outputs f(n(source)) of the last timestep, one for each source."""
    inner: Memory = None
    """The memory of the connection behind the function."""


class BlackBox(Connection):
    """A connection that reads its sources through a function without a derivative.

    Where a source is the same for all candidates, so is the output of the function. Where it is not, candidates still share
    the random draws of the function, see `Draws`.

    Args:
        inner: the connection behind the function, for instance a `Dense` one. It learns from the outputs of the function.
        function: a `BlackBoxFunction`, the name of one, or a Python callable, (n, units) → (n, units). It is applied to each
            source by itself, once at every timestep.
        seed: the seed of the random draws of predictions, which should differ between the layers of a network.
        layer: the name of the layer that reads, for messages.

    Raises:
        SettingsError: there is no such function.
        BlackBoxError: when it is called, and the function returns something else than finite numbers of the shape of its
            argument, or its program fails. The message names the layer and the source.

    Examples:
        >>> BlackBox(Dense({"h1": 8}, 4), "spikes")([torch.rand(8, 1, 5)])[0].shape
        torch.Size([4, 1, 5])
    """

    def __init__(
        self,
        inner: Connection,
        function: BlackBoxFunction | Callable[[Tensor], Any] | str,
        *,
        seed: int = 0,
        layer: str = "",
    ) -> None:
        super().__init__(inner.sources)
        self.inner = inner
        self.function: BlackBoxFunction = make("black_box", function, "function")
        self.seed = seed
        self.layer = layer
        self._applied = self.function.for_connection()

    def extra_repr(self) -> str:
        """The function."""
        return f"function={self.function}"

    def weights(self) -> dict[str, Tensor]:
        """The weights of the connection behind the function, by source, as from `Dense.weights`.

        Raises:
            AttributeError: that connection has no such method.
        """
        inner: Any = self.inner
        weights: dict[str, Tensor] = inner.weights()
        return weights

    def initial_memory(self, like: Tensor, draws: BatchDraws | None = None) -> BoxMemory:
        """The random numbers of the batch, and the memory of the connection behind the function."""
        return BoxMemory(draws, inner=self.inner.initial_memory(like, draws))

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The drive from the outputs of the function, which are kept in the memory. See `Connection.forward`."""
        before, outputs = self._outputs(reads, memory)
        drive, inner = self.inner(outputs, before.inner)
        return drive, BoxMemory(before.draws, before.timestep + 1, outputs, inner)

    def masked_forward(self, reads: Sequence[Tensor], masks: Masks, memory: Memory = None) -> tuple[Tensor, Memory]:
        """`forward` under dropout of the drives."""
        before, outputs = self._outputs(reads, memory)
        drive, inner = self.inner.masked_forward(outputs, masks, before.inner)
        return drive, BoxMemory(before.draws, before.timestep + 1, outputs, inner)

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """The gradients of the connection behind the function, from the outputs that `forward` has left in `after`."""
        return _of_inner(self.inner.gradients(after.outputs, grad_drive, before and before.inner, after.inner))

    def masked_gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, masks: Masks, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """`gradients` under dropout."""
        inner = self.inner.masked_gradients(after.outputs, grad_drive, masks, before and before.inner, after.inner)
        return _of_inner(inner)

    def source_gradient(
        self, index: int, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> Tensor:
        """Zero, of the shape of the source: the function has no derivative that is known."""
        return torch.zeros_like(reads[index])

    def drives(self, reads: Sequence[Tensor], memory: Memory = None) -> dict[str, Tensor]:
        """The drive of each source by its name. The function is applied once more for it."""
        before, outputs = self._outputs(reads, memory)
        return self.inner.drives(outputs, before.inner)

    def values_kept(self, timesteps: int) -> int:
        """The outputs of the function at one timestep. The connection behind it counts for itself, as a module of its own."""
        return sum(self.source_sizes.values())

    @property
    def source_sizes(self) -> dict[str, int]:
        """The features of each source by name."""
        return self.inner.source_sizes

    @property
    def units(self) -> int | None:
        """The units of its drive."""
        return self.inner.units

    @property
    def dropout_masks(self) -> int:
        """The number of drives that dropout masks one by one, that of the connection behind the function."""
        return self.inner.dropout_masks

    def masked_gradient(self, grad_drive: Tensor, masks: Masks | None, index: int) -> Tensor:
        """∂loss/∂drive of one source, before it was masked."""
        return self.inner.masked_gradient(grad_drive, masks, index)

    def apply_constraint(self) -> None:
        """Restore the constraints on the parameters behind the function."""
        self.inner.apply_constraint()

    @torch.no_grad()
    def _outputs(self, reads: Sequence[Tensor], memory: Memory) -> tuple[BoxMemory, tuple[Tensor, ...]]:
        """The memory, and the output of the function for each source."""
        before: BoxMemory = BoxMemory() if memory is None else memory
        return before, tuple(self._output(source, read, before) for source, read in zip(self.sources, reads, strict=True))

    def _output(self, source: str, read: Tensor, before: BoxMemory) -> Tensor:
        """The output of the function for a source, which is checked. The place is added to the message of an error."""
        draws, function = Draws(before.draws, seed_of(self.seed, source, before.timestep)), type(self.function)
        try:
            return checked(self._applied.apply(read, draws), read, function.__qualname__, finite=not function.always_finite)
        except BlackBoxError as error:
            place = f"{self.layer} from {source}" if self.layer else f"source {source}"
            error.args = (printable(f"{place}: {error}"),)
            raise


def _of_inner(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gradients by the names that the parameters have in the black box."""
    return {f"inner.{name}": gradient for name, gradient in gradients.items()}


_SPIKES = Spikes()


@register("connection", "black_box")
@dataclass(frozen=True)
class BlackBoxKind(ConnectionKind):
    """Dense weights behind a black box: a function of the activity that is read, of which no derivative is needed.

    All sources of a layer that it serves are read through the same function, each by itself. Activity from above keeps its
    minus sign. The label is read directly, unless `sources` has it.
    """

    sources: Sources = ("forward", "lateral", "backward")
    """The directions that are read through the function; an empty list means all, with the label."""
    function: Annotated[BlackBoxFunction, ComponentOf("black_box")] = _SPIKES
    """The function: a name, or a section with a name and options. From Python, it may be a callable of a batch, too."""

    def make(self, place: Place) -> list[Connection]:
        """One `BlackBox` with a `Dense` connection behind its function."""
        (inner,) = DenseKind().make(place)
        return [BlackBox(inner, self.function, seed=zlib.crc32(place.layer.encode()), layer=place.layer)]
