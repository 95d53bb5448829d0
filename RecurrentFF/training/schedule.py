"""The learning rate over a run, as a pure function of the progress: nothing to save, nothing to go out of step on resume."""

import math

from RecurrentFF.settings import ModelSettings


def learning_rate_factor(settings: ModelSettings, epoch: int, batch: int, batches: int) -> float:
    """What the layers' learning rate is multiplied with at a batch.

    Args:
        epoch: from 0.
        batch: number within the epoch, from 0.
        batches: in an epoch.

    Returns:
        "step": lr_gamma to the power of the finished runs of lr_step_size epochs.
        "cosine": half a cosine, from 1 at the first batch towards 0 after the last.
        In the first lr_warmup_epochs, that times the share of them that is over with this batch.
    """
    begun = epoch + (batch + 1) / batches
    warmth = min(1.0, begun / settings.lr_warmup_epochs) if settings.lr_warmup_epochs else 1.0
    return warmth * _schedule(settings, epoch, batch / batches)


def _schedule(settings: ModelSettings, epoch: int, share: float) -> float:
    """The factor after a share of an epoch's batches, warm."""
    if settings.lr_schedule == "cosine":
        progress = (epoch + share) / settings.epochs
        return (1 + math.cos(math.pi * progress)) / 2
    return settings.lr_gamma ** (epoch // settings.lr_step_size)
