"""The picture of a run: learning curves and per-layer badness."""

from __future__ import annotations

from pathlib import Path

from RecurrentFF.training.files import write_atomically
from RecurrentFF.training.metrics import EpochMetrics


def plot_curves(history: list[EpochMetrics], title: str, path: Path) -> None:
    """Draw test error, loss and badness over the epochs, and save them as a PNG."""
    from matplotlib.figure import Figure  # imported late: it takes a second

    figure = Figure(figsize=(13, 4), layout="constrained")
    figure.suptitle(title)
    errors, losses, badness = figure.subplots(1, 3)
    epochs = [m.epoch for m in history]

    for name in ("train", "validation", "test"):
        points = [(m.epoch, getattr(m, f"{name}_accuracy")) for m in history]
        points = [(epoch, 100 * (1 - accuracy)) for epoch, accuracy in points if accuracy is not None]
        if points:
            errors.plot(*zip(*points, strict=True), marker=".", label=name)
    if errors.lines:
        errors.set_yscale("log")
        errors.yaxis.set_major_formatter("{x:g} %")
        errors.yaxis.set_minor_formatter(lambda value, _: f"{value:g} %" if str(f"{value:e}")[0] in "235" else "")
        errors.legend(frameon=False)
    errors.set_title("Error", loc="left")

    layers = range(len(history[0].layer_loss))
    for layer in layers:
        losses.plot(epochs, [m.layer_loss[layer] for m in history], marker=".", color=f"C{layer}", label=f"layer {layer + 1}")
        badness.plot(epochs, [m.badness_pos[layer] for m in history], color=f"C{layer}", label=f"layer {layer + 1}, true label")
        badness.plot(epochs, [m.badness_neg[layer] for m in history], color=f"C{layer}", linestyle="--", label="   wrong label")
    losses.set_title("Loss of each layer", loc="left")
    losses.legend(frameon=False)
    badness.set_title("Badness, mean(h²), of each layer", loc="left")
    badness.legend(frameon=False, fontsize="small", ncols=2)

    for axes in (errors, losses, badness):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    write_atomically(path, lambda file: figure.savefig(file, dpi=110))
