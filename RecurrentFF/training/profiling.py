"""A torch.profiler trace of a few batches, for chrome://tracing or https://ui.perfetto.dev."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule


class Steps(Protocol):
    """Told after every batch."""

    def step(self) -> None:
        """A batch is done."""


class _NoProfiler:
    def step(self) -> None:
        pass


@contextlib.contextmanager
def profiler(trace: Path | None) -> Iterator[Steps]:
    """Profile batches 2 to 4 of those that are stepped through, into the file `trace`; do nothing where that is None."""
    if trace is None:
        yield _NoProfiler()
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own notes are not for the user
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    with profile(
        activities=activities,
        schedule=schedule(wait=0, warmup=1, active=3, repeat=1),
        on_trace_ready=lambda finished: finished.export_chrome_trace(str(trace)),
    ) as running:
        yield running
