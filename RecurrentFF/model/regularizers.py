"""Regularizers of a training sequence: dropout of inputs and activities, and perturbed inputs.

Dropout of a layer's drives is drawn at every timestep, by `Layer.draw_masks`. What is drawn here stays the same for a
whole sequence (variational dropout: Gal and Ghahramani 2016, arXiv:1512.05287).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from RecurrentFF.model import functional
from RecurrentFF.model.draws import BatchDraws


@dataclass(frozen=True)
class Regularizers:
    """The regularizers of a configuration.

    Args:
        input_dropout: probability that an input is dropped, for a whole sequence.
        activity_dropout: probability that a unit is dropped for all that read it, for a whole sequence.
        input_noise: root mean square of the noise along ∂loss/∂x that is added to an input; 0 for none.
    """

    input_dropout: float = 0.0
    activity_dropout: float = 0.0
    input_noise: float = 0.0

    def input_mask(self, inputs: Tensor, draws: BatchDraws) -> Tensor | None:
        """Dropout factors of the inputs, (features, 1, batch) for inputs (…, features, …, batch); None without dropout."""
        if not self.input_dropout:
            return None
        return draws.dropout("input dropout", self.input_dropout, inputs.shape[1], 1, dtype=inputs.dtype)

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
            mask: from `input_mask`.
            draws: give the noise's sign.
        """
        if gradient is None:
            return x
        gradient = gradient.to(x)
        if mask is not None:
            gradient = mask * gradient
        signs = draws.chosen("signs of the noise", 0.5, x.shape[1])
        return x + functional.signed_gradient_noise(gradient, self.input_noise, signs)
