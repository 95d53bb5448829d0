"""Pictures of what happens over the timesteps: drives, their cosine, and badness under all labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from RecurrentFF.analysis.figures import (
    BLUE,
    DIRECTIONS,
    GRAY,
    MARKERS,
    ORANGE,
    RED,
    name_of_class,
    new_figure,
    panels,
    plain_axes,
    show_sample,
    time_axis,
    without_math,
)
from RecurrentFF.analysis.records import Comparison, drive_cosines, drive_norms
from RecurrentFF.analysis.samples import Samples
from RecurrentFF.errors import InputError
from RecurrentFF.messages import shown
from RecurrentFF.model.network import Network
from RecurrentFF.model.prediction import badness_of_layers, default_method, require_finite
from RecurrentFF.values import of_python

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_drives(both: Comparison) -> Figure:
    """Draw the size of each layer's drives over time, under true and wrong labels.

    The size is the root mean square over the units of the layer, as a mean over samples.

    Args:
        both: from `record_both`.

    Raises:
        InputError: no layer has connections whose drives are known.

    Examples:
        >>> plot_drives(record_both(network, samples))
    """
    norms = drive_norms(both)
    if not norms:
        raise InputError("plot_drives: no layer has connections whose drives are known")
    figure, all_axes = panels(len(norms), height=3.7, extra=0)
    for axes, (layer, by_source) in zip(all_axes, norms.items(), strict=True):
        for number, (source, curves) in enumerate(by_source.items()):
            direction = both.true.directions[layer][source]
            style: dict[str, Any] = {"color": DIRECTIONS.get(direction, GRAY), "marker": MARKERS[number % len(MARKERS)]}
            axes.plot(both.timesteps, curves.wrong, linestyle="--", markersize=7, mfc="white", **style)
            axes.plot(both.timesteps, curves.true, markersize=4, label=f"from {source} ({direction})", **style)
        axes.plot([], [], color="black", label="true label")
        axes.plot([], [], color="black", linestyle="--", label="wrong label")
        axes.set_ylim(0, None)
        axes.set_ylabel("drive, root mean square over units")
        _titled(axes, f"Drives of {layer}", both)
        _legend_below(axes)
    plain_axes(all_axes)
    return figure


def _legend_below(axes: Axes) -> None:
    """Give a panel a legend below its axis, where it covers no curve."""
    legend = axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, frameon=False)
    without_math(legend.get_texts())


def plot_cancellation(both: Comparison) -> Figure:
    """Draw the cosine of bottom-up and top-down drive over time, under true and wrong labels.

    At −1 they are opposite, so that top-down drive cancels what comes up; at 0 they are unrelated; at 1 they agree.

    Args:
        both: from `record_both`.

    Raises:
        InputError: no layer has both drives.

    Examples:
        >>> plot_cancellation(record_both(network, samples))
    """
    cosines = drive_cosines(both)
    if not cosines:
        raise InputError("plot_cancellation: no layer has both a bottom-up and a top-down drive")
    figure, all_axes = panels(len(cosines), extra=0)
    for axes, (layer, curves) in zip(all_axes, cosines.items(), strict=True):
        axes.axhline(0, color="black", linewidth=0.8)
        axes.plot(both.timesteps, curves.true, color=BLUE, marker="o", markersize=4, zorder=3, label="true label")
        axes.plot(both.timesteps, curves.wrong, color=RED, marker="s", linestyle="--", mfc="white", zorder=2, label="wrong label")
        axes.set_ylim(-1.05, 1.05)
        axes.set_ylabel("cosine(bottom-up, top-down)")
        _titled(axes, f"Drives of {layer}", both)
        _legend_below(axes)
    plain_axes(all_axes)
    return figure


def _titled(axes: Axes, title: str, both: Comparison) -> None:
    """Give a panel its title and the axis of time."""
    time_axis(axes, both.timesteps)
    without_math([axes.set_title(title, loc="left", fontsize="medium")])


def plot_badness(network: Network, samples: Samples, sample: int = 0) -> Figure:
    """Draw the badness of one sample over time under every label, for each layer. The lower it is, the better the label fits.

    Args:
        network: the network.
        samples: from `choose`.
        sample: the position of the sample among these.

    Raises:
        InputError: there is no such sample, or it is so large that badness is not finite.
        DivergenceError: badness is not finite because of the weights.

    Examples:
        >>> plot_badness(network, choose(network, (images, labels), index=[3]))
    """
    position = of_python(sample)
    if type(position) is not int or not 0 <= position < len(samples):
        raise InputError(f"plot_badness: sample = {shown(sample)}: expected a position from 0 to {len(samples) - 1}")
    one = samples.take([position])
    badness = require_finite(network, badness_of_layers(network, one.x), one.x)[:, :, 0].cpu()  # (timesteps, layers, classes)
    if one.mask is not None:  # until the sequence ends, and at least one timestep
        badness = badness[: max(1, int(one.mask[network.settings.network.prelabel_timesteps :].sum()))]
    with torch.no_grad():
        lowest = int(network.badness_of(one.x, one.mask).argmin(1))
    names = [module.name for module in network.hidden_layers()]
    count, picture = badness.shape[1], 0 if one.images is None else 1
    columns = min(count + picture, 3)
    rows = -(-(count + picture) // columns)
    figure = new_figure(max(3.1 * columns, 5.4), 2.9 * rows + 0.5)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    if one.images is not None:
        show_sample(grid[0], one.images[0], network.task)
        grid[0].set_title(f"sample {int(one.index[0])}", loc="left", fontsize="medium")
    for layer, axes in enumerate(grid[picture : picture + count]):
        _plot_labels(axes, badness[:, layer], int(one.labels[0]), lowest, network)
        without_math([axes.set_title(f"Badness of {names[layer]}", loc="left", fontsize="medium")])
        axes.set_ylabel(f"{network.hidden_layers()[layer].reduction}(h²)")
    for axes in grid[picture + count :]:
        axes.set_axis_off()
    plain_axes(grid[picture : picture + count])
    handles, labels = grid[picture].get_legend_handles_labels()
    without_math(figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small").get_texts())
    return figure


def _plot_labels(axes: Axes, badness: Tensor, true: int, lowest: int, network: Network) -> None:
    """Draw the badness of a layer, (timesteps, classes), under every label."""
    classes = range(network.num_classes) if network.task is None else network.task.classes
    others = [number for number in range(badness.shape[1]) if number not in (true, lowest)]
    own = name_of_class(classes[true]) + (" (the lowest)" if lowest == true else "")
    axes.plot(badness[:, true], color=BLUE, marker="o", linewidth=2, zorder=4, label=f"true label: {own}")
    if lowest != true:
        name = name_of_class(classes[lowest])
        axes.plot(badness[:, lowest], color=RED, marker="s", linewidth=2, zorder=3, label=f"label of lowest badness: {name}")
    for position, number in enumerate(others):
        label = f"{len(others)} other labels" if position == 0 else None
        axes.plot(badness[:, number], color="0.65", linewidth=1, marker=".", label=label)
    first, last = network.settings.prediction_window
    span = axes.axvspan(first - 0.2, last + 0.2, facecolor="#FFF3D0", edgecolor=ORANGE, linewidth=0.6, zorder=0)
    by_readout = default_method(network) == "readout"
    span.set_label(f"timesteps averaged for {'the lowest badness' if by_readout else 'a prediction'}")
    time_axis(axes, range(len(badness)))
    axes.set_ylim(0, 1.08 * float(badness.max()) or 1)
