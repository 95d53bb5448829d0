"""Learning rate schedules as pure functions of the progress. They have no state that a checkpoint would need."""

import math

from RecurrentFF.settings import ModelSettings


def learning_rate_factor(settings: ModelSettings, epoch: int, batch: int, batches: int) -> float:
    """The factor of the layers' learning rate at a batch.

    Args:
        settings: the schedule and its options.
        epoch: number of the epoch, from 0.
        batch: number of the batch in the epoch, from 0.
        batches: number of batches in an epoch.

    Returns:
        For "step", lr_gamma ** (epoch // lr_step_size).
        For "cosine", half a cosine, from 1 at the first batch towards 0 after the last.
        During the first lr_warmup_epochs, this is multiplied by a linear warmup, which is 1 at their last batch.
    """
    epochs_after_batch = epoch + (batch + 1) / batches
    warmup = min(1.0, epochs_after_batch / settings.lr_warmup_epochs) if settings.lr_warmup_epochs else 1.0
    return warmup * _schedule(settings, epoch, batch / batches)


def _schedule(settings: ModelSettings, epoch: int, epoch_fraction: float) -> float:
    """The factor without warmup, after a fraction of an epoch's batches."""
    if settings.lr_schedule == "cosine":
        progress = (epoch + epoch_fraction) / settings.epochs
        return (1 + math.cos(math.pi * progress)) / 2
    return settings.lr_gamma ** (epoch // settings.lr_step_size)
