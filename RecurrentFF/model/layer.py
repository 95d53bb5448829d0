"""A hidden layer: its weights, and the functions of `step` applied to them and to the state."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from RecurrentFF.model import dynamics, fields
from RecurrentFF.model.activations import ACTIVATIONS, straight_through
from RecurrentFF.model.initialisation import initial_weight
from RecurrentFF.model.learning import Peers
from RecurrentFF.model.objectives import ObjectiveFunction
from RecurrentFF.model.state import State, as_source
from RecurrentFF.model.step import EAGER, Constants, Learned, Steps
from RecurrentFF.model.topology import Topology
from RecurrentFF.settings import ModelSettings


class RecurrentLayer(nn.Module):
    """Hidden layer `number` (1..L) of a topology. It knows which rows of the state it reads, and no other layer.

    Attributes:
        weight: (units, columns), [W_f | W_lat | −W_b] and any residual blocks, in the order of the state's rows.
        bias: (units,).
        field: (units, columns), 1 where a unit with a receptive field is connected and 0 elsewhere; None if all are.
        running_activity: (units,) for peer normalisation; None without.
        steps: the functions of a timestep, as they are or compiled.
    """

    field: Tensor | None
    running_activity: Tensor | None

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
        if settings.straight_through:
            self.activation = self.activation._replace(backward=straight_through)
        self.summed = settings.badness == "sum"
        self.hard_share = settings.hard_share
        self.peer_normalisation = settings.peer_normalisation
        self.steps: Steps = EAGER
        self.separate = topology.connections(number, merged=False)
        weight = initial_weight(topology, number, dtype, generator)
        self.register_buffer("field", _field(topology, number, settings, dtype), persistent=False)
        if self.field is not None:  # a unit that reads a share of a block is driven as strongly as by all of it
            for block in self.separate:
                part = self.field[:, block.weight]
                weight[:, block.weight] *= part / part.mean(1, keepdim=True).sqrt()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(self.units, dtype=dtype), requires_grad=False)
        self.register_buffer("running_activity", torch.zeros(self.units, dtype=dtype) if self.peer_normalisation else None)

    def __getstate__(self) -> dict[str, Any]:
        """Compiled functions can't be pickled; a copy from a pickle starts without."""
        return self.__dict__ | {"steps": EAGER}

    def dropout_masks(self, state: State, generator: torch.Generator | None) -> list[Tensor] | None:
        """For each drive a factor of 0 or 1/(1 − dropout), of the shape of what the layer writes into the state; None without
        dropout or generator (no training)."""
        if generator is None or self.dropout == 0:
            return None
        keep = 1 - self.dropout
        return [
            torch.empty(state.following(self.number).shape, dtype=self.bias.dtype, device=self.bias.device)
            .bernoulli_(keep, generator=generator)
            .div_(keep)
            for _ in self.separate
        ]

    def timestep(
        self,
        state: State,
        operand: Tensor,
        damping: float,
        generator: torch.Generator | None = None,
        held: Tensor | None = None,
    ) -> Tensor:
        """Respond to what the state holds, and write the new activity into it.

        Args:
            state: of all layers.
            operand: the layer's weight in the type of the state.
            damping: d.
            generator: of the dropout masks; none, no dropout.
            held: (units, 1, batch) from `held_drive`, where the input stays the same.

        Returns:
            Badness, (labels, batch), or (1, batch) where it is the same under all labels.
        """
        masks = self.dropout_masks(state, generator)
        connections = state.connections(self.number, merged=masks is None, skip_silent=masks is None)
        steps = EAGER if state.silent else self._steps_for(connections)  # the first timestep has no graph of its own
        connections = tuple(c for c in connections if held is None or c.state is not None)
        response = steps.respond(
            [state.read(connection) for connection in connections],
            [operand[:, connection.weight] for connection in connections],
            self.bias.detach()[:, None, None] if held is None else held,
            state.activity[self.number - 1],
            state.following(self.number),
            self.constants(damping),
            masks,
        )
        state.activity[self.number - 1] = response.h
        return response.badness

    def learn(
        self,
        state: State,
        operand: Tensor,
        damping: float,
        objective: ObjectiveFunction,
        share: Tensor,
        generator: torch.Generator | None = None,
        input_gradient: bool = False,
    ) -> Learned:
        """`timestep` under the true label and wrong ones, with what the layer learns from it.

        Args:
            objective: what the layer wants.
            share: (batch,) of each input in the mean loss.
            input_gradient: whether ∂loss/∂x is wanted, if the layer reads the input.
        """
        masks = self.dropout_masks(state, generator)
        connections = state.connections(self.number, merged=masks is None)
        learned = self._steps_for(connections).learn(
            [state.read(connection) for connection in connections],
            [operand[:, connection.weight] for connection in connections],
            self.bias.detach()[:, None, None],
            state.activity[self.number - 1],
            state.following(self.number),
            self.constants(damping),
            objective,
            share,
            masks,
            None if self.running_activity is None else Peers(self.running_activity, self.peer_normalisation),
            input_gradient and connections[0].state is None,
            None if self.hard_share == 1 else max(1, round(self.hard_share * len(share))),
        )
        state.activity[self.number - 1] = learned.h
        if self.field is not None:
            learned.grad_weight.mul_(self.field)
        return learned

    def held_drive(self, x: Tensor, operand: Tensor) -> Tensor | None:
        """The input's drive and the bias, (units, 1, batch), while input and weights stay; None where it doesn't lead."""
        for connection in self.separate:
            if connection.state is None:
                return dynamics.drive([as_source(x, operand.dtype)], [operand[:, connection.weight]], self.bias[:, None, None])
        return None

    def constants(self, damping: float) -> Constants:
        """The layer's constants with this damping."""
        return Constants(damping, self.epsilon, self.activation, self.summed)

    def _steps_for(self, connections: Sequence[dynamics.Connection]) -> Steps:
        """While the label is on its way through the layers, some sources are the same under all labels and some are not: for few
        timesteps, and in ways that are not worth a compiled graph each."""
        return self.steps if len({c.shared for c in connections if c.state is not None}) == 1 else EAGER


def _field(topology: Topology, number: int, settings: ModelSettings, dtype: torch.dtype) -> Tensor | None:
    """What a layer's units are connected to, (units, columns) of 0 and 1; None for everything."""
    if number > 1 or settings.receptive_field == 0:
        return None
    units, data_size = topology.widths[1], topology.widths[0]
    blocks = []
    for source in topology.sources(number):
        block = torch.ones(units, topology.widths[source], dtype=torch.bool)
        if source == 0:
            block = fields.forward_field(units, data_size, settings.receptive_field)
        elif source == number and settings.lateral_field:
            block = fields.lateral_field(units, data_size, settings.receptive_field, settings.lateral_field)
        blocks.append(block)
    return torch.cat(blocks, 1).to(dtype)
