"""Learning rate schedules, as pure functions of the progress. They have no state that a checkpoint would need."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from RecurrentFF.registry import Component, register


@dataclass(frozen=True)
class Schedule(Component, kind="schedule"):
    """The base class of learning rate schedules. A subclass defines `decay`.

    Examples:
        >>> @register("schedule", "linear")
        ... @dataclass(frozen=True)
        ... class Linear(Schedule):
        ...     def decay(self, epoch, fraction, epochs):
        ...         return 1 - (epoch + fraction) / epochs
    """

    depends_on_epochs: ClassVar[bool] = True
    """True if the decay depends on the number of epochs of the run."""

    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The number of epochs, or a fraction of one, in which the layers' learning rate rises from zero to its schedule."""
    readout_epochs: Annotated[int, Field(ge=0)] = field(default=0, kw_only=True)
    """The number of epochs at the end of the run in which the layers don't learn, and the readout alone does.

    The schedule of the layers ends before them. A readout that follows layers as they change is behind them.
    """

    @property
    def needs_fixed_epochs(self) -> bool:
        """True if the run can't be made longer when it is resumed, because its learning rates depend on the number of epochs."""
        return self.depends_on_epochs or self.readout_epochs > 0

    def factor(self, epoch: int, batch: int, batches: int, epochs: int) -> float:
        """The factor of the layers' learning rate at a batch: the decay, times a linear warmup that is 1 at its last batch.

        It is 0 in the readout's epochs.

        Args:
            epoch: number of the epoch, from 0.
            batch: number of the batch in the epoch, from 0.
            batches: number of batches in an epoch.
            epochs: number of epochs of the run.
        """
        epochs -= self.readout_epochs
        if epoch >= epochs and self.readout_epochs:
            return 0.0
        epochs_after_batch = epoch + (batch + 1) / batches
        warmup = min(1.0, epochs_after_batch / self.warmup_epochs) if self.warmup_epochs else 1.0
        return warmup * self.decay(epoch, batch / batches, epochs)

    def decay(self, epoch: int, fraction: float, epochs: int) -> float:
        """The factor without warmup.

        Args:
            epoch: number of the epoch, from 0.
            fraction: the fraction of the epoch's batches that is done, from 0 to below 1.
            epochs: number of epochs in which the layers learn.
        """
        raise NotImplementedError(f"{type(self).__name__}.decay")


@register("schedule", "step")
@dataclass(frozen=True)
class Step(Schedule):
    """A learning rate that is multiplied by `gamma` after every `step_size` epochs. The default keeps it constant."""

    depends_on_epochs: ClassVar[bool] = False

    step_size: Annotated[int, Field(ge=1)] = 1
    """The number of epochs between two changes of the learning rate."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The factor of the learning rate at each change."""

    def decay(self, epoch: int, fraction: float, epochs: int) -> float:
        """The factor gamma ** (epoch // step_size)."""
        return self.gamma ** (epoch // self.step_size)


@register("schedule", "cosine")
@dataclass(frozen=True)
class Cosine(Schedule):
    """A learning rate that falls along half a cosine, from 1 at the first batch of the run towards 0 after the last."""

    def decay(self, epoch: int, fraction: float, epochs: int) -> float:
        """The factor (1 + cos(π·progress)) / 2, where the progress is the finished fraction of the run."""
        return (1 + math.cos(math.pi * (epoch + fraction) / epochs)) / 2
