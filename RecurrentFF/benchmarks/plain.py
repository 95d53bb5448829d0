"""The network as people publish it: one autograd loss for each layer, positive and negative inputs in passes of their own, one
label at a time in prediction, float32. The same computation as the package's; kept to measure against, and tested to agree.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import make_objective
from RecurrentFF.model.optimisers import library_optimiser
from RecurrentFF.settings import Settings


class PlainLayer(nn.Module):
    """A hidden layer with its three weights apart. It keeps its activity as an attribute."""

    def __init__(self, forward_weight: Tensor, lateral_weight: Tensor, backward_weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.forward_weight = nn.Parameter(forward_weight.clone())
        self.lateral_weight = nn.Parameter(lateral_weight.clone())
        self.backward_weight = nn.Parameter(backward_weight.clone())
        self.bias = nn.Parameter(bias.clone())

    def forward(self, below: Tensor, h: Tensor, above: Tensor, damping: float, epsilon: float) -> Tensor:
        """The next activity from normalised neighbours and this layer's own activity, all (batch, units)."""
        drive = F.linear(below, self.forward_weight) + F.linear(normalise(h, epsilon), self.lateral_weight)
        drive = drive - F.linear(above, self.backward_weight) + self.bias
        return (1 - damping) * h + damping * F.leaky_relu(drive)


def normalise(h: Tensor, epsilon: float) -> Tensor:
    """n(h) = h / sqrt(mean(h²) + ε)."""
    return h / torch.sqrt((h**2).mean(1, keepdim=True) + epsilon)


class PlainNetwork:
    """A network and its learning. Leaky ReLU, static inputs, no residual connections, no dropout.

    Args:
        network: whose initial weights and settings are taken over.
    """

    def __init__(self, network: Network) -> None:
        self.settings: Settings = network.settings
        self.widths = network.topology.widths
        self.layers: list[PlainLayer] = []
        for layer in network.hidden_layers():
            below, own, above = (layer.weight[:, c.weight] for c in network.topology.connections(layer.number, merged=False))
            self.layers.append(PlainLayer(below, own, -above, layer.bias).to(network.device))
        self.objective = make_objective(self.settings.model)
        self.optimisers = [library_optimiser(self.settings.model, "ff", layer.parameters()) for layer in self.layers]

    def rest(self, x: Tensor) -> list[Tensor]:
        """No activity."""
        return [torch.zeros(len(x), width, dtype=x.dtype, device=x.device) for width in self.widths[1:-1]]

    def timestep(self, x: Tensor, y: Tensor, hidden: list[Tensor], damping: float) -> list[Tensor]:
        """All layers' next activities, each with a graph of its own."""
        epsilon = self.settings.model.epsilon
        reads = [x, *(normalise(h, epsilon) for h in hidden), y]
        return [
            layer(reads[number], hidden[number], reads[number + 2], damping, epsilon) for number, layer in enumerate(self.layers)
        ]

    def settle(self, x: Tensor) -> list[Tensor]:
        """Activity after the label-free timesteps."""
        classes, hidden = self.widths[-1], self.rest(x)
        uniform = torch.full((len(x), classes), 1 / classes, dtype=x.dtype, device=x.device)
        with torch.no_grad():
            for _ in range(self.settings.model.prelabel_timesteps):
                hidden = self.timestep(x, uniform, hidden, damping=1.0)
        return hidden

    def train_batch(self, x: Tensor, labels: Tensor, wrong_labels: Tensor) -> None:
        """One batch, positive and negative passes side by side."""
        classes, damping = self.widths[-1], self.settings.model.damping_factor
        right, wrong = (F.one_hot(named, classes).to(x.dtype) for named in (labels, wrong_labels))
        positive, negative = self.settle(x), self.settle(x)
        for _ in range(self.settings.data_config.iterations):
            positive = self.timestep(x, right, positive, damping)
            negative = self.timestep(x, wrong, negative, damping)
            for optimiser, pos, neg in zip(self.optimisers, positive, negative, strict=True):
                if self.settings.model.only_compares and torch.equal(pos, neg):
                    continue  # the label has not come down to this layer
                loss = self.objective((pos**2).mean(1), (neg**2).mean(1)).loss.mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            positive, negative = [h.detach() for h in positive], [h.detach() for h in negative]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The label of lowest badness, every label tried by itself, from rest, through all timesteps."""
        first, last = self.settings.prediction_window
        classes, columns = self.widths[-1], []
        for label in range(classes):
            y = F.one_hot(torch.full((len(x),), label, device=x.device), classes).to(x.dtype)
            hidden, badness = self.settle(x), []
            for _ in range(self.settings.data_config.iterations):
                hidden = self.timestep(x, y, hidden, self.settings.model.damping_factor)
                badness.append(torch.stack([(h**2).mean(1) for h in hidden]).mean(0))
            columns.append(torch.stack(badness[first : last + 1]).mean(0))
        return torch.stack(columns, 1).argmin(1)
