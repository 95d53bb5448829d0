"""A hidden layer: its weights, and the equations of `dynamics` and `learning` applied to them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from RecurrentFF.model import dynamics, learning
from RecurrentFF.model.activations import ACTIVATIONS
from RecurrentFF.model.initialisation import initial_weight
from RecurrentFF.model.state import State
from RecurrentFF.model.topology import Topology
from RecurrentFF.settings import ModelSettings


class RecurrentLayer(nn.Module):
    """Hidden layer `number` (1..L) of a topology. It knows which columns of the state it reads, and no other layer.

    Attributes:
        weight: (units, columns), [W_f | W_lat | −W_b] and any residual blocks, in the order of the state's columns.
        bias: (units,).
    """

    def __init__(
        self,
        topology: Topology,
        number: int,
        settings: ModelSettings,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.number = number
        self.units = topology.widths[number]
        self.dropout = settings.dropout
        self.epsilon = settings.epsilon
        self.activation = ACTIVATIONS[settings.ff_activation]
        self.merged = topology.connections(number)
        self.separate = topology.connections(number, merged=False)
        weight = initial_weight(topology, number, dtype, generator)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(self.units, dtype=dtype), requires_grad=False)

    def dropout_masks(self, rows: torch.Size, generator: torch.Generator | None) -> list[Tensor] | None:
        """For each drive a (*rows, units) factor of 0 or 1/(1 − dropout); None without dropout or generator (no training)."""
        if generator is None or self.dropout == 0:
            return None
        keep = 1 - self.dropout
        return [
            torch.empty(*rows, self.units, dtype=self.bias.dtype, device=self.bias.device)
            .bernoulli_(keep, generator=generator)
            .div_(keep)
            for _ in self.separate
        ]

    def timestep(
        self, state: State, operand: Tensor, damping: float, generator: torch.Generator | None = None
    ) -> dynamics.Response:
        """Respond to what the state holds, and write the new activity into it.

        Args:
            state: of all layers.
            operand: the layer's weight in the type of the state.
            damping: d.
            generator: of the dropout masks; none, no dropout.
        """
        masks = self.dropout_masks(state.now.shape[:-1], generator)
        connections = self._connections(masks)
        sources = [state.read(connection) for connection in connections]
        weights = [operand[:, connection.weight] for connection in connections]
        z = dynamics.drive(sources, weights, self.bias, masks)
        h = dynamics.respond(z, state.activity[self.number - 1], damping, self.activation)
        badness = dynamics.badness(h)
        normalised = dynamics.normalise(h, badness, self.epsilon)
        state.write(self.number, h, normalised)
        return dynamics.Response(z, h, badness, normalised, masks)

    def gradients(self, state: State, response: dynamics.Response, slope: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """∂loss/∂weight and ∂loss/∂bias of a timestep, from the objective's slope ∂loss/∂badness (labels, batch).

        The state must still hold what the layer responded to.
        """
        sources = [state.read(connection) for connection in self._connections(response.masks)]
        grad_z = learning.drive_gradient(slope, response.h, response.z, damping, self.activation)
        return learning.weight_gradient(grad_z, sources, response.masks), grad_z.sum((0, 1))

    def _connections(self, masks: Sequence[Tensor] | None) -> tuple[dynamics.Connection, ...]:
        """Dropout masks tell the drives apart; without them, adjacent blocks are one product."""
        return self.merged if masks is None else self.separate
