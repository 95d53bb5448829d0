"""The slow, plain, float64 version of the network, with autograd: what the fast one must agree with.

One weight for each connection, one matrix product for each weight, one label at a time in prediction, positive and negative
rows apart. Nothing of the package's arithmetic is used; of its layout, only how to read initial weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.model.negatives import sample_wrong_labels
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from tests.helpers import weight_columns

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": lambda z: torch.where(z > 0, z, 0.01 * z),
    "relu": lambda z: torch.where(z > 0, z, 0 * z),
    "elu": lambda z: torch.where(z > 0, z, z.exp() - 1),
    "gelu": lambda z: z * (1 + torch.erf(z / math.sqrt(2))) / 2,
    "silu": lambda z: z / (1 + torch.exp(-z)),
    "tanh": torch.tanh,
}


@dataclass
class Trace:
    """What happened, timestep by timestep; inner lists have one entry for each layer."""

    activity: list[list[Tensor]] = field(default_factory=list)
    weight_gradients: list[list[Tensor]] = field(default_factory=list)
    bias_gradients: list[list[Tensor]] = field(default_factory=list)
    weights: list[list[Tensor]] = field(default_factory=list)
    losses: list[list[Tensor]] = field(default_factory=list)
    badness: list[list[Tensor]] = field(default_factory=list)


class Oracle:
    """A network with the initial weights of `network`, which must be a float64 one."""

    def __init__(self, network: Network, generator: torch.Generator) -> None:
        self.settings: Settings = network.settings
        self.widths = network.topology.widths
        self.label = len(self.widths) - 1
        self.generator = generator
        self.weight: dict[tuple[int, int], Tensor] = {}  # (layer, source), with its natural sign
        self.bias: dict[int, Tensor] = {}
        self.running: dict[int, Tensor] = {}
        self.audible: dict[int, Tensor] = {}
        self.field: dict[tuple[int, int], Tensor] = {}
        for layer in network.hidden_layers():
            for source, columns in weight_columns(network.topology, layer.number).items():
                sign = -1 if source > layer.number else 1
                self.weight[layer.number, source] = (sign * layer.weight[:, columns]).clone().requires_grad_()
                field = torch.ones_like(layer.weight) if layer.field is None else layer.field
                self.field[layer.number, source] = field[:, columns]
            self.bias[layer.number] = layer.bias.clone().requires_grad_()
            self.running[layer.number] = torch.zeros(layer.units, dtype=torch.float64)
        self.classifier = [network.classifier_weight.clone().requires_grad_(), network.classifier_bias.clone().requires_grad_()]
        self.optimisers = {layer: self._optimiser("ff", self._parameters(layer)) for layer in range(1, self.label)}
        self.classifier_optimiser = self._optimiser("classifier", self.classifier)

    def train_batch(self, inputs: Tensor, labels: Tensor, held: bool, mask: Tensor) -> Trace:
        """inputs (timesteps, batch, data_size), labels (iterations, batch), equal rows if `held`, mask (timesteps, batch)."""
        model, trace = self.settings.model, Trace()
        h = self.rest(inputs.shape[1])
        inputs, heard = self._drop_out(inputs)
        uniform = torch.full((inputs.shape[1], self.widths[-1]), 1 / self.widths[-1], dtype=torch.float64)
        for t in range(model.prelabel_timesteps):
            with torch.no_grad():
                h = self.timestep(inputs[t], uniform, h, damping=1.0, masks=self._masks(inputs.shape[1]))
            trace.activity.append([h[layer] for layer in sorted(h)])
        negatives = self._negatives(h, inputs, labels, held, mask)
        rows = {layer: torch.cat([h[layer]] * (1 + model.negatives)) for layer in h}
        pulled = torch.zeros_like(inputs[0])
        for t in range(self.settings.data_config.iterations):
            x = inputs[model.prelabel_timesteps + t]
            if t > 0:
                x = x + self._noise(heard * pulled)
            x = torch.cat([x] * (1 + model.negatives)).requires_grad_()
            y = F.one_hot(torch.cat([labels[t], *(wrong[t] for wrong in negatives)]), self.widths[-1]).double()
            rows = self._learn(x, y, rows, mask[model.prelabel_timesteps + t], trace)
            pulled = torch.zeros_like(x) if x.grad is None else x.grad
            pulled = torch.stack(pulled.chunk(1 + model.negatives)).sum(0)
        return trace

    def _noise(self, gradient: Tensor) -> Tensor:
        """Of the configured root mean square, along the gradient of each sample or against it, as chance has it."""
        if self.settings.model.adversarial_noise == 0:
            return torch.zeros_like(gradient)
        signs = torch.empty(len(gradient), 1).bernoulli_(0.5, generator=self.generator).double() * 2 - 1
        length = (gradient**2).mean(1, keepdim=True).sqrt()
        return self.settings.model.adversarial_noise * signs * torch.where(length > 0, gradient / length, 0 * gradient)

    def _drop_out(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Chooses what is silent in this batch, as the package draws it: in float32, inputs first."""
        model, batch = self.settings.model, inputs.shape[1]
        heard_inputs = torch.ones_like(inputs[0])
        if model.input_dropout:
            heard = torch.rand_like(inputs[0]).float().bernoulli_(1 - model.input_dropout, generator=self.generator)
            heard_inputs = (heard / (1 - model.input_dropout)).double()
        self.audible = {layer: torch.ones(batch, self.widths[layer], dtype=torch.float64) for layer in range(1, self.label)}
        if model.activity_dropout:
            heard = torch.empty(sum(self.widths[1:-1]), batch).bernoulli_(1 - model.activity_dropout, generator=self.generator)
            heard = (heard / (1 - model.activity_dropout)).double()
            self.audible = dict(zip(self.audible, (part.T for part in torch.split(heard, list(self.widths[1:-1]))), strict=True))
        return inputs * heard_inputs, heard_inputs

    def _learn(self, x: Tensor, y: Tensor, h: dict[int, Tensor], real: Tensor, trace: Trace) -> dict[int, Tensor]:
        after = self.timestep(x, y, h, self.settings.model.damping_factor, self._masks(len(x)))
        gradients: list[list[Tensor]] = []
        losses = []
        for layer, optimiser in self.optimisers.items():
            badness = self.layer_badness(after[layer])
            count = self.settings.model.negatives
            batch = len(badness) // (1 + count)
            pairs = [(i, k * batch + i) for i in range(batch) if real[i] for k in range(1, count + 1)]
            loss = sum((self.loss(badness[i], badness[j]) for i, j in pairs), 0 * badness.sum()) / batch / count
            optimiser.zero_grad()
            if self._waits(after[layer]):
                gradients.append([])
                losses.append(loss.detach())
                continue
            total = loss + self._peer_loss(layer, after[layer], real)
            (pulled,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)
            if pulled is not None:
                x.grad = pulled if x.grad is None else x.grad + pulled
            learned_from = self._hardest(loss, badness, after[layer])
            after[layer].register_hook(partial(torch.mul, learned_from))  # type: ignore[no-untyped-call]
            total.backward(inputs=self._parameters(layer))  # type: ignore[no-untyped-call]
            grads = [p.grad for p in self._parameters(layer)]
            assert all(g is not None for g in grads)
            gradients.append([g.clone() for g in grads if g is not None])
            losses.append(loss.detach())
        trace.badness.append([self.layer_badness(after[layer].detach()) for layer in sorted(after)])
        for optimiser, gradient in zip(self.optimisers.values(), gradients, strict=True):
            if gradient:
                optimiser.step()
        after = {layer: activity.detach() for layer, activity in after.items()}
        trace.activity.append([after[layer] for layer in sorted(after)])
        trace.losses.append(losses)
        trace.weight_gradients.append([self._stack(layer, g[:-1]) for layer, g in enumerate(gradients, start=1) if g])
        trace.bias_gradients.append([g[-1] for g in gradients if g])
        trace.weights.append([self.stacked(layer) for layer in self.optimisers])
        return after

    def _hardest(self, loss: Tensor, badness: Tensor, h: Tensor) -> Tensor:
        """(rows, 1): 1 for the inputs of which the loss is steepest, 0 for the others."""
        (slopes,) = torch.autograd.grad(loss, badness, retain_graph=True)
        by_label = torch.stack(slopes.chunk(1 + self.settings.model.negatives))
        steepness = by_label.abs().sum(0)
        if self._same(h):
            return torch.ones(len(badness), 1, dtype=torch.float64)
        count = max(1, round(self.settings.model.hard_share * len(steepness)))
        chosen = torch.zeros_like(steepness).index_fill(0, steepness.argsort(descending=True)[:count], 1)
        return chosen.repeat(1 + self.settings.model.negatives).unsqueeze(1)

    def _same(self, h: Tensor) -> bool:
        """Whether a layer's activity is the same under all labels."""
        rows = h.chunk(1 + self.settings.model.negatives)
        return all(torch.equal(row, rows[0]) for row in rows)

    def _waits(self, h: Tensor) -> bool:
        """With the same activity under all labels, an objective that only compares them teaches nothing."""
        alone = self.settings.model.objective == "pairwise" and not self.settings.model.peer_normalisation
        return alone and self._same(h)

    def _heard(self, layer: int, rows: int) -> Tensor:
        heard = self.audible[layer]
        return heard.repeat(rows // len(heard), 1)

    def layer_badness(self, h: Tensor) -> Tensor:
        return (h**2).sum(1) if self.settings.model.badness == "sum" else (h**2).mean(1)

    def _peer_loss(self, layer: int, h: Tensor, real: Tensor) -> Tensor:
        per_input = torch.stack(h.chunk(1 + self.settings.model.negatives)).mean(0)
        if not real.any():
            return 0 * per_input.sum()
        mean = 0.9 * self.running[layer] + 0.1 * per_input[real].mean(0)
        self.running[layer] = mean.detach()
        return self.settings.model.peer_normalisation * ((mean - mean.mean()) ** 2).mean()

    def loss(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Of one input."""
        model = self.settings.model
        pairwise = torch.log1p(torch.exp(model.pairwise_alpha * (pos - neg))) / model.pairwise_alpha
        threshold = (torch.log1p(torch.exp(pos - model.loss_threshold)) + torch.log1p(torch.exp(model.loss_threshold - neg))) / 2
        return {"pairwise": pairwise, "threshold": threshold, "sum": pairwise + threshold}[model.objective]

    def timestep(
        self, x: Tensor, y: Tensor, h: dict[int, Tensor], damping: float, masks: dict[tuple[int, int], Tensor] | None = None
    ) -> dict[int, Tensor]:
        """All layers at once, from the previous timestep's activities."""
        model = self.settings.model
        reads = {layer: self.normalised(h[layer]) * self._heard(layer, len(x)) for layer in h} | {0: x, self.label: y}
        after = {}
        for layer in h:
            z = self.bias[layer]
            for (target, source), weight in self.weight.items():
                if target == layer:
                    drive = reads[source] @ (weight * self.field[target, source]).T
                    drive = drive if masks is None else drive * masks[target, source]
                    z = z + (drive if source <= layer else -drive)
            a = ACTIVATIONS[model.ff_activation](z)
            if model.straight_through:
                a = a.detach() + z - z.detach()
            after[layer] = (1 - damping) * h[layer] + damping * a
        return after

    def badness(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """(batch, classes): every label by itself, from rest, through all timesteps; mask (timesteps, batch)."""
        model = self.settings.model
        batch, classes = inputs.shape[1], self.widths[-1]
        kept, self.audible = self.audible, {layer: torch.ones(1, 1, dtype=torch.float64) for layer in self.bias}
        columns = []
        with torch.no_grad():
            for label in range(classes):
                h = self.rest(batch)
                per_timestep = []
                for t, x in enumerate(inputs):
                    shown = t >= model.prelabel_timesteps
                    y = torch.full((batch, classes), 1 / classes, dtype=torch.float64)
                    if shown:
                        y = F.one_hot(torch.full((batch,), label), classes).double()
                    h = self.timestep(x, y, h, model.damping_factor if shown else 1.0)
                    if shown:
                        judges = model.prediction_layers or tuple(h)
                        per_timestep.append(torch.stack([self.layer_badness(h[layer]) for layer in judges]).mean(0))
                columns.append(torch.stack([self._average(per_timestep, mask, sample) for sample in range(batch)]))
        self.audible = kept
        return torch.stack(columns, 1)

    def _average(self, per_timestep: list[Tensor], mask: Tensor, sample: int) -> Tensor:
        """Of a sample's badness, over the timesteps of the window that are real, or over all if none is."""
        first, last = self.settings.prediction_window
        window = range(first, last + 1)
        real = [t for t in window if mask[self.settings.model.prelabel_timesteps + t, sample]]
        return torch.stack([per_timestep[t][sample] for t in real or window]).mean()

    def rest(self, rows: int) -> dict[int, Tensor]:
        return {layer: torch.zeros(rows, self.widths[layer], dtype=torch.float64) for layer in range(1, self.label)}

    def normalised(self, h: Tensor) -> Tensor:
        return (h / torch.sqrt((h**2).mean(1, keepdim=True) + self.settings.model.epsilon)).detach()

    def stacked(self, layer: int) -> Tensor:
        """The layer's weights in the package's layout."""
        return self._stack(layer, [p.detach() for p in self._parameters(layer)[:-1]])

    def _stack(self, layer: int, natural: list[Tensor]) -> Tensor:
        sources = [source for target, source in self.weight if target == layer]
        return torch.cat([-w if s > layer else w for s, w in zip(sources, natural, strict=True)], 1)

    def _parameters(self, layer: int) -> list[Tensor]:
        return [w for (target, _), w in self.weight.items() if target == layer] + [self.bias[layer]]

    def _masks(self, rows: int) -> dict[tuple[int, int], Tensor] | None:
        """Drawn as the package says: layer by layer, for each the drives from bottom to top."""
        keep = 1 - self.settings.model.dropout
        if keep == 1:
            return None
        return {
            (layer, source): torch.empty(self.widths[layer], rows, dtype=torch.float64)
            .bernoulli_(keep, generator=self.generator)
            .T
            / keep
            for layer, source in self.weight
        }

    def _negatives(self, h: dict[int, Tensor], inputs: Tensor, labels: Tensor, held: bool, mask: Tensor) -> Tensor:
        drawn_for = labels[0] if held else labels
        logits = torch.zeros(self.widths[-1])
        if self.settings.model.should_replace_neg_data and self.settings.model.negatives_from == "badness":
            logits = -self.badness(inputs, mask)
        elif self.settings.model.should_replace_neg_data:
            features = torch.cat([self.normalised(h[layer]) * self._heard(layer, len(h[layer])) for layer in sorted(h)], 1)
            live = features @ self.classifier[0].T + self.classifier[1]
            self.classifier_optimiser.zero_grad()
            F.cross_entropy(live, labels[0]).backward()  # type: ignore[no-untyped-call]
            self.classifier_optimiser.step()
            logits = live.detach()
        temperature = self.settings.model.negative_temperature
        drawn = sample_wrong_labels(logits / temperature, drawn_for, self.generator, count=self.settings.model.negatives)
        return torch.stack([wrong.expand_as(labels) for wrong in drawn])

    def _optimiser(self, owner: str, parameters: list[Tensor]) -> torch.optim.Optimizer:
        model = self.settings.model
        name = getattr(model, f"{owner}_optimizer")
        options = getattr(model, f"{owner}_{name}")
        if name == "rmsprop":
            return torch.optim.RMSprop(parameters, lr=options.learning_rate, momentum=options.momentum, foreach=False)
        if name == "adam":
            decay = options.weight_decay
            return torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=decay, foreach=False, fused=False)
        return torch.optim.Adadelta(parameters, lr=options.learning_rate, foreach=False)
