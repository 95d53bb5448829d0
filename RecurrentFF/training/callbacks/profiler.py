"""A torch.profiler trace of a few batches, for chrome://tracing or https://ui.perfetto.dev."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from RecurrentFF.atomic_files import write_atomically
from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.files import RunFolder

if TYPE_CHECKING:
    from RecurrentFF.model.learner import BatchMetrics
    from RecurrentFF.training.trainer import Trainer


class Profiler(Callback):
    """A profile of the second to the fourth batch, in profile.json.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._profile: profile | None = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Start the profiler."""
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # hide the profiler's own messages from the user

        def write(recording: Any) -> None:
            trace = self.folder.profile
            trainer.try_save(lambda: write_atomically(trace, lambda file: recording.export_chrome_trace(str(file))))

        self._profile = profile(
            activities=[ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else []),
            schedule=schedule(wait=0, warmup=1, active=3, repeat=1),
            on_trace_ready=write,
        )
        self._profile.start()

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        """Mark the end of a batch."""
        assert self._profile is not None
        self._profile.step()

    def close(self, trainer: Trainer) -> None:
        """Stop the profiler."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
