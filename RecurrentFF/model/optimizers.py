"""The optimizers that the settings name: one for each local module, since an update never looks at another module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Adadelta, AdamW, Optimizer, RMSprop

from RecurrentFF.settings import ModelSettings


class LocalOptimizer(Protocol):
    """The optimizer of one local module."""

    rate: float
    """The learning rate; it may be set at any time."""

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update the module's parameters from gradients by the parameters' names, in any type."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, except the parameters."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""


def torch_optimizer(settings: ModelSettings, owner: str, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer from torch.optim that the settings name for the layers (owner "ff") or the readout ("classifier")."""
    name = getattr(settings, f"{owner}_optimizer")
    options = getattr(settings, f"{owner}_{name}").model_dump()
    rate = options.pop("learning_rate")
    parameters = list(parameters)
    if name == "rmsprop":
        return RMSprop(parameters, lr=rate, **options)
    if name == "adam":
        # One pass over memory where the device has it.
        fused = parameters[0].device.type in ("cpu", "cuda") and parameters[0].dtype.itemsize in (4, 8)
        return AdamW(parameters, lr=rate, fused=fused, **options)
    return Adadelta(parameters, lr=rate, **options)


class TorchOptimizer:
    """A `LocalOptimizer` by one of torch.optim.

    Args:
        module: the module whose parameters are updated.
        optimizer: made for these parameters.
        after_step: called after every update.
    """

    def __init__(self, module: nn.Module, optimizer: Optimizer, after_step: Callable[[], None] | None = None) -> None:
        self.module = module
        self.optimizer = optimizer
        self.after_step = after_step

    @property
    def rate(self) -> float:
        """The learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    @rate.setter
    def rate(self, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Update the module's parameters from gradients by the parameters' names, in any type."""
        for name, parameter in self.module.named_parameters():
            parameter.grad = gradients[name].to(parameter.dtype) if name in gradients else None
        self.optimizer.step()
        if self.after_step is not None:
            self.after_step()

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, except the parameters."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.optimizer.load_state_dict(state)
