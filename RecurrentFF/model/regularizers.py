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


def dropout_mask(probability: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A mask of zeros with this probability, elsewhere 1/(1 − probability), of float32 on the generator's device."""
    keep = 1 - probability
    return torch.empty(shape, device=generator.device).bernoulli_(keep, generator=generator).div_(keep)


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

    def input_mask(self, inputs: Tensor, generator: torch.Generator) -> Tensor | None:
        """Dropout factors of the inputs, (features, 1, batch) for inputs (…, features, …, batch); None without dropout."""
        if not self.input_dropout:
            return None
        shape = inputs.shape[3], inputs.shape[1]
        return dropout_mask(self.input_dropout, shape, generator).to(inputs.dtype).T.unsqueeze(1)

    def pattern_masks(
        self, units: Mapping[str, int], batch: int, dtype: torch.dtype, generator: torch.Generator
    ) -> dict[str, Tensor] | None:
        """Dropout factors of each layer's pattern, (units, 1, batch), from the layers' sizes by name; None without dropout."""
        if not self.activity_dropout:
            return None
        mask = dropout_mask(self.activity_dropout, (sum(units.values()), batch), generator).to(dtype).unsqueeze(1)
        return dict(zip(units, torch.split(mask, list(units.values())), strict=True))

    def perturb(self, x: Tensor, gradient: Tensor | None, mask: Tensor | None, generator: torch.Generator) -> Tensor:
        """An input with noise along ∂loss/∂x of the previous timestep; what is dropped stays zero.

        Args:
            x: (features, candidates or 1, batch).
            gradient: of the shape of `x`; None leaves the input unchanged.
            mask: from `input_mask`.
            generator: the source of the noise's sign.
        """
        if gradient is None:
            return x
        gradient = gradient.to(x)
        if mask is not None:
            gradient = mask * gradient
        return x + functional.signed_gradient_noise(gradient, self.input_noise, generator)
