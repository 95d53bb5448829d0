"""Wrong labels for the negative rows: uniform over the wrong classes, or drawn from what a classifier finds likely.

The classifier is linear with a softmax; it reads the normalised activity of all hidden layers after the label-free timesteps
and learns online by cross-entropy on the true label ("dynamic" negatives, `should_replace_neg_data`; after Hinton 2022,
arXiv:2212.13345, section 3.3: hard negative labels chosen in proportion to a quick bottom-up guess).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_wrong_labels(
    logits: Tensor, labels: Tensor, generator: torch.Generator, temperature: float = 1.0, count: int = 1
) -> Tensor:
    """Labels for each row, drawn without repetition from softmax(logits / temperature) with the true class taken out.

    Args:
        logits: (..., batch, classes), broadcast against `labels`; zeros give uniform wrong labels.
        labels: (..., batch) the true classes, of an integer type.
        generator: source of the draws, on the same device.
        temperature: below 1 the likely wrong labels become likelier, above 1 all become more alike.
        count: labels for each row, fewer than there are classes.

    Returns:
        (count, ...) of the shape and type of `labels`; never the true class, even where the other classes' probabilities vanish.
    """
    # Infinite or undefined logits become finite, so that the true class alone is at -inf and can't win a tie.
    logits = (torch.nan_to_num(logits.float()) / temperature).clamp(-1e30, 1e30).expand(*labels.shape, logits.shape[-1])
    # The largest of logits + Gumbel noise is a draw from softmax(logits), with no probabilities that could all be zero; the next
    # largest are those that follow it without repetition.
    noise = torch.empty(logits.shape, device=logits.device).exponential_(generator=generator).log().neg()
    scores = (logits + noise).scatter(-1, labels.long().unsqueeze(-1), -torch.inf)
    return scores.topk(count, -1).indices.movedim(-1, 0).to(labels.dtype)


class ClassifierGradient(NamedTuple):
    """Cross-entropy of the classifier on one batch, and its gradients."""

    loss: Tensor
    """() mean over the batch"""
    weight: Tensor
    """(classes, features)"""
    bias: Tensor
    """(classes,)"""


def classifier_gradient(logits: Tensor, features: Tensor, labels: Tensor) -> ClassifierGradient:
    """∂loss/∂logits = (softmax(logits) − one_hot(labels)) / batch, and from it the gradients of weight and bias.

    Args:
        logits: (batch, classes). features: (batch, features). labels: (batch,) class numbers.
    """
    log_probabilities = F.log_softmax(logits, 1)
    grad_logits = (log_probabilities.exp() - F.one_hot(labels, logits.shape[1])) / len(labels)
    loss = F.nll_loss(log_probabilities, labels)
    return ClassifierGradient(loss, grad_logits.to(features.dtype).T @ features, grad_logits.sum(0))
