"""Many small images in rows and columns with their titles, drawn in one pair of axes, which takes a tenth of the time of many."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from RecurrentFF.training.figures import show_unchanged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = 0.82
"""The width of an image with its margin, in inches."""
GAP = 0.1
"""The margin between images, as a fraction of their width."""
FONT = 9
"""The size of titles and labels, in points."""
_CHARACTER = 0.075
"""The mean width of a character, in inches."""
_LINE = 0.2
"""The height of a line of text, in units of the width of an image."""


@dataclass
class Row:
    """A row of images, or a line of text above the following rows."""

    label: str = ""
    """The text to the left of the images, or the line of text."""
    images: Sequence[Tensor | None] = ()
    """(height, width) each, or (height, width, 3) of values in 0..1; None for an empty place. Without images, it is a line."""
    scale: tuple[float, float] | None = None
    """The values that are shown black and white; None for the lowest and the highest value of the row."""
    dark: bool = False
    """Show high values dark: the first of these values white, the second one black. Colors stay what they are."""


@dataclass
class Grid:
    """Rows of images with titles for the columns."""

    rows: list[Row]
    columns: Sequence[str] = ()
    """A title for each column."""
    groups: list[tuple[int, int, str]] = field(default_factory=list)
    """The first and the last column of groups of columns, and a title for each, above those of the columns."""

    @property
    def width(self) -> float:
        """The width, in inches."""
        return self._label_width + CELL * self._count + 0.2

    @property
    def height(self) -> float:
        """The height, in inches."""
        heights = sum(self._height(row) + GAP for row in self.rows)
        return CELL * (heights + self._title_height - GAP)

    @property
    def _count(self) -> int:
        return max([1, len(self.columns), *(len(row.images) for row in self.rows)])

    @property
    def _label_width(self) -> float:
        lines = [line for row in self.rows if row.images for line in row.label.split("\n")]
        return 0.25 + _CHARACTER * max(map(len, lines), default=0)

    @property
    def _title_height(self) -> float:
        groups = [self._wrapped(group).count("\n") + 1 for group in self.groups]
        return _LINE * (max(groups, default=0) + (1 if any(self.columns) else 0)) + GAP

    def _height(self, row: Row) -> float:
        if not row.images:
            return _LINE * (self._wrapped((0, self._count - 1, row.label)).count("\n") + 1)
        shapes = [image.shape for image in row.images if image is not None]
        return min(2.0, max([0.2, *(shape[0] / max(1, shape[1]) for shape in shapes)])) if shapes else 1.0

    @staticmethod
    def _wrapped(group: tuple[int, int, str]) -> str:
        """Break the title of a group of columns into lines of the group's width."""
        first, last, title = group
        return textwrap.fill(title, max(8, int((last - first + 1) * CELL / _CHARACTER)))

    def draw(self, axes: Axes) -> None:
        """Draw the grid in empty axes."""
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        axes.set_axis_off()
        texts, frames, top = [], [], 0.0
        for row in self.rows:
            height = self._height(row)
            if row.images:
                frames += [Rectangle(*place) for place in self._draw_row(axes, row, top, height)]
                texts.append(axes.text(-GAP, top + height / 2, row.label, ha="right", va="center", fontsize=FONT))
            else:
                line = self._wrapped((0, self._count - 1, row.label))
                texts.append(axes.text(0, top + height, line, ha="left", va="bottom", fontsize=FONT, fontstyle="italic"))
            top += height + GAP
        axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor="0.4", linewidth=0.6), autolim=False)
        for column, title in enumerate(self.columns):
            center = column + (1 - GAP) / 2
            texts.append(axes.text(center, -GAP / 2, title, ha="center", va="bottom", fontsize=FONT))
        above = -GAP / 2 - (_LINE if any(self.columns) else 0)
        for first, last, title in self.groups:
            text, center = self._wrapped((first, last, title)), (first + last + 1 - GAP) / 2
            texts.append(axes.text(center, above, text, ha="center", va="bottom", fontsize=FONT, fontstyle="italic"))
        show_unchanged(texts, lines=True)
        axes.set(xlim=(-0.02, self._count - GAP + 0.02), ylim=(max(top, 0.5), -0.02), aspect="equal")

    def _draw_row(self, axes: Axes, row: Row, top: float, height: float) -> list[tuple[tuple[float, float], float, float]]:
        """Draw the images of a row, and return the corner, width and height of each."""
        shown = [image for image in row.images if image is not None]
        low, high = row.scale or (min(float(image.min()) for image in shown), max(float(image.max()) for image in shown))
        places = []
        for column, image in enumerate(row.images):
            if image is None:
                continue
            width = 1 - GAP
            tall = min(height, width * image.shape[0] / max(1, image.shape[1]))
            extent = (column, column + width, top + tall, top)
            colors = "gray_r" if row.dark else "gray"
            axes.imshow(image.cpu().numpy(), cmap=colors, vmin=low, vmax=high, extent=extent, interpolation="nearest")
            places.append(((float(column), top), width, tall))
        return places
