"""Transforms of images: pixels, oriented-gradient features, and the frames of videos."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor

from RecurrentFF.data.moments import NormalizationConfig, normalize
from RecurrentFF.data.oriented_gradients import (
    OrientedGradientConfig,
    moved_oriented_gradients,
    oriented_gradients,
    tile_maps,
)
from RecurrentFF.data.panels import Images, Panel, direction_names, image_panel, maps_of
from RecurrentFF.data.pixels import CHUNK_SIZE, checked_pixels, mean_and_std, scaled_pixels
from RecurrentFF.data.transforms import Self, Size, Transform
from RecurrentFF.errors import InputError
from RecurrentFF.options import Flag
from RecurrentFF.registry import register


@dataclass(frozen=True)
class ImageTransform(Transform):
    """The base class of image transforms: standardize the pixels, normalize slant and size, then `encode` the image.

    Augmentation of training images comes between the first two. All options but the first two need square images of one channel.
    """

    takes_bytes: ClassVar[bool] = True

    mean: FiniteFloat | None = None
    """The mean of the pixels, scaled to 0..1, that is subtracted. If left out, it is that of the data set."""
    std: Size | None = None
    """The standard deviation of the pixels, by which they are divided. If left out, it is that of the data set."""
    deskew: Flag = False
    """Remove the slant of all images after any augmentation, and center their ink, which undoes a translation."""
    size_normalization: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The strength of the normalization of the ink's width and height in all images, which also centers the ink.

    With 0, sizes stay unchanged. With 1, all images get the size of a typical digit, which undoes most of a scaling.
    """

    @property
    def is_fitted(self) -> bool:
        """True if mean and standard deviation are known."""
        return self.mean is not None and self.std is not None

    def fitted(self: Self, samples: Tensor) -> Self:
        """Return this transform with the mean and standard deviation of all pixels of the samples, unless they are set.

        Args:
            samples: (n, *input_shape), of the range that `checked_pixels` accepts.

        Raises:
            InputError: the pixels are out of range.
        """
        if self.is_fitted:
            return self
        mean, std = mean_and_std(samples)
        return self.filled(mean=mean, std=std)

    def __call__(self, samples: Tensor) -> Tensor:
        """Convert images to network inputs.

        Args:
            samples: (n, height, width) or (n, channels, height, width), of the range that `checked_pixels` accepts.

        Returns:
            (n, output_size) float32.

        Raises:
            InputError: the pixels are out of range, or the images have the wrong shape.
        """
        chunks = torch.split(samples, CHUNK_SIZE)
        return torch.cat([self.encode(self.normalized(self.standardized(chunk))) for chunk in chunks])

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of network inputs.

        Raises:
            InputError: images of this shape can't be transformed.
        """
        self._require_shape(input_shape)
        return math.prod(input_shape)

    def standardized(self, samples: Tensor) -> Tensor:
        """Standardize pixels: (pixel − mean) / std. This is the first phase, before any augmentation.

        Args:
            samples: images of any shape, of the range that `checked_pixels` accepts.

        Returns:
            A new tensor of the same shape, float32.

        Raises:
            InputError: the pixels are out of range, or mean and std are unknown.
        """
        if self.mean is None or self.std is None:
            raise InputError(
                f"{type(self).__name__}: mean and std are unknown; set both, or fit the transform on training images"
            )
        pixels = scaled_pixels(samples)
        centered = pixels.clone() if pixels is samples else pixels  # the given samples stay as they are
        # Tensors of one element, because a CUDA device computes the division by a number as a product.
        return centered.sub_(pixels.new_tensor([self.mean])).div_(pixels.new_tensor([self.std]))

    def show_samples(self, samples: Tensor, distorted: Tensor | None, input_shape: tuple[int, ...]) -> list[Panel]:
        """Arrange images for a picture: raw, and after random variation and normalization, see `Transform.show_samples`."""
        static = samples.dim() == len(input_shape) + 1
        panels = [image_panel("image" if static else "frames", samples, input_shape)]
        changes = [*(["distorted at random"] if distorted is not None else []), *(["deskewed"] if self.deskew else [])]
        if self.size_normalization:
            changes.append("of one size" if self.size_normalization == 1 else "partly of one size")
        if distorted is not None or (changes and static):
            images = self.normalized(self.standardized(samples)) if distorted is None else distorted
            panels.append(image_panel(", ".join(changes), images, input_shape))
        return [panel for panel in panels if panel is not None]

    @property
    def background(self) -> float:
        """The value of an empty pixel after standardization."""
        assert self.mean is not None and self.std is not None
        return -self.mean / self.std

    @property
    def normalization(self) -> NormalizationConfig:
        """The options of the normalization, for module `moments`."""
        return NormalizationConfig(self.deskew, self.size_normalization)

    def normalized(self, images: Tensor) -> Tensor:
        """Normalize the slant and size of standardized images, in the second phase.

        Args:
            images: (n, side, side), or of any shape if no normalization is set.
        """
        self._require_shape(tuple(images.shape[1:]))
        return normalize(images, self.normalization, background=self.background)

    def encode(self, images: Tensor) -> Tensor:
        """Convert normalized images (n, ...) to network inputs (n, output_size), in the last phase. By default, flatten them."""
        return images.flatten(1)

    @property
    def _needs_square(self) -> bool:
        return any(self.normalization)

    def _require_shape(self, shape: tuple[int, ...]) -> None:
        """Check the shape of an image.

        Raises:
            InputError: the image is not square or has several channels, and an option needs that.
        """
        if self._needs_square and (len(shape) != 2 or shape[0] != shape[1]):
            raise InputError(
                f"{type(self).__name__}: images of shape {shape}, but deskew, size_normalization and oriented gradients need "
                "square images of one channel, (side, side)"
            )


@register("transform", "pixels")
@dataclass(frozen=True)
class Pixels(ImageTransform):
    """Pixels as network inputs, standardized and optionally normalized in slant and size."""

    gives_images: ClassVar[bool] = True

    @property
    def limits(self) -> tuple[float, float]:
        """The network inputs of the pixels 0 and 1."""
        assert self.mean is not None and self.std is not None
        return self.background, (1 - self.mean) / self.std

    def inverse(self, inputs: Tensor) -> Tensor:
        """Convert network inputs to pixels in 0..1. Deskewing and the normalization of sizes can't be undone."""
        assert self.mean is not None and self.std is not None
        return (inputs * self.std + self.mean).clamp(0, 1)


@register("transform", "oriented_gradients")
@dataclass(frozen=True)
class OrientedGradients(ImageTransform):
    """Oriented-gradient features as network inputs: the strength of the image gradient by direction, in each cell of a grid."""

    directions: Annotated[int, Field(ge=4, le=64)] = 8
    """The number of gradient directions, evenly spaced over the full circle."""
    grid_size: Annotated[int, Field(ge=1, le=28)] = 10
    """The number of grid cells across the image, and as many down."""
    centered: Flag = True
    """Subtract the mean of an image's features. Without, they are 0 where there is no ink, as suits a convolution."""

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of features.

        Raises:
            InputError: the images are not square, or have several channels.
        """
        self._require_shape(input_shape)
        return self.directions * self.grid_size**2

    def encode(self, images: Tensor) -> Tensor:
        """Compute the features of standardized images (n, side, side): (n, directions · grid_size²)."""
        return oriented_gradients(images, self._config, background=self.background)

    def encode_moved(self, objects: Tensor, positions: Tensor, side: int) -> Tensor:
        """Compute the features of videos of one moving object, see `moved_oriented_gradients`.

        Args:
            objects: (n, object side, object side), of the range that `checked_pixels` accepts.
            positions: (timesteps, n, 2), down and right, in pixels.
            side: side of the square canvas.

        Returns:
            (timesteps, n, output_size) float32: up to rounding the result of `__call__` for the rendered frames, unless these
            would be normalized.
        """
        return moved_oriented_gradients(self.standardized(objects) - self.background, positions, side, self._config)

    @property
    def _config(self) -> OrientedGradientConfig:
        return OrientedGradientConfig(self.directions, self.grid_size, self.centered)

    def show_inputs(self, inputs: Tensor, mask: Tensor | None, input_shape: tuple[int, ...]) -> list[Panel]:
        """Arrange the feature map of each direction as an image, see `Transform.show_inputs`."""
        cells = f"{self.grid_size} × {self.grid_size} cells"
        caption = f"network input: how much the pixels rise in the direction of the arrow, in {cells}"
        maps = maps_of(inputs, self.directions, self.grid_size)
        return [Images(caption, maps, direction_names(self.directions), dark=True)]

    def show(self, inputs: Tensor, input_shape: tuple[int, ...]) -> Tensor:
        """Arrange the feature maps of each sample as one picture, see `Transform.show`."""
        sequences = inputs if inputs.dim() == 3 else inputs.unsqueeze(0)
        return torch.stack([tile_maps(features, self.directions) for features in sequences])

    @property
    def _needs_square(self) -> bool:
        return True


@register("transform", "frames")
@dataclass(frozen=True)
class Frames(Transform):
    """Pixels of videos or images as network inputs, divided by their root mean square."""

    gives_images: ClassVar[bool] = True
    takes_sequences: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True

    rms: Size | None = None
    """The root mean square of the pixels, scaled to 0..1. If left out, it is that of the data set."""

    @property
    def is_fitted(self) -> bool:
        """True if the root mean square is known."""
        return self.rms is not None

    def fitted(self: Self, samples: Tensor) -> Self:
        """Return this transform with the root mean square of the samples' pixels, unless it is set.

        Args:
            samples: of any shape, of the range that `checked_pixels` accepts.
        """
        if self.is_fitted:
            return self
        mean, std = mean_and_std(samples)
        return self.filled(rms=math.hypot(mean, std))

    def __call__(self, samples: Tensor) -> Tensor:
        """Divide frames by the root mean square, and flatten them.

        Args:
            samples: (n, height, width), of the range that `checked_pixels` accepts.

        Returns:
            (n, pixels) float32.

        Raises:
            InputError: the pixels are out of range, or the root mean square is unknown.
        """
        return self.scaled(samples).flatten(1)

    @property
    def limits(self) -> tuple[float, float]:
        """The network inputs of the pixels 0 and 1."""
        assert self.rms is not None
        return 0.0, 1 / self.rms

    def inverse(self, inputs: Tensor) -> Tensor:
        """Convert network inputs to pixels in 0..1."""
        assert self.rms is not None
        return (inputs * self.rms).clamp(0, 1)

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of pixels of a frame."""
        return math.prod(input_shape)

    def scaled(self, frames: Tensor) -> Tensor:
        """Divide frames of any shape by the root mean square. The errors are those of `__call__`."""
        if self.rms is None:
            raise InputError("Frames: rms is unknown; set it, or fit the transform on training frames")
        pixels = checked_pixels(frames)
        return pixels.float() / (255 * self.rms) if pixels.dtype == torch.uint8 else pixels / self.rms
