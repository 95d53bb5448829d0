"""Activation functions a = activation(z), each with the product that takes ∂loss/∂a to ∂loss/∂z.

The products are torch's own backward functions: one pass over memory each, and the choice of autograd at a kink.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LEAKINESS = 0.01
"""The derivative of leaky ReLU below zero."""

_aten = torch.ops.aten


class Activation(NamedTuple):
    """An element-wise non-linearity and its derivative. Both take and return tensors of one shape."""

    apply: Callable[[Tensor], Tensor]
    """The function a = activation(z)."""
    backward: Callable[[Tensor, Tensor], Tensor]
    """The product (∂loss/∂a, z) → ∂loss/∂z = ∂loss/∂a · activation'(z)."""


def _leaky_relu(z: Tensor) -> Tensor:
    return F.leaky_relu(z, LEAKINESS)


def _leaky_relu_backward(grad: Tensor, z: Tensor) -> Tensor:
    """activation'(z) = 1 above zero, the leakiness below."""
    grad_z: Tensor = _aten.leaky_relu_backward(grad, z, LEAKINESS, False)
    return grad_z


def _relu_backward(grad: Tensor, z: Tensor) -> Tensor:
    """activation'(z) = 1 above zero, 0 below."""
    grad_z: Tensor = _aten.threshold_backward(grad, z, 0)
    return grad_z


def _elu_backward(grad: Tensor, z: Tensor) -> Tensor:
    """activation'(z) = 1 above zero, exp(z) below."""
    grad_z: Tensor = _aten.elu_backward(grad, alpha=1.0, scale=1.0, input_scale=1.0, is_result=False, self_or_result=z)
    return grad_z


def _gelu_backward(grad: Tensor, z: Tensor) -> Tensor:
    """activation'(z) = Φ(z) + z·φ(z), with Φ and φ of the normal distribution."""
    grad_z: Tensor = _aten.gelu_backward(grad, z)
    return grad_z


def _silu_backward(grad: Tensor, z: Tensor) -> Tensor:
    """activation'(z) = σ(z)·(1 + z·(1 − σ(z)))."""
    grad_z: Tensor = _aten.silu_backward(grad, z)
    return grad_z


def _tanh_backward(grad: Tensor, z: Tensor) -> Tensor:
    """activation'(z) = 1 − tanh²(z)."""
    grad_z: Tensor = _aten.tanh_backward(grad, torch.tanh(z))
    return grad_z


def straight_through(grad: Tensor, z: Tensor) -> Tensor:
    """A derivative of 1 everywhere (straight-through estimator), so that inactive units learn too."""
    return grad


ACTIVATIONS: dict[str, Activation] = {
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_backward),
    "relu": Activation(F.relu, _relu_backward),
    "elu": Activation(F.elu, _elu_backward),
    "gelu": Activation(F.gelu, _gelu_backward),
    "silu": Activation(F.silu, _silu_backward),
    "tanh": Activation(torch.tanh, _tanh_backward),
}
"""The activation functions by the name that a configuration gives them."""
