"""A map of the activity that samples lead to before any label is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from RecurrentFF.analysis.figures import class_style, name_of_class, new_figure, plain_axes, without_math
from RecurrentFF.analysis.samples import Samples
from RecurrentFF.errors import InputError
from RecurrentFF.messages import shown
from RecurrentFF.model.network import Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("pca", "tsne")
"""The methods of projection to a plane."""
SAME = 1e-5
"""The size of the differences between samples, as a fraction of the size of their activity, below which they are rounding."""
MAX_NAMED = 40
"""The largest number of classes that a legend names."""


@torch.no_grad()
def latent_activity(network: Network, samples: Samples, layers: Sequence[str] | None = None) -> Tensor:
    """The normalized activity n(h) of the hidden layers at the end of the timesteps before the label, which the readout reads.

    Args:
        network: the network.
        samples: from `choose`.
        layers: names of the layers, whose activities are concatenated; None for all.

    Returns:
        (n, units), on the CPU.

    Raises:
        InputError: there are no timesteps before the label, or there is no such layer.

    Examples:
        >>> latent_activity(network, samples).shape
        torch.Size([500, 1500])
    """
    known = [module.name for module in network.hidden_layers()]
    unknown = [name for name in layers or () if name not in known]
    if unknown:
        raise InputError(f"latent_activity: there is no hidden layer {shown(unknown[0])}; the network has {', '.join(known)}")
    if network.settings.network.prelabel_timesteps == 0:
        raise InputError("latent_activity: network.prelabel_timesteps = 0: there is no activity before the label is shown")
    parts = []
    for x in torch.split(samples.x, network.settings.training.prediction_batch_size, 3):
        state = network.path.new_state(1, x.shape[3])
        network.settle(state, x)
        parts.append(state.hidden_pattern(list(layers or known))[:, 0].T.float().cpu())
    return torch.cat(parts)


def project(latent: Tensor, method: str = "pca", seed: int = 0) -> Tensor:
    """Project activity to a plane.

    Args:
        latent: (n, units), at least 2 samples.
        method: "pca", the two directions of largest variance; or "tsne", t-SNE (L. van der Maaten, G. Hinton, "Visualizing data
            using t-SNE", JMLR 9, 2008) by scikit-learn, which keeps neighbors together and does not keep distances.
        seed: the seed of t-SNE.

    Returns:
        (n, 2).

    Raises:
        InputError: there is no such method, scikit-learn is not installed, there are too few samples, an activity is not finite,
            or all samples have the same activity.
    """
    if method not in METHODS:
        raise InputError(f"project: method = {shown(method)}: expected one of {', '.join(map(repr, METHODS))}")
    least = 2 if method == "pca" else 4
    if len(latent) < least:
        raise InputError(f"project: {len(latent)} samples: {method} needs at least {least}")
    if not latent.isfinite().all():
        raise InputError("project: an activity is not finite")
    if not varies(latent):  # where t-SNE of scikit-learn would crash the process
        raise InputError("project: all samples have the same activity, so that there is nothing to map")
    if method == "pca":
        return _components(latent)[0][:, :2]
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise InputError(
            'project: t-SNE needs scikit-learn; install it, as in pip install "RecurrentFF[analysis]", or pass method="pca"'
        ) from None
    perplexity = min(30.0, (len(latent) - 1) / 3)
    reduced = _components(latent)[0][:, :50]
    reduced = reduced / reduced[:, 0].std()  # t-SNE is that of any multiple, but tiny numbers would have no float32
    # If many samples are the same, the steps of t-SNE become huge where it begins at the principal components.
    init = "pca" if len(torch.unique(latent, dim=0)) > len(latent) / 2 else "random"
    return torch.from_numpy(TSNE(2, perplexity=perplexity, init=init, random_state=seed % 2**32).fit_transform(reduced.numpy()))


def varies(latent: Tensor) -> bool:
    """True if the activities (n, units) of samples differ by more than rounding."""
    values = latent.double()
    return bool((values - values.mean(0)).norm() > SAME * values.norm())


def _components(latent: Tensor) -> tuple[Tensor, Tensor]:
    """The principal components of samples, (n, components), at least 2, and the fraction of the variance of each."""
    centered = latent.double() - latent.double().mean(0)
    left, values, right = torch.linalg.svd(centered, full_matrices=False)
    signs = right.gather(1, right.abs().argmax(1, keepdim=True)).sign().flatten()  # a solver leaves them open
    components = (left * values * torch.where(signs == 0, 1.0, signs)).float()
    fractions = (values.square() / values.square().sum().clamp(min=1e-30)).float()
    if components.shape[1] == 1:
        components, fractions = torch.nn.functional.pad(components, (0, 1)), torch.nn.functional.pad(fractions, (0, 1))
    return components, fractions


def neighbors_of_the_same_class(latent: Tensor, labels: Tensor) -> float:
    """The fraction of samples whose nearest other sample, by the cosine, is of the same class; in all dimensions, not on the map.

    Args:
        latent: (n, units), at least 2 samples.
        labels: (n,) class numbers.
    """
    normalized = torch.nn.functional.normalize(latent, dim=1)
    nearest = (normalized @ normalized.T).fill_diagonal_(-2).argmax(1)
    return float((labels[nearest] == labels).float().mean())


def plot_map(
    network: Network, samples: Samples, method: str = "pca", layers: Sequence[str] | None = None, seed: int = 0
) -> Figure:
    """Draw a map of the activity before the label is shown: a point for each sample, with the color and shape of its class.

    Args:
        network: the network.
        samples: from `choose`.
        method: "pca" or "tsne", see `project`.
        layers: names of the layers; None for all.
        seed: the seed of t-SNE.

    Raises:
        InputError: see `latent_activity` and `project`.

    Examples:
        >>> plot_map(network, samples, "tsne")
    """
    latent = latent_activity(network, samples, layers)
    places = project(latent, method, seed)
    classes = range(network.num_classes) if network.task is None else network.task.classes
    present = sorted(set(samples.labels.tolist()))
    columns = 1 if len(present) <= 20 else 2
    figure = new_figure(6.2 + 0.9 * (columns - 1), 5.0)
    axes = figure.subplots()
    size = 26 if len(samples) > 200 else 30
    for number in present:
        x, y = places[samples.labels == number].T.numpy()
        label = name_of_class(classes[number])
        axes.scatter(x, y, s=size, linewidths=0.3, edgecolors="white", label=label, **class_style(number))
    if method == "pca":
        fractions = _components(latent)[1]
        axes.set_xlabel(f"principal component 1 ({100 * float(fractions[0]):.0f} % of the variance)")
        axes.set_ylabel(f"principal component 2 ({100 * float(fractions[1]):.0f} %)")
    else:
        axes.set_xlabel("t-SNE 1 (no unit)")
        axes.set_ylabel("t-SNE 2 (no unit)")
    plain_axes([axes])
    if len(present) <= MAX_NAMED:
        legend = figure.legend(loc="outside right center", title="class", ncols=columns, fontsize="small", markerscale=1.6)
        without_math(legend.get_texts())
    else:
        axes.set_title(f"{len(present)} classes, each with a color and a shape", loc="left", fontsize="medium")
    return figure
