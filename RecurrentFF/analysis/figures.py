"""Figures that show themselves in a notebook, and what all of them have in common."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from RecurrentFF.errors import printable
from RecurrentFF.training.figures import figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from RecurrentFF.data.task import Task

BLUE, ORANGE, GREEN, RED, PURPLE, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
"""Colors that people with any kind of color vision can distinguish (M. Okabe, K. Ito, "Color universal design", 2008)."""
DIRECTIONS = {"forward": BLUE, "lateral": GREEN, "backward": RED, "label": PURPLE}
"""The color of each direction of a connection."""
DPI, NOTEBOOK_DPI = 150, 100
"""The pixels per inch of a picture in a report, and in a notebook."""
MAX_NAME = 18
"""The largest number of characters of a class name in a picture."""
CLASS_COLORS = ("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677", "#AA4499", "#44AA99", "#999933", "#882255", "#888888")
"""Colors of classes (P. Tol, technical note SRON/EPS/TN/09-002, the scheme "muted")."""
MAX_MARKED = 40
"""The largest number of timesteps that have a mark on every curve."""
MARKERS = "os^Dv<>PX*"
"""Shapes of the points of classes, so that classes differ by more than their colors."""


@cache
def _notebook_figure() -> type[Figure]:
    """A class of figures with a picture for a notebook. matplotlib is imported for it, which takes a second."""
    base: Any = figure_class()

    class NotebookFigure(base):  # type: ignore[misc]
        """A figure that a notebook shows, whether pyplot was imported or not."""

        def _repr_png_(self) -> bytes:
            return png_of(self, NOTEBOOK_DPI)

    return NotebookFigure


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure, of a size in inches."""
    return _notebook_figure()(figsize=(width, height), layout="constrained")


def png_of(figure: Figure, dpi: int = DPI) -> bytes:
    """Return a figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def name_of_class(name: object, length: int = MAX_NAME) -> str:
    """The name of a class as a printable text of at most this length."""
    text = printable(str(name), 4 * length)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def without_math(texts: Iterable[Text]) -> None:
    """Show texts with names of classes and layers unchanged, without mathematics between dollar signs."""
    for text in texts:
        text.set_parse_math(False)
        text.set_usetex(False)


def class_style(number: int) -> dict[str, Any]:
    """The color and the marker of a class, by its number; 100 classes differ."""
    return {"color": CLASS_COLORS[number % 10], "marker": MARKERS[(number + number // 10) % 10]}


def plain_axes(all_axes: Iterable[Axes]) -> None:
    """Draw a light grid, and no frame at the top and at the right."""
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)


def time_axis(axes: Axes, timesteps: Sequence[int]) -> None:
    """Number the timesteps: 0 is the first with the label. A line and a gray area show where the label is not shown yet."""
    axes.set_xlabel("timestep (0 = first with the label)")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlim(timesteps[0] - 0.3, timesteps[-1] + 0.3)
    if len(timesteps) > MAX_MARKED:
        for line in axes.lines:
            line.set_marker("")
    if timesteps[0] < 0:
        axes.axvspan(timesteps[0] - 0.3, -0.5, facecolor="0.93", edgecolor="none", zorder=0)


def panels(
    count: int, *, width: float = 3.6, height: float = 3.0, columns: int = 2, extra: float = 0.4
) -> tuple[Figure, list[Axes]]:
    """Make a figure with some panels, row by row.

    Args:
        count: the number of panels.
        width: the width of a panel, in inches; a single one is wider.
        height: its height.
        columns: the most panels in a row.
        extra: further height of the figure, for a legend.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(max(width * columns, 1.5 * width), height * rows + extra)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    return figure, list(grid.flat[:count])


def show_sample(axes: Axes, image: Any, task: Task | None) -> None:
    """Show a sample as an image: (height, width, 3) in its colors, (height, width) as ink or light, as its task says.

    Args:
        axes: where to draw.
        image: the image, see `Samples.images`.
        task: the task of the network; None if it has none.
    """
    axes.set(xticks=[], yticks=[])
    dark = task is None or task.high_is_dark
    axes.imshow(image.numpy(), interpolation="nearest", cmap="gray_r" if dark else "gray")
