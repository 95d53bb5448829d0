"""Plots of a run: learning curves, and badness and prediction error of each layer over time.

Badness is Hinton's goodness with the sign flipped: the mean or sum of h² over the units of a layer, low for the true label.
Each layer has the same color and marker in all plots. The colors stay different for color-blind eyes: those of M. Okabe, K. Ito,
"Color universal design", 2008, or above six layers the colormap viridis, from dark to bright.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from RecurrentFF.training.figures import picture, show_unchanged
from RecurrentFF.training.metrics import EpochMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""The colors of the layers, from the first one on, unless there are more of them."""
MARKERS = "os^Dv<>P"
"""The markers of the layers, repeated if there are more of them."""
OTHERS = {"train": ("#999999", "s"), "validation": ("#000000", "o"), "test": ("#AA4499", "^"), "readout": ("#882255", "D")}
"""The colors and markers of curves that belong to no layer."""
WINDOW = "#FFF2B3"
"""The color of the prediction window."""
MOST_MARKED = 40
"""The largest number of points of a curve with markers."""


def layer_style(layer: int, layers: int, points: int) -> dict[str, Any]:
    """The color and marker of the curves of a layer, for `Axes.plot`.

    Args:
        layer: the number of the layer, from 0.
        layers: the number of layers.
        points: the number of points of the curve. Many have no markers.
    """
    color: Any = COLORS[layer % len(COLORS)]
    if layers > len(COLORS):
        from matplotlib import colormaps

        color = colormaps["viridis"](0.92 * layer / (layers - 1))
    return {"color": color, **marked(MARKERS[layer % len(MARKERS)], points)}


def plot_curves(
    history: list[EpochMetrics], title: str, path: Path, best_epoch: int, test_accuracy: float | None, reduction: str = "mean"
) -> None:
    """Plot error, loss and badness over the epochs, and the test error of the best epoch. Save the plot as a PNG.

    A history without badness, as that of a baseline, has a plot of error and loss; one without accuracies has none of error.

    Args:
        history: the metrics of all epochs, at least one.
        title: the title of the plot.
        path: the file to write.
        best_epoch: number of the epoch whose weights were tested, from 1.
        test_accuracy: the accuracy of these weights on the test set, 0 to 1; None if there is none.
        reduction: "mean" or "sum", the reduction of h² in the badness.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.
    """
    errors, panels = _errors(history), 1 + bool(history[0].badness_pos)
    has_errors = bool(errors) or test_accuracy is not None
    with picture(path, 0.5 + 4.2 * (panels + has_errors), 4.6) as figure:
        show_unchanged([figure.suptitle(title)], lines=True)
        all_axes = list(figure.subplots(1, panels + has_errors, squeeze=False)[0])
        if has_errors:
            _plot_errors(all_axes[0], errors, best_epoch, test_accuracy)
        _plot_losses(all_axes[int(has_errors)], history)
        if panels > 1:
            _plot_badness(all_axes[-1], history, reduction)
        for axes in all_axes:
            axes.set_xlabel("epoch")
            axes.set_xlim(0.5, len(history) + 0.5)
            _finish(axes)


def _plot_losses(axes: Axes, history: list[EpochMetrics]) -> None:
    epochs, layers = [m.epoch for m in history], len(history[0].layer_loss)
    for layer in range(layers):
        losses = [m.layer_loss[layer] for m in history]
        axes.plot(epochs, losses, label=f"layer {layer + 1}", **layer_style(layer, layers, len(history)))
    if not layers:
        color, marker = OTHERS["validation"]
        axes.plot(epochs, [m.loss for m in history], label="cross-entropy", color=color, **marked(marker, len(history)))
    axes.set_ylabel("loss")
    axes.set_title("Training loss of each layer" if layers else "Training loss", loc="left")


def _plot_badness(axes: Axes, history: list[EpochMetrics], reduction: str) -> None:
    epochs, layers = [m.epoch for m in history], len(history[0].badness_pos)
    for layer in range(layers):
        style = layer_style(layer, layers, len(history))
        axes.plot(epochs, [m.badness_pos[layer] for m in history], label=f"layer {layer + 1}", **style)
        axes.plot(epochs, [m.badness_neg[layer] for m in history], linestyle="--", markerfacecolor="white", **style)
    _explain_lines(axes, "positive data", "negative data", len(history))
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.set_ylabel(f"badness, {reduction} of h²")
    axes.set_title("Badness of each layer in training", loc="left")


def _errors(history: list[EpochMetrics]) -> dict[str, list[float]]:
    """The errors after all epochs in percent, on those of "train", "validation" and "test" that were measured."""
    accuracies = {name: [getattr(m, f"{name}_accuracy") for m in history] for name in ("train", "validation", "test")}
    return {name: [100 * (1 - a) for a in values] for name, values in accuracies.items() if None not in values}


def _plot_errors(axes: Axes, errors: dict[str, list[float]], best_epoch: int, test_accuracy: float | None) -> None:
    labels = {"train": "training, a part of it", "validation": "validation", "test": "test"}
    for name, values in errors.items():
        color, marker = OTHERS[name]
        axes.plot(range(1, len(values) + 1), values, label=labels[name], color=color, **marked(marker, len(values)))
    if test_accuracy is not None:
        star: dict[str, Any] = {
            "marker": "*",
            "markersize": 14,
            "color": "#D55E00",
            "linestyle": "none",
            "zorder": 3,
            "clip_on": False,
        }
        axes.plot([best_epoch], [100 * (1 - test_accuracy)], label=f"test, weights of epoch {best_epoch}", **star)
    axes.set_ylabel("error, % of the samples")
    axes.set_title("Error of predictions", loc="left")
    scale_errors(axes)


def scale_errors(axes: Axes) -> None:
    """Scale the vertical axis for the errors in percent that are drawn as lines: logarithmically, unless they differ by little.

    Errors of zero, for which a logarithmic axis has no place, are then drawn at its lower edge, which the label of the axis says.
    The label must be set before.
    """
    values = [float(value) for line in axes.lines for value in np.asarray(line.get_ydata(), dtype=float)]
    above_zero, zero = [value for value in values if value > 0], 0.0 in values
    lowest, highest = min(above_zero, default=0.0), max(above_zero, default=0.0)
    if not lowest or (highest <= 4 * lowest and not zero):  # a logarithmic scale would have hardly any tick labels
        if highest <= 1.2 * lowest:  # the difference is shown as small as it is
            axes.set_ylim(0.8 * lowest, 1.25 * highest or 1.0)
        axes.yaxis.set_major_formatter("{x:g}")
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")  # a change of the scale resets it
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "235" else "")
    if zero:
        edge = lowest / 3
        for line in axes.lines:
            heights = np.asarray(line.get_ydata(), dtype=float)
            line.set_ydata(np.where(heights == 0, edge, heights))
            line.set_clip_on(False)  # a marker on the edge is whole
        axes.set_ylim(edge, 1.3 * highest)
        axes.set_ylabel(f"{axes.get_ylabel()} (lower edge: 0)")


def plot_timesteps(
    badness: Tensor,
    labels: Tensor,
    valid: Tensor,
    window: tuple[int, int],
    prediction_layers: Sequence[int],
    path: Path,
    reduction: str = "mean",
    logits: Tensor | None = None,
    title: str = "",
) -> None:
    """Plot prediction error and badness of each layer over the timesteps with the label. Save the plot as a PNG.

    The error is that of predicting the label with the lowest badness, at each timestep alone, and from the evidence so far: the
    mean badness of all valid timesteps up to that one. Badness is shown for the true label and for wrong labels. Timesteps
    before the label have the error of the readout, and negative numbers.

    Args:
        badness: (label timesteps, layers, samples, classes), from `Network.badness_over_time`.
        labels: (samples,), the true labels.
        valid: (label timesteps, samples), 1 at the timesteps of a sequence, 0 after its end.
        window: the first and the last timestep of the prediction window.
        prediction_layers: numbers of the layers whose badness is averaged for a prediction, from 1.
        path: the file to write.
        reduction: "mean" or "sum", the reduction of h² in the badness.
        logits: (label-free timesteps, samples, classes) of the readout; None if there is none that was trained.
        title: the title of the plot.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.
    """
    with picture(path, 12, 4.8) as figure:
        show_unchanged([figure.suptitle(title)], lines=True)
        error_axes, badness_axes = figure.subplots(1, 2)
        _plot_errors_over_time(error_axes, badness, labels, valid, prediction_layers, logits)
        _plot_badness_over_time(badness_axes, badness, labels, valid, reduction)
        for axes in (error_axes, badness_axes):
            first, last = window[0] - 0.4, window[1] + 0.4
            axes.axvspan(first, last, facecolor=WINDOW, edgecolor="0.5", linewidth=0.8, zorder=0, label="prediction window")
            axes.set_xlabel("timestep, 0 = first with the label")
            _finish(axes)


def _plot_errors_over_time(
    axes: Axes, badness: Tensor, labels: Tensor, valid: Tensor, prediction_layers: Sequence[int], logits: Tensor | None
) -> None:
    """Plot the left panel of `plot_timesteps`, whose arguments these are."""
    points, layers, weights = len(badness), badness.shape[1], _sample_weights(valid)
    prediction = badness[:, [layer - 1 for layer in prediction_layers]].mean(1, keepdim=True)
    wrong = torch.cat([badness, prediction], 1).argmin(3) != labels
    errors = 100 * (wrong * weights).sum(2).cpu()
    errors[(weights == 0).all(2).flatten().cpu()] = torch.nan  # all sequences have ended
    if logits is not None and len(logits):
        by_readout = 100 * (logits.argmax(2) != labels).float().mean(1).cpu()
        color, marker = OTHERS["readout"]
        style = {"color": color, "linestyle": "-.", **marked(marker, len(by_readout))}
        axes.plot(range(-len(logits), 0), by_readout, label="readout, before the label", **style)
    for layer in range(layers):
        style = layer_style(layer, layers, points)
        if len(prediction_layers) == 1 and layer + 1 == prediction_layers[0]:
            style |= {"linewidth": 2.5}
        axes.plot(errors[:, layer], label=f"layer {layer + 1}", **style)
    predicting = _numbered(prediction_layers)
    if len(prediction_layers) > 1:
        axes.plot(errors[:, layers], label=f"{predicting}, their mean", color="black", **marked("x", points))
    so_far = 100 - accuracy_so_far(prediction.squeeze(1), labels, valid)
    label = f"{predicting}, timesteps so far"
    axes.plot(so_far, label=label, color="black", linestyle=":", markerfacecolor="none", **marked("o", points, 9))
    axes.set_ylabel("error, % of the samples")
    axes.set_title("Error of predictions by the badness at each timestep", loc="left")
    scale_errors(axes)


def _plot_badness_over_time(axes: Axes, badness: Tensor, labels: Tensor, valid: Tensor, reduction: str) -> None:
    """Plot the right panel of `plot_timesteps`, whose arguments these are."""
    points, layers = len(badness), badness.shape[1]
    true, weights = torch.nn.functional.one_hot(labels, badness.shape[3]), _sample_weights(valid)
    under_true, under_wrong = (
        ((badness * selected).sum(3) / selected.sum(1) * weights).sum(2).cpu() for selected in (true, 1 - true)
    )
    for layer in range(layers):
        style = layer_style(layer, layers, points)
        axes.plot(under_true[:, layer], label=f"layer {layer + 1}", **style)
        axes.plot(under_wrong[:, layer], linestyle="--", markerfacecolor="white", **style)
    _explain_lines(axes, "true label", "wrong labels, mean", points)
    axes.set_ylim(0, 1.1 * max(float(under_true.max()), float(under_wrong.max())) or 1)
    axes.set_ylabel(f"badness, {reduction} of h²")
    axes.set_title("Badness of each layer", loc="left")


def _numbered(layers: Sequence[int]) -> str:
    """Name layers by their numbers: "layer 2", "layers 2 and 3", "layers 2 to 5", "layers 2, 3 and 5"."""
    *others, last = layers
    if len(others) > 1 and list(layers) == list(range(layers[0], last + 1)):
        return f"layers {layers[0]} to {last}"
    return f"layers {', '.join(map(str, others))} and {last}" if others else f"layer {last}"


def marked(marker: str, points: int, size: float = 5) -> dict[str, Any]:
    """The marker of a curve with this number of points, for `Axes.plot`; none on a curve of many."""
    return {"marker": marker, "markersize": size} if points <= MOST_MARKED else {}


def _explain_lines(axes: Axes, solid: str, dashed: str, points: int) -> None:
    """Add the meaning of solid and dashed lines of all colors to the legend; the curves have this number of points."""
    axes.plot([], [], color="black", label=solid, **marked("o", points))
    axes.plot([], [], color="black", linestyle="--", markerfacecolor="white", label=dashed, **marked("o", points))


def _finish(axes: Axes) -> None:
    """Add a legend below the axes, where it covers no curve, whole numbers on the axis of time, and a grid."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    count = len(axes.get_legend_handles_labels()[0])
    columns = 1 if count <= 2 else 2 if count <= 8 else 3
    style = {"frameon": False, "fontsize": "small", "handlelength": 2.8}
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns, **style)


def _sample_weights(valid: Tensor) -> Tensor:
    """The weight of each sample in the mean of a timestep, (timesteps, 1, samples), 0 where it is not valid."""
    return (valid / valid.sum(1, keepdim=True).clamp(min=1)).unsqueeze(1)


def accuracy_so_far(badness: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """The percentage of samples that are predicted from the mean badness of all valid timesteps up to each one, (timesteps,).

    Args:
        badness: (timesteps, samples, classes).
        labels: (samples,), the true labels.
        valid: (timesteps, samples), 1 at the timesteps of a sequence, 0 after its end.
    """
    correct = (badness * valid.unsqueeze(2)).cumsum(0).argmin(2) == labels
    has_begun = valid.cumsum(0) > 0
    return 100 * (correct & has_begun).sum(1).cpu() / has_begun.sum(1).clamp(min=1).cpu()
