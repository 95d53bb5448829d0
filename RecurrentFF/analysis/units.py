"""Pictures of units and weights: activity, distributions of weights, and receptive fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.analysis.figures import DIRECTIONS, GRAY, new_figure, plain_axes, time_axis, without_math
from RecurrentFF.analysis.images import arranged, side_by_side
from RecurrentFF.analysis.records import Comparison, sparsity
from RecurrentFF.errors import InputError
from RecurrentFF.messages import shown
from RecurrentFF.model.assembly import direction
from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.model.convolutions import Convolution
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.network import Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 80
"""The number of bins of a histogram."""


def plot_sparsity(both: Comparison, threshold: float = 0.0) -> Figure:
    """Draw the fraction of active units over time, and the distribution of activity at the last timestep, under true labels.

    Args:
        both: from `record_both`.
        threshold: a unit is active if its activity is above it.

    Examples:
        >>> plot_sparsity(record_both(network, samples))
    """
    found = sparsity(both, threshold)
    figure = new_figure(8.0, 3.4)
    over_time, distribution = figure.subplots(1, 2)
    low = min(float(each.activity.min()) for each in found.values())
    high = max(float(each.activity.max()) for each in found.values())
    edges = torch.linspace(min(low, 0.0), max(high, low + 1e-6), BINS + 1).numpy()
    for number, (layer, one) in enumerate(found.items()):
        style: dict[str, Any] = {"color": _layer_color(number, len(found))}
        never = f"{one.never_active} of {one.units} units never active"
        over_time.plot(both.timesteps, 100 * one.active, marker="osD^vPX"[number % 7], label=f"{layer}: {never}", **style)
        weights = torch.full_like(one.activity, 100 / len(one.activity)).numpy()
        distribution.hist(one.activity.numpy(), edges, weights=weights, histtype="step", linewidth=1.5, label=layer, **style)
    over_time.set_ylim(0, 100)
    over_time.set_ylabel(f"units with activity above {threshold:g}, %")
    time_axis(over_time, both.timesteps)
    distribution.set_yscale("log")
    distribution.set_xlabel("activity h at the last timestep")
    distribution.set_ylabel("fraction of all units and samples, %")
    for axes, title in ((over_time, "Active units"), (distribution, "Distribution of activity")):
        axes.set_title(title, loc="left", fontsize="medium")
        without_math(axes.legend(fontsize="small").get_texts())
    plain_axes((over_time, distribution))
    return figure


def _layer_color(number: int, count: int) -> Any:
    """A color of the map "viridis", dark for the lowest layer."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.85 * number / max(1, count - 1))


def weights(network: Network) -> dict[str, dict[str, Tensor]]:
    """The weights of every layer by the name of the block that is read, with the sign of the equations: W_b, not −W_b.

    A drive of `rff.record` from above or from the label includes the minus sign: it is −W_b · n(h), not W_b · n(h).

    Args:
        network: the network.

    Returns:
        Dense weights are (units, features), and only those of units that are connected, (n,), if there is a mask. Kernels of
        convolutions are (channels, input channels, height, width). Connections without weights are left out. All weights of a
        connection of another kind that reads several blocks have the joined name, as "x+h2".

    Examples:
        >>> weights(network)["h1"]["x"].shape
        torch.Size([1000, 800])
    """
    found: dict[str, dict[str, Tensor]] = {}
    for layer in network.hidden_layers():
        own: dict[str, list[Tensor]] = {}
        for connection in layer.connections if isinstance(layer, Layer) else ():
            for source, weight in _weights_of(connection).items():
                own.setdefault(source, []).append(weight)
        if own:
            found[layer.name] = {source: _joined(blocks) for source, blocks in own.items()}
    return found


def _joined(blocks: list[Tensor]) -> Tensor:
    """A single tensor itself, or the values of several as one vector."""
    return blocks[0] if len(blocks) == 1 else torch.cat([block.flatten() for block in blocks])


def _weights_of(connection: Connection) -> dict[str, Tensor]:
    """The weights of a connection by source, on the CPU."""
    own: Callable[[], dict[str, Tensor]] | None = getattr(connection, "weights", None)
    try:
        blocks = own() if callable(own) else None
    except AttributeError:  # a connection behind a black box may have none
        blocks = None
    if blocks is None:
        matrices = [each.detach() for each in connection.parameters() if each.dim() > 1]
        if not matrices:
            return {}
        blocks = {"+".join(connection.sources): _joined(matrices)}
    blocks = {source: block.detach().cpu().float() for source, block in blocks.items()}
    if isinstance(connection, Dense) and connection.mask is not None:
        masks = {source: connection.mask[:, columns].cpu().bool() for source, columns in connection.columns.items()}
        blocks = {source: block if masks[source].all() else block[masks[source]] for source, block in blocks.items()}
    return blocks


def plot_weights(network: Network) -> Figure:
    """Draw the distribution of the weights of every layer, by the block that they read.

    Args:
        network: the network.

    Raises:
        InputError: no layer has weights.

    Examples:
        >>> plot_weights(network)
    """
    found = weights(network)
    if not found:
        raise InputError("plot_weights: no layer has weights")
    blocks = ["x", *(module.name for module in network.local_modules), "y"]
    columns = max(map(len, found.values()))
    figure = new_figure(max(2.3 * columns, 5.0), 2.1 * len(found) + 0.2)
    grid = figure.subplots(len(found), columns, squeeze=False)
    for line, (layer, by_source) in zip(grid, found.items(), strict=True):
        for axes, (source, weight) in zip(line, by_source.items(), strict=False):
            kind = direction(source, layer, blocks) if source in blocks else "several"
            limit = _spread(weight) or 1.0
            edges = torch.linspace(-limit, limit, BINS + 1).numpy()
            counts = torch.full((weight.numel(),), 100 / weight.numel()).numpy()
            axes.hist(weight.flatten().clamp(-limit, limit).numpy(), edges, weights=counts, color=DIRECTIONS.get(kind, GRAY))
            axes.axvline(0, color="black", linewidth=0.6)
            title = f"{layer} from {source} ({kind})\ndeviation {float(weight.std(correction=0)):.3g}"
            without_math([axes.set_title(title, loc="left", fontsize="small")])
            axes.tick_params(labelsize="small")
            axes.locator_params(axis="x", nbins=4)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlabel("weight", fontsize="small")
        line[0].set_ylabel("weights, %", fontsize="small")
        for axes in line[len(by_source) :]:
            axes.set_axis_off()
    return figure


def _spread(weight: Tensor) -> float:
    """Five standard deviations of weights, or the largest magnitude if that is less."""
    return min(float(weight.abs().max()), 5 * float(weight.std(correction=0)) + abs(float(weight.mean())))


class Fields(NamedTuple):
    """The weights of some units from the input, as images."""

    images: Tensor
    """(n, height, width), NaN where there is no weight; (n, height, width, 3) for color images."""
    units: list[int]
    """The numbers of the units; of a convolution, those of the channels."""
    maps: tuple[str, ...]
    """A title for each of the maps that an image consists of, row by row."""
    is_convolution: bool
    """True if the images are the kernels of a convolution."""


def receptive_fields(network: Network, layer: str = "h1", units: int = 24) -> Fields | None:
    """The weights of a layer from the input, as images.

    Args:
        network: the network.
        layer: the name of a layer.
        units: the number of units, which are evenly spaced among all; of a convolution, that of channels.

    Returns:
        The images; None if the layer does not read the input through weights, or the network inputs are no images.
    """
    module = dict(network.layers.items()).get(layer)
    for connection in module.connections if isinstance(module, Layer) else ():
        if tuple(connection.sources) == ("x",) and isinstance(connection, Convolution):
            kernels = connection.weight.detach().cpu().float()
            chosen = _evenly(len(kernels), units)
            return Fields(side_by_side(kernels[chosen]), chosen, ("",) * kernels.shape[1], True)
        own: Any = getattr(connection, "weights", None)
        if "x" not in connection.sources or not callable(own) or network.task is None:
            continue
        block = own()["x"]
        chosen = _evenly(len(block), units)
        found = arranged(block[chosen], network.task) if block.shape[1] == network.input_size else None
        return None if found is None else Fields(found.images, chosen, found.maps, False)
    return None


def plot_receptive_fields(network: Network, layer: str = "h1", units: int = 24) -> Figure:
    """Draw the weights of units from the input as images: blue where the input inhibits a unit, red where it excites the unit.

    All images have one scale. Oriented gradients are maps side by side, one for each direction. A convolution has its kernels.

    Args:
        network: the network.
        layer: the name of a layer that reads the input.
        units: the number of units to show, which are evenly spaced among all; of a convolution, that of channels.

    Raises:
        InputError: the layer does not read the input, or the network inputs are no images.

    Examples:
        >>> plot_receptive_fields(network, "h1")
    """
    found = receptive_fields(network, layer, units)
    if found is None:
        raise InputError(
            f"plot_receptive_fields: layer = {shown(layer)} has no weights that are images: it must read the input x, and the "
            "network's task must have images, such as pixels or oriented gradients"
        )
    rows, columns = -(-len(found.units) // 6), min(6, len(found.units))
    shape = found.images.shape[1] / found.images.shape[2]
    figure = new_figure(7.4 if columns > 3 else 4.6, rows * (min(shape, 1.6) + 0.25) + 0.5)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    magnitudes = found.images[~found.images.isnan()].abs().sort().values
    limit = float(magnitudes[int(0.998 * (len(magnitudes) - 1))]) or 1.0  # a few larger weights would make all others pale
    drawn = None
    for axes in grid:
        axes.set_axis_off()
    for axes, image, unit in zip(grid, found.images, found.units, strict=False):
        if image.dim() == 3:  # color: each channel of weights around gray
            axes.imshow((0.5 + image / (2 * limit)).clamp(0, 1).numpy(), interpolation="nearest")
        else:
            drawn = axes.imshow(image.numpy(), cmap="coolwarm", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(f"{unit}", fontsize="small", pad=2)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=grid, shrink=0.8, extend="both")
        bar.set_label("weight from the input")
    maps = f"; maps row by row: {'  '.join(found.maps)}" if any(found.maps) else ""
    kind = "Channels" if found.is_convolution else "Units"
    without_math([figure.suptitle(f"{kind} of {layer}, by number{maps}", fontsize="medium")])
    return figure


def _evenly(count: int, wanted: int) -> list[int]:
    """Numbers from 0 to count − 1, evenly spaced, as many as wanted."""
    return sorted({round(float(number)) for number in torch.linspace(0, count - 1, min(count, wanted))})
