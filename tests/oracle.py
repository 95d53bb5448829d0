"""The reference with every option: dropout, perturbed inputs, hard examples, peer normalization, masks and the readout.

`RecurrentFF.model.reference` has the algorithm; this adds what regularizes it, drawn for the purposes for which the
package draws it, and a trace of all that happened. Of the package's arithmetic only the random numbers and the draw of wrong
labels are used; activation functions and optimizers are written out once more.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.model.activations import Activation
from RecurrentFF.model.negatives import BadnessNegatives, ReadoutNegatives, sample_wrong_labels
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective, Sum
from RecurrentFF.model.optimizers import Optimizer
from RecurrentFF.model.reference import Activity, Clamp, Reference
from RecurrentFF.registry import tree_of
from tests.helpers import batch_draws, dense, hidden_layers

ACTIVATIONS: dict[str, Callable[[Tensor, dict[str, Any]], Tensor]] = {
    "leaky_relu": lambda z, options: torch.where(z > 0, z, options["negative_slope"] * z),
    "relu": lambda z, options: torch.where(z > 0, z, 0 * z),
    "elu": lambda z, options: torch.where(z > 0, z, torch.expm1(z.clamp(max=0))),
    "gelu": lambda z, options: z * (1 + torch.erf(z / math.sqrt(2))) / 2,
    "silu": lambda z, options: z / (1 + torch.exp(-z)),
    "tanh": lambda z, options: torch.tanh(z),
}
"""The activation functions by their names in a configuration."""

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.AdamW,
    "adadelta": torch.optim.Adadelta,
}
"""The optimizers by their names in a configuration. The other options have the names that torch gives them."""


def activate(activation: Activation, z: Tensor) -> Tensor:
    """An activation function, written out; that of the class itself if it is none of the package's."""
    options = tree_of(activation)
    function = ACTIVATIONS.get(options["name"])
    return activation.apply(z) if function is None else function(z, options)


def make_optimizer(optimizer: Optimizer, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """An optimizer of torch.optim, with the options of a configuration, or that of the class itself if it is of none of these."""
    options = tree_of(optimizer)
    cls = OPTIMIZERS.get(options.pop("name"))
    if cls is None:
        return optimizer.make(parameters)  # type: ignore[arg-type]
    factory: Callable[..., torch.optim.Optimizer] = cls
    options = {"lr": options.pop("learning_rate"), "weight_decay": 0.0} | options
    return factory(list(parameters), **options)


def only_ranks(objective: Objective) -> bool:
    """True if the loss depends on the difference of badness alone."""
    return all(map(only_ranks, objective.objectives)) if isinstance(objective, Sum) else objective.ranks_only


@dataclass
class Trace:
    """The events of a batch, timestep by timestep; inner lists have one entry for each layer."""

    activity: list[list[Tensor]] = field(default_factory=list)
    weight_gradients: list[list[Tensor]] = field(default_factory=list)
    bias_gradients: list[list[Tensor]] = field(default_factory=list)
    weights: list[list[Tensor]] = field(default_factory=list)
    losses: list[list[Tensor]] = field(default_factory=list)
    badness: list[list[Tensor]] = field(default_factory=list)


class Oracle(Reference):
    """A network with the initial weights of `network`, which must be a float64 one of dense layers.

    Args:
        network: the network.
        seed: that of the learner.
    """

    def __init__(self, network: Network, seed: int = 0) -> None:
        super().__init__(network)
        self.seed, self.samples = seed, 0
        self.draws = batch_draws(0, seed)
        self.network = network
        self.negatives = self.settings.negatives
        self.count = 1 + self.negatives.count
        self.field: dict[tuple[str, str], Tensor] = {}
        for layer in hidden_layers(network):
            mask = torch.ones_like(dense(layer).weight) if dense(layer).mask is None else dense(layer).mask
            assert mask is not None
            for source, columns in dense(layer).columns.items():
                self.field[layer.name, source] = mask[:, columns]
        self.running = {name: torch.zeros(self.sizes[name], dtype=torch.float64) for name in self.layers}
        self.activity_masks: dict[str, Tensor] = {}
        self.drive_masks: dict[tuple[str, str], Tensor] = {}
        self.training = False
        chosen = self.negatives.optimizer if isinstance(self.negatives, ReadoutNegatives) else None
        self.readout_optimizer = None if chosen is None else make_optimizer(chosen, self.readout)
        self.trace = Trace()
        self.valid = torch.ones(0)
        self.inputs: list[Tensor] = []

    # ---------------------------------------------------------------- the equations, with dropout and receptive fields

    def drive(self, layer: str, source: str, weight: Tensor, reads: dict[str, Tensor]) -> Tensor:
        drive = reads[source] @ (weight * self.field[layer, source]).T
        return drive * self.drive_masks[layer, source] if self.drive_masks else drive

    def pattern(self, layer: str, h: Tensor) -> Tensor:
        return super().pattern(layer, h) * (self.activity_masks[layer] if self.activity_masks else 1)

    def activation(self, z: Tensor) -> Tensor:
        a = activate(self.settings.network.activation, z)
        return a.detach() + z - z.detach() if self.settings.network.straight_through else a

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        return make_optimizer(self.settings.optimizer, parameters)

    def advance(self, clamps: Sequence[Clamp], candidates: Sequence[Activity], damping: float) -> list[Activity]:
        masks = self.draw_drive_masks(len(candidates))
        after = []
        for index, ((x, y), h) in enumerate(zip(clamps, candidates, strict=True)):
            self.drive_masks = {key: mask[:, index].T for key, mask in masks.items()}
            after.append(self.timestep(x, y, h, damping))
        self.drive_masks = {}
        if self.training and not torch.is_grad_enabled():  # a label-free timestep
            self.trace.activity.append([after[0][layer] for layer in self.layers])
        return after

    # ---------------------------------------------------------------- what is drawn

    def draw_drive_masks(self, candidates: int) -> dict[tuple[str, str], Tensor]:
        """Drawn for each layer, the drives from bottom to top: (units, candidates, batch)."""
        if self.settings.network.dropout == 0 or not self.training:
            return {}
        return {
            (layer, source): self.dropout(f"dropout {layer}", self.settings.network.dropout, self.sizes[layer], candidates)
            for layer, source in self.weight
        }

    def draw_disturbances(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Dropout of units for a whole sequence; returns the noise and the mask of the inputs."""
        network, input_mask = self.settings.network, torch.ones_like(inputs[0])
        noise = network.input_noise * self.draws.normal("input noise", inputs.shape[2]).double().T
        if network.input_dropout:
            input_mask = self.dropout("input dropout", network.input_dropout, inputs.shape[2]).T
        self.activity_masks = {}
        if network.activity_dropout:
            self.activity_masks = {
                name: self.dropout(f"activity dropout {name}", network.activity_dropout, self.sizes[name]).T
                for name in self.layers
            }
        return noise, input_mask

    def dropout(self, purpose: str, probability: float, *shape: int) -> Tensor:
        """Dropout factors, (*shape, batch)."""
        return self.draws.chosen(purpose, 1 - probability, *shape).double() / (1 - probability)

    def adversarial_noise(self, gradient: Tensor) -> Tensor:
        """Noise along the gradient (inputs, batch, features), with a random sign for each input and sample."""
        size = self.settings.network.adversarial_noise
        if size == 0:
            return torch.zeros_like(gradient)
        signs = self.draws.chosen("signs of the noise", 0.5, len(gradient)).unsqueeze(2).double() * 2 - 1
        length = (gradient**2).mean(2, keepdim=True).sqrt()
        return size * signs * torch.where(length > 0, gradient / length, 0 * gradient)

    def draw_negatives(self, h: Activity, inputs: Tensor, labels: Tensor, static: bool, mask: Tensor) -> list[Tensor]:
        """Wrong labels, (label timesteps, batch) for each negative candidate."""
        source, logits = self.negatives, torch.zeros(self.sizes["y"])
        if isinstance(source, BadnessNegatives):
            kept, self.activity_masks, self.training = self.activity_masks, {}, False
            logits = -self.average_badness(inputs, mask)
            self.activity_masks, self.training = kept, True
        elif self.readout_optimizer is not None:
            features = torch.cat([self.pattern(layer, h[layer]) for layer in self.layers], 1)
            live = features @ self.readout[0].T + self.readout[1]
            self.readout_optimizer.zero_grad()
            F.cross_entropy(live, labels[0]).backward()  # type: ignore[no-untyped-call]
            self.readout_optimizer.step()
            logits = live.detach()
        drawn_for = labels[0] if static else labels
        temperature = source.temperature if isinstance(source, BadnessNegatives | ReadoutNegatives) else 1.0
        drawn = sample_wrong_labels(logits / temperature, drawn_for, self.draws, count=self.count - 1)
        return [wrong.expand_as(labels) for wrong in drawn]

    # ---------------------------------------------------------------- training

    def train_traced(
        self,
        inputs: Tensor,
        labels: Tensor,
        static: bool,
        mask: Tensor,
        wrong_inputs: Sequence[Tensor] = (),
        keep_labels: bool = False,
    ) -> Trace:
        """Train on one batch, and return what happened.

        Args:
            inputs: (timesteps, batch, features).
            labels: (label timesteps, batch), all equal if `static`.
            mask: (timesteps, batch), true where a timestep is valid.
            wrong_inputs: for each negative candidate its inputs, of the shape of `inputs`, if they differ.
            keep_labels: negative candidates have the true label.
        """
        network, self.trace, self.training = self.settings.network, Trace(), True
        self.draws = batch_draws(inputs.shape[1], self.seed, first=self.samples)
        self.samples += inputs.shape[1]
        input_noise, input_mask = self.draw_disturbances(inputs)
        inputs = (inputs + input_noise) * input_mask
        candidates = self.settle([inputs])
        wrong_labels = self.draw_negatives(candidates[0], inputs, labels, static, mask)
        wrong_labels = [labels for _ in wrong_labels] if keep_labels else wrong_labels
        by_candidate = [inputs, *((wrong + input_noise) * input_mask for wrong in wrong_inputs)]
        if wrong_inputs:
            kept, self.trace.activity = self.trace.activity, []
            candidates = self.settle(by_candidate)
            self.trace.activity = kept
        candidates, by_candidate = [(items * self.count)[: self.count] for items in (candidates, by_candidate)]  # type: ignore[assignment]
        grads = [torch.zeros_like(x[0]) for x in by_candidate]
        for t in range(network.label_timesteps):
            now = network.prelabel_timesteps + t
            noise = [torch.zeros_like(x[0]) for x in by_candidate]
            if t > 0:
                gradient = torch.stack(grads) if wrong_inputs else torch.stack(grads).sum(0, keepdim=True)
                noise = (list(self.adversarial_noise(input_mask * gradient)) * self.count)[: self.count]
            self.inputs = [(x[now] + n).requires_grad_() for x, n in zip(by_candidate, noise, strict=True)]
            self.valid = mask[now]
            clamps = [(x, self.one_hot(y[t], x.dtype)) for x, y in zip(self.inputs, [labels, *wrong_labels], strict=True)]
            for record in (self.trace.weight_gradients, self.trace.bias_gradients, self.trace.losses, self.trace.badness):
                record.append([])
            candidates = self.learn(clamps, candidates)
            grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in self.inputs]
            self.trace.weights.append([self.stacked(layer) for layer in self.layers])
            self.trace.activity.append([torch.cat([h[layer] for h in candidates]) for layer in self.layers])
        self.training, self.activity_masks = False, {}
        return self.trace

    def update(self, layer: str, activities: Sequence[Tensor], labels: Sequence[Tensor]) -> None:
        positive, *negatives = badness = [self.badness(h, y) for h, y in zip(activities, labels, strict=True)]
        self.trace.badness[-1].append(torch.cat([b.detach() for b in badness]))
        weight = self.valid.double() / len(positive)
        loss = (weight * self.loss(positive, negatives)).sum()
        self.trace.losses[-1].append(loss.detach())
        same = all(torch.equal(h, activities[0]) for h in activities) and not self.settings.network.class_groups
        if same and only_ranks(self.settings.objective) and not self.settings.network.peer_normalization:
            return
        total = loss + self.peer_loss(layer, activities)
        for x, grad in zip(
            self.inputs, torch.autograd.grad(total, self.inputs, retain_graph=True, allow_unused=True), strict=True
        ):
            if grad is not None:
                x.grad = grad if x.grad is None else x.grad + grad
        chosen = torch.ones_like(positive) if same else self.hardest(loss, badness)
        for h in activities:
            h.register_hook(partial(torch.mul, chosen.unsqueeze(1)))  # type: ignore[no-untyped-call]
        parameters = self.parameters(layer)
        self.optimizers[layer].zero_grad()
        total.backward(inputs=parameters)  # type: ignore[no-untyped-call]
        gradients = [p.grad.clone() for p in parameters if p.grad is not None]
        assert len(gradients) == len(parameters)
        self.trace.weight_gradients[-1].append(self.stack(layer, gradients[:-1]))
        self.trace.bias_gradients[-1].append(gradients[-1])
        self.optimizers[layer].step()

    def hardest(self, loss: Tensor, badness: Sequence[Tensor]) -> Tensor:
        """(batch,): 1 for the samples whose loss is steepest, 0 for the others."""
        gradients = torch.stack(torch.autograd.grad(loss, badness, retain_graph=True))
        steepness = gradients.abs().sum(0)
        count = max(1, round(self.settings.network.hard_example_fraction * len(steepness)))
        return torch.zeros_like(steepness).index_fill(0, steepness.argsort(descending=True)[:count], 1)

    def peer_loss(self, layer: str, activities: Sequence[Tensor]) -> Tensor:
        per_sample = torch.stack(list(activities)).mean(0)
        if not self.settings.network.peer_normalization or not self.valid.any():
            return 0 * per_sample.sum()
        mean = 0.9 * self.running[layer] + 0.1 * per_sample[self.valid].mean(0)
        self.running[layer] = mean.detach()
        return self.settings.network.peer_normalization * ((mean - mean.mean()) ** 2).mean()

    # ---------------------------------------------------------------- prediction and layout

    def average_badness(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """(batch, classes): the average over the valid timesteps of the window; mask (timesteps, batch)."""
        over_time = self.badness_over_time(inputs)
        return torch.stack([self.window_average(over_time[:, sample], mask[:, sample]) for sample in range(inputs.shape[1])])

    def window_average(self, over_time: Tensor, mask: Tensor) -> Tensor:
        """Of one sample's values (timesteps, …), over the timesteps of the window that are valid, or over all if none is."""
        first, last = self.settings.prediction_window
        window = range(first, last + 1)
        valid = [t for t in window if mask[self.settings.network.prelabel_timesteps + t]]
        return over_time[list(valid or window)].mean(0)

    def stacked(self, layer: str) -> Tensor:
        """The layer's weights in the package's layout."""
        return self.stack(layer, [parameter.detach() for parameter in self.parameters(layer)[:-1]])

    def stack(self, layer: str, natural: Sequence[Tensor]) -> Tensor:
        """[W_f | W_lat | −W_b], from matrices with the sign of the equations."""
        sources = [source for target, source in self.weight if target == layer]
        above = [self.order.index(source) > self.order.index(layer) for source in sources]
        return torch.cat([-w if minus else w for minus, w in zip(above, natural, strict=True)], 1)
