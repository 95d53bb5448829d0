"""Feed-forward baselines: logistic regression, a multilayer perceptron and a convolutional network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.benchmarks.baseline import LEARNING_RATE, Baseline
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.convolutions import Conv2d
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.layers import Layer, LocalModule
from RecurrentFF.model.network import Network
from RecurrentFF.model.optimizers import Adam, Optimizer, Torch
from RecurrentFF.settings import Settings


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
        self.hidden = nn.ModuleList(self._make_hidden(layers))
        self.output = nn.Linear(layers[-1].units, network.num_classes)

    def _make_hidden(self, layers: Sequence[LocalModule]) -> list[nn.Module]:
        """The hidden layers without their activation, from (batch, features or units) to (batch, units)."""
        units = [layer.units for layer in layers]
        return [nn.Linear(*pair) for pair in itertools.pairwise([self.timesteps * self.input_size, *units])]

    def _shapes(self) -> list[Sequence[int]]:
        """The shapes of the hidden layers, for the user."""
        return [(cast(nn.Linear, layer).out_features,) for layer in self.hidden]

    @property
    def description(self) -> str:
        """The line about the model for the user."""
        units = " + ".join("×".join(map(str, shape)) for shape in self._shapes())
        source = "" if self.timesteps == 1 else " on the flattened sequence"
        options, rate = self.settings.network, _adam(self.settings).learning_rate
        parts = [f"{self.baseline}, by backpropagation: {units} units{source}"]
        if any(isinstance(module, nn.BatchNorm1d) for module in self.modules()):
            parts.append("batch normalization")
        if options.input_dropout or options.activity_dropout:
            parts.append(f"dropout of {options.input_dropout:g} of the inputs and {options.activity_dropout:g} of the units")
        return "; ".join([*parts, f"Adam with a learning rate of {rate:g} and cosine decay"])

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
    """A feed-forward network with the convolutions of a network's layers. It is trained as `MultilayerPerceptron` is.

    Each hidden layer reads the one below it: by the network's convolution from there, with its pooling; or by dense weights, if
    that is another kind of connection. Other connections are left out. With network.batch_normalization, all hidden layers have
    batch normalization.

    Args:
        network: the network to compare with.
        timesteps: 1, for static inputs.

    Raises:
        SettingsError: the first hidden layer of the network does not read its input by a convolution, or the input is a sequence.
    """

    baseline = "cnn"

    def _make_hidden(self, layers: Sequence[LocalModule]) -> list[nn.Module]:
        convolutions = list(map(_convolution_of, layers, ["x", *(layer.name for layer in layers)]))
        if self.timesteps > 1:
            raise SettingsError("baseline 'cnn': it reads a single image, but a sample of this data is a sequence; use gru")
        if convolutions[0] is None:
            raise SettingsError(
                "baseline 'cnn': the network's first layer has no convolution of its input; use mlp, or a configuration that has "
                "one, such as mnist_own_features"
            )
        normalizes = self.settings.network.batch_normalization
        sizes = itertools.pairwise([self.input_size, *(layer.units for layer in layers)])
        return [
            _HiddenLayer(nn.Linear(*size, bias=not normalizes), size[1:], normalizes)
            if like is None
            else _HiddenLayer(_Convolution(like, bias=not normalizes), like.shape, normalizes)
            for size, like in zip(sizes, convolutions, strict=True)
        ]

    def _shapes(self) -> list[Sequence[int]]:
        return [cast(_HiddenLayer, layer).shape for layer in self.hidden]


def _convolution_of(layer: LocalModule, source: str) -> Conv2d | None:
    """The convolution by which a layer reads a source; None if there is none."""
    connections = layer.connections if isinstance(layer, Layer) else ()
    return next((each for each in connections if isinstance(each, Conv2d) and each.sources == (source,)), None)


class _HiddenLayer(nn.Module):
    """A hidden layer without its activation: the drive of its units and, if asked for, batch normalization.

    Args:
        drive: computes the drive, (batch, units) or (batch, channels, height, width), of what the layer reads.
        shape: (channels, height, width), or (units,) of a dense layer.
        normalizes: true for batch normalization.
    """

    def __init__(self, drive: nn.Module, shape: Sequence[int], normalizes: bool) -> None:
        super().__init__()
        self.drive, self.shape = drive, shape
        self.normalization = nn.BatchNorm1d(shape[0]) if normalizes else None

    def forward(self, units: Tensor) -> Tensor:
        """Compute the layer before its activation, (batch, units), from the units that it reads, (batch, units)."""
        drive: Tensor = self.drive(units)
        if self.normalization is not None:
            by_channel = drive.flatten(2) if drive.dim() == 4 else drive.unsqueeze(2)
            if by_channel[:, 0].numel() == 1:  # a single value has no variance; use the running statistics, as the network does
                self.normalization.eval()
            drive = self.normalization(by_channel)
        return drive.flatten(1)


class _Convolution(nn.Module):
    """A convolution and max pooling, with newly initialized weights.

    Args:
        like: the convolution of which it has the sizes.
        bias: true for a bias.
    """

    def __init__(self, like: Conv2d, bias: bool) -> None:
        super().__init__()
        channels, in_channels, kernel, _ = like.weight.shape
        self.in_shape, self.pooling = like.in_shape, like.pooling
        self.convolution = nn.Conv2d(in_channels, channels, kernel, stride=like.stride, padding=like.padding, bias=bias)

    def forward(self, units: Tensor) -> Tensor:
        """Planes, (batch, channels, height, width), from the units of the layer below, (batch, units)."""
        return F.max_pool2d(self.convolution(units.view(-1, *self.in_shape)), self.pooling)


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
