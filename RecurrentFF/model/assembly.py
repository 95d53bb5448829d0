"""The layers that a configuration describes: blocks, the connections between them, and their initial weights.

Blocks have names: "x" is the input, "h1", "h2", … the hidden layers from bottom to top, "y" the label. A layer reads its
two neighbors, itself, and the sources of its residual connections.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from RecurrentFF.errors import SettingsError
from RecurrentFF.model import receptive_fields
from RecurrentFF.model.activations import ACTIVATIONS, straight_through
from RecurrentFF.model.connections import Connection, Dense
from RecurrentFF.model.convolutions import Conv2d, conv_shape
from RecurrentFF.model.initialization import Kind, initial_weight
from RecurrentFF.model.layers import Layer
from RecurrentFF.settings import Settings


def block_sizes(settings: Settings) -> dict[str, int]:
    """The number of features or units of every block by name, from the input to the label.

    Raises:
        SettingsError: data_config.data_size or data_config.num_classes is missing.
    """
    data_size, num_classes = settings.data_config.data_size, settings.data_config.num_classes
    if data_size is None or num_classes is None:
        raise SettingsError("a network needs data_config.data_size and data_config.num_classes; set both")
    hidden = {f"h{number}": units for number, units in enumerate(settings.model.hidden_sizes, start=1)}
    return {"x": data_size, **hidden, "y": num_classes}


def sources_of_layers(settings: Settings) -> dict[str, tuple[str, ...]]:
    """For each hidden layer the blocks that it reads, from the input to the label."""
    names = list(block_sizes(settings))
    residuals = settings.model.residual_connections
    return {
        names[layer]: tuple(name for block, name in enumerate(names) if abs(block - layer) <= 1 or (block, layer) in residuals)
        for layer in range(1, len(names) - 1)
    }


def make_layers(settings: Settings, dtype: torch.dtype, generator: torch.Generator) -> list[Layer]:
    """The hidden layers of a configuration, bottom to top.

    Args:
        settings: names the sizes of all blocks.
        dtype: the type of weights and activity.
        generator: the source of the initial weights, on the CPU.

    Raises:
        SettingsError: receptive fields or a convolution do not fit the input or the first layer.
    """
    model = settings.model
    activation = ACTIVATIONS[model.ff_activation]
    if model.straight_through:
        activation = activation._replace(backward=straight_through)
    sizes, layers = block_sizes(settings), []
    for name, sources in sources_of_layers(settings).items():
        shape: int | tuple[int, int, int] = sizes[name]
        connections: list[Connection]
        if name == "h1" and model.convolution is not None:
            shape, connections = _convolutional(settings, sources, sizes, dtype, generator)
        else:
            connections = [_dense(settings, name, sources, sizes, dtype, generator)]
        layer = Layer(
            name,
            shape,
            connections,
            activation=activation,
            epsilon=model.epsilon,
            badness=model.badness,
            dropout=model.dropout,
            peer_normalization=model.peer_normalization,
            hard_example_fraction=model.hard_example_fraction,
            dtype=dtype,
        )
        layers.append(layer)
    return layers


def _kind(source: str, layer: str, names: list[str]) -> Kind:
    """The direction of the connection from one block to another."""
    if source == layer:
        return "lateral"
    if names.index(source) < names.index(layer):
        return "forward"
    return "label" if source == "y" else "backward"


def _dense(
    settings: Settings,
    layer: str,
    sources: tuple[str, ...],
    sizes: dict[str, int],
    dtype: torch.dtype,
    generator: torch.Generator,
) -> Dense:
    """A full connection from all sources, [W_f | W_lat | −W_b], with receptive fields in the first layer."""
    names, blocks = list(sizes), []
    top_down = [source for source in sources if names.index(source) > names.index(layer)]
    for source in sources:
        block = initial_weight(_kind(source, layer, names), (sizes[layer], sizes[source]), dtype, generator)
        blocks.append(block.neg_() if source in top_down else block)
    mask = _receptive_fields(settings, layer, sources, sizes, dtype) if settings.model.receptive_field else None
    if mask is not None:
        for block, part in zip(blocks, torch.split(mask, [sizes[source] for source in sources], 1), strict=True):
            block *= part / part.mean(1, keepdim=True).sqrt()  # a unit with a fraction of the inputs is driven as strongly
    features = {source: sizes[source] for source in sources}
    return Dense(features, sizes[layer], top_down=top_down, weight=torch.cat(blocks, 1), mask=mask)


def _receptive_fields(
    settings: Settings, layer: str, sources: tuple[str, ...], sizes: dict[str, int], dtype: torch.dtype
) -> Tensor | None:
    """The mask of the first layer's connections, (units, columns) of 0 and 1; None for the other layers."""
    if layer != "h1":
        return None
    units, field, lateral = sizes[layer], settings.model.receptive_field, settings.model.lateral_field
    blocks = []
    for source in sources:
        block = torch.ones(units, sizes[source], dtype=torch.bool)
        if source == "x":
            block = receptive_fields.forward_field(units, sizes["x"], field)
        elif source == layer and lateral:
            block = receptive_fields.lateral_field(units, sizes["x"], field, lateral)
        blocks.append(block)
    return torch.cat(blocks, 1).to(dtype)


def _convolutional(
    settings: Settings, sources: tuple[str, ...], sizes: dict[str, int], dtype: torch.dtype, generator: torch.Generator
) -> tuple[tuple[int, int, int], list[Connection]]:
    """Shape and connections of a convolutional first layer: convolutions of the input and of itself, the rest dense."""
    convolution = settings.model.convolution
    assert convolution is not None
    plane = (1, math.isqrt(sizes["x"]), math.isqrt(sizes["x"]))
    if math.prod(plane) != sizes["x"]:
        raise SettingsError(f"model.convolution: needs square images, but an input has {sizes['x']} values")
    channels, kernel, stride, padding = (
        convolution.channels,
        convolution.kernel_size,
        convolution.stride,
        convolution.padding,
    )
    try:
        shape = conv_shape(plane, channels, kernel, stride=stride, padding=padding)
    except ValueError as error:
        raise SettingsError(f"model.convolution: {error}; make kernel_size smaller or padding larger") from None
    if math.prod(shape) != sizes["h1"]:
        raise SettingsError(
            f"model.hidden_sizes: the first layer has {sizes['h1']} units, but model.convolution gives "
            f"{' × '.join(map(str, shape))} = {math.prod(shape)}; set it to that"
        )
    forward = initial_weight("forward", (channels, 1, kernel, kernel), dtype, generator)
    lateral_kernel = convolution.lateral_kernel_size
    lateral = initial_weight("lateral", (channels, channels, lateral_kernel, lateral_kernel), dtype, generator)
    others = tuple(source for source in sources if source not in ("x", "h1"))
    return shape, [
        Conv2d("x", plane, channels, kernel, stride=stride, padding=padding, weight=forward),
        Conv2d("h1", shape, channels, lateral_kernel, padding=lateral_kernel // 2, weight=lateral),
        _dense(settings, "h1", others, sizes, dtype, generator),
    ]
