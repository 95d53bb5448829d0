"""The pictures of a run: what it is trained on, learning curves, and per-layer badness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.writing import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_curves(history: list[EpochMetrics], title: str, path: Path, best_epoch: int, test_accuracy: float) -> None:
    """Draw error, loss and badness over the epochs, and the test error of the best epoch, and save them as a PNG."""
    from matplotlib.figure import Figure  # imported late: it takes a second

    figure = Figure(figsize=(13, 4), layout="constrained")
    figure.suptitle(title)
    errors, losses, badness = figure.subplots(1, 3)
    _plot_errors(errors, history, best_epoch, test_accuracy)
    epochs = [m.epoch for m in history]
    for layer in range(len(history[0].layer_loss)):
        look = {"color": f"C{layer}", "marker": "."}
        losses.plot(epochs, [m.layer_loss[layer] for m in history], label=f"layer {layer + 1}", **look)
        badness.plot(epochs, [m.badness_pos[layer] for m in history], label=f"layer {layer + 1}", **look)
        badness.plot(epochs, [m.badness_neg[layer] for m in history], linestyle="--", **look)
    badness.plot([], [], color="black", label="true label")
    badness.plot([], [], color="black", linestyle="--", label="wrong label")
    badness.set_ylim(0, 1.4 * badness.get_ylim()[1])  # room for the legend
    losses.set_title("Loss of each layer", loc="left")
    badness.set_title("Badness, mean(h²), of each layer", loc="left")
    for axes in (errors, losses, badness):
        axes.set_xlabel("epoch")
        axes.legend(frameon=False, loc="upper right", ncols=2 if axes is badness else 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    write_atomically(path, lambda file: figure.savefig(file, dpi=110))


def _plot_errors(axes: Axes, history: list[EpochMetrics], best_epoch: int, test_accuracy: float) -> None:
    for name in ("train", "validation", "test"):
        accuracies = [getattr(m, f"{name}_accuracy") for m in history]
        if None not in accuracies:
            axes.plot([m.epoch for m in history], [100 * (1 - a) for a in accuracies], marker=".", label=name)
    axes.plot([best_epoch], [100 * (1 - test_accuracy)], "k*", markersize=10, label=f"test, epoch {best_epoch}")
    lowest, highest = axes.dataLim.intervaly
    if highest > 4 * lowest:  # a smaller range would hold hardly a number of a logarithmic scale
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g} %" if f"{value:e}"[0] in "235" else "")
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_title("Error", loc="left")


def plot_timesteps(
    badness: Tensor, labels: Tensor, counts: Tensor, window: tuple[int, int], judges: Sequence[int], path: Path
) -> None:
    """Draw what each layer's badness says at each timestep with the label, and save it as a PNG: the accuracy of taking the label
    of its lowest badness, and its mean under the true and the wrong labels.

    Args:
        badness: (iterations, layers, samples, classes), from `Network.badness_over_time`.
        labels: (samples,) the true ones.
        counts: (iterations, samples), 1 where a sequence is not over, else 0.
        window: of the prediction.
        judges: the layers that count in it, from 1.
    """
    from matplotlib.figure import Figure

    _, layers, _, classes = badness.shape
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    true = torch.nn.functional.one_hot(labels, classes)
    each = torch.cat([badness, badness[:, [layer - 1 for layer in judges]].mean(1, keepdim=True)], 1)
    right = 100 * ((each.argmin(3) == labels) * share.unsqueeze(1)).sum(2).cpu()
    under = [(badness * names).sum(3) / names.sum(1) for names in (true, 1 - true)]
    means = [(level * share.unsqueeze(1)).sum(2).cpu() for level in under]
    figure = Figure(figsize=(11, 4), layout="constrained")
    accuracy, level = figure.subplots(1, 2)
    for layer in range(layers):
        look = {"color": f"C{layer}", "marker": "."}
        accuracy.plot(right[:, layer], label=f"layer {layer + 1}", **look)
        level.plot(means[0][:, layer], label=f"layer {layer + 1}", **look)
        level.plot(means[1][:, layer], linestyle="--", **look)
    accuracy.plot(right[:, layers], color="black", marker=".", label="mean that predicts")
    level.plot([], [], color="black", label="true label")
    level.plot([], [], color="black", linestyle="--", label="wrong labels")
    level.set_ylim(0, 1.3 * level.get_ylim()[1])  # room for the legend
    accuracy.set_title("Accuracy of each layer's badness alone, %", loc="left")
    level.set_title("Badness, mean(h²), of each layer", loc="left")
    for axes in (accuracy, level):
        axes.axvspan(window[0] - 0.4, window[1] + 0.4, color="0.9", zorder=0, label="prediction window")
        axes.set_xlabel("timestep with the label")
        axes.legend(frameon=False, ncols=2)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    write_atomically(path, lambda file: figure.savefig(file, dpi=110))


def plot_samples(videos: Tensor, labels: Tensor, path: Path) -> None:
    """Tile samples as what they look like, and save them as a PNG: a row for each, a column for each of some timesteps; or all in
    one row if they don't change over time.

    Args:
        videos: (timesteps, samples, height, width), the higher the darker.
        labels: (samples,).
    """
    from matplotlib.figure import Figure

    timesteps, samples = videos.shape[:2]
    shown = sorted({round(t) for t in torch.linspace(0, timesteps - 1, 10).tolist()})
    rows, columns = (samples, len(shown)) if timesteps > 1 else (1, samples)
    figure = Figure(figsize=(1.1 * columns, 1.15 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).reshape(samples, len(shown))
    for row, label in enumerate(labels.tolist()):
        for column, t in enumerate(shown):
            axes = grid[row, column]
            axes.imshow(videos[t, row].cpu().numpy(), cmap="gray_r")
            axes.set(xticks=[], yticks=[])
            if row == 0 and timesteps > 1:
                axes.set_title(f"t = {t}", fontsize="small")
        grid[row, 0].set_ylabel(f"label {label}", fontsize="small")
    write_atomically(path, lambda file: figure.savefig(file, dpi=90))
