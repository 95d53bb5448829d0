"""A record of a network while it reads samples: activity, badness and drives at every timestep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.errors import InputError
from RecurrentFF.model.assembly import direction
from RecurrentFF.model.functional import at_timestep
from RecurrentFF.model.integrity import require_network
from RecurrentFF.model.layers import Layer, LocalModule
from RecurrentFF.model.network import Network
from RecurrentFF.model.state import State
from RecurrentFF.tensors import as_labels, check_labels


class Recorded(NamedTuple):
    """The course of samples under their labels, without learning and dropout, on the CPU. Each entry has the layers by name."""

    activity: dict[str, Tensor]
    """The activity h, (timesteps, units, samples), the timesteps before the label first."""
    badness: dict[str, Tensor]
    """The badness, (timesteps with the label, samples)."""
    drives: dict[str, dict[str, Tensor]]
    """The drive from each block that a layer reads, by the name of that block, (timesteps, units, samples).

    Their sum and the bias is the pre-activation, unless batch normalization is between them. So the drive from above has the
    minus sign of the equations. The weights that `analysis.weights` and a connection's `weights()` return do not have it.
    """
    directions: dict[str, dict[str, str]] = {}  # noqa: RUF012 (the default of a named tuple, which is never changed)
    """The direction of each of these blocks from the layer: "forward", "lateral", "backward", or "label" for the label.

    Blocks that a connection reads together, as "x+h2", have their directions joined, as "forward+backward".
    """


def record(network: Network, samples: Any, labels: Any, layers: Sequence[str] | None = None) -> Recorded:
    """Run samples under their labels, and record the layers. The network is not changed.

    The weights of a connection are `network.layers["h1"].connections[0].weights()`, by the name of the block that is read.

    Args:
        network: the network.
        samples: as for `network.predict`.
        labels: as the network was trained with: class names with a task, else class numbers, (samples,).
        layers: names of the hidden layers to record; None for all.

    Raises:
        InputError: a layer is not there, or samples and labels don't fit the network or each other.

    Examples:
        >>> recorded = record(network, images, labels)
        >>> recorded.activity["h1"].shape, list(recorded.drives["h1"])
        (torch.Size([12, 200, 50]), ['x', 'h1', 'h2'])
    """
    network = require_network(network, "record(network, samples, labels)")
    numbers = as_labels(labels) if network.task is None else network.task.class_numbers(labels)
    return record_inputs(network, network.prepare(samples)[0], numbers, layers)


@torch.no_grad()
def record_inputs(network: Network, x: Tensor, labels: Tensor, layers: Sequence[str] | None = None) -> Recorded:
    """`record` of inputs in the network's layout, (timesteps or 1, features, 1, batch), and class numbers, (batch,)."""
    known = [module.name for module in network.hidden_layers()]
    unknown = [name for name in layers or () if name not in known]
    if unknown:
        raise InputError(f"layers to record: there is no hidden layer {unknown[0]}; the network has {', '.join(known)}")
    names, options = list(layers or known), network.settings.network
    numbers = check_labels(labels, x.shape[3], network.num_classes).to(network.device)
    uniform = torch.full((network.num_classes, 1, 1), 1 / network.num_classes, dtype=network.dtype, device=network.device)
    one_hot = F.one_hot(numbers, network.num_classes).T.unsqueeze(1).to(network.dtype)
    activity: dict[str, list[Tensor]] = {name: [] for name in names}
    badness: dict[str, list[Tensor]] = {name: [] for name in names}
    drives: dict[str, list[dict[str, Tensor]]] = {name: [] for name in names}

    def note_drives(module: LocalModule) -> None:
        if module.name in drives:
            drives[module.name].append(_drives(module, state))

    network.path.begin(network.local_modules)
    state = network.path.new_state(1, x.shape[3])
    state.reset()
    for t in range(network.settings.timesteps):
        before_label = t < options.prelabel_timesteps
        state.clamp(at_timestep(x, t), uniform if before_label else one_hot, static=len(x) == 1)
        found = network.step(state, 1.0 if before_label else options.damping_factor, before=note_drives)
        for name in names:
            activity[name].append(state.blocks[name].activity[:, 0].cpu().clone())  # the only candidate
            if not before_label:
                badness[name].append(found[name][0].cpu().clone())
    return Recorded(
        {name: torch.stack(values) for name, values in activity.items()},
        {name: torch.stack(values) for name, values in badness.items()},
        {name: {source: torch.stack([at[source] for at in values]) for source in values[0]} for name, values in drives.items()},
        {name: {source: _direction(network, source, name) for source in values[0]} for name, values in drives.items()},
    )


def _direction(network: Network, source: str, layer: str) -> str:
    """The direction from a layer to a block that it reads, or to blocks that it reads together, as "x+h2"."""
    blocks = ["x", *(module.name for module in network.local_modules), "y"]
    parts = [source] if source in blocks else source.split("+")
    return "+".join(dict.fromkeys(direction(part, layer, blocks) for part in parts))


def _drives(module: torch.nn.Module, state: State) -> dict[str, Tensor]:
    """The drive of each source of a layer at this timestep, (units, samples); none of a module of another kind."""
    total: dict[str, Tensor] = {}
    dtype = state.blocks[str(module.name)].activity.dtype  # some drives come in the compute dtype
    for index, connection in enumerate(module.connections if isinstance(module, Layer) else ()):
        reads = [state.patterns[source] for source in connection.sources]
        memories = state.blocks[str(module.name)].memory  # empty where no connection has any
        for source, drive in connection.drives(reads, memories[index] if memories else None).items():
            own = drive[:, 0].expand(-1, state.batch).to(dtype).cpu().clone()
            total[source] = total[source] + own if source in total else own
    return total
