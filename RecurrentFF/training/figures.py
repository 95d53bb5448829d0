"""Pictures as PNG files. They need no display, change no setting of matplotlib, and fail with one line."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.atomic_files import write_bytes
from RecurrentFF.errors import OutputError, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_BACKEND = "MPLBACKEND"
"""The environment variable with the name of a backend."""

_importing = threading.Lock()


def new_figure(path: Path, width: float, height: float) -> Figure:
    """Create an empty figure of width times height inches.

    Args:
        path: the file of the picture, for the message.
        width: inches.
        height: inches.

    Raises:
        OutputError: matplotlib can't be imported.
    """
    try:
        figure_class = _figure_class()
    except Exception as error:  # the import reads the user's files and environment
        raise _failure(path, error) from None
    return figure_class(figsize=(width, height), layout="constrained")


def _figure_class() -> type[Figure]:
    """Import matplotlib, which takes a second.

    Its import fails if the environment names a backend that is not installed, as a notebook may do for programs that it starts.
    Such a backend shows windows, and files need none. So matplotlib is told its name after the import, and may refuse it then.
    """
    with _importing:
        named = os.environ.pop(_BACKEND, None) if "matplotlib" not in sys.modules else None
        try:
            import matplotlib
        finally:
            if named is not None:
                os.environ[_BACKEND] = named
        if named:
            with contextlib.suppress(ValueError):
                matplotlib.rcParams["backend"] = named
    from matplotlib.figure import Figure

    return Figure


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Draw a figure, and write it as a PNG file.

    Args:
        figure: the figure.
        path: the file to write.
        dpi: pixels per inch.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.
    """
    content = io.BytesIO()
    try:
        figure.savefig(content, format="png", dpi=dpi)
    except Exception as error:  # fonts and settings of the user
        raise _failure(path, error) from None
    write_bytes(path, content.getvalue())


def plain(texts: Sequence[Text]) -> None:
    """Show texts with the names of files and classes unchanged, without mathematics between dollar signs."""
    for text in texts:
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_text(printable(text.get_text()))


def _failure(path: Path, error: Exception) -> OutputError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return OutputError(f"{path}: can't be drawn by matplotlib ({printable(lines[0], 200)})")
