"""Recurrent baselines: a GRU and a plain recurrent network, trained by backpropagation through time."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from RecurrentFF.benchmarks.baseline import Baseline
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.network import Network
from RecurrentFF.training.architecture import weight_count


class GRU(Baseline):
    """A gated recurrent unit, and a linear layer on its activity at the last valid timestep of each sequence.

    Args:
        network: the network to compare with.
        units: the number of units; None for as many as fit into the network's number of weights.
    """

    baseline = "gru"
    follows_precision = True
    gates: ClassVar[int] = 3
    """The number of weight matrices from the input, and from the units."""
    recurrent_class: ClassVar[type[nn.GRU] | type[nn.RNN]] = nn.GRU
    """The recurrent layer of torch."""

    def __init__(self, network: Network, units: int | None = None) -> None:
        super().__init__(network)
        features, classes = network.input_size, network.num_classes
        weights = weight_count(network)
        # gates·u·(features + u + 2) + classes·(u + 1) weights, solved for u
        linear = self.gates * (features + 2) + classes
        fitting = max(1, int((math.sqrt(linear**2 + 4 * self.gates * (weights - classes)) - linear) / (2 * self.gates)))
        self.recurrent = self.recurrent_class(features, units or fitting)
        self.output = nn.Linear(units or fitting, classes)
        if units is not None:
            self.baseline = f"{self.baseline}-{units}"
        self._network_weights = weights

    @property
    def description(self) -> str:
        """The line about the model for the user."""
        units, weights = self.recurrent.hidden_size, self._network_weights
        return f"{self.baseline}, by backpropagation: {units} units, for a network of {weights:,} weights"

    def forward(self, inputs: Tensor, mask: Tensor | None, draws: BatchDraws | None = None) -> Tensor:
        """Compute logits (batch, classes).

        Args:
            inputs: (timesteps, batch, features).
            mask: (timesteps, batch), true at valid timesteps, which come first; None if all are valid.
            draws: not used, since there is no dropout.
        """
        low = self.settings.device.precision == "bfloat16"
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=low):
            activity, _ = self.recurrent(inputs)
        last = torch.full((inputs.shape[1],), len(inputs) - 1, device=inputs.device)
        if mask is not None:
            last = mask.long().sum(0).clamp(min=1) - 1
        logits: Tensor = self.output(activity[last, torch.arange(len(last), device=last.device)].float())
        return logits


class RNN(GRU):
    """A plain recurrent network of tanh units, and a linear layer on its activity, as in `GRU`."""

    baseline = "rnn"
    gates = 1
    recurrent_class = nn.RNN
