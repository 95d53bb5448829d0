"""Plots of a run: training samples, learning curves, and badness of each layer over time.

Badness is Hinton's goodness with the sign flipped: the mean or sum of h² over the units of a layer, low for the true label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from RecurrentFF.training.figures import picture, show_unchanged
from RecurrentFF.training.metrics import EpochMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_curves(
    history: list[EpochMetrics], title: str, path: Path, best_epoch: int, test_accuracy: float | None, reduction: str = "mean"
) -> None:
    """Plot error, loss and badness over the epochs, and the test error of the best epoch. Save the plot as a PNG.

    A history without badness, as that of a baseline, has a plot of error and loss.

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
    has_badness = bool(history[0].badness_pos)
    with picture(path, 13 if has_badness else 9, 4) as figure:
        show_unchanged([figure.suptitle(title)])
        errors, losses, *others = figure.subplots(1, 3 if has_badness else 2)
        _plot_errors(errors, history, best_epoch, test_accuracy)
        _plot_losses(losses, history)
        for axes in others:
            _plot_badness(axes, history, reduction)
        for axes in (errors, losses, *others):
            axes.set_xlabel("epoch")
            if axes.get_legend_handles_labels()[0]:  # without accuracies there is no error to show
                axes.legend(frameon=False, loc="upper right", ncols=2 if axes in others else 1)
            axes.set_xlim(0.5, len(history) + 0.5)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)


def _plot_losses(axes: Axes, history: list[EpochMetrics]) -> None:
    epochs = [m.epoch for m in history]
    for layer in range(len(history[0].layer_loss)):
        losses = [m.layer_loss[layer] for m in history]
        axes.plot(epochs, losses, label=f"layer {layer + 1}", color=f"C{layer}", marker=".")
    if not history[0].layer_loss:
        axes.plot(epochs, [m.loss for m in history], label="cross-entropy", marker=".")
    axes.set_title("Loss of each layer" if history[0].layer_loss else "Loss", loc="left")


def _plot_badness(axes: Axes, history: list[EpochMetrics], reduction: str) -> None:
    epochs = [m.epoch for m in history]
    for layer in range(len(history[0].badness_pos)):
        axes.plot(epochs, [m.badness_pos[layer] for m in history], label=f"layer {layer + 1}", color=f"C{layer}", marker=".")
        axes.plot(epochs, [m.badness_neg[layer] for m in history], linestyle="--", color=f"C{layer}", marker=".")
    axes.plot([], [], color="black", label="positive")
    axes.plot([], [], color="black", linestyle="--", label="negative")
    axes.set_ylim(0, 1.4 * axes.get_ylim()[1])  # room for the legend
    axes.set_title(f"Badness, {reduction}(h²), of each layer", loc="left")


def _plot_errors(axes: Axes, history: list[EpochMetrics], best_epoch: int, test_accuracy: float | None) -> None:
    for name in ("train", "validation", "test"):
        accuracies = [getattr(m, f"{name}_accuracy") for m in history]
        if None not in accuracies:
            axes.plot([m.epoch for m in history], [100 * (1 - a) for a in accuracies], marker=".", label=name)
    if test_accuracy is not None:
        axes.plot([best_epoch], [100 * (1 - test_accuracy)], "k*", markersize=10, label=f"test, epoch {best_epoch}")
    lowest, highest = axes.dataLim.intervaly
    if axes.lines and highest > 4 * lowest:  # on a smaller range a logarithmic scale would have hardly any tick labels
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g} %" if f"{value:e}"[0] in "235" else "")
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_title("Error", loc="left")


def plot_timesteps(
    badness: Tensor,
    labels: Tensor,
    valid: Tensor,
    window: tuple[int, int],
    prediction_layers: Sequence[int],
    path: Path,
    reduction: str = "mean",
    logits: Tensor | None = None,
) -> None:
    """Plot accuracy and badness of each layer over the timesteps with the label. Save the plot as a PNG.

    Accuracy is that of predicting the label with the lowest badness, at each timestep alone, and from the evidence so far: the
    mean badness of all valid timesteps up to that one. Badness is shown for the true label and for wrong labels. Timesteps
    before the label have the accuracy of the readout, and negative numbers.

    Args:
        badness: (label timesteps, layers, samples, classes), from `Network.badness_over_time`.
        labels: (samples,), the true labels.
        valid: (label timesteps, samples), 1 at the timesteps of a sequence, 0 after its end.
        window: the first and the last timestep of the prediction window.
        prediction_layers: numbers of the layers whose badness is averaged for a prediction, from 1.
        path: the file to write.
        reduction: "mean" or "sum", the reduction of h² in the badness.
        logits: (label-free timesteps, samples, classes) of the readout; None if there is none that was trained.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.
    """
    with picture(path, 11, 4.3) as figure:
        accuracy_axes, badness_axes = figure.subplots(1, 2)
        _plot_accuracy_over_time(accuracy_axes, badness, labels, valid, prediction_layers, logits)
        _plot_badness_over_time(badness_axes, badness, labels, valid, reduction)
        for axes in (accuracy_axes, badness_axes):
            first, last = window[0] - 0.4, window[1] + 0.4
            span = axes.axvspan(first, last, facecolor="0.9", edgecolor="0.5", zorder=0)
            axes.set_xlabel("timestep with the label")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.spines[["top", "right"]].set_visible(False)
        span.set_label("prediction window")
        # The legend is below the panels: inside, it would cover curves, and its gray entry would be on the gray window.
        figure.legend(loc="outside lower center", ncols=5, frameon=False)


def _plot_accuracy_over_time(
    axes: Axes, badness: Tensor, labels: Tensor, valid: Tensor, prediction_layers: Sequence[int], logits: Tensor | None
) -> None:
    """Plot the left panel of `plot_timesteps`, whose arguments these are."""
    layers, weights = badness.shape[1], _sample_weights(valid)
    prediction = badness[:, [layer - 1 for layer in prediction_layers]].mean(1, keepdim=True)
    correct = torch.cat([badness, prediction], 1).argmin(3) == labels
    percent_correct = 100 * (correct * weights).sum(2).cpu()
    for layer in range(layers):
        axes.plot(percent_correct[:, layer], label=f"layer {layer + 1}", color=f"C{layer}", marker=".")
    axes.plot(percent_correct[:, layers], color="black", marker=".", label="mean of the prediction layers")
    so_far = accuracy_so_far(prediction.squeeze(1), labels, valid)
    axes.plot(so_far, color="black", linestyle=":", marker="x", label="their evidence so far")
    if logits is not None and len(logits):
        by_readout = 100 * (logits.argmax(2) == labels).float().mean(1).cpu()
        axes.plot(range(-len(logits), 0), by_readout, color="0.5", marker=".", label="readout, before the label")
    axes.set_title("Accuracy by timestep, %", loc="left")


def _plot_badness_over_time(axes: Axes, badness: Tensor, labels: Tensor, valid: Tensor, reduction: str) -> None:
    """Plot the right panel of `plot_timesteps`, whose arguments these are."""
    true, weights = torch.nn.functional.one_hot(labels, badness.shape[3]), _sample_weights(valid)
    means = [((badness * selected).sum(3) / selected.sum(1) * weights).sum(2).cpu() for selected in (true, 1 - true)]
    for style, label, mean in zip(("-", "--"), ("true label", "wrong labels"), means, strict=True):
        for layer in range(badness.shape[1]):
            axes.plot(mean[:, layer], linestyle=style, color=f"C{layer}", marker=".")
        axes.plot([], [], color="black", linestyle=style, label=label)
    axes.set_ylim(0, 1.1 * max(float(mean.max()) for mean in means) or 1)
    axes.set_title(f"Badness, {reduction}(h²), of each layer", loc="left")


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


def plot_samples(videos: Tensor, labels: Sequence[str], path: Path) -> None:
    """Plot samples as images, and save the plot as a PNG.

    A sample has a row, with up to ten of its timesteps as columns. Samples with a single timestep are all in one row.

    Args:
        videos: (timesteps, samples, height, width). High values are dark.
        labels: the labels to write beside the images, one for each sample.
        path: the file to write.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.
    """
    timesteps, samples = videos.shape[:2]
    shown = sorted({round(t) for t in torch.linspace(0, timesteps - 1, 10).tolist()})
    rows, columns = (samples, len(shown)) if timesteps > 1 else (1, samples)
    with picture(path, 1.1 * columns, 1.15 * rows, dpi=90) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).reshape(samples, len(shown))
        for row, label in enumerate(labels):
            for column, t in enumerate(shown):
                axes = grid[row, column]
                axes.imshow(videos[t, row].cpu().numpy(), cmap="gray_r")
                axes.set(xticks=[], yticks=[])
                if row == 0 and timesteps > 1:
                    axes.set_title(f"t = {t}", fontsize="small")
            show_unchanged([grid[row, 0].set_ylabel(f"label {label}", fontsize="small")])
