r"""The optimisers that the settings name. One for each layer: an update never looks at another layer.

They are torch.optim's, but for RMSprop, of which torch has no form that passes over memory once: with `device.compile`, this one
does. An update of wide layers takes as long as memory takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Adadelta, AdamW, Optimizer
from torch.optim import RMSprop as LibraryRMSprop

from RecurrentFF.model.layer import RecurrentLayer
from RecurrentFF.settings import ModelSettings


class LayerOptimiser(Protocol):
    """What changes a layer's weight and bias."""

    rate: float
    """The learning rate; may be set at any time."""

    def step(self, gradients: Sequence[Tensor], operand: Tensor) -> None:
        """Change the layer's weight and bias.

        Args:
            gradients: of weight and bias, in any type.
            operand: brought up to date with the new weight, where it isn't the weight itself.
        """

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, but for the weights."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""


def layer_optimiser(settings: ModelSettings, layer: RecurrentLayer) -> LayerOptimiser:
    """The `ff_optimizer` for one layer."""
    if settings.ff_optimizer == "rmsprop":
        return RMSprop(layer, settings.ff_rmsprop.learning_rate, settings.ff_rmsprop.momentum)
    return FromLibrary(layer, library_optimiser(settings, "ff", layer.parameters()))


def library_optimiser(settings: ModelSettings, owner: str, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser named for the layers (owner "ff") or for the "classifier", from torch.optim."""
    name = getattr(settings, f"{owner}_optimizer")
    options = getattr(settings, f"{owner}_{name}").model_dump()
    rate = options.pop("learning_rate")
    parameters = list(parameters)
    if name == "rmsprop":
        return LibraryRMSprop(parameters, lr=rate, **options)
    if name == "adam":
        # One pass over memory where the device has it.
        fused = parameters[0].device.type in ("cpu", "cuda") and parameters[0].dtype in (torch.float32, torch.float64)
        return AdamW(parameters, lr=rate, fused=fused, **options)
    return Adadelta(parameters, lr=rate, **options)


class FromLibrary:
    """A LayerOptimiser by one of torch.optim."""

    def __init__(self, layer: RecurrentLayer, optimiser: Optimizer) -> None:
        self.layer = layer
        self.optimiser = optimiser

    @property
    def rate(self) -> float:
        """The learning rate."""
        return float(self.optimiser.param_groups[0]["lr"])

    @rate.setter
    def rate(self, rate: float) -> None:
        self.optimiser.param_groups[0]["lr"] = rate

    def step(self, gradients: Sequence[Tensor], operand: Tensor) -> None:
        """See LayerOptimiser."""
        for parameter, gradient in zip((self.layer.weight, self.layer.bias), gradients, strict=True):
            parameter.grad = gradient.to(parameter.dtype)
        self.optimiser.step()
        if operand is not self.layer.weight:
            operand.copy_(self.layer.weight)

    def state_dict(self) -> dict[str, Any]:
        """See LayerOptimiser."""
        return self.optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See LayerOptimiser."""
        self.optimiser.load_state_dict(state)


class RMSprop:
    """A LayerOptimiser by `step.rmsprop`, compiled if the layer's timestep is."""

    def __init__(self, layer: RecurrentLayer, rate: float, momentum: float) -> None:
        self.layer = layer
        self.rate = rate
        self.momentum = momentum
        parameters = (layer.weight.detach(), layer.bias.detach())
        self.squares = [torch.zeros_like(parameter) for parameter in parameters]
        self.velocities = [torch.zeros_like(parameter) for parameter in parameters if momentum]

    def step(self, gradients: Sequence[Tensor], operand: Tensor) -> None:
        """See LayerOptimiser."""
        parameters = (self.layer.weight.detach(), self.layer.bias.detach())
        copy = None if operand is self.layer.weight else operand
        rate = torch.full((), self.rate, dtype=self.layer.bias.dtype, device=self.layer.bias.device)  # a GPU is not waited for
        self.layer.steps.rmsprop(parameters, gradients, self.squares, self.velocities, copy, rate, self.momentum)

    def state_dict(self) -> dict[str, Any]:
        """See LayerOptimiser."""
        return {"squares": self.squares, "velocities": self.velocities, "rate": self.rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See LayerOptimiser."""
        self.rate = state["rate"]
        for name in ("squares", "velocities"):
            for own, saved in zip(getattr(self, name), state[name], strict=True):
                own.copy_(saved)
