"""Pictures of predictions: which classes are mistaken for which, and the most confidently wrong samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.analysis.figures import name_of_class, new_figure, panels, show_sample, without_math
from RecurrentFF.analysis.samples import Samples
from RecurrentFF.model.network import Network
from RecurrentFF.model.prediction import checked_scores, require_method
from RecurrentFF.training.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 8
"""The number of samples in a picture."""
MAX_NUMBERS = 30
"""The largest number of classes whose counts are written into a confusion matrix."""


class Mistakes(NamedTuple):
    """Wrong predictions, the most confident first."""

    positions: Tensor
    """The positions of the samples, (n,)."""
    predicted: Tensor
    """The predicted class numbers, (n,)."""
    true: Tensor
    """The true class numbers, (n,)."""
    score_predicted: Tensor
    """The badness under the predicted label, or its logit, (n,)."""
    score_true: Tensor
    """The badness under the true label, or its logit, (n,)."""
    unit: str
    """The kind of the scores: "badness" or "logit"."""


def plot_confusion(evaluation: Evaluation) -> Figure:
    """Draw the confusion matrix: how many samples of each class were predicted as which class.

    The diagonal, of right predictions, is gray. Colors show the numbers of wrong ones.

    Args:
        evaluation: from `rff.evaluate`.

    Examples:
        >>> plot_confusion(rff.evaluate(network, (images, labels)))
    """
    from matplotlib.ticker import MaxNLocator

    counts, names = evaluation.confusion, [name_of_class(name) for name in evaluation.classes]
    classes = len(names)
    with_numbers = classes <= MAX_NUMBERS
    longest = max(map(len, names))
    side = max(4.2, min(0.42 * classes, 11.0) + 0.07 * longest + 1.4)
    figure = new_figure(side + 0.9, side)
    axes = figure.subplots()
    wrong = counts.clone().fill_diagonal_(0).float()
    image = wrong.masked_fill(torch.eye(classes, dtype=torch.bool), torch.nan)
    drawn = axes.imshow(image.numpy(), cmap="Blues", vmin=0, vmax=max(1.0, float(wrong.max())))
    axes.set_facecolor("0.87")
    if with_numbers:
        half = float(wrong.max()) / 2
        for row, line in enumerate(counts.tolist()):
            for column, count in enumerate(line):
                color = "white" if row != column and count > half else "black"
                if count:
                    axes.text(column, row, f"{count}", ha="center", va="center", color=color, fontsize=9 if classes <= 12 else 6)
    step = 1 if with_numbers else -(-classes // 25)
    ticks, shown = range(0, classes, step), names[::step]
    axes.set_xticks(ticks, shown, rotation=0 if longest <= 3 else 90)
    axes.set_yticks(ticks, shown)
    without_math([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    bar = figure.colorbar(drawn, ax=axes, shrink=0.7)
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()
    bar.set_label("wrong predictions (gray: right ones)")
    return figure


@torch.no_grad()
def mistakes(network: Network, samples: Samples) -> Mistakes:
    """The wrong predictions among samples, the most confident first, by the network's own method of prediction.

    A prediction is the more confident, the more the true label is worse than the predicted one. The scores of both are badness,
    or the logits of the readout if the network predicts by the readout alone. With "propose_and_verify", the true label may have
    the lower badness: then the readout did not propose it. Such predictions come last.

    Args:
        network: the network.
        samples: from `choose`.

    Raises:
        InputError: the network can't predict, or samples are so large that badness is not finite.
        DivergenceError: badness or a logit is not finite because of the weights.
    """
    method = require_method(network)
    found = checked_scores(network, samples.x, samples.mask, method).to("cpu")
    wrong = (found.numbers != samples.labels).nonzero()[:, 0]
    if method == "propose_and_verify" and len(wrong):  # which leaves out the badness of most labels
        chosen = samples.take(wrong)
        badness = checked_scores(network, chosen.x, chosen.mask, "badness").to("cpu").badness
    else:
        badness = None if found.badness is None else found.badness[wrong]
    scores = badness if badness is not None else None if found.logits is None else found.logits[wrong]
    assert scores is not None
    predicted, true = found.numbers[wrong], samples.labels[wrong]
    own, other = (scores.gather(1, numbers.unsqueeze(1))[:, 0] for numbers in (predicted, true))
    margin = other - own if method != "readout" else own - other
    order = margin.sort(descending=True, stable=True).indices
    unit = "logit" if method == "readout" else "badness"
    return Mistakes(wrong[order], predicted[order], true[order], own[order], other[order], unit)


def plot_mistakes(network: Network, samples: Samples, count: int = SHOWN) -> Figure:
    """Draw the most confidently wrong samples, with the true and the predicted label and the badness under both.

    Samples that are no images have their network inputs over time, or a bar for each input.

    Args:
        network: the network.
        samples: from `choose`.
        count: the largest number of samples to show.

    Raises:
        InputError, DivergenceError: see `mistakes`.

    Examples:
        >>> plot_mistakes(network, choose(network, (images, labels)))
    """
    found = mistakes(network, samples)
    if not len(found.positions):
        figure = new_figure(5.4, 1.0)
        figure.text(0.5, 0.5, f"All {len(samples)} samples are predicted right.", ha="center", va="center")
        return figure
    shown = min(count, len(found.positions))
    classes = range(network.num_classes) if network.task is None else network.task.classes
    figure, all_axes = panels(shown, width=2.0, height=2.6, columns=4, extra=0)
    for number, axes in enumerate(all_axes):
        sample = samples.take([int(found.positions[number])])
        if sample.images is not None:
            show_sample(axes, sample.images[0], network.task)
        elif len(sample.x) > 1:
            first = -network.settings.network.prelabel_timesteps
            extent = (first - 0.5, first + len(sample.x) - 0.5, sample.x.shape[1] - 0.5, -0.5)
            axes.imshow(
                sample.x[:, :, 0, 0].T.cpu().numpy(), aspect="auto", cmap="gray_r", interpolation="nearest", extent=extent
            )
            axes.locator_params(integer=True)
            axes.set(xlabel="timestep", ylabel="input")
        else:
            axes.bar(range(sample.x.shape[1]), sample.x[0, :, 0, 0].cpu().numpy(), color="0.4")
            axes.set(xlabel="input")
        true, predicted = (name_of_class(classes[int(each[number])], 12) for each in (found.true, found.predicted))
        title = (
            f"sample {int(sample.index[0])}, {found.unit}:\n"
            f"true {true}: {float(found.score_true[number]):.2f}\n"
            f"predicted {predicted}: {float(found.score_predicted[number]):.2f}"
        )
        without_math([axes.set_title(title, loc="left", fontsize="small")])
    return figure
