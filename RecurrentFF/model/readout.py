"""The readout: a linear softmax classifier on the network's label-free activity.

It learns online, by cross-entropy on the true label, and guesses which wrong labels are likely ("hard" negative labels:
Hinton 2022, arXiv:2212.13345, section 3.3). Nothing in the network learns from it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ALL = slice(None)
"""All columns of the weight."""


class ReadoutGradients(NamedTuple):
    """The cross-entropy of a readout on one batch, and its gradients."""

    loss: Tensor
    """The mean over these samples, ()."""
    weight: Tensor
    """∂loss/∂weight, (classes, features)."""
    bias: Tensor
    """∂loss/∂bias, (classes,)."""


class Readout(nn.Module):
    """A linear map from the normalized activity of all hidden layers to the logits of the classes.

    Args:
        features: units of all hidden layers together.
        classes: the number of classes.
        dtype: the type of the parameters.

    Attributes:
        weight: (classes, features), zero at first.
        bias: (classes,), zero at first.
    """

    def __init__(self, features: int, classes: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, features, dtype=dtype), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(classes, dtype=dtype), requires_grad=False)

    def extra_repr(self) -> str:
        """The number of features and classes."""
        return f"{self.weight.shape[1]} -> {self.weight.shape[0]}"

    def forward(self, features: Tensor) -> Tensor:
        """Logits, (batch, classes), of features (batch, features) in any floating-point type."""
        return self.drive(features) + self.bias

    def drive(self, features: Tensor, columns: slice = ALL) -> Tensor:
        """The logits without the bias, (batch, classes), that come from some of the features.

        Args:
            features: (batch, columns).
            columns: the columns of the weight for these features.
        """
        return F.linear(features, self.weight[:, columns].to(features.dtype))

    def gradients(
        self, logits: Tensor, features: Tensor, labels: Tensor, *, columns: slice = ALL, batch: int | None = None
    ) -> ReadoutGradients:
        """∂loss/∂logits = (softmax(logits) − one_hot(labels)) / batch, and from it the parameters' gradients.

        Args:
            logits: (batch, classes), from `forward`.
            features: (batch, columns).
            labels: (batch,) class numbers.
            columns: the columns of the weight for these features. The gradients of the others are zero.
            batch: the size of the whole batch, if these are a part of it. The gradients are then parts of those of the batch.
        """
        log_probabilities = F.log_softmax(logits, 1)
        grad_logits = (log_probabilities.exp() - F.one_hot(labels, logits.shape[1])) / (batch or len(labels))
        weight = torch.zeros_like(self.weight)
        weight[:, columns] = (grad_logits.to(features.dtype).T @ features).to(weight.dtype)
        return ReadoutGradients(F.nll_loss(log_probabilities, labels), weight, grad_logits.sum(0).to(self.bias.dtype))
