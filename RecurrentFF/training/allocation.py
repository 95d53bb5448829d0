"""Keep freed memory in the process instead of returning it to the operating system between timesteps."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of mallopt(3), from the malloc.h of the GNU C library
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Configure the C library's allocator to keep freed memory, for the whole process.

    By default the allocator maps every large block anew, and the operating system fills it with zeros, page by page.
    On Moving MNIST this takes a tenth of the training time. Peak memory hardly changes (there from 1,200 to 1,270 MB).
    Does nothing if the C library is not GNU's.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL("libc.so.6")
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, _NEVER)
