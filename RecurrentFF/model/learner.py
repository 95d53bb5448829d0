"""Training on one batch: the label-free timesteps, the negative labels, then learning at every timestep with the label."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.errors import InputError
from RecurrentFF.model.counting import label_timesteps, window_weights
from RecurrentFF.model.layer import RecurrentLayer
from RecurrentFF.model.learning import along
from RecurrentFF.model.negatives import classifier_gradient, sample_wrong_labels
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import make_objective
from RecurrentFF.model.optimisers import layer_optimiser, library_optimiser
from RecurrentFF.model.state import State
from RecurrentFF.model.step import true_and_wrong


class BatchMetrics(NamedTuple):
    """What one batch showed; tensors on the network's device, so that reading them is the only wait."""

    loss: Tensor
    """(iterations, layers)"""
    badness_pos: Tensor
    """(iterations, layers) mean over the positive rows that count"""
    badness_neg: Tensor
    """(iterations, layers) mean over the negative rows that count, and over the wrong labels"""
    pairs_right: Tensor
    """() share of inputs whose badness, averaged as for a prediction, was lower under the true label than under the
    wrong ones in the mean"""
    counted: Tensor
    """(iterations, 1) share of the batch that counts, one without a mask"""
    classifier_loss: Tensor
    """() cross-entropy of the classifier that proposes negatives; zero without it"""


class Learner:
    """Learns a network's weights, batch by batch: each layer with an optimiser of its own, and the classifier of negatives.

    Args:
        network: changed in place.
        generator: source of the negative labels and dropout masks, on the network's device; if left out, a new one with the
            settings' seed.
    """

    def __init__(self, network: Network, generator: torch.Generator | None = None) -> None:
        self.network = network
        seed = network.settings.training.seed
        self.generator = generator or torch.Generator(device=network.device).manual_seed(seed)
        self.settings = network.settings
        self.objective = make_objective(self.settings.model)
        self.optimisers = [layer_optimiser(self.settings.model, layer) for layer in network.hidden_layers()]
        self.classifier_optimiser = library_optimiser(
            self.settings.model, "classifier", [network.classifier_weight, network.classifier_bias]
        )
        self._state: State | None = None
        self._base_rates = [optimiser.rate for optimiser in self.optimisers]

    @torch.no_grad()
    def train_batch(self, inputs: Tensor, labels: Tensor, mask: Tensor | None = None) -> BatchMetrics:
        """One batch, one update of every layer at every timestep with the label. With an objective that only compares labels,
        that begins with the timestep at which the label has come down to the layer.

        Args:
            inputs: (batch, data_size) or (timesteps, batch, data_size); see `Network.sequence`.
            labels: class numbers, (batch,), or (iterations, batch) where they change over time.
            mask: (timesteps, batch), true where a sequence is not over. Where it is, the layers go on but learn nothing from
                it, and neither loss nor badness counts. None where all count. (An optimiser takes its step even where no
                sequence goes on: momentum and weight decay act.)

        Raises:
            InputError: shapes, types or class numbers don't fit each other or the network.
        """
        network, prelabel = self.network, self.settings.model.prelabel_timesteps
        inputs, held = network.sequence(inputs), torch.as_tensor(labels).dim() == 1
        labels = self._per_timestep(labels)
        if labels.shape[1] != inputs.shape[1]:
            raise InputError(f"{inputs.shape[1]} inputs but {labels.shape[1]} labels in a batch; give one label to each input")
        counts = label_timesteps(mask, inputs.shape[1], self.settings, network.classifier_bias)
        state = self._room(inputs.shape[1])
        inputs, heard = self._drop_out(state, inputs)
        operands = network.operands()
        network.settle(state, inputs, operands, self.generator)
        negatives, classifier_loss = self._negative_labels(state, inputs, labels, held, mask)
        clamps = F.one_hot(torch.stack([labels, *negatives], 1), network.num_classes).movedim(-1, 1)
        steps: list[list[_LayerStep]] = []
        slope = None
        for x, y, count in zip(inputs[prelabel:], clamps, counts, strict=True):
            state.clamp(x if slope is None else self._moved(x, heard, slope), y)
            moves = self.settings.model.adversarial_noise > 0 and len(steps) < len(clamps) - 1
            step, slope = self._timestep(state, operands, count / len(count), moves)
            steps.append(step)
        return self._metrics(steps, counts, classifier_loss)

    def _room(self, batch: int) -> State:
        """The state of a batch under the true label and wrong ones: the last batch's, if it was of the same size."""
        if self._state is None or self._state.now.shape[2] != batch:
            self._state = self.network.new_state(1 + self.settings.model.negatives, batch)
        return self._state

    def _drop_out(self, state: State, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Choose what is silent in this batch; the inputs without what is silent of them, and what they were multiplied by."""
        model, batch, static = self.settings.model, inputs.shape[1], inputs.stride(0) == 0
        heard = None
        if model.input_dropout:
            heard = self._factors(model.input_dropout, batch, inputs.shape[2]).to(inputs.dtype)
            inputs = (inputs[0] * heard).expand_as(inputs) if static else inputs * heard
        state.audible = None
        if model.activity_dropout:
            state.audible = torch.ones(len(state.now), 1, batch, dtype=state.now.dtype, device=state.now.device)
            hidden = state.audible[self.network.topology.rows(1, self.network.topology.label - 1), 0]
            hidden.copy_(self._factors(model.activity_dropout, *hidden.shape))
        return inputs, heard

    def _moved(self, x: Tensor, heard: Tensor | None, slope: Tensor) -> Tensor:
        """An input (batch, data_size) moved along ∂loss/∂x (data_size, batch) of the timestep before. What is silent stays so."""
        gradient = slope.T.to(x)
        return x + along(gradient if heard is None else heard * gradient, self.settings.model.adversarial_noise, self.generator)

    def _factors(self, dropout: float, *shape: int) -> Tensor:
        """0 with this probability, else what makes up for it."""
        keep = 1 - dropout
        return torch.empty(shape, device=self.network.device).bernoulli_(keep, generator=self.generator).div_(keep)

    def scale_learning_rates(self, factor: float) -> None:
        """Set every layer's learning rate to `factor` times its configured one."""
        for optimiser, rate in zip(self.optimisers, self._base_rates, strict=True):
            optimiser.rate = factor * rate

    @property
    def learning_rate(self) -> float:
        """Of the layers, as it stands."""
        return self.optimisers[0].rate

    def _timestep(
        self, state: State, operands: list[Tensor], share: Tensor, moves: bool
    ) -> tuple[list[_LayerStep], Tensor | None]:
        """All layers one timestep on, each learning from what it just did.

        Args:
            share: (batch,) of each input in the mean loss.
            moves: whether the input is to be moved after this timestep.

        Returns:
            What each layer did; and ∂loss/∂x of all of them together, (data_size, batch), if it is wanted and one has it.
        """
        damping, steps, slopes = self.settings.model.damping_factor, [], []
        for layer, optimiser, operand in zip(self.network.hidden_layers(), self.optimisers, operands, strict=True):
            if self.settings.model.waits_for_label and not state.differs(layer.number):  # its gradients would cancel
                steps.append(self._wait(layer, state, operand, share))
                continue
            learned = layer.learn(state, operand, damping, self.objective, share, self.generator, moves)
            optimiser.step((learned.grad_weight, learned.grad_bias), operand)
            pos, neg = true_and_wrong(learned.badness)
            steps.append(_LayerStep(learned.loss, pos[0], neg.mean(0)))
            if learned.grad_input is not None:
                slopes.append(learned.grad_input)
        state.advance()
        return steps, torch.stack(slopes).sum(0) if slopes else None

    def _wait(self, layer: RecurrentLayer, state: State, operand: Tensor, share: Tensor) -> _LayerStep:
        """A layer goes on without learning, its badness the same under all labels."""
        badness = layer.timestep(state, operand, self.settings.model.damping_factor, self.generator)
        return _LayerStep((share * self.objective(badness, badness).loss[0]).sum(), badness[0], badness[0])

    def _per_timestep(self, labels: Tensor) -> Tensor:
        """Labels as (iterations, batch), on the network's device. They are only looked at where that needs no waiting."""
        iterations, classes = self.settings.data_config.iterations, self.network.num_classes
        labels = torch.as_tensor(labels)
        if labels.is_floating_point() or labels.is_complex():
            raise InputError(f"labels of type {labels.dtype}: expected integer class numbers")
        if labels.device.type == "cpu" and labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
            raise InputError(f"labels run from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}")
        labels = labels.to(self.network.device, torch.long)
        if labels.dim() == 1:
            return labels.expand(iterations, -1)
        if labels.dim() == 2 and labels.shape[0] == iterations:
            return labels
        raise InputError(f"labels of shape {tuple(labels.shape)}: expected class numbers (batch,) or ({iterations}, batch)")

    def _negative_labels(
        self, state: State, inputs: Tensor, labels: Tensor, held: bool, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Wrong labels, several times the shape of `labels`, and the loss of the classifier, which learns if it is used.

        Labels that were given as `held` through the sequence get a wrong label that is held too; others one a timestep.
        """
        network, model = self.network, self.settings.model
        classifier_loss = torch.zeros((), device=network.device)
        logits = torch.zeros(network.num_classes, device=network.device)
        if model.should_replace_neg_data and model.negatives_from == "badness":
            logits = -network.badness(inputs, mask)
        elif model.should_replace_neg_data:
            pattern = state.hidden_pattern[:, 0].T
            logits = F.linear(pattern, network.classifier_weight.to(pattern.dtype)) + network.classifier_bias
            gradient = classifier_gradient(logits, pattern, labels[0])
            network.classifier_weight.grad = gradient.weight.to(network.dtype)
            network.classifier_bias.grad = gradient.bias.to(network.dtype)
            self.classifier_optimiser.step()
            classifier_loss = gradient.loss
        shown = labels[0] if held else labels
        drawn = sample_wrong_labels(logits, shown, self.generator, model.negative_temperature, model.negatives)
        return (drawn.unsqueeze(1) if held else drawn).expand(-1, *labels.shape), classifier_loss

    def _metrics(self, steps: list[list[_LayerStep]], counts: Tensor, classifier_loss: Tensor) -> BatchMetrics:
        def grid(values: list[list[Tensor]]) -> Tensor:
            return torch.stack([torch.stack(row) for row in values])

        first, last = window = self.settings.prediction_window
        pos = grid([[step.badness_pos for step in row] for row in steps])  # (iterations, layers, batch)
        neg = grid([[step.badness_neg for step in row] for row in steps])
        judges = [layer - 1 for layer in self.network.judges]
        gap = (pos - neg)[first : last + 1, judges].mean(1)
        right = (window_weights(counts, window) * gap).sum(0) < 0
        share = (counts / counts.sum(1, keepdim=True).clamp(min=1)).unsqueeze(1)
        loss = grid([[step.loss for step in row] for row in steps])
        counted = counts.mean(1, keepdim=True)
        return BatchMetrics(loss, (share * pos).sum(2), (share * neg).sum(2), right.float().mean(), counted, classifier_loss)

    def state_dict(self) -> dict[str, Any]:
        """The optimisers: with the network's own state and the generator's seed, all that the next batch depends on."""
        return {
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "classifier_optimiser": self.classifier_optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.classifier_optimiser.load_state_dict(state["classifier_optimiser"])


class _LayerStep(NamedTuple):
    loss: Tensor
    badness_pos: Tensor
    badness_neg: Tensor
