"""The layers that a configuration describes: blocks, the connections between them, and their initial weights.

Blocks have names: "x" is the input, "h1", "h2", … the hidden layers from bottom to top, "y" the label. A layer reads its
two neighbors, itself, and the sources of its residual connections. It does so through one dense connection, except for what the
configuration gives to other kinds of connections: see `connection_kinds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.activations import Activation, StraightThrough
from RecurrentFF.model.connection_kinds import ConnectionKind, DenseKind, Place, Shape
from RecurrentFF.model.connections import Connection
from RecurrentFF.model.generative import TopDownMap
from RecurrentFF.model.initialization import Kind
from RecurrentFF.model.layers import Layer, LocalModule
from RecurrentFF.registry import name_of
from RecurrentFF.settings import Settings


def block_sizes(settings: Settings) -> dict[str, int]:
    """The number of features or units of every block by name, from the input to the label.

    Raises:
        SettingsError: network.input_size or network.num_classes is missing.
    """
    input_size, num_classes = settings.network.input_size, settings.network.num_classes
    if input_size is None or num_classes is None:
        raise SettingsError(
            "a network needs its network.input_size and network.num_classes; set both, name a data set, or pass task=…"
        )
    hidden = {f"h{number}": units for number, units in enumerate(settings.network.hidden_sizes, start=1)}
    return {"x": input_size, **hidden, "y": num_classes}


def sources_of_layers(settings: Settings) -> dict[str, tuple[str, ...]]:
    """For each hidden layer the blocks that it reads, from the input to the label."""
    names = list(block_sizes(settings))
    residuals = set(settings.network.residual_connections)

    def reads(layer: int, block: int) -> bool:
        is_neighbor = abs(block - layer) <= 1 and not (settings.network.class_groups and names[block] == "y")
        return is_neighbor or (block, layer) in residuals

    return {
        names[layer]: tuple(name for block, name in enumerate(names) if reads(layer, block)) for layer in range(1, len(names) - 1)
    }


def make_layers(settings: Settings, dtype: torch.dtype, generator: torch.Generator) -> list[Layer]:
    """The hidden layers of a configuration, bottom to top.

    Args:
        settings: names the sizes of all blocks.
        dtype: the type of weights and activity.
        generator: the source of the initial weights, on the CPU.

    Raises:
        SettingsError: a connection does not fit its layer or its sources.
    """
    network = settings.network
    sizes, used = block_sizes(settings), set[int]()
    layers: list[Layer] = []
    for number, (name, sources) in enumerate(sources_of_layers(settings).items(), start=1):
        kinds = {source: direction(source, name, list(sizes)) for source in sources}
        planes = {layer.name: layer.shape for layer in layers if len(layer.shape) == 3}
        place = Place(name, sizes[name], {source: sizes[source] for source in sources}, kinds, sizes, dtype, generator, planes)
        shape, connections, options = _connections(network.connections, number, place, used)
        if not connections:
            raise SettingsError(
                f"network.connections: layer {number} would read nothing; leave a source to it, as sources = ['lateral'] does"
            )
        _require_groups(settings, number, shape, options)
        layer = Layer(
            name,
            shape,
            connections,
            activation=_activation(settings),
            epsilon=network.epsilon,
            badness=network.badness,
            dropout=network.dropout,
            peer_normalization=network.peer_normalization,
            hard_example_fraction=network.hard_example_fraction,
            time_constants=network.time_constants,
            classes=network.num_classes if network.class_groups else None,
            normalized_timesteps=settings.timesteps if network.batch_normalization else 0,
            dtype=dtype,
            **options,
        )
        layers.append(layer)
    _require_use(settings, layers, used)
    return layers


def _require_groups(settings: Settings, number: int, shape: Shape, options: dict[str, Any]) -> None:
    """Raise SettingsError where the units or channels of a layer can't be divided into groups for the classes."""
    classes, (channels, *plane) = settings.network.num_classes, (shape,) if isinstance(shape, int) else shape
    if not settings.network.class_groups or classes is None:
        return
    if channels % classes:
        kind = "channels" if plane else "units"
        raise SettingsError(
            f"network.class_groups: the {channels} {kind} of layer {number} can't be divided among {classes} classes; set "
            f"{'channels' if plane else 'network.hidden_sizes'} to a multiple of {classes}"
        )
    if options.get("position_exponent", 1) != 1:
        raise SettingsError("network.class_groups: the badness of a group is no power mean; leave out position_exponent")


def _require_use(settings: Settings, layers: Sequence[Layer], used: set[int]) -> None:
    """Raise SettingsError where an entry of network.connections serves no source of any layer, or no layer reads the label."""
    for index, option in enumerate(settings.network.connections):
        if index not in used:
            raise SettingsError(
                f"network.connections[{index}] ({name_of(option)}) serves nothing: entries before it serve its layers "
                "and sources, or its layers have no such source; change its layers or sources, or leave it out"
            )
    reads_label = settings.network.class_groups or any("y" in layer.sources for layer in layers)
    if not settings.training.label_free and not reads_label:
        raise SettingsError(
            "network.connections: no layer would read the label, and nothing could be learned; leave the source 'label' to one"
        )


def make_modules(settings: Settings, dtype: torch.dtype, generator: torch.Generator) -> list[LocalModule]:
    """The local modules of a configuration: the hidden layers, bottom to top, then those of a generative circuit.

    The arguments and the errors are those of `make_layers`. The layers are the same with and without a circuit.
    """
    layers, circuit = make_layers(settings, dtype, generator), settings.generative
    if circuit is None:
        return [*layers]
    return [*layers, *circuit.make(block_sizes(settings), _activation(settings), dtype, generator)]


def are_described(modules: Sequence[LocalModule], settings: Settings) -> bool:
    """True if all modules compute what the layers of the settings do: their activation, ε and badness are the same."""
    expected, options = _activation(settings), settings.network
    return all(
        isinstance(module, Layer)
        and type(module.activation) is type(expected)
        and (module.activation == expected or not is_dataclass(expected))
        and (module.epsilon, module.reduction) == (options.epsilon, options.badness)
        and (module.classes is not None) == options.class_groups
        and (module.normalization is not None) == options.batch_normalization
        for module in modules
    )


def _activation(settings: Settings) -> Activation:
    network = settings.network
    return StraightThrough(network.activation) if network.straight_through else network.activation


def _connections(
    chosen: Sequence[ConnectionKind], number: int, place: Place, used: set[int]
) -> tuple[Shape, list[Connection], dict[str, Any]]:
    """The shape, the connections and further options of a layer.

    Each source goes to the first kind that serves it, whose index is added to `used`, or to the dense one.
    """
    groups: dict[int, list[str]] = {}
    for source, kind in place.kinds.items():
        index = next((index for index, option in enumerate(chosen) if option.serves(number, kind)), len(chosen))
        groups.setdefault(index, []).append(source)
    used.update(groups)
    options = {index: chosen[index] if index < len(chosen) else DenseKind() for index in groups}
    for index, option in sorted(options.items()):
        place = place._replace(shape=option.shape(_part(place, groups[index])))
    connections = [made for index, option in sorted(options.items()) for made in option.make(_part(place, groups[index]))]
    return place.shape, connections, {key: value for option in options.values() for key, value in option.layer_options().items()}


def _part(place: Place, sources: Sequence[str]) -> Place:
    """The same layer, with some of its sources."""
    return place._replace(
        sources={source: place.sources[source] for source in sources}, kinds={source: place.kinds[source] for source in sources}
    )


def direction(source: str, layer: str, names: list[str]) -> Kind:
    """The direction of the connection from one block to another; `names` are those of all blocks, from "x" to "y"."""
    if source == layer:
        return "lateral"
    if names.index(source) < names.index(layer):
        return "forward"
    return "label" if source == "y" else "backward"


def check_blocks(modules: Sequence[LocalModule], sizes: dict[str, int], dtype: torch.dtype) -> None:
    """Raise ValueError where modules don't fit each other: names, sources, sizes, or the type of their parameters."""
    names = ["x", *(module.name for module in modules), "y"]
    sizes = sizes | {module.name: module.units for module in modules}
    if len(set(names)) < len(names):
        raise ValueError(f"blocks {names}: every module needs a name of its own, other than x and y")
    for module in modules:
        absent = [name for name in module.sources if name not in names]
        if absent:
            raise ValueError(f"{module.name} reads {', '.join(absent)}, but the blocks are {', '.join(names)}")
        for connection in module.connections if isinstance(module, Layer) else ():
            if connection.units not in (None, module.units):
                raise ValueError(f"{module.name} has {module.units} units, but a connection drives {connection.units}")
            for source, size in connection.source_sizes.items():
                if size != sizes[source]:
                    raise ValueError(f"{module.name} reads {size} features of {source}, which has {sizes[source]}")
        if isinstance(module, TopDownMap):
            module.require_sizes(sizes)
        for name, parameter in module.named_parameters():
            if parameter.dtype != dtype:
                raise ValueError(f"{module.name}.{name} is of type {parameter.dtype}, but the network's dtype is {dtype}")
