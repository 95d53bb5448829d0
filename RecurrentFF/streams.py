"""Lines for the user on standard output and standard error. Whatever happens to these streams, writing never raises."""

from __future__ import annotations

import sys
from typing import Literal


def write_line(text: str, stream: Literal["stdout", "stderr"] = "stdout") -> bool:
    """Write one line.

    Args:
        text: the line, without its end.
        stream: standard output or standard error.

    Returns:
        False if the stream is closed, its disk is full, or nobody reads it any more.
    """
    target = getattr(sys, stream)
    try:
        print(text, file=target, flush=True)
    except (OSError, ValueError):
        return False
    return target is not None
