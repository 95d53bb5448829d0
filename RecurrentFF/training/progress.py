"""The progress of a training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

Number = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass
class Progress:
    """Progress of a run. It is saved in the last checkpoint."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    epoch: Number = 0
    """Number of finished epochs."""
    batch: Number = 0
    """Number of finished batches of the current epoch."""
    best_epoch: Number = 0
    """Number of the best epoch so far, from 1, 0 before the first. Without validation samples this is the last epoch."""
    best_accuracy: Annotated[float, Field(ge=-1, le=1)] = -1.0
    """Validation accuracy of the best epoch, −1 if there is none."""
    seconds: Seconds = 0.0
    """Duration of the run so far in seconds, evaluation included."""
    epoch_seconds: Seconds = 0.0
    """Duration of the current epoch's batches so far in seconds."""
    rate_factor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Factor of all learning rates. It is halved after each divergence, with on_divergence = "retry"."""
    stopped: str = ""
    """Why the training was completed before its last epoch; empty if it was not."""
    retries: Number = 0
    """Number of divergences after which training was continued from an earlier state."""
    continued_after: Number = 0
    """Number of finished epochs when a stopped training was last continued; 0 if it never was."""
    compiled: bool | None = None
    """The choice of compiled kernels by compile = "auto", which a continuation of the run follows; None before it."""

    @property
    def is_initial(self) -> bool:
        """True before the first batch of the run."""
        return replace(self, compiled=None) == Progress()

    @property
    def is_continued(self) -> bool:
        """True before the first batch after a stopped training was continued."""
        return self.continued_after == self.epoch > 0 and self.batch == 0
