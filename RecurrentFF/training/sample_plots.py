"""The picture of some samples: as a person knows them, and as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from RecurrentFF.data.panels import Images, Panel, Texts, Values
from RecurrentFF.errors import printable
from RecurrentFF.training.figures import picture, show_unchanged
from RecurrentFF.training.image_grid import FONT, Grid, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from matplotlib.ticker import Locator

LONGEST_LABEL = 30
"""The largest number of characters of a label, which loses its middle beyond that."""
TIMESTEPS = 10
"""The largest number of timesteps in the picture of images that change."""
SEQUENCES = 6
"""The largest number of sequences in the picture."""


def plot_samples(panels: Sequence[Panel], labels: Sequence[str], title: str, path: Path) -> None:
    """Plot samples, and save the plot as a PNG.

    Images of static samples are in one row, or have a row for each sample where there are several maps of each. Images that
    change have a row for each sample, with up to ten of its timesteps as columns; several maps are those of the first sample.
    Values are shown as colors.

    Args:
        panels: from `Task.show`, not empty.
        labels: the labels of the samples, the first ones of the panels.
        title: the title of the picture.
        path: the file to write.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.
    """
    images = [panel for panel in panels if isinstance(panel, Images)]
    values = [panel for panel in panels if isinstance(panel, Values)]
    names = [printable(f"label {label}", LONGEST_LABEL) for label in labels]
    texts = next((panel.texts for panel in panels if isinstance(panel, Texts)), ())
    titles = [f"{printable(text, LONGEST_LABEL)}\n{name}" for text, name in zip(texts, names, strict=False)] or names
    grid = _grid(images, names, SEQUENCES if len(panels) == 1 else 2) if images else None
    heights = [grid.height] if grid else []
    heights += [_values_height(panel, len(names)) for panel in values]
    with picture(path, max(grid.width if grid else 9.5, 6.0, 0.09 * len(title)), sum(heights) + 0.4) as figure:
        show_unchanged([figure.suptitle(title, fontsize=FONT + 2)])
        parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        if grid:
            grid.draw(parts[0].subplots())
        for part, panel in zip(parts[1 if grid else 0 :], values, strict=True):
            _draw_values(part, panel, titles)


def _grid(panels: list[Images], names: list[str], sequences: int) -> Grid:
    """Arrange images in rows and columns. Of images that change, this number of samples is shown."""
    if any(len(panel.images) > 1 for panel in panels):
        return _grid_of_sequences(panels, names[:sequences])
    if sum(len(panel.titles) for panel in panels) <= 3:
        return _grid_of_samples(panels, names)
    return _grid_of_maps(panels, names[:SEQUENCES])


def _grid_of_samples(panels: list[Images], names: list[str]) -> Grid:
    """Arrange static images with a column for each sample, and a row for each panel."""
    rows: list[Row] = []
    for panel in panels:
        rows.append(Row(panel.caption))
        for number, title in enumerate(panel.titles):
            images = panel.images[0, : len(names), number]
            rows.append(Row(title, list(images), _range(images), panel.dark))
    return Grid(rows, names)


def _grid_of_maps(panels: list[Images], names: list[str]) -> Grid:
    """Arrange static images with a row for each sample, and a column for each map."""
    columns: list[str] = []
    groups: list[tuple[int, int, str]] = []
    for panel in panels:
        groups.append((len(columns), len(columns) + len(panel.titles) - 1, panel.caption))
        columns += panel.titles
    rows = []
    for sample, name in enumerate(names[: min(panel.images.shape[1] for panel in panels)]):
        # All maps of a sample have one scale, but each panel has its own: so each is brought to 0..1, from light to dark.
        images = [image for panel in panels for image in _stretched(panel.images[0, sample], panel.dark)]
        rows.append(Row(name, images, (0.0, 1.0), dark=True))
    return Grid(rows, columns, groups)


def _grid_of_sequences(panels: list[Images], names: list[str]) -> Grid:
    """Arrange images that change with a column for each timestep: rows of samples, then the maps of the first sample."""
    longest = max(len(panel.images) for panel in panels)
    timesteps = sorted({round(t) for t in torch.linspace(0, longest - 1, TIMESTEPS).tolist()})
    rows: list[Row] = []
    for panel in panels:
        if len(panel.titles) > 1:
            rows.append(Row(f"{panel.caption} ({names[0]})"))
            maps = enumerate(panel.titles)
            rows += [_over_time(title, panel.images[:, 0, number], timesteps, panel.dark) for number, title in maps]
            low, high = _range(panel.images[:, 0])
            for row in rows[-len(panel.titles) :]:
                row.scale = low, high
        else:
            rows.append(Row(panel.caption))
            shown = names[: panel.images.shape[1]] if len(panel.images) > 1 else names[:1]
            videos = enumerate(shown)
            rows += [_over_time(name, panel.images[:, sample, 0], timesteps, panel.dark) for sample, name in videos]
    return Grid(rows, [f"t = {t}" for t in timesteps])


def _over_time(label: str, images: Tensor, timesteps: Sequence[int], dark: bool) -> Row:
    """A row of images (timesteps, height, width), of which there may be a single one that does not change."""
    return Row(label, [images[t] if t < len(images) else None for t in timesteps], _range(images), dark)


def _values_height(panel: Values, samples: int) -> float:
    """The height of a panel of values, in inches."""
    if len(panel.values) == 1:
        return 1.1 + 0.22 * min(samples, panel.values.shape[1])
    return 4.6 if panel.names else 4.2


def _draw_values(figure: FigureBase, panel: Values, titles: Sequence[str]) -> None:
    """Draw values as colors: static samples as the rows of one table, sequences as a table of features and timesteps each."""
    texts = [figure.suptitle(panel.caption, fontsize=FONT, fontstyle="italic")]
    values = panel.values.float().cpu()
    if panel.mask is not None:
        values = values.masked_fill(~panel.mask.bool().cpu().unsqueeze(2), float("nan"))
    style = _colors(values)
    if len(values) == 1:
        names = [title.replace("\n", ": ") for title in titles[: values.shape[1]]]
        axes = figure.subplots()
        _draw_table(axes, values[0, : len(names)], style)
        axes.set_yticks(range(len(names)), names)
        texts += axes.get_yticklabels()
        axes.set_xlabel(panel.axis, fontsize=FONT)
        axes.xaxis.set_major_locator(_whole_numbers())
        all_axes = [axes]
    else:
        all_axes = _draw_sequences(figure, panel, values, titles, style)
    clipped = bool((values.abs() > style[2]).any())
    bar = figure.colorbar(all_axes[0].images[0], ax=all_axes, fraction=0.03, pad=0.02, extend="both" if clipped else "neither")
    bar.ax.tick_params(labelsize=FONT - 1)
    bar.set_label("network input", fontsize=FONT)
    show_unchanged(texts)


def _draw_sequences(
    figure: FigureBase, panel: Values, values: Tensor, titles: Sequence[str], style: tuple[str, float, float]
) -> list[Axes]:
    """Draw a table of features and timesteps for each sequence."""
    count = min(4 if panel.names else SEQUENCES, values.shape[1], len(titles))
    lines = 1 if panel.names or count <= 3 else 2
    grid = figure.subplots(lines, -(-count // lines), sharex=True, sharey=True, squeeze=False).flatten()
    for number, axes in enumerate(grid):
        if number >= count:
            axes.set_axis_off()
            continue
        _draw_table(axes, values[:, number].T, style)
        show_unchanged([axes.set_title(titles[number], fontsize=FONT)], lines=True)
        axes.xaxis.set_major_locator(_whole_numbers())
        if panel.names:
            axes.set_yticks(range(len(panel.names)), panel.names, fontsize=5.5)
        else:
            axes.yaxis.set_major_locator(_whole_numbers())
    ended = " (gray: after its end)" if bool(values.isnan().any()) else ""
    figure.supxlabel(f"timestep{ended}", fontsize=FONT)
    figure.supylabel(panel.axis, fontsize=FONT)
    return list(grid[:count])


def _draw_table(axes: Axes, values: Tensor, style: tuple[str, float, float]) -> None:
    """Draw a table of values as colors, gray where they are not finite."""
    colors, low, high = style
    axes.set_facecolor("0.8")
    axes.imshow(values.numpy(), cmap=colors, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    axes.tick_params(labelsize=FONT - 1)


def _whole_numbers() -> Locator:
    """A locator of ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)


def _colors(values: Tensor) -> tuple[str, float, float]:
    """A colormap for values, and the numbers at its ends. Rare values beyond the other ones have the color of the end."""
    known = values[values.isfinite() & (values != 0)].abs()
    largest = float(known.sort().values[int(0.98 * (len(known) - 1))]) if len(known) else 1.0
    return ("PRGn", -largest, largest) if bool((values < 0).any()) else ("gray_r", 0.0, largest)


def _range(images: Tensor) -> tuple[float, float]:
    return float(images.min()), float(images.max())


def _stretched(images: Tensor, dark: bool) -> Tensor:
    """Bring the values of images (n, height, width) to 0..1, where 1 is the darkest; colors, with a last axis, to 0..1."""
    low, high = _range(images)
    values = (images - low) / max(high - low, 1e-12)
    return values if dark or images.dim() == 4 else 1 - values
