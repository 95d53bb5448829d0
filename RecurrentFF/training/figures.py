"""Pictures as PNG files. They need no display, change no setting of matplotlib, and fail with one line."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.atomic_files import write_bytes
from RecurrentFF.errors import OutputError, RecurrentFFError, described, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_BACKEND = "MPLBACKEND"
"""The environment variable with the name of a backend."""

_importing = threading.Lock()


@contextlib.contextmanager
def drawing(path: Path) -> Iterator[None]:
    """Report any error of a picture in one line, as a context manager around what makes it.

    The fonts, the settings and the environment of the user can make matplotlib raise any exception.

    Args:
        path: the file of the picture, for the message.

    Raises:
        OutputError: the picture can't be drawn. Other errors of this package are raised unchanged.
    """
    try:
        yield
    except RecurrentFFError:
        raise
    except Exception as error:
        raise OutputError(f"{path}: can't be drawn ({described(error)})") from error


@contextlib.contextmanager
def picture(path: Path, width: float, height: float, dpi: int = 110) -> Iterator[Figure]:
    """An empty figure to draw in, as a context manager. At the end of its block, it is written as a PNG file.

    Args:
        path: the file to write.
        width: inches.
        height: inches.
        dpi: pixels per inch.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.

    Examples:
        >>> with picture(Path("line.png"), 4, 3) as figure:
        ...     figure.subplots().plot([1, 2])
    """
    content = io.BytesIO()
    with drawing(path):
        figure = figure_class()(figsize=(width, height), layout="constrained")
    yield figure  # a mistake in the block is raised as it is
    with drawing(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a character that the font lacks is a box, of which the user need not be told
        figure.savefig(content, format="png", dpi=dpi)
    write_bytes(path, content.getvalue())


def figure_class() -> type[Figure]:
    """Import matplotlib, which takes a second.

    Its import fails if the environment names a backend that is not installed, as a notebook may do for programs that it starts.
    Such a backend shows windows, and files need none. So matplotlib is told its name after the import, and may refuse it then.

    Matplotlib reads the variable when it is imported, also for the import of a module in it, and has no other switch for this. So
    the variable is taken away during the import, once in a process. Meanwhile, other threads do not see it.
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


def show_unchanged(texts: Sequence[Text], *, lines: bool = False) -> None:
    """Show texts with the names of files and classes unchanged, without mathematics between dollar signs.

    Args:
        texts: the texts of a figure.
        lines: true if the texts have line breaks that are not those of a name.
    """
    for text in texts:
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))) if lines else printable(text.get_text()))
