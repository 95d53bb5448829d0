"""Baselines: logistic regression, a GRU and a plain recurrent network, trained by backpropagation.

They are trained on the same samples in the same order as the network. The optimizer is Adam with a learning rate of 1e-3 and
cosine decay. Recurrent baselines compute matrix products in the precision of the configuration, the others in float32. Epochs,
batch size, timesteps and seed are those of the configuration. The training loop and its callbacks are those of the network: the
validation samples, if there are any, select the best epoch, the test set is read once, at the end, and an interrupted run can be
resumed.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.data.dataset import Splits
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.layers import LocalModule
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.network import Network
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.training.schedules import Cosine

LEARNING_RATE = 1e-3
"""The learning rate of Adam at the first batch."""


class Baseline(nn.Module):
    """The base class of baselines. They have what the training loop needs of a network, and no layer that learns locally.

    Args:
        network: the network to compare with, which determines the configuration, the task and the device.
    """

    baseline: str
    """The name of the baseline."""
    has_own_modules = True
    follows_precision: ClassVar[bool] = False
    """True if matrix products are in the precision of the configuration, false if they are in float32."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        precision = network.settings.device.precision if self.follows_precision else "float32"
        self.settings = network.settings.with_arguments(schedule=Cosine(), weight_averaging=0.0, precision=precision)
        self.task = network.task
        self.input_size, self.num_classes = network.input_size, network.num_classes
        self.local_modules: list[LocalModule] = []

    @property
    @abstractmethod
    def description(self) -> str:
        """The line about the model for the user."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def hidden_layers(self) -> list[LocalModule]:
        """The empty list: there are no layers with badness."""
        return []

    def logits(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute logits, (batch, classes).

        Args:
            inputs: network inputs, (batch, features) or (timesteps, batch, features).
            mask: (timesteps, batch), true at valid timesteps, which come first; None if all are valid.
        """
        sequence = inputs.to(self.device, torch.float32)
        if sequence.dim() == 2:
            sequence = sequence.expand(self.settings.timesteps, -1, -1)
        logits: Tensor = self(sequence, None if mask is None else mask.to(self.device))
        return logits

    @torch.no_grad()
    def predict_inputs(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The class number of the highest logit, (batch,)."""
        return self.logits(inputs, mask).argmax(1)


class LogisticRegression(Baseline):
    """Logistic regression: one linear layer on the input, or on the flattened sequence of inputs.

    Args:
        network: the network to compare with.
        timesteps: the number of timesteps that are read; 1 for a static input.
    """

    baseline = "logistic"

    def __init__(self, network: Network, timesteps: int) -> None:
        super().__init__(network)
        self.output = nn.Linear(timesteps * network.input_size, network.num_classes)

    @property
    def description(self) -> str:
        """The line about the model for the user."""
        source = "input" if self.output.in_features == self.input_size else "flattened sequence"
        return f"logistic, by backpropagation: one linear layer on the {source}"

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Compute logits (batch, classes) of inputs (timesteps, batch, features). The mask is not used."""
        timesteps = self.output.in_features // inputs.shape[2]
        logits: Tensor = self.output(inputs[:timesteps].transpose(0, 1).flatten(1))
        return logits


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
        weights = sum(parameter.numel() for parameter in network.parameters())
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

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Compute logits (batch, classes).

        Args:
            inputs: (timesteps, batch, features).
            mask: (timesteps, batch), true at valid timesteps, which come first; None if all are valid.
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


def make_baseline(name: str, network: Network, splits: Splits) -> Baseline:
    """Create a baseline for the data of a network.

    Args:
        name: "logistic", "gru" or "rnn"; or a recurrent one with its number of units, as in "gru-400".
        network: the network to compare with.
        splits: the data sets, by which the baseline sees whether inputs are static.

    Raises:
        SettingsError: there is no such baseline.
    """
    torch.manual_seed(network.settings.training.seed)
    if name == "logistic":
        static = next(iter(splits.train.batches(1))).inputs.dim() == 2
        return LogisticRegression(network, 1 if static else network.settings.timesteps).to(network.device)
    if recurrent := re.fullmatch(r"(gru|rnn)(?:-([1-9][0-9]{0,4}))?", name):
        kind, units = recurrent.groups()
        return (GRU if kind == "gru" else RNN)(network, int(units) if units else None).to(network.device)
    raise SettingsError(f"baseline '{name}': there is no such baseline; known: gru, gru-UNITS, logistic, rnn, rnn-UNITS")


class BackpropagationLearner:
    """The training of a baseline, batch by batch, as `Learner` is that of a network.

    Args:
        model: changed in place.
    """

    def __init__(self, model: Baseline) -> None:
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        self.place = BatchPlace()  # nothing random depends on it

    def train_batch(self, inputs: Tensor, labels: Tensor, mask: Tensor | None = None) -> BatchMetrics:
        """Train on one batch. The arguments are those of `Learner.train_batch`, with one label for each sample."""
        loss = F.cross_entropy(self.model.logits(inputs, mask), labels.to(self.model.device))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        none = torch.zeros(1, 0, device=loss.device)
        zero, one = torch.zeros((), device=loss.device), torch.ones(1, 1, device=loss.device)
        return BatchMetrics(loss.detach().view(1, 1), none, none, pairwise_accuracy=zero, valid_fraction=one, readout_loss=zero)

    def scale_learning_rates(self, factor: float) -> None:
        """Set the learning rate to `factor` times LEARNING_RATE."""
        for group in self.optimizer.param_groups:
            group["lr"] = factor * LEARNING_RATE

    @property
    def learning_rate(self) -> float:
        """The present learning rate."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def state_dict(self) -> dict[str, Any]:
        """The name of the baseline, by which a resumed run makes it again, and the optimizer."""
        return {"baseline": self.model.baseline, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
