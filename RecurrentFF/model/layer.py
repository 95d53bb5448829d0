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

    def dropout_masks(self, rows: int, generator: torch.Generator | None) -> list[Tensor] | None:
        """For each drive a (rows, units) factor of 0 or 1/(1 − dropout); None without dropout or generator (no training)."""
        if generator is None or self.dropout == 0:
            return None
        keep = 1 - self.dropout
        return [
            torch.empty(rows, self.units, dtype=self.bias.dtype, device=self.bias.device)
            .bernoulli_(keep, generator=generator)
            .div_(keep)
            for _ in self.separate
        ]

    def timestep(self, state: State, operand: Tensor, damping: float, masks: Sequence[Tensor] | None = None) -> dynamics.Response:
        """The layer's response to `state.now`; `operand` is the weight in the state's type."""
        connections = self.merged if masks is None else self.separate
        z = dynamics.drive(state.now, operand, self.bias, connections, masks)
        return dynamics.timestep(z, state.activity[self.number - 1], damping, self.epsilon, self.activation)

    def gradients(
        self,
        state: State,
        response: dynamics.Response,
        slope: Tensor,
        damping: float,
        masks: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """∂loss/∂weight and ∂loss/∂bias of this timestep, from the objective's slope ∂loss/∂badness (rows,)."""
        connections = self.merged if masks is None else self.separate
        grad_z = learning.drive_gradient(slope, response.h, response.z, damping, self.activation)
        return learning.weight_gradient(grad_z, state.now, connections, masks), grad_z.sum(0)
