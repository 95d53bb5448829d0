"""Convolutional connections: units in channels of a plane, which share their weights.

Features and units are the flattened (channels, height, width) of a plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.grad
from pydantic import AfterValidator, Field
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.errors import SettingsError
from RecurrentFF.model import functional
from RecurrentFF.model.channels import PerChannel
from RecurrentFF.model.connection_kinds import ConnectionKind, Layers, Place, Sources
from RecurrentFF.model.connections import Connection, Memory
from RecurrentFF.model.initialization import initial_weight
from RecurrentFF.options import as_odd
from RecurrentFF.registry import register

Shape = tuple[int, int, int]
"""Channels, height and width of a plane."""


class Convolution(Connection):
    """The common base of `Conv2d` and `ConvTranspose2d`.

    Args:
        source: name of the block that is read.
        in_shape: (channels, height, width) of the source.
        shape: (channels, height, width) of the units.
        stride: distance of neighboring kernels.
        padding: zeros added at each side.
        sign: 1, or −1 for a top-down connection, whose drive is subtracted.
        weight: the initial kernel.
    """

    def __init__(
        self, source: str, in_shape: Shape, shape: Shape, *, stride: int, padding: int, sign: float, weight: Tensor
    ) -> None:
        super().__init__((source,))
        self.in_shape, self.shape = in_shape, shape
        self.stride, self.padding, self.sign = stride, padding, sign
        self.weight = nn.Parameter(weight, requires_grad=False)

    @property
    def units(self) -> int:
        """The units of its drive."""
        return math.prod(self.shape)

    @property
    def source_sizes(self) -> dict[str, int]:
        """The flattened size of the source."""
        return {self.sources[0]: math.prod(self.in_shape)}

    def extra_repr(self) -> str:
        """The source, and the shapes of source, units and kernel."""
        kernel = tuple(self.weight.shape[2:])
        return f"{self.sources[0]} {self.in_shape} -> {self.shape}, kernel_size={kernel}, stride={self.stride}"

    def _kernel_gradient(self, source: Tensor, output: Tensor) -> dict[str, Tensor]:
        """∂loss/∂kernel of a convolution from the planes that it reads and ∂loss/∂output, in the type of both."""
        function: Callable[..., Tensor] = torch.nn.grad.conv2d_weight
        gradient = function(source, self.weight.shape, output, stride=self.stride, padding=self.padding)
        return {"weight": gradient.contiguous()}  # in memory as the weight, which optimizers rely on

    def _signed_gradient(self, grad_drive: Tensor, candidates: int) -> Tensor:
        """∂loss/∂output as planes, from ∂loss/∂drive."""
        return self.sign * _planes(functional.sum_candidates(grad_drive, candidates), self.shape)


class Conv2d(Convolution):
    """A convolution. With an odd kernel, stride 1 and padding kernel_size // 2 it keeps height and width.

    As a lateral connection of that kind, each unit reads its neighbors in all channels.

    Args:
        source: name of the block that is read.
        in_shape: (channels, height, width) of the source.
        channels: output channels.
        kernel_size: side of the square kernel.
        stride: distance of neighboring kernels.
        padding: zeros added at each side.
        pooling: side of the squares of the convolution's output of which the drive is the maximum (max pooling); 1 for none. A
            remainder at the right and at the bottom is left out.
        sign: 1, or −1 for a top-down connection, whose drive is subtracted.
        weight: (channels, in_channels, kernel_size, kernel_size) initial weight, that of a forward connection if left out.

    Attributes:
        shape: (channels, height, width) of the units.
        weight: the parameter.

    Raises:
        ValueError: the kernel does not fit into the padded plane, or pooling into the output.

    Examples:
        >>> Conv2d("x", (1, 28, 28), 16, 5, stride=2, padding=2).shape
        (16, 14, 14)
    """

    def __init__(
        self,
        source: str,
        in_shape: Shape,
        channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        pooling: int = 1,
        sign: float = 1.0,
        weight: Tensor | None = None,
    ) -> None:
        shape = conv_shape(in_shape, channels, kernel_size, stride=stride, padding=padding, pooling=pooling)
        if weight is None:
            weight = initial_weight("forward", (channels, in_shape[0], kernel_size, kernel_size))
        super().__init__(source, in_shape, shape, stride=stride, padding=padding, sign=sign, weight=weight)
        self.pooling = pooling
        self.output_shape = conv_shape(in_shape, channels, kernel_size, stride=stride, padding=padding)

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The convolution of the source, see `Connection.forward`. With pooling, the memory is where the maxima are."""
        (read,) = reads
        planes = F.conv2d(_planes(read, self.in_shape), self.weight.to(read.dtype), stride=self.stride, padding=self.padding)
        if self.pooling > 1:
            planes, memory = F.max_pool2d(self.sign * planes, self.pooling, return_indices=True)
            return _units(planes, read.shape[1]), memory
        return _units(self.sign * planes, read.shape[1]), memory

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """Closed form of the kernel's gradient, see `Connection.gradients`."""
        (read,) = reads
        grad_output = self._signed_gradient(grad_drive, read.shape[1])
        if self.pooling > 1:  # the gradient of a maximum is that of the output that is the maximum
            grad_output = self._unpooled(grad_output, after)
        return self._kernel_gradient(_planes(read, self.in_shape), grad_output)

    def _unpooled(self, grad: Tensor, indices: Tensor) -> Tensor:
        """Put the gradient of each maximum where the maximum is in the convolution's output, with zeros elsewhere."""
        channels, height, width = self.output_shape
        planes = grad.new_zeros(len(grad), channels, height * width)
        return planes.scatter_(2, indices.flatten(2), grad.flatten(2)).view(-1, *self.output_shape)


class ConvTranspose2d(Convolution):
    """A transposed convolution: the top-down counterpart of a `Conv2d` with the same kernel size, stride and padding.

    Args:
        source: name of the block that is read.
        in_shape: (channels, height, width) of the source.
        shape: (channels, height, width) of the units. A convolution with this kernel would map `shape` to `in_shape`.
        kernel_size, stride, padding: those of that convolution.
        sign: −1 by default: the drive from above is subtracted.
        weight: (in_channels, channels, kernel_size, kernel_size) initial weight, that of a backward connection if left out.

    Attributes:
        weight: the parameter.

    Raises:
        ValueError: such a convolution of `shape` does not give `in_shape`.
    """

    def __init__(
        self,
        source: str,
        in_shape: Shape,
        shape: Shape,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        sign: float = -1.0,
        weight: Tensor | None = None,
    ) -> None:
        fits = conv_shape(shape, in_shape[0], kernel_size, stride=stride, padding=padding)
        if fits != in_shape:
            raise ValueError(f"ConvTranspose2d: a convolution of {shape} gives {fits}, not in_shape = {in_shape}")
        if weight is None:
            weight = initial_weight("backward", (in_shape[0], shape[0], kernel_size, kernel_size))
        super().__init__(source, in_shape, shape, stride=stride, padding=padding, sign=sign, weight=weight)
        height, width = ((side - 1) * stride - 2 * padding + kernel_size for side in in_shape[1:])
        self.output_padding = (shape[1] - height, shape[2] - width)

    def forward(self, reads: Sequence[Tensor], memory: Memory = None) -> tuple[Tensor, Memory]:
        """The transposed convolution of the source, see `Connection.forward`."""
        (read,) = reads
        planes = F.conv_transpose2d(
            _planes(read, self.in_shape),
            self.weight.to(read.dtype),
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
        )
        return _units(self.sign * planes, read.shape[1]), memory

    def gradients(
        self, reads: Sequence[Tensor], grad_drive: Tensor, before: Memory = None, after: Memory = None
    ) -> dict[str, Tensor]:
        """Closed form of the kernel's gradient: that of the convolution with source and gradient exchanged."""
        (read,) = reads
        return self._kernel_gradient(self._signed_gradient(grad_drive, read.shape[1]), _planes(read, self.in_shape))


def conv_shape(in_shape: Shape, channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0, pooling: int = 1) -> Shape:
    """(channels, height, width) of a convolution's output, after pooling. Raises ValueError where kernel or pooling don't fit."""
    if min(channels, kernel_size, stride) < 1 or padding < 0:
        raise ValueError(f"channels = {channels}, kernel_size = {kernel_size}, stride = {stride}: must be at least 1")
    height, width = ((side + 2 * padding - kernel_size) // stride + 1 for side in in_shape[1:])
    if min(height, width) < 1:
        raise ValueError(f"a kernel of side {kernel_size} does not fit into a plane of {in_shape[1:]} with padding {padding}")
    if not 1 <= pooling <= min(height, width):
        raise ValueError(f"pooling = {pooling}: must be from 1 to {min(height, width)}, the smaller side of the output")
    return channels, height // pooling, width // pooling


def _planes(units: Tensor, shape: Shape) -> Tensor:
    """(channels·height·width, candidates, batch) → (candidates·batch, channels, height, width).

    In memory, the channels of a position are neighbors: convolutions and pooling are faster with them.
    """
    return units.reshape(*shape, -1).permute(3, 0, 1, 2).contiguous(memory_format=torch.channels_last)


def _units(planes: Tensor, candidates: int) -> Tensor:
    """(candidates·batch, channels, height, width) → (channels·height·width, candidates, batch)."""
    return planes.permute(1, 2, 3, 0).reshape(-1, candidates, len(planes) // candidates)


@register("connection", "convolution")
@dataclass(frozen=True)
class ConvolutionKind(ConnectionKind):
    """A convolutional hidden layer, on square images of one or several channels, or on a convolutional layer below it.

    Its units are channels × height × width, and the units of a channel share their weights. The input, or the layer below, is
    convolved with stride and padding; the layer's own activity with stride 1 and a padding that keeps height and width. The
    label, and activity from above, come through a full connection; or, if they are among `sources`, with one weight for each
    channel, which is the same at all positions. The layer's entry of `hidden_sizes` must be the number of units.
    """

    layers: Layers = (1,)
    """The hidden layers, numbered from 1. Layer 1 reads the image; a higher one must follow another convolutional layer."""
    sources: Sources = ("forward", "lateral")
    """The input or the layer below, the layer's own activity, and also "backward" and "label", whose weights are then shared by
    all positions.

    Another connection serves those that are left out: a full one, or `name = "none"` for no connection.
    """
    input_channels: Annotated[int, Field(ge=1)] = 1
    """The channels of the input, for instance the directions of oriented gradients. Each is a square plane.

    A layer above the first reads the channels that the layer below it has.
    """
    channels: Annotated[int, Field(ge=1)] = 16
    """Output channels of the convolution."""
    kernel_size: Annotated[int, Field(ge=1)] = 5
    """Side of the square kernel on what is convolved, in pixels or units."""
    stride: Annotated[int, Field(ge=1)] = 2
    """Distance of neighboring kernels, in pixels or units."""
    padding: Annotated[int, Field(ge=0)] = 2
    """Zeros added at each side of what is convolved, in pixels or units."""
    pooling: Annotated[int, Field(ge=1)] = 1
    """Side of the squares of the convolution's output of which a unit is driven by the maximum (max pooling); 1 for none."""
    lateral_kernel_size: Annotated[int, Field(ge=1), AfterValidator(as_odd)] = 3
    """Side of the square kernel on the layer's own activity, in units; an odd number."""
    position_exponent: Annotated[float, Field(ge=1, le=64)] = 1.0
    """The exponent q of the layer's badness, the power mean (mean of b_p^q)^(1/q) of the mean square b_p at each position p.

    With 1 it is the mean square of all units. A larger one gives more weight to the positions where the mean square is high.
    """
    shares_weights = True

    @property
    def needs_images(self) -> bool:  # type: ignore[override]
        """True if the input must be one plane of pixels."""
        return self.input_channels == 1 and 1 in self.layers

    def check(self) -> None:
        """Check that layers are named, and that they read what is below them."""
        if not self.layers or "forward" not in self.sources:
            raise ValueError(
                "a convolutional layer reads the image or the layer below it; set layers = [1] (or others) and "
                'sources = ["forward"], with "lateral", "backward" or "label" beside it'
            )

    def layer_options(self) -> dict[str, Any]:
        """The exponent of the layer's badness."""
        return {"position_exponent": self.position_exponent}

    def shape(self, place: Place) -> Shape:
        """The channels, height and width of the layer.

        Raises:
            SettingsError: the input is no square image, the layer below is not convolutional, or the layer has another number of
                units.
        """
        options = {"stride": self.stride, "padding": self.padding, "pooling": self.pooling}
        shapes = {source: self._source_shape(place, source) for source in place.forward}
        try:
            made = {conv_shape(shape, self.channels, self.kernel_size, **options) for shape in shapes.values()}
        except ValueError as error:
            advice = "make kernel_size or pooling smaller, or padding larger"
            raise SettingsError(f"convolution of {place.layer}: {error}; {advice}") from None
        if len(made) > 1:
            raise SettingsError(
                f"convolution of {place.layer}: it reads {' and '.join(shapes)}, whose planes differ in size; leave out the "
                "residual connection, or serve it by another kind"
            )
        (shape,) = made
        if math.prod(shape) != place.units:
            number = int(place.layer.removeprefix("h"))
            raise SettingsError(
                f"network.hidden_sizes: layer {number} has {place.units} units, but the convolution gives "
                f"{' × '.join(map(str, shape))} = {math.prod(shape)}; set it to that"
            )
        return shape

    def make(self, place: Place) -> list[Connection]:
        """Convolutions of what is below and, if asked for, of the layer's own activity; then what drives whole channels."""
        shape, kernel, lateral = self.shape(place), self.kernel_size, self.lateral_kernel_size
        made: list[Connection] = []
        options = {"stride": self.stride, "padding": self.padding, "pooling": self.pooling}
        for source in place.forward:
            planes = self._source_shape(place, source)
            weight = initial_weight("forward", (self.channels, planes[0], kernel, kernel), place.dtype, place.generator)
            made.append(Conv2d(source, planes, self.channels, kernel, weight=weight, **options))
        if place.layer in place.sources:
            weight = initial_weight("lateral", (self.channels, self.channels, lateral, lateral), place.dtype, place.generator)
            made.append(Conv2d(place.layer, shape, self.channels, lateral, padding=lateral // 2, weight=weight))
        for source in place.top_down:
            sizes = (self.channels, place.sources[source])
            weight = initial_weight(place.kinds[source], sizes, place.dtype, place.generator)
            made.append(PerChannel(source, place.sources[source], shape, sign=-1.0, weight=weight))
        return made

    def _source_shape(self, place: Place, source: str) -> Shape:
        """The channels, height and width of what is convolved. Raises SettingsError if it has none."""
        if source != "x":
            if source not in place.planes:
                raise SettingsError(
                    f"convolution of {place.layer}: it reads {source}, which is not convolutional; make that layer "
                    "convolutional, too, or leave this one to another kind"
                )
            return place.planes[source]
        size, channels = place.sizes["x"], self.input_channels
        side = math.isqrt(size // channels)
        if channels * side * side != size:
            planes = "square images" if channels == 1 else f"{channels} square planes (input_channels)"
            raise SettingsError(f"convolution of {place.layer}: needs {planes}, but an input has {size} values")
        return channels, side, side
