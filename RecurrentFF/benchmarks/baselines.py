"""Baselines: logistic regression, feed-forward networks and recurrent networks, trained by backpropagation.

They are trained on the same samples in the same order as the network. The optimizer is Adam with a learning rate of 1e-3 and
cosine decay. Logistic regression computes matrix products in float32, the others in the precision of the configuration. Epochs,
batch size, timesteps and seed are those of the configuration. Feed-forward networks also have the configuration's dropout, moving
average of the weights, and learning rate of Adam. The training loop and its callbacks are those of the network: the
validation samples, if there are any, select the best epoch, the test set is read once, at the end, and an interrupted run can be
resumed.
"""

from __future__ import annotations

import itertools
import math
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.data.dataset import Splits
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.convolutions import Conv2d
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.layers import Layer, LocalModule
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.network import Network
from RecurrentFF.model.optimizers import Adam, Optimizer, Torch, without_compiler
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.settings import Settings
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
    path: ClassVar[None] = None
    """There are no timesteps of layers to compile."""
    follows_precision: ClassVar[bool] = False
    """True if matrix products are in the precision of the configuration, false if they are in float32."""
    averages_weights: ClassVar[bool] = False
    """True if the moving average of the weights is that of the configuration, false if there is none."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        precision = network.settings.device.precision if self.follows_precision else "float32"
        averaging = network.settings.training.weight_averaging if self.averages_weights else 0.0
        self.settings = network.settings.with_arguments(schedule=Cosine(), weight_averaging=averaging, precision=precision)
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

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Make the optimizer of all weights: Adam with a learning rate of LEARNING_RATE."""
        return without_compiler(torch.optim.Adam)(self.parameters(), lr=LEARNING_RATE)

    def logits(self, inputs: Tensor, mask: Tensor | None = None, draws: BatchDraws | None = None) -> Tensor:
        """Compute logits, (batch, classes).

        Args:
            inputs: network inputs, (batch, features) or (timesteps, batch, features).
            mask: (timesteps, batch), true at valid timesteps, which come first; None if all are valid.
            draws: the random numbers of dropout; None for no dropout, as in a prediction.
        """
        sequence = inputs.to(self.device, torch.float32)
        if sequence.dim() == 2:
            sequence = sequence.expand(self.settings.timesteps, -1, -1)
        logits: Tensor = self(sequence, None if mask is None else mask.to(self.device), draws)
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

    def forward(self, inputs: Tensor, mask: Tensor | None, draws: BatchDraws | None = None) -> Tensor:
        """Compute logits (batch, classes) of inputs (timesteps, batch, features). Neither mask nor draws are used."""
        timesteps = self.output.in_features // inputs.shape[2]
        logits: Tensor = self.output(inputs[:timesteps].transpose(0, 1).flatten(1))
        return logits


class MultilayerPerceptron(Baseline):
    """Dense hidden layers of the network's sizes with dropout, on the input or on the flattened sequence of inputs.

    Hidden units are rectified linear units. Inputs and hidden units are dropped with the probabilities network.input_dropout and
    network.activity_dropout of the configuration (Srivastava and others 2014, JMLR 15). As in the network, an input feature is
    dropped at all timesteps of a sequence.

    The optimizer is that of the configuration if it is Adam or AdamW, with its learning rate and weight decay. Otherwise it is
    Adam with a learning rate of LEARNING_RATE.

    Args:
        network: the network to compare with.
        timesteps: the number of timesteps that are read; 1 for a static input.
    """

    baseline = "mlp"
    follows_precision = True
    averages_weights = True

    def __init__(self, network: Network, timesteps: int) -> None:
        super().__init__(network)
        layers = network.hidden_layers()
        self.timesteps = timesteps
        self.shapes = [layer.shape if isinstance(layer, Layer) else (layer.units,) for layer in layers]
        self.hidden = nn.ModuleList(self._make_hidden(layers))
        self.output = nn.Linear(layers[-1].units, network.num_classes)

    def _make_hidden(self, layers: Sequence[LocalModule]) -> list[nn.Module]:
        """The hidden layers without their activation, from (batch, features or units) to (batch, units)."""
        units = [layer.units for layer in layers]
        return [nn.Linear(*pair) for pair in itertools.pairwise([self.timesteps * self.input_size, *units])]

    @property
    def description(self) -> str:
        """The line about the model for the user."""
        units = " + ".join("×".join(map(str, shape)) for shape in self.shapes)
        source = "" if self.timesteps == 1 else " on the flattened sequence"
        options, rate = self.settings.network, _adam(self.settings).learning_rate
        dropout = f"dropout of {options.input_dropout:g} of the inputs and {options.activity_dropout:g} of the units"
        return f"{self.baseline}, by backpropagation: {units} units{source}; {dropout}; Adam with a learning rate of {rate:g}"

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Make the optimizer of all weights: Adam or AdamW of the configuration, or Adam with a rate of LEARNING_RATE."""
        return _adam(self.settings).make(self.parameters())

    def forward(self, inputs: Tensor, mask: Tensor | None, draws: BatchDraws | None = None) -> Tensor:
        """Compute logits (batch, classes).

        Args:
            inputs: (timesteps, batch, features).
            mask: not used.
            draws: the random numbers of dropout; None for no dropout.
        """
        self.train(draws is not None)
        options = self.settings.network
        activity = _dropped(inputs[: self.timesteps], "input dropout", options.input_dropout, draws)
        activity = activity.transpose(0, 1).flatten(1)
        low = self.settings.device.precision == "bfloat16"
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=low):
            for number, layer in enumerate(self.hidden, start=1):
                activity = _dropped(layer(activity).relu(), f"activity dropout {number}", options.activity_dropout, draws)
        logits: Tensor = self.output(activity.float())
        return logits


class ConvolutionalNetwork(MultilayerPerceptron):
    """A feed-forward network with the convolutions of a network's layers. It is otherwise trained as `MultilayerPerceptron`.

    Each hidden layer reads the one below it: by the network's convolution from there, with its pooling; or by dense weights if it
    has none. With network.batch_normalization, hidden layers of convolutions are normalized as in `nn.BatchNorm2d`.

    Raises:
        SettingsError: the first hidden layer of the network does not read its input by a convolution, or the input is a sequence.
    """

    baseline = "cnn"

    def _make_hidden(self, layers: Sequence[LocalModule]) -> list[nn.Module]:
        normalizes = self.settings.network.batch_normalization
        below = ["x", *(layer.name for layer in layers)]
        found = [_convolution_of(layer, source) for layer, source in zip(layers, below, strict=False)]
        if self.timesteps > 1:
            raise SettingsError("baseline 'cnn': it reads a single image, but a sample of this data is a sequence; use gru")
        if found[0] is None:
            raise SettingsError("baseline 'cnn': the network's first layer has no convolution of its input; use mlp")
        units = [self.input_size, *(layer.units for layer in layers)]
        return [
            nn.Linear(units[number], layer.units) if convolution is None else _Convolution(convolution, normalizes)
            for number, (layer, convolution) in enumerate(zip(layers, found, strict=True))
        ]


def _convolution_of(layer: LocalModule, source: str) -> Conv2d | None:
    """The convolution by which a layer reads a source; None if there is none."""
    connections = layer.connections if isinstance(layer, Layer) else ()
    return next((each for each in connections if isinstance(each, Conv2d) and each.sources == (source,)), None)


class _Convolution(nn.Module):
    """A convolution, max pooling and, if asked for, batch normalization, with newly initialized weights.

    Args:
        like: the convolution of which it has the sizes.
        normalizes: true for batch normalization.
    """

    def __init__(self, like: Conv2d, normalizes: bool) -> None:
        super().__init__()
        channels, in_channels, kernel, _ = like.weight.shape
        self.in_shape, self.pooling = like.in_shape, like.pooling
        self.convolution = nn.Conv2d(in_channels, channels, kernel, stride=like.stride, padding=like.padding)
        self.normalization = nn.BatchNorm2d(channels) if normalizes else nn.Identity()

    def forward(self, units: Tensor) -> Tensor:
        """The units of the layer without their activation, (batch, units), from the units that it reads."""
        planes = F.max_pool2d(self.convolution(units.view(-1, *self.in_shape)), self.pooling)
        drive: Tensor = self.normalization(planes).flatten(1)
        return drive


def _dropped(activity: Tensor, purpose: str, probability: float, draws: BatchDraws | None) -> Tensor:
    """Activity (…, batch, units) times dropout factors, which are the same at all timesteps; unchanged without draws."""
    if draws is None or not probability:
        return activity
    return activity * draws.dropout(purpose, probability, activity.shape[-1], dtype=activity.dtype).t()


def _adam(settings: Settings) -> Optimizer:
    """The optimizer of a configuration if it is Adam or AdamW, otherwise Adam with a learning rate of LEARNING_RATE."""
    own = settings.optimizer
    is_adam = isinstance(own, Adam) or (isinstance(own, Torch) and own.optimizer in ("Adam", "AdamW"))
    return own if is_adam else Adam(learning_rate=LEARNING_RATE)


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


def make_baseline(name: str, network: Network, splits: Splits) -> Baseline:
    """Create a baseline for the data of a network.

    Args:
        name: "logistic", "mlp", "cnn", "gru" or "rnn"; or a recurrent one with its number of units, as in "gru-400".
        network: the network to compare with.
        splits: the data sets, by which the baseline sees whether inputs are static.

    Raises:
        SettingsError: there is no such baseline, or the network has no convolutions for the baseline "cnn".
    """
    torch.manual_seed(network.settings.training.seed)
    feedforward = {kind.baseline: kind for kind in (LogisticRegression, MultilayerPerceptron, ConvolutionalNetwork)}
    if name in feedforward:
        static = next(iter(splits.train.batches(1))).inputs.dim() == 2
        return feedforward[name](network, 1 if static else network.settings.timesteps).to(network.device)
    if recurrent := re.fullmatch(r"(gru|rnn)(?:-([1-9][0-9]{0,4}))?", name):
        cell, units = recurrent.groups()
        return (GRU if cell == "gru" else RNN)(network, int(units) if units else None).to(network.device)
    raise SettingsError(
        f"baseline '{name}': there is no such baseline; known: cnn, gru, gru-UNITS, logistic, mlp, rnn, rnn-UNITS"
    )


class BackpropagationLearner:
    """The training of a baseline, batch by batch, as `Learner` is that of a network.

    Args:
        model: changed in place.
    """

    def __init__(self, model: Baseline) -> None:
        self.model = model
        self.optimizer = model.make_optimizer()
        self.place = BatchPlace()
        self._base_rate = self.learning_rate

    def train_batch(self, inputs: Tensor, labels: Tensor, mask: Tensor | None = None) -> BatchMetrics:
        """Train on one batch. The arguments are those of `Learner.train_batch`, with one label for each sample."""
        logits = self.model.logits(inputs, mask, self._next_draws(len(labels)))
        loss = F.cross_entropy(logits, labels.to(self.model.device))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        none = torch.zeros(1, 0, device=loss.device)
        zero, one = torch.zeros((), device=loss.device), torch.ones(1, 1, device=loss.device)
        return BatchMetrics(loss.detach().view(1, 1), none, none, pairwise_accuracy=zero, valid_fraction=one, readout_loss=zero)

    def _next_draws(self, batch: int) -> BatchDraws:
        """The random numbers of the next batch, which depend on its place alone. The place moves to the batch after it."""
        place = self.place
        self.place = place._replace(first=place.first + batch)
        samples = torch.arange(place.first, place.first + batch, device=self.model.device)
        return BatchDraws(self.model.settings.training.seed, place.epoch, samples)

    def scale_learning_rates(self, factor: float) -> None:
        """Set the learning rate to `factor` times that at the first batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self._base_rate

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
