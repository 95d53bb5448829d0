"""Activation functions a = activation(z), each with the product that takes ∂loss/∂a to ∂loss/∂z.

An activation of your own is one class with one method:

    @register("activation", "softsign")
    @dataclass(frozen=True)
    class Softsign(Activation):
        def apply(self, z):
            return z / (1 + z.abs())

Autograd then computes the derivative. The products of the classes here are torch's own backward functions: one pass over
memory each, and the choice of autograd at a kink.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.registry import Component, ComponentOf, register

_aten = torch.ops.aten


class Activation(Component, ABC, kind="activation"):
    """An element-wise non-linearity and its derivative."""

    @abstractmethod
    def apply(self, z: Tensor) -> Tensor:
        """The function a = activation(z), of the shape of z."""

    def backward(self, grad: Tensor, z: Tensor) -> Tensor:
        """The product ∂loss/∂z = ∂loss/∂a · activation'(z), of the shape of z. By default autograd computes it.

        Args:
            grad: ∂loss/∂a, of the shape of z.
            z: the pre-activation.
        """
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            a = self.apply(z)
        (grad_z,) = torch.autograd.grad(a, z, grad)
        return grad_z


@register("activation", "leaky_relu")
@dataclass(frozen=True)
class LeakyReLU(Activation):
    """The leaky rectifier: z above zero, and a small multiple of it below."""

    negative_slope: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """The derivative below zero."""

    def apply(self, z: Tensor) -> Tensor:
        """The function max(z, negative_slope · z)."""
        return F.leaky_relu(z, self.negative_slope)

    def backward(self, grad: Tensor, z: Tensor) -> Tensor:
        """The product with activation'(z) = 1 above zero, negative_slope below."""
        grad_z: Tensor = _aten.leaky_relu_backward(grad, z, self.negative_slope, False)
        return grad_z


@register("activation", "relu")
@dataclass(frozen=True)
class ReLU(Activation):
    """The rectifier max(z, 0)."""

    def apply(self, z: Tensor) -> Tensor:
        """The function max(z, 0)."""
        return F.relu(z)

    def backward(self, grad: Tensor, z: Tensor) -> Tensor:
        """The product with activation'(z) = 1 above zero, 0 below."""
        grad_z: Tensor = _aten.threshold_backward(grad, z, 0)
        return grad_z


@register("activation", "elu")
@dataclass(frozen=True)
class ELU(Activation):
    """The exponential linear unit: z above zero, exp(z) − 1 below."""

    def apply(self, z: Tensor) -> Tensor:
        """The function z above zero, exp(z) − 1 below."""
        return F.elu(z)

    def backward(self, grad: Tensor, z: Tensor) -> Tensor:
        """The product with activation'(z) = 1 above zero, exp(z) below."""
        grad_z: Tensor = _aten.elu_backward(grad, alpha=1.0, scale=1.0, input_scale=1.0, is_result=False, self_or_result=z)
        return grad_z


@register("activation", "gelu")
@dataclass(frozen=True)
class GELU(Activation):
    """The Gaussian error linear unit z·Φ(z)."""

    def apply(self, z: Tensor) -> Tensor:
        """The function z·Φ(z), with the normal distribution function Φ."""
        return F.gelu(z)

    def backward(self, grad: Tensor, z: Tensor) -> Tensor:
        """The product with activation'(z) = Φ(z) + z·φ(z), with Φ and φ of the normal distribution."""
        grad_z: Tensor = _aten.gelu_backward(grad, z)
        return grad_z


@register("activation", "silu")
@dataclass(frozen=True)
class SiLU(Activation):
    """The sigmoid linear unit z·σ(z)."""

    def apply(self, z: Tensor) -> Tensor:
        """The function z·σ(z), with the logistic function σ."""
        return F.silu(z)

    def backward(self, grad: Tensor, z: Tensor) -> Tensor:
        """The product with activation'(z) = σ(z)·(1 + z·(1 − σ(z)))."""
        grad_z: Tensor = _aten.silu_backward(grad, z)
        return grad_z


@register("activation", "tanh")
@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent."""

    def apply(self, z: Tensor) -> Tensor:
        """The function tanh(z)."""
        return torch.tanh(z)

    def backward(self, grad: Tensor, z: Tensor) -> Tensor:
        """The product with activation'(z) = 1 − tanh²(z)."""
        grad_z: Tensor = _aten.tanh_backward(grad, torch.tanh(z))
        return grad_z


@dataclass(frozen=True)
class StraightThrough(Activation):
    """An activation whose derivative is taken to be 1 everywhere (straight-through estimator), so that inactive units learn."""

    activation: Annotated[Activation, ComponentOf("activation")]
    """The function that is applied."""

    def apply(self, z: Tensor) -> Tensor:
        """The function of the activation."""
        return self.activation.apply(z)

    def backward(self, grad: Tensor, z: Tensor) -> Tensor:
        """The gradient itself."""
        return grad
