"""The sections of a report: for each a picture, what it shows, how to read it, the numbers, and the call that draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from RecurrentFF.analysis import latent
from RecurrentFF.analysis.dynamics import plot_badness, plot_cancellation, plot_drives
from RecurrentFF.analysis.look import MAX_MISTAKES, Look
from RecurrentFF.analysis.mistakes import plot_confusion, plot_mistakes
from RecurrentFF.analysis.records import Cancellation, opposed_layers
from RecurrentFF.analysis.samples import Samples, counted
from RecurrentFF.analysis.units import plot_receptive_fields, plot_sparsity, plot_weights, receptive_fields, weights
from RecurrentFF.model.network import Network
from RecurrentFF.model.prediction import proposals_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Picture(NamedTuple):
    """A picture of a section."""

    draw: Callable[[], Figure]
    """Draws the picture."""
    alt: str
    """A text that says what the picture shows, for those who can't see it."""


class Section(NamedTuple):
    """A section of a report."""

    key: str
    """The name of the section in links."""
    title: str
    """The heading."""
    text: str
    """A text on what the pictures show and how to read them; the reason why there are none if the section does not apply."""
    pictures: tuple[Picture, ...] = ()
    """The pictures; none if the section does not apply."""
    findings: tuple[str, ...] = ()
    """The numbers, as sentences."""
    call: str = ""
    """The Python call that draws the pictures."""


def sections(look: Look) -> Iterator[Section]:
    """Yield the sections of a report, in their order."""
    yield _confusion(look)
    yield _mistakes(look)
    yield _badness(look)
    yield _drives(look)
    yield _cancellation(look)
    yield _sparsity(look)
    yield _weights(look)
    yield _receptive_fields(look)
    yield _map(look)


def _confusion(look: Look) -> Section:
    found = look.evaluation
    wrong = found.confusion.clone().fill_diagonal_(0)
    most = wrong.flatten().sort(descending=True, stable=True)
    lines = []
    for count, place in list(zip(most.values.tolist(), most.indices.tolist(), strict=True))[:5]:
        true, predicted = divmod(place, len(found.classes))
        if count:
            lines.append(f"Class {look.class_name(true)} was taken for {look.class_name(predicted)}: {counted(count, 'sample')}.")
    return Section(
        "confusion",
        "Which classes are mistaken for which",
        f"Each sample ({found.samples:,} in all) is counted in the row of its true class and the column of its predicted class. "
        "Right predictions are on the gray diagonal. The bluer another cell is, the more samples are predicted wrong in that "
        "way.",
        (Picture(lambda: plot_confusion(found), "Confusion matrix: counts of samples by true and predicted class."),),
        tuple(lines) or ("No sample is predicted wrong.",),
        "analysis.plot_confusion(rff.evaluate(network, data))",
    )


def _mistakes(look: Look) -> Section:
    title = "The most confident mistakes"
    if look.wrong is None:
        return Section("mistakes", title, "Left out: no sample is predicted wrong.")
    samples, found = look.wrong
    evaluation, score = look.evaluation, found.unit
    total = sum(one != other for one, other in zip(evaluation.predictions, evaluation.labels, strict=True))
    first, own, other = int(samples.index[found.positions[0]]), float(found.score_true[0]), float(found.score_predicted[0])
    proposes, rule, limit = evaluation.method == "propose_and_verify", f"The network prefers the label of lower {score}.", ""
    lines = [f"Predicted wrong: {total:,} of {counted(evaluation.samples, 'sample')}."]
    if evaluation.method == "readout":
        rule = "The network prefers the label of higher logit."
    elif proposes:
        rule = (
            f"The readout proposes {proposals_of(look.network)} of the {len(evaluation.classes)} labels. The prediction is the "
            "one of these with the lowest badness. Where the true label has the lower badness, the readout did not propose it."
        )
        limit = f", among the first {MAX_MISTAKES:,} mistakes in the order of the data" if total > MAX_MISTAKES else ""
        lines.append(f"Mistakes whose true label was not proposed by the readout: {look.not_proposed:,} of {total:,}.")
    lines.append(
        f"The most confident mistake is sample {first}: it is {look.class_name(int(found.true[0]))}, with a {score} of "
        f"{own:.3f}, and is predicted as {look.class_name(int(found.predicted[0]))}, with {other:.3f}."
        + (" Its true label was not proposed." if proposes and own < other else "")
    )
    return Section(
        "mistakes",
        title,
        "These are wrongly predicted samples. Above each are its number in the data, its true and its predicted class, and "
        f"the {score} under both labels. {rule} The samples come in the order of confidence: first those whose true label has a "
        f"{score} that is {'lower' if score == 'logit' else 'higher'} by most{limit}. {_shown_as(look.network, samples)}",
        (Picture(lambda: plot_mistakes(look.network, samples), f"The most confidently wrong samples with their {score}."),),
        tuple(lines),
        f"numbers = {samples.index.tolist()}\nanalysis.plot_mistakes(network, analysis.choose(network, data, index=numbers))",
    )


def _shown_as(network: Network, samples: Samples) -> str:
    """A sentence about what is shown of samples."""
    if samples.images is not None:
        return "Of a sequence, the last timestep is shown." if len(samples.x) > 1 else ""
    if len(samples.x) > 1:
        return "The samples are no images: each row is an input over time, dark for high values."
    return "The samples are no images: each bar is a network input."


def _badness(look: Look) -> Section:
    title = "Badness over time under every label"
    if look.network.settings.training.label_free:
        return Section("badness", title, "Left out: the network was trained without labels, which do not change badness.")
    pictures, calls = [], []
    right = _rightly_predicted(look)
    chosen = [] if right is None else [(look.samples.take([right]), "a rightly predicted sample")]
    if look.wrong is not None:
        samples, found = look.wrong
        chosen.append((samples.take([int(found.positions[0])]), "the most confident mistake"))
    for one, what in chosen:
        alt = f"Badness of {what} over the timesteps, under every label, for each layer."
        pictures.append(Picture(lambda one=one: plot_badness(look.network, one), alt))  # type: ignore[misc]
        calls.append(f"analysis.plot_badness(network, analysis.choose(network, data, index=[{int(one.index[0])}]))")
    which = " in the first picture, and in the second ".join(what for _, what in chosen)
    return Section(
        "badness",
        title,
        f"One sample is shown with each label in turn: {which}. Each curve is the badness of a layer under one label, the mean"
        f" (or sum) of its squared activities. {_rule_of_badness(look)}",
        tuple(pictures),
        (),
        "\n".join(calls),
    )


def _rule_of_badness(look: Look) -> str:
    """Sentences on how the badness of labels makes a prediction, by the method of the network."""
    if look.evaluation.method == "readout":
        return (
            f"The network predicts by its readout, which reads the activity before the label. So the label of lowest badness, "
            f"{look.window}, need not be the predicted one."
        )
    if look.evaluation.method == "badness":
        return (
            f"The predicted label is the one whose badness, {look.window}, is lowest. Where a network is right, the blue curve "
            "of the true label is below the others on average."
        )
    return (
        f"The readout proposes {proposals_of(look.network)} of the {len(look.evaluation.classes)} labels. The predicted label is "
        f"the one of these whose badness, {look.window}, is lowest. A label that is not proposed is not predicted, even if its "
        "badness is lower."
    )


def _rightly_predicted(look: Look) -> int | None:
    """The position of the first sample of the record that is predicted right; None if there is none."""
    predicted, true = look.evaluation.predictions, look.evaluation.labels
    return next((at for at, number in enumerate(look.samples.index.tolist()) if predicted[number] == true[number]), None)


def _drives(look: Look) -> Section:
    title = "What drives each layer"
    if look.network.settings.training.label_free:
        return Section("drives", title, "Left out: the network was trained without labels, so that no label makes a difference.")
    if not any(look.both.true.drives.values()):
        return Section("drives", title, "Left out: no layer has connections whose drives are known.")
    return Section(
        "drives",
        title,
        "A drive is what a layer receives from one block through its weights: forward from the block below, lateral from the "
        "layer itself, backward from the layer above, and from the label. Each curve is the size of a drive, its root mean "
        f"square over the units of the layer, as a mean over {counted(len(look.samples), 'sample')}. Solid curves with "
        "filled marks are under the true label, dashed ones with open marks under a wrong one; where only one can be seen, both "
        "are the same. In the gray area the label is not shown yet: the network sees 1/classes for every class.",
        (Picture(lambda: plot_drives(look.both), "Size of each drive over the timesteps, by layer and source."),),
        (),
        "analysis.plot_drives(both)",
    )


def _cancellation(look: Look) -> Section:
    title = "Does top-down activity cancel what comes up?"
    if look.network.settings.training.label_free:
        return Section("cancellation", title, "Left out: the network was trained without labels.")
    if not opposed_layers(look.both):
        return Section("cancellation", title, "Left out: no layer has both a drive from below and one from above.")
    return Section(
        "cancellation",
        title,
        "Predictive coding assumes that activity from above predicts the activity below and cancels what it predicts. The "
        "drive from above, which here includes that of the label, has a minus sign in the equations, so it could do so. The "
        "curves show the cosine of the drive from below and that from above, the minus sign included: −1 if they are "
        "opposite, so that they cancel, 0 if they are unrelated, and 1 if they point in the same direction. Timesteps at "
        "which one of the drives is zero have no point.",
        (Picture(lambda: plot_cancellation(look.both), "Cosine of bottom-up and top-down drive over the timesteps, by layer."),),
        tuple(" ".join([*str(each).split(), _reading(each)]) for each in look.cancellation)
        or ("At the last timestep, no sample that lasts until the label has both drives.",),
        "analysis.plot_cancellation(both)\nprint(*analysis.cancellation(both), sep='\\n')",
    )


def _reading(found: Cancellation) -> str:
    """A sentence on the cosines of a layer, which says no more than the numbers do."""
    if found.cosine_true <= -0.1 and found.ratio_true >= 1:
        return "So under the true label the top-down drive opposes what comes up, but is so large that the sum is no smaller."
    if found.cosine_true <= -0.1:
        text = "So under the true label the top-down drive cancels a part of what comes up"
        difference = found.cosine_true - found.cosine_wrong
        if math.isnan(found.error):  # of a single sample
            return f"{text}."
        if abs(difference) <= 3 * found.error:
            return f"{text}; the difference from wrong labels is within three standard errors."
        if difference < 0:
            return f"{text}, and opposes it more than under wrong labels, as predictive coding assumes."
        return f"{text}, but opposes it less than under wrong labels."
    if found.cosine_true < 0.1:
        return "So under the true label both drives are nearly unrelated: there is hardly any cancellation."
    return "So under the true label the top-down drive adds to what comes up, and does not cancel it."


def _sparsity(look: Look) -> Section:
    lines = [
        f"{layer}: {100 * float((one.activity > 0).float().mean()):.1f} % of the units are active at the last timestep of a "
        f"sample, as a mean over samples, and {one.never_active} of {one.units} units are active at no timestep of any of these "
        "samples."
        for layer, one in look.sparsity.items()
    ]
    return Section(
        "sparsity",
        "How many units are active",
        "A unit counts as active if its activity h is above 0. The left picture has the fraction of active units over time, "
        f"as a mean over {counted(len(look.samples), 'sample')} under their true labels. The right one has the distribution of "
        "the activity at the last timestep of each sample; its vertical axis is logarithmic. The fewer units are active, the "
        "sparser the code is.",
        (Picture(lambda: plot_sparsity(look.both), "Fraction of active units over time, and a histogram of activity."),),
        tuple(lines),
        "analysis.plot_sparsity(both)",
    )


def _weights(look: Look) -> Section:
    title = "Weights"
    if not weights(look.network):
        return Section("weights", title, "Left out: no layer has weights.")
    return Section(
        "weights",
        title,
        "Each picture is the distribution of the weights of one connection, with the layer that reads, the block that is "
        "read, and the standard deviation. Weights of connections from above have the sign of W_b in the equations, whose "
        "drive is subtracted. Weights beyond five standard deviations are counted at the edges.",
        (Picture(lambda: plot_weights(look.network), "Histograms of the weights of each connection."),),
        (),
        "analysis.plot_weights(network)",
    )


def _receptive_fields(look: Look) -> Section:
    title = "What units look for in the input"
    network = look.network
    layers = [module.name for module in network.hidden_layers() if receptive_fields(network, module.name, 1) is not None]
    if not layers:
        return Section("fields", title, "Left out: the network inputs are no images, or no layer reads them through weights.")
    first = receptive_fields(network, layers[0], 1)
    kind = ""
    if first is not None and first.images.dim() == 4:
        kind = " Of color images, each color is the brighter, the more it raises the activity, and gray hardly matters."
    if first is not None and len(first.maps) > 1:
        kind = (
            " The input consists of several maps of the image, which are side by side, for instance one for each direction of "
            "edges; the title has their directions, row by row."
        )
    return Section(
        "fields",
        title,
        "The weights of a unit from the input, its receptive field, are arranged as the image that it reads. Red inputs raise"
        " the unit's activity, blue ones lower it, and pale ones hardly matter; all images have one scale. The numbers are "
        f"those of the units, or of the channels of a convolution, whose kernels are shown.{kind}",
        tuple(
            Picture(lambda name=name: plot_receptive_fields(network, name), f"Receptive fields of {name} as images.")  # type: ignore[misc]
            for name in layers
        ),
        (),
        "\n".join(f'analysis.plot_receptive_fields(network, "{name}")' for name in layers),
    )


def _map(look: Look) -> Section:
    title = "A map of the activity before the label"
    if look.network.settings.network.prelabel_timesteps == 0:
        return Section("map", title, "Left out: network.prelabel_timesteps = 0, so no activity comes before the label.")
    if len(look.samples) < 4:
        return Section("map", title, "Left out: a map needs at least 4 samples.")
    if look.neighbors is None:
        return Section("map", title, "Left out: all samples have the same activity before the label.")
    labels = look.samples.labels
    counts = labels.bincount()
    chance = float((counts * (counts - 1)).sum()) / (len(labels) * (len(labels) - 1))
    pictures = [Picture(lambda: latent.plot_map(look.network, look.samples), "Map of activity by principal components.")]
    calls = ["analysis.plot_map(network, samples)"]
    try:
        import sklearn  # noqa: F401

        draw = lambda: latent.plot_map(look.network, look.samples, "tsne", seed=look.seed)  # noqa: E731
        pictures.append(Picture(draw, "Map of activity by t-SNE."))
        calls.append('analysis.plot_map(network, samples, "tsne")')
        second = "The second picture, by t-SNE, keeps neighbors together; its distances and sizes of groups mean little."
    except ImportError:
        second = "For a map by t-SNE, too, install scikit-learn."
    return Section(
        "map",
        title,
        "At the end of the timesteps before the label, the activity of all layers depends on the input alone. Each point is the "
        f"activity of one of {len(labels):,} samples, with the color and shape of its class; the network has not been told the "
        "class. The first picture shows the two directions of largest variance (principal components), in which distances are "
        f"true but most of the activity is hidden. {second}",
        tuple(pictures),
        (
            f"In all dimensions, {100 * look.neighbors:.1f} % of the samples have a nearest neighbor of their own "
            f"class; by chance it would be {100 * chance:.1f} %.",
        ),
        "\n".join(calls),
    )
