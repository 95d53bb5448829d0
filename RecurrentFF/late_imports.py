"""Imports of modules that stay in memory until the end of the program, such as those of torch.

Importing this module does not import torch.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def lasting_imports() -> Iterator[None]:
    """Keep the garbage collector from looking through the imported modules, as a context manager around the import of torch.

    torch and what it imports are 180,000 objects, none of which is ever garbage. Python would look through all of them several
    times during the import, and again in every full collection and at the end of the program, which takes half a second in all.
    Nothing is changed if torch is imported already: then the program may have objects of its own that become garbage. A program
    that calls a command without torch keeps the cycles that its own objects form until then.
    """
    if "torch" in sys.modules:
        yield
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
