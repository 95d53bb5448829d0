"""The division of a training: which process has which layers, and which part of each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.projection import has_feedback

if TYPE_CHECKING:
    from RecurrentFF.model.layers import LocalModule
    from RecurrentFF.model.network import Network
    from RecurrentFF.settings import DistributedSettings


@dataclass(frozen=True)
class Division:
    """The division of a training among data_parts · layer_parts processes.

    Process number i has the part i // layer_parts of each batch, and the modules at i % layer_parts.
    """

    data_parts: int
    """The number of parts of a batch."""
    modules: tuple[tuple[str, ...], ...]
    """The names of the local modules of each part of the layers, bottom to top."""

    @property
    def layer_parts(self) -> int:
        """The number of parts of the layers."""
        return len(self.modules)

    @property
    def owners(self) -> dict[str, int]:
        """The part of the layers that has each module, by the module's name."""
        return {name: part for part, names in enumerate(self.modules) for name in names}

    def __str__(self) -> str:
        """The division in a few words: "2 parts of each batch", "layers h1 h2 | h3 h4"."""
        samples = f"{self.data_parts} parts of each batch" if self.data_parts > 1 else ""
        layers = "layers " + " | ".join(" ".join(names) for names in self.modules) if self.layer_parts > 1 else ""
        return ", ".join(filter(None, (samples, layers)))


def divide(network: Network, options: DistributedSettings, processes: int, mode: str) -> Division:
    """Divide the training of a network.

    Args:
        network: the network.
        options: the section [distributed] of the configuration.
        processes: the number of processes.
        mode: "data" or "layer".

    Raises:
        SettingsError: the options don't fit the number of processes or of layers.
    """
    layers = [module.name for module in network.hidden_layers()]
    counts = None if mode == "data" else options.layers_per_process
    parts = 1 if mode == "data" else options.layer_processes or (processes if counts is None else len(counts))
    if processes % parts:
        raise SettingsError(
            f"distributed.layer_processes = {parts} does not divide the number of processes, {processes}; start a multiple of it"
        )
    if parts > len(layers):
        raise SettingsError(
            f"distributed: {parts} processes for {len(layers)} layers; start {len(layers)} processes, or a multiple of them with "
            f'distributed.layer_processes = {len(layers)}, or set distributed.mode = "data"'
        )
    if counts is not None and sum(counts) != len(layers):
        raise SettingsError(
            f"distributed.layers_per_process = {list(counts)}: {sum(counts)} layers, but the network has {len(layers)}"
        )
    if parts > 1:
        _require_divisible(network)
    if processes > parts and network.settings.network.batch_normalization:
        other = 'or one for each layer with distributed.mode = "layer"'
        if network.settings.network.update_order == "bottom_up":
            other = 'which network.update_order = "bottom_up" needs, too'
        raise SettingsError(
            f"network.batch_normalization needs all samples of a batch in one process; start one process, {other}"
        )
    # What learns beside the layers is one piece at the top, which one process has as a whole.
    others = tuple(module.name for module in network.local_modules if not module.is_hidden_layer)
    if counts is None:
        costs = [cost(module) for module in network.hidden_layers()]
        beside = sum(cost(module) for module in network.local_modules if not module.is_hidden_layer)
        counts = balanced(costs, parts, beside)
    edges = [sum(counts[:part]) for part in range(parts + 1)]
    modules = [tuple(layers[first:last]) for first, last in pairwise(edges)]
    return Division(processes // parts, (*modules[:-1], modules[-1] + others))


def cost(module: LocalModule) -> int:
    """The multiplications of one timestep of a module for one sample: its weights, times the positions that share them."""
    weights = sum(parameter.numel() for name, parameter in module.named_parameters() if name != "bias")
    return weights * int(getattr(module, "units_per_bias", 1))


def balanced(costs: Sequence[int], parts: int, last: int = 0) -> tuple[int, ...]:
    """Divide a row into parts of neighbors, so that the greatest cost of a part is as low as possible.

    Args:
        costs: the cost of each element.
        parts: the number of parts, at most that of the elements.
        last: a further cost of the last part.

    Returns:
        The number of elements of each part, at least 1.
    """

    @cache
    def best(start: int, parts: int) -> tuple[int, tuple[int, ...]]:
        if parts == 1:
            return sum(costs[start:]) + last, (len(costs) - start,)
        found = []
        for end in range(start + 1, len(costs) - parts + 2):
            worst, others = best(end, parts - 1)
            found.append((max(sum(costs[start:end]), worst), (end - start, *others)))
        return min(found)

    return best(0, parts)[1]


def part_of(batch: int, parts: int, index: int) -> slice:
    """The samples of a batch that a process has. Parts differ by one sample at most; the first ones are the larger.

    Args:
        batch: the number of samples of the whole batch.
        parts: the number of parts.
        index: the number of the part, from 0.
    """
    size, larger = divmod(batch, parts)
    start = index * size + min(index, larger)
    return slice(start, start + size + (index < larger))


def _require_divisible(network: Network) -> None:
    """Refuse what needs all layers in one process.

    Raises:
        SettingsError: the network has such an option.
    """
    if network.settings.network.update_order == "bottom_up":
        raise SettingsError(
            'distributed.mode = "layer": with network.update_order = "bottom_up" a layer waits for those below it; start one '
            'process, or set distributed.mode = "data" (not with network.batch_normalization)'
        )
    if has_feedback(network) and network.settings.negatives.predicts:
        raise SettingsError(
            'distributed.mode = "layer": negatives that predict with the feedback of the generative circuit need all layers '
            'in one process; set distributed.mode = "data", or generative.feedback = 0'
        )
