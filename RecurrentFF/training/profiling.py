"""Record a torch.profiler trace of a few batches, for chrome://tracing or https://ui.perfetto.dev."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule


class ProfilerHandle(Protocol):
    """A profiler whose `step` must be called after every batch."""

    def step(self) -> None:
        """Mark the end of a batch."""


class _NoProfiler:
    def step(self) -> None:
        pass


@contextlib.contextmanager
def profiler(trace: Path | None) -> Iterator[ProfilerHandle]:
    """Profile the second to the fourth batch inside this context.

    Args:
        trace: the file to write, None for no profiling.

    Yields:
        A handle whose `step` must be called after every batch.
    """
    if trace is None:
        yield _NoProfiler()
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # hide the profiler's own messages from the user
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    with profile(
        activities=activities,
        schedule=schedule(wait=0, warmup=1, active=3, repeat=1),
        on_trace_ready=lambda recording: recording.export_chrome_trace(str(trace)),
    ) as handle:
        yield handle
