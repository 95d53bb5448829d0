"""Records of samples under their true and under wrong labels: as tensors, as a pandas frame, and the numbers that sum them up.

The drive of a layer from a block is what that block adds to the layer's pre-activation z. Bottom-up is the drive from the blocks
below, top-down that from the blocks above and from the label, which has the minus sign of the equations:

    z = W_f · below + W_lat · n(h) − W_b · above + b

So top-down activity cancels what comes up where the cosine of both drives is near −1 and their sum is small. That is what
predictive coding assumes of it (R. Rao, D. Ballard, "Predictive coding in the visual cortex", Nature Neuroscience 2, 1999).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.analysis.samples import Samples, counted, wrong_labels
from RecurrentFF.errors import InputError
from RecurrentFF.model.network import Network
from RecurrentFF.model.recording import Recorded, record_inputs

if TYPE_CHECKING:
    import pandas

MAX_ROWS = 50_000_000
"""The largest number of rows of a frame."""
BOTTOM_UP, TOP_DOWN = {"forward"}, {"backward", "label"}
"""The directions of the blocks below a layer, and of those above it."""
MAX_LINE = 100
"""The largest number of characters in a line of a text."""


class Comparison(NamedTuple):
    """The course of the same samples under their true labels and under wrong ones."""

    true: Recorded
    """The course under the true labels, see `rff.record`."""
    wrong: Recorded
    """The course under wrong labels."""
    labels: Tensor
    """The true class numbers, (n,)."""
    wrong_labels: Tensor
    """The wrong class numbers, (n,)."""
    valid: Tensor
    """True until the sequence of a sample ends, (timesteps, n)."""

    @property
    def timesteps(self) -> range:
        """The numbers of the timesteps: 0 is the first one with the label, and those before it are negative."""
        with_label = len(next(iter(self.true.badness.values())))
        return range(with_label - len(self.valid), with_label)

    @property
    def with_label(self) -> Tensor:
        """True for samples that last until the label is shown, (n,)."""
        return self.valid[self.timesteps.index(0) :].any(0)


class Curves(NamedTuple):
    """A number at every timestep, as a mean over the samples that have not ended."""

    true: Tensor
    """The numbers under the true labels, (timesteps,)."""
    wrong: Tensor
    """The numbers under wrong labels, (timesteps,)."""


class Cancellation(NamedTuple):
    """The degree to which top-down drive cancels bottom-up drive in a layer, at the last timestep of each sample.

    `str` has the numbers in two sentences, in lines of at most 100 characters.
    """

    layer: str
    """The name of the layer."""
    cosine_true: float
    """The mean cosine of the bottom-up and the top-down drive under the true labels: −1 opposite, 0 unrelated, 1 the same."""
    cosine_wrong: float
    """The same under wrong labels."""
    error: float
    """The standard error of the difference of the two, over samples; NaN for a single sample."""
    ratio_true: float
    """The size of the sum of both drives divided by that of the bottom-up drive, under the true labels; 0 if they cancel."""
    ratio_wrong: float
    """The same under wrong labels."""
    samples: int
    """The number of samples that count. Those that end before the label is shown do not."""

    def __str__(self) -> str:
        """The numbers in two sentences."""
        error = "" if math.isnan(self.error) else f", standard error {self.error:.3f}"
        text = (
            f"{self.layer}: cosine {signed(self.cosine_true)} under the true and {signed(self.cosine_wrong)} under wrong labels "
            f"(difference {signed(self.cosine_true - self.cosine_wrong)}{error}), of bottom-up and top-down drive at the last "
            f"timestep of {counted(self.samples, 'sample')}. Their sum has {self.ratio_true:.2f} (true) and "
            f"{self.ratio_wrong:.2f} (wrong) of the size of the bottom-up drive."
        )
        return textwrap.fill(text, MAX_LINE, break_long_words=False, break_on_hyphens=False)


class Sparsity(NamedTuple):
    """The number of active units of a layer under the true labels. A unit is active if its activity h is above a threshold."""

    active: Tensor
    """The fraction of active units, (timesteps,), as a mean over samples."""
    never_active: int
    """The number of units that are active at no timestep of any sample."""
    units: int
    """The number of units."""
    activity: Tensor
    """The activities h at the last timestep of all samples, (units · n,)."""


def record_both(network: Network, samples: Samples, *, seed: int = 0, layers: Sequence[str] | None = None) -> Comparison:
    """Record samples under their true labels and under wrong ones. The network is not changed.

    Args:
        network: the network.
        samples: from `choose`.
        seed: the seed of the wrong labels, see `wrong_labels`.
        layers: names of the hidden layers to record; None for all.

    Raises:
        InputError: a layer is not there.

    Examples:
        >>> both = record_both(network, choose(network, (images, labels), 500))
        >>> both.true.drives["h1"]["x"].shape  # timesteps, units, samples
        torch.Size([4, 1000, 500])
    """
    wrong = wrong_labels(samples.labels, network.num_classes, seed)
    true, other = (record_inputs(network, samples.x, labels, layers) for labels in (samples.labels, wrong))
    everything = torch.ones(network.settings.timesteps, len(samples), dtype=torch.bool)
    valid = everything if samples.mask is None else samples.mask.cpu().bool()
    return Comparison(true, other, samples.labels, wrong, valid)


def frame(recorded: Recorded, *, summary: bool = False) -> pandas.DataFrame:
    """Write a record as a pandas frame with one value in each row.

    Args:
        recorded: from `rff.record`, or the parts `true` and `wrong` of `record_both`.
        summary: write the root mean square over the units of a layer, in place of a row for each unit.

    Returns:
        The columns are layer, timestep (0 is the first one with the label, those before it are negative), sample, quantity
        ("activity", "drive" or "badness"), source and direction (of a drive; else empty), unit (left out with `summary`, and −1
        for badness, which is one number for a layer) and value.

    Raises:
        InputError: pandas is not installed, or there would be more than 50 million rows.

    Examples:
        >>> table = frame(both.true, summary=True)
        >>> table[table.quantity == "drive"].groupby(["layer", "source", "timestep"]).value.mean()
    """
    try:
        import pandas
    except ImportError:
        raise InputError('frame: pandas is not installed; install it, as in pip install "RecurrentFF[analysis]"') from None
    parts = list(_columns(recorded, summary))
    rows = sum(values.numel() for *_, values in parts)
    if rows > MAX_ROWS:
        raise InputError(f"frame: {rows:,} rows; pass summary=True, or record fewer samples or layers")
    frames = [pandas.DataFrame(_table(layer, names, first, values)) for layer, names, first, values in parts]
    table = pandas.concat(frames, ignore_index=True)
    for name in ("layer", "quantity", "source", "direction"):
        table[name] = table[name].astype("category")
    return table.drop(columns="unit") if summary else table


def _columns(recorded: Recorded, summary: bool) -> Any:
    """For each quantity of each layer: the layer, (quantity, source, direction), the first timestep, and the values."""
    for layer, activity in recorded.activity.items():
        first = len(recorded.badness[layer]) - len(activity)
        yield layer, ("activity", "", ""), first, _root_mean_square(activity) if summary else activity
        for source, drive in recorded.drives[layer].items():
            names = ("drive", source, recorded.directions[layer][source])
            yield layer, names, first, _root_mean_square(drive) if summary else drive
        yield layer, ("badness", "", ""), 0, recorded.badness[layer]


def _table(layer: str, names: tuple[str, str, str], first: int, values: Tensor) -> dict[str, Any]:
    """The columns of a quantity, from values (timesteps, samples) or (timesteps, units, samples)."""
    by_unit = values if values.dim() == 3 else values.unsqueeze(1)
    timesteps, units, samples = by_unit.shape
    numbers = torch.arange(units) if values.dim() == 3 else torch.tensor([-1])
    t, unit, sample = torch.meshgrid(torch.arange(timesteps) + first, numbers, torch.arange(samples), indexing="ij")
    columns = {"layer": layer, "timestep": t, "sample": sample}
    columns |= dict(zip(("quantity", "source", "direction"), names, strict=True)) | {"unit": unit, "value": by_unit}
    return {name: value.flatten().numpy() if isinstance(value, Tensor) else value for name, value in columns.items()}


# ---------------------------------------------------------------- numbers


def drive_norms(both: Comparison) -> dict[str, dict[str, Curves]]:
    """The size of every drive over time: its root mean square over the units of a layer, as a mean over samples.

    Args:
        both: from `record_both`.

    Returns:
        For each layer that has connections the curves by the name of the source.
    """
    return {
        layer: {source: _curves(both, lambda r, at=layer, s=source: _root_mean_square(r.drives[at][s])) for source in drives}
        for layer, drives in both.true.drives.items()
        if drives
    }


def drive_cosines(both: Comparison) -> dict[str, Curves]:
    """The cosine of the bottom-up and the top-down drive over time, as a mean over samples.

    Args:
        both: from `record_both`.

    Returns:
        The curves of each layer that has drives of both kinds; NaN at a timestep at which one of them is zero.
    """
    return {layer: _curves(both, lambda r, at=layer: _cosine(*_opposed(r, at))) for layer in opposed_layers(both)}


def opposed_layers(both: Comparison) -> list[str]:
    """The names of the layers that have bottom-up and top-down drives, bottom to top."""
    return [
        layer
        for layer, directions in both.true.directions.items()
        if all(any(_is(way, kinds) for way in directions.values()) for kinds in (BOTTOM_UP, TOP_DOWN))
    ]


def _is(direction: str, kinds: set[str]) -> bool:
    """True if all directions of blocks that are read together, as "label+backward", are of these kinds."""
    return set(direction.split("+")) <= kinds


def cancellation(both: Comparison) -> list[Cancellation]:
    """Measure how far top-down drive cancels bottom-up drive in each layer, at the last timestep of each sample.

    Args:
        both: from `record_both`.

    Returns:
        An entry for each layer that has both, bottom to top. Samples that end before the label is shown are left out, and those
        for which a drive is zero; a layer is left out if no sample remains.

    Examples:
        >>> print(cancellation(both)[0])
        h1: cosine 0.26 under the true and 0.31 under wrong labels (difference −0.05, standard error …
    """
    found = []
    for layer in opposed_layers(both):
        cosines, ratios = [], []
        for recorded in (both.true, both.wrong):
            up, down = _opposed(recorded, layer)
            cosines.append(_at_end(_cosine(up, down), both.valid))
            ratios.append(_at_end(_root_mean_square(up + down) / _root_mean_square(up), both.valid))
        defined = torch.isfinite(torch.stack([*cosines, *ratios])).all(0) & both.with_label
        if not defined.any():  # for instance where all weights from above are zero
            continue
        (cosine, other), means = (values[defined] for values in cosines), [float(each[defined].mean()) for each in ratios]
        error = float((cosine - other).std() / len(cosine) ** 0.5) if len(cosine) > 1 else float("nan")
        found.append(Cancellation(layer, float(cosine.mean()), float(other.mean()), error, means[0], means[1], len(cosine)))
    return found


def sparsity(both: Comparison, threshold: float = 0.0) -> dict[str, Sparsity]:
    """Count the units of each layer that are active under the true labels.

    Args:
        both: from `record_both`.
        threshold: a unit is active if its activity is above it.
    """
    found = {}
    for layer, activity in both.true.activity.items():
        active = (activity > threshold) & both.valid.unsqueeze(1)
        counts = active.float().mean(1)
        ends = _at_end(activity.transpose(0, 1), both.valid)
        found[layer] = Sparsity(_mean(counts, both.valid), int((~active.any(2).any(0)).sum()), activity.shape[1], ends.flatten())
    return found


def _opposed(recorded: Recorded, layer: str) -> tuple[Tensor, Tensor]:
    """The bottom-up and the top-down drive of a layer, (timesteps, units, samples) each."""
    drives, directions = recorded.drives[layer], recorded.directions[layer]
    up, down = (sum(drive for s, drive in drives.items() if _is(directions[s], kinds)) for kinds in (BOTTOM_UP, TOP_DOWN))
    assert isinstance(up, Tensor) and isinstance(down, Tensor)
    return up, down


def _curves(both: Comparison, number: Any) -> Curves:
    """The means over samples of a number at each timestep, (timesteps, samples), under true and under wrong labels."""
    return Curves(*(_mean(number(recorded), both.valid) for recorded in (both.true, both.wrong)))


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean over samples (timesteps, samples) → (timesteps,) of what is valid and finite; NaN if there is nothing."""
    return values.masked_fill(~valid | ~torch.isfinite(values), torch.nan).nanmean(1)


def _at_end(values: Tensor, valid: Tensor) -> Tensor:
    """The values (…, timesteps, samples) at the last valid timestep of each sample, (…, samples)."""
    numbers = torch.arange(1, len(valid) + 1).unsqueeze(1) * valid
    last = (numbers.amax(0) - 1).clamp(min=0)
    return values[..., last, torch.arange(values.shape[-1])]


def _root_mean_square(values: Tensor) -> Tensor:
    """The root mean square over units, (timesteps, units, samples) → (timesteps, samples)."""
    return values.float().square().mean(1).sqrt()


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """The cosine over units, (timesteps, units, samples) → (timesteps, samples); NaN where one of the vectors is zero."""
    product_of_sizes = one.norm(dim=1) * other.norm(dim=1)
    return torch.where(product_of_sizes > 0, (one * other).sum(1) / product_of_sizes, torch.nan)


def signed(value: float) -> str:
    """A number with two decimals and a true minus sign; "0.00" for one that is rounded to zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
