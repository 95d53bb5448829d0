"""Regularizers of a training sequence: noise and dropout of inputs, dropout of activities, and perturbed inputs.

Dropout of a layer's drives is drawn at every timestep, by `Layer.draw_masks`. What is drawn here stays the same for a
whole sequence (variational dropout: Gal and Ghahramani 2016, arXiv:1512.05287).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from RecurrentFF.model import functional
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.settings import NetworkSettings


class Disturbance(NamedTuple):
    """The random disturbance of the inputs of a batch, the same for all candidates and at all timesteps."""

    noise: Tensor | None = None
    """Noise that is added to the inputs, (features, 1, batch); None without."""
    mask: Tensor | None = None
    """Dropout factors of the inputs, (features, 1, batch); None without. What is dropped has no noise either."""

    def apply(self, inputs: Tensor) -> Tensor:
        """The disturbed inputs, of the shape of `inputs`, (timesteps or 1, features, candidates or 1, batch)."""
        inputs = inputs if self.noise is None else inputs + self.noise
        return inputs if self.mask is None else inputs * self.mask


@dataclass(frozen=True)
class Regularizers:
    """The regularizers of a configuration.

    Args:
        input_noise: standard deviation of the noise that is added to an input, for a whole sequence.
        input_dropout: probability that an input is dropped, for a whole sequence.
        activity_dropout: probability that a unit is dropped for all that read it, for a whole sequence.
        adversarial_noise: root mean square of the noise along ∂loss/∂x that is added to an input; 0 for none.
    """

    input_noise: float = 0.0
    input_dropout: float = 0.0
    activity_dropout: float = 0.0
    adversarial_noise: float = 0.0

    @classmethod
    def of(cls, options: NetworkSettings) -> Regularizers:
        """The regularizers that the settings of a network name."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    def disturbance(self, inputs: Tensor, draws: BatchDraws) -> Disturbance:
        """Gaussian noise and dropout of the inputs of a batch, (timesteps or 1, features, 1, batch)."""
        features, noise, mask = inputs.shape[1], None, None
        if self.input_noise:
            noise = draws.normal("input noise", features, 1).to(inputs).mul_(self.input_noise)
        if self.input_dropout:
            mask = draws.dropout("input dropout", self.input_dropout, features, 1, dtype=inputs.dtype)
        return Disturbance(noise, mask)

    def pattern_masks(self, units: Mapping[str, int], dtype: torch.dtype, draws: BatchDraws) -> dict[str, Tensor] | None:
        """Dropout factors of each layer's pattern, (units, 1, batch), from the layers' sizes by name; None without dropout."""
        if not self.activity_dropout:
            return None
        probability = self.activity_dropout
        return {name: draws.dropout(f"activity dropout {name}", probability, n, 1, dtype=dtype) for name, n in units.items()}

    def perturb(self, x: Tensor, gradient: Tensor | None, mask: Tensor | None, draws: BatchDraws) -> Tensor:
        """An input with noise along ∂loss/∂x of the previous timestep; what is dropped stays zero.

        Args:
            x: (features, candidates or 1, batch).
            gradient: of the shape of `x`; None leaves the input unchanged.
            mask: that of the disturbance.
            draws: give the noise's sign.
        """
        if gradient is None:
            return x
        gradient = gradient.to(x)
        if mask is not None:
            gradient = mask * gradient
        signs = draws.chosen("signs of the noise", 0.5, x.shape[1])
        return x + functional.signed_gradient_noise(gradient, self.adversarial_noise, signs)
