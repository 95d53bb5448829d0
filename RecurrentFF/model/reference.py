r"""Start here: the whole Recurrent Forward-Forward algorithm, slow and plain, with autograd.

Hidden layers h_1 … h_L sit between an input x and a label y. Badness is minus Hinton's goodness: low for real data.
One timestep, for all layers at once, from the activities of the previous timestep:

    z  = Σ over what the layer reads of W · n(source), with a minus sign for sources above it, + b
    h' = (1 − d)·h + d·activation(z)               badness = mean(h'²)           n(h) = h / sqrt(mean(h²) + ε)

A *candidate* is an (x, y) pair under which a sample is presented. Training compares the positive one, the true label,
with negative ones. Each layer takes a gradient step on its own loss at every timestep with the label. No gradient crosses
a layer or a timestep, because what a layer reads is detached. A prediction presents every label, or those that a linear
readout of the label-free activity proposes, and answers the one of lowest badness. (Hinton 2022, arXiv:2212.13345.)

Tensors are (batch, units) here. The package computes the same in `functional`, without autograd. The tests hold it to
this file in float64, to 1e-10, and to `tests/oracle.py`, which adds dropout and the other regularizers. The speed
benchmark measures against this file, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective, Pairwise, Softmax, Sum, Threshold

Activity = dict[str, Tensor]
"""The activity h of each hidden layer, (batch, units)."""
Clamp = tuple[Tensor, Tensor]
"""An input (batch, features) and a label, one-hot or uniform, (batch, classes)."""


class Reference:
    """A network with the present weights and the settings of another; without dropout, other regularizers and normalization.

    Attributes:
        weight: W of each (layer, source), with the sign of the equations.
        readout: weight and bias of the readout.
        bias, optimizers: the bias and the optimizer of each layer by name.
        layers: the names of the hidden layers, bottom to top; `order` has those of all blocks, `sizes` their units.
        predicting: the names of the layers whose badness counts in a prediction.

    Examples:
        >>> reference = Reference(network)
        >>> sequence = images.expand(network.settings.timesteps, -1, -1)  # images (batch, features)
        >>> y = labels.expand(network.settings.network.label_timesteps, -1)
        >>> reference.train_batch([sequence, sequence], [y, (y + 1) % 10])  # the true label, and a wrong one
        >>> reference.predict(sequence)
    """

    def __init__(self, network: Network) -> None:
        self.settings = network.settings
        self.sizes = network.sizes
        self.layers = [layer.name for layer in network.hidden_layers()]
        self.order = list(self.sizes)
        self.predicting = network.prediction_layers
        self.weight: dict[tuple[str, str], Tensor] = {}
        self.bias: dict[str, Tensor] = {}
        for layer in network.hidden_layers():
            assert isinstance(layer, Layer)
            if layer.normalization is not None:
                raise TypeError("the reference knows no batch normalization, by which samples depend on each other")
            for connection in layer.connections:
                for source, weight in self.weights_of(connection).items():
                    self.weight[layer.name, source] = weight.detach().clone().requires_grad_()
            self.bias[layer.name] = layer.bias.detach().clone().requires_grad_()
        self.readout = [p.detach().clone().requires_grad_() for p in network.readout.parameters()]
        self.optimizers = {name: self.make_optimizer(self.parameters(name)) for name in self.layers}

    # ---------------------------------------------------------------- the equations

    def timestep(self, x: Tensor, y: Tensor, h: Activity, damping: float) -> Activity:
        """The next activity of all layers. What they read is constant: no gradient flows back through it."""
        reads = {"x": x, "y": y} | {name: self.pattern(name, activity) for name, activity in h.items()}
        after = {}
        for layer in self.layers:
            z = self.unit_bias(layer)
            for (target, source), weight in self.weight.items():
                if target == layer:
                    sign = -1 if self.order.index(source) > self.order.index(layer) else 1  # above: it cancels
                    z = z + sign * self.drive(layer, source, weight, reads)
            after[layer] = (1 - damping) * h[layer] + damping * self.activation(z)
            if self.settings.network.update_order == "bottom_up":  # what follows reads this at once
                reads = reads | {layer: self.pattern(layer, after[layer])}
        return after

    def unit_bias(self, layer: str) -> Tensor:
        """The bias of every unit, (units,)."""
        return self.bias[layer]

    def drive(self, layer: str, source: str, weight: Tensor, reads: dict[str, Tensor]) -> Tensor:
        """W · source, (batch, units)."""
        return reads[source] @ weight.T

    def pattern(self, layer: str, h: Tensor) -> Tensor:
        """The pattern that other layers read: the normalized activity n(h), detached."""
        return (h / torch.sqrt((h**2).mean(1, keepdim=True) + self.settings.network.epsilon)).detach()

    def activation(self, z: Tensor) -> Tensor:
        """The activation function that the settings name; autograd computes its derivative."""
        return self.settings.network.activation.apply(z)

    def badness(self, h: Tensor, y: Tensor) -> Tensor:
        """The badness of each sample, (batch,): that of all units, or with class groups of those of the label y."""
        squares, units = h**2, h.shape[1]
        if self.settings.network.class_groups:
            units //= self.sizes["y"]
            squares = squares * y.repeat_interleave(units, 1)
        return squares.sum(1) / (units if self.settings.network.badness == "mean" else 1)

    def loss(self, positive: Tensor, negatives: Sequence[Tensor], objective: Objective | None = None) -> Tensor:
        """The loss of each sample, (batch,), from the badness of its positive and of each negative candidate, all (batch,)."""
        objective = objective or self.settings.objective
        if isinstance(objective, Sum):
            return torch.stack([self.loss(positive, negatives, part) for part in objective.objectives]).sum(0)
        if isinstance(objective, Softmax):
            logits = -objective.alpha * torch.stack([positive, *negatives], 1)
            return F.cross_entropy(logits, torch.zeros_like(positive, dtype=torch.long), reduction="none") / objective.alpha
        return torch.stack([self.loss_of_pair(positive, negative, objective) for negative in negatives]).mean(0)

    def loss_of_pair(self, positive: Tensor, negative: Tensor, objective: Objective) -> Tensor:
        """The loss of each sample, (batch,), from the badness of its positive and of one negative candidate."""
        if isinstance(objective, Threshold):
            above, below = objective.beta * (positive - objective.theta), objective.beta * (objective.theta - negative)
            return (softplus(above) + softplus(below)) / (2 * objective.beta)
        if isinstance(objective, Pairwise):
            return softplus(objective.alpha * (positive - negative)) / objective.alpha
        return objective.loss(positive[None], negative[None])[0]

    # ---------------------------------------------------------------- training

    def train_batch(self, inputs: Sequence[Tensor], labels: Sequence[Tensor]) -> None:
        """Train on one batch.

        Args:
            inputs: for each candidate (timesteps, batch, features), the positive one first.
            labels: for each candidate (label timesteps, batch) class numbers.
        """
        candidates = self.settle(inputs)
        for t in range(self.settings.network.label_timesteps):
            now = self.settings.network.prelabel_timesteps + t
            clamps = [(x[now], self.one_hot(y[t], x.dtype)) for x, y in zip(inputs, labels, strict=True)]
            candidates = self.learn(clamps, candidates)

    def settle(self, inputs: Sequence[Tensor]) -> list[Activity]:
        """Each candidate's activity after the timesteps before the label: a uniform label, d = 1, no learning."""
        candidates, classes = [self.zero_activity(x[0]) for x in inputs], self.sizes["y"]
        uniform = inputs[0].new_full((inputs[0].shape[1], classes), 1 / classes)
        with torch.no_grad():
            for t in range(self.settings.network.prelabel_timesteps):
                candidates = self.advance([(x[t], uniform) for x in inputs], candidates, damping=1.0)
        return candidates

    def advance(self, clamps: Sequence[Clamp], candidates: Sequence[Activity], damping: float) -> list[Activity]:
        """One timestep of every candidate."""
        return [self.timestep(x, y, h, damping) for (x, y), h in zip(clamps, candidates, strict=True)]

    def learn(self, clamps: Sequence[Clamp], candidates: Sequence[Activity]) -> list[Activity]:
        """One timestep with the label: every layer takes a gradient step on its own loss."""
        after = self.advance(clamps, candidates, self.settings.network.damping_factor)
        for layer in self.layers:
            self.update(layer, [h[layer] for h in after], [y for _, y in clamps])
        return [{layer: activity.detach() for layer, activity in h.items()} for h in after]

    def update(self, layer: str, activities: Sequence[Tensor], labels: Sequence[Tensor]) -> None:
        """A gradient step of one layer, from its activity and the label under each candidate, the positive one first."""
        positive, *negatives = [self.badness(h, y) for h, y in zip(activities, labels, strict=True)]
        if self.settings.learning_needs_label and all(torch.equal(positive, negative) for negative in negatives):
            return  # the label has not reached this layer: the gradients of a ranking objective cancel
        loss = self.loss(positive, negatives).mean()
        self.optimizers[layer].zero_grad()
        loss.backward(inputs=self.parameters(layer))  # type: ignore[no-untyped-call]
        self.optimizers[layer].step()

    # ---------------------------------------------------------------- prediction

    @torch.no_grad()
    def badness_over_time(self, inputs: Tensor) -> Tensor:
        """Badness with every label, each by itself, averaged over layers: (label timesteps, batch, classes).

        Args:
            inputs: (timesteps, batch, features).
        """
        network, by_label = self.settings.network, []
        for label in range(self.sizes["y"]):
            candidates, y = self.settle([inputs]), torch.full(inputs.shape[1:2], label, device=inputs.device)
            by_timestep = []
            for x in inputs[network.prelabel_timesteps :]:
                one_hot = self.one_hot(y, x.dtype)
                candidates = self.advance([(x, one_hot)], candidates, network.damping_factor)
                by_layer = [self.badness(candidates[0][layer], one_hot) for layer in self.predicting]
                by_timestep.append(torch.stack(by_layer).mean(0))
            by_label.append(torch.stack(by_timestep))
        return torch.stack(by_label, 2)

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """The readout's logits on the activity before the label is shown, (batch, classes)."""
        (h,) = self.settle([inputs])
        weight, bias = self.readout
        return torch.cat([self.pattern(layer, h[layer]) for layer in self.layers], 1) @ weight.T + bias

    def predict(self, inputs: Tensor, method: str = "badness") -> Tensor:
        """The predicted label, (batch,), of inputs (timesteps, batch, features).

        The methods are "badness", the lowest badness in the prediction window; "readout", the highest logit; and
        "propose_and_verify", the lowest badness among the labels of the highest logits.
        """
        if method == "readout":
            return self.logits(inputs).argmax(1)
        first, last = self.settings.prediction_window
        badness = self.badness_over_time(inputs)[first : last + 1].mean(0)
        return (badness + self.untried(inputs) if method == "propose_and_verify" else badness).argmin(1)

    def untried(self, inputs: Tensor) -> Tensor:
        """Zero for the labels that the readout proposes, and infinity for all others, (batch, classes)."""
        logits = self.logits(inputs)
        lowest = logits.sort(1, descending=True).values[:, : self.settings.network.proposals][:, -1]
        return torch.zeros_like(logits).masked_fill(logits < lowest.unsqueeze(1), torch.inf)

    # ---------------------------------------------------------------- details

    def weights_of(self, connection: Connection) -> dict[str, Tensor]:
        """The weight of each source of a connection, with the sign of the equations. Raises TypeError for other kinds."""
        if not isinstance(connection, Dense):
            raise TypeError(f"the reference knows no {type(connection).__name__}; override weights_of and drive")
        return connection.weights()

    def zero_activity(self, x: Tensor) -> Activity:
        """No activity in any layer, for the samples of x (batch, features)."""
        return {name: x.new_zeros(len(x), self.sizes[name]) for name in self.layers}

    def one_hot(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """Class numbers (batch,) as (batch, classes)."""
        return F.one_hot(labels, self.sizes["y"]).to(dtype)

    def parameters(self, layer: str) -> list[Tensor]:
        """The weights and the bias of a layer."""
        return [weight for (target, _), weight in self.weight.items() if target == layer] + [self.bias[layer]]

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """The optimizer that the settings name."""
        return self.settings.optimizer.make(parameters)  # type: ignore[arg-type]


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), exact everywhere; torch's own is linear above 20."""
    return -F.logsigmoid(-x)
