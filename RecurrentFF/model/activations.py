"""Activation functions, each with its derivative as a product: from ∂loss/∂a to ∂loss/∂z = ∂loss/∂a · activation'(z)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LEAKY_SLOPE = 0.01


class Activation(NamedTuple):
    """An element-wise non-linearity a = apply(z), and `backward(grad_a, z)` = grad_a · activation'(z)."""

    apply: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


# The library's own derivatives: one pass over memory each, and at a kink the same choice as autograd makes.
_aten = torch.ops.aten

ACTIVATIONS: dict[str, Activation] = {
    "leaky_relu": Activation(
        lambda z: F.leaky_relu(z, LEAKY_SLOPE), lambda grad, z: _aten.leaky_relu_backward(grad, z, LEAKY_SLOPE, False)
    ),
    "relu": Activation(F.relu, lambda grad, z: _aten.threshold_backward(grad, z, 0)),
    "elu": Activation(F.elu, lambda grad, z: _aten.elu_backward(grad, 1.0, 1.0, 1.0, False, z)),
    "gelu": Activation(F.gelu, lambda grad, z: _aten.gelu_backward(grad, z)),
    "silu": Activation(F.silu, lambda grad, z: _aten.silu_backward(grad, z)),
    "tanh": Activation(torch.tanh, lambda grad, z: _aten.tanh_backward(grad, torch.tanh(z))),
}
