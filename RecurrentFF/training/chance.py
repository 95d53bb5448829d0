"""Tell whether a network has learned anything at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from RecurrentFF.training.trainer import Trainer

MIN_SAMPLES = 100
"""With fewer samples, an accuracy says too little."""


def chance_line(trainer: Trainer) -> str | None:
    """The line for the user about a complete training whose best network is no better than chance; None if it is better.

    The accuracy is that on the validation samples after the best epoch, else that on the training samples after the last one.

    Args:
        trainer: a trainer whose training is complete.
    """
    if trainer.splits.validation is not None:
        part, samples, accuracy = "validation", trainer.splits.validation, trainer.progress.best_accuracy
    elif trainer.splits.train_subset is not None and trainer.history and trainer.history[-1].train_accuracy is not None:
        part, samples, accuracy = "train", trainer.splits.train_subset, trainer.history[-1].train_accuracy
    else:
        return None
    chance = chance_of(samples, trainer.network.num_classes)
    if not is_chance(accuracy, len(samples), chance):
        return None
    return (
        f"note        {part} accuracy {100 * accuracy:.2f} % is no better than always naming the most frequent class "
        f"({100 * chance:.2f} %); look at the learning rate, the labels, and the scale of the inputs"
    )


def chance_of(samples: Any, classes: int) -> float:
    """The accuracy of always naming the most frequent class, 0 to 1.

    Args:
        samples: a data set. The labels of a loader are not counted, since reading it may change its later batches.
        classes: the number of classes. With unknown labels, they are taken to be equally frequent.
    """
    labels = getattr(samples, "labels", None)
    if not isinstance(labels, Tensor) or labels.dim() != 1 or len(labels) == 0:
        return 1 / classes
    return torch.bincount(labels.cpu().long()).max().item() / len(labels)


def is_chance(accuracy: float, samples: int, chance: float) -> bool:
    """Check if an accuracy is at most three standard errors above that of chance.

    Args:
        accuracy: the fraction of samples that are right, 0 to 1.
        samples: their number. With fewer than MIN_SAMPLES, the answer is no.
        chance: the accuracy of chance, 0 to 1.
    """
    limit = chance + 3 * math.sqrt(chance * (1 - chance) / max(1, samples))
    return samples >= MIN_SAMPLES and limit < 1 and accuracy <= limit
