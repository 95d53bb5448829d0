"""Activation functions a = activation(z), each with its derivative as a product: from ∂loss/∂a to ∂loss/∂z.

The products are the library's own: one pass over memory each, and at a kink the same choice as autograd makes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LEAKY_SLOPE = 0.01

_aten = torch.ops.aten


class Activation(NamedTuple):
    """An element-wise non-linearity a = apply(z), and backward(∂loss/∂a, z) = ∂loss/∂a · activation'(z)."""

    apply: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _leaky_relu(z: Tensor) -> Tensor:
    return F.leaky_relu(z, LEAKY_SLOPE)


def _leaky_relu_backward(grad: Tensor, z: Tensor) -> Tensor:
    """activation'(z) = 1 above zero, the slope below."""
    grad_z: Tensor = _aten.leaky_relu_backward(grad, z, LEAKY_SLOPE, False)
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
    """activation'(z) = Φ(z) + z·φ(z), of the normal distribution."""
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
    """In place of a derivative: activation'(z) = 1 everywhere, so that silent units learn too."""
    return grad


ACTIVATIONS: dict[str, Activation] = {
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_backward),
    "relu": Activation(F.relu, _relu_backward),
    "elu": Activation(F.elu, _elu_backward),
    "gelu": Activation(F.gelu, _gelu_backward),
    "silu": Activation(F.silu, _silu_backward),
    "tanh": Activation(torch.tanh, _tanh_backward),
}
