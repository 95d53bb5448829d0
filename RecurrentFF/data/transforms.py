"""Transforms: raw samples to network inputs. A transform is fixed once it is fitted, and is saved with the network.

A transform of one's own is a dataclass with `__call__`; everything else has a default:

    @register("transform", "inverted")
    @dataclass(frozen=True)
    class Inverted(Transform):
        def __call__(self, samples: Tensor) -> Tensor:
            return 1 - samples.flatten(1)

Images of uint8 come as float32 in 0..1, in training, validation and prediction; all other samples as a program passes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, ClassVar, NamedTuple, TypeVar

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.moments import NormalizationConfig, normalize
from RecurrentFF.data.oriented_gradients import OrientedGradientConfig, oriented_gradients, tile_maps
from RecurrentFF.errors import InputError
from RecurrentFF.options import Flag
from RecurrentFF.registry import Component, register

CHUNK_SIZE = 5000
"""Number of images that an image transform processes at once, because its intermediate results are larger than the images."""

Self = TypeVar("Self", bound="Transform")
Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Prepared(NamedTuple):
    """Network inputs made of raw samples."""

    inputs: Tensor
    """(samples, features) if static, else (timesteps, samples, features)."""
    mask: Tensor | None = None
    """Valid timesteps, (timesteps, samples); None if all are valid."""


class Transform(Component, kind="transform"):
    """The base class of transforms from raw samples to network inputs. A subclass needs `__call__` only."""

    gives_images: ClassVar[bool] = False
    """True if the network input is still the image, its pixels row by row. Convolutions and receptive fields need that."""
    takes_sequences: ClassVar[bool] = False
    """True if samples may have timesteps, (timesteps, n, ...). The transform is then applied to each timestep by itself."""
    gives_sequences: ClassVar[bool] = False
    """True if a sample without timesteps becomes a sequence. Such a transform overrides `prepare`."""
    takes_bytes: ClassVar[bool] = False
    """True if images of uint8 come unchanged, because the transform scales them itself."""

    def __call__(self, samples: Tensor) -> Tensor:
        """Convert raw samples to network inputs.

        Args:
            samples: (n, *input_shape). Images of uint8, (n, height, width) or (n, channels, height, width), come as float32 in
                0..1, augmented or not, unless `takes_bytes` is true. Other samples are of the type that a program passes.

        Returns:
            (n, output_size) float32.
        """
        raise NotImplementedError

    def prepare(self, samples: Tensor, timesteps: int | None) -> Prepared:
        """Convert raw samples to network inputs and the mask of their valid timesteps.

        Args:
            samples: (n, *input_shape), as for `__call__`.
            timesteps: number of timesteps; None for as many as needed. Ignored unless `gives_sequences`.
        """
        return Prepared(self(samples))

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of network inputs at a timestep. By default, a sample of zeros is transformed to count them.

        Args:
            input_shape: shape of a raw sample.

        Raises:
            InputError: samples of this shape can't be transformed.
        """
        return self(torch.zeros(1, *input_shape)).shape[-1]

    @property
    def is_fitted(self) -> bool:
        """True if all statistics of the training samples are known. The default is true, unless a subclass overrides `fitted`."""
        return type(self).fitted is Transform.fitted

    def fitted(self: Self, samples: Tensor) -> Self:
        """Return this transform with the statistics of training samples in place of the options that are None.

        Args:
            samples: (n, *input_shape), as for `__call__`.
        """
        return self

    def filled(self: Self, **statistics: float) -> Self:
        """Return this transform with the given values in place of the options of these names that are None."""
        names: list[str] = [field.name for field in fields(self)] if is_dataclass(self) else []
        missing = {name: value for name, value in statistics.items() if name in names and getattr(self, name) is None}
        return replace(self, **missing) if missing else self  # type: ignore[type-var]

    def show(self, inputs: Tensor, input_shape: tuple[int, ...]) -> Tensor:
        """Arrange network inputs as images, for a picture of some samples.

        Args:
            inputs: (samples, features) or (timesteps, samples, features).
            input_shape: shape of a raw sample.

        Returns:
            (timesteps, samples, height, width), of any range of values. Static inputs have one timestep.
        """
        sequences = inputs if inputs.dim() == 3 else inputs.unsqueeze(0)
        if self.gives_images and len(input_shape) in (2, 3):
            images = sequences.reshape(*sequences.shape[:2], *input_shape)
            return images.mean(2) if len(input_shape) == 3 else images
        side = math.isqrt(sequences.shape[2] - 1) + 1
        height = math.ceil(sequences.shape[2] / side)
        padding = side * height - sequences.shape[2]
        return F.pad(sequences, (0, padding), value=float(sequences.min())).view(*sequences.shape[:2], height, side)


def checked_pixels(samples: Tensor) -> Tensor:
    """Check the range of pixels.

    Args:
        samples: pixels as integers in 0..255, as floating-point numbers in 0..1, or as truth values.

    Returns:
        The pixels as uint8 or as float32.

    Raises:
        InputError: pixels are out of range.
    """
    if samples.dtype == torch.uint8:
        return samples
    if samples.dtype == torch.bool:
        return samples.float()
    if samples.numel() == 0:
        return samples.float()
    low, high = float(samples.min()), float(samples.max())
    if not samples.is_floating_point():
        if low < 0 or high > 255:
            raise InputError(f"pixels from {low:g} to {high:g}: expected integers in 0..255, or floating-point numbers in 0..1")
        return samples.to(torch.uint8)
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        hint = "divide by 255, or give uint8" if low >= 0 else "don't standardize them, the transform does"
        raise InputError(f"pixels from {low:g} to {high:g}: expected floating-point numbers in 0..1, or uint8; {hint}")
    return samples.float()


def scaled_pixels(samples: Tensor) -> Tensor:
    """Convert pixels to float32 in 0..1. The argument and the errors are those of `checked_pixels`."""
    pixels = checked_pixels(samples)
    return pixels.float().mul_(1 / 255) if pixels.dtype == torch.uint8 else pixels


def as_given(samples: Tensor, transform: Transform) -> Tensor:
    """Bring raw samples (n, *input_shape) to the form in which a transform takes them: images of uint8 are scaled to 0..1."""
    is_image = samples.dtype == torch.uint8 and samples.dim() in (3, 4)
    return scaled_pixels(samples) if is_image and not transform.takes_bytes else samples


def mean_and_std(samples: Tensor) -> tuple[float, float]:
    """Compute the mean and the standard deviation of all pixels, scaled to 0..1. A deviation of 0 is returned as 1."""
    total = squares = 0.0
    for chunk in torch.split(samples, CHUNK_SIZE):
        pixels = scaled_pixels(chunk).double()
        total, squares = total + float(pixels.sum()), squares + float(pixels.square().sum())
    mean = total / samples.numel()
    std = math.sqrt(max(0.0, squares / samples.numel() - mean**2))
    return mean, std if std > 1e-6 else 1.0


@register("transform", "identity")
@dataclass(frozen=True)
class Identity(Transform):
    """No transform: samples are network inputs already."""

    gives_images: ClassVar[bool] = True
    takes_sequences: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True  # it refuses them

    def __call__(self, samples: Tensor) -> Tensor:
        """Flatten each sample.

        Args:
            samples: (n, *input_shape) floating-point numbers.

        Returns:
            (n, features) float32.

        Raises:
            InputError: the samples are integers.
        """
        if not samples.is_floating_point():
            raise InputError(
                f"network inputs of type {samples.dtype}: expected floating-point numbers; for raw samples, make the task with a "
                "transform, as in transform=Pixels()"
            )
        return samples.float().flatten(1)

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of values of a sample."""
        return math.prod(input_shape)


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
        # Tensors of one element, because a CUDA device computes the division by a number as a product.
        return pixels.sub(pixels.new_tensor([self.mean])).div_(pixels.new_tensor([self.std]))

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


@register("transform", "oriented_gradients")
@dataclass(frozen=True)
class OrientedGradients(ImageTransform):
    """Oriented-gradient features as network inputs: the strength of the image gradient by direction, in each cell of a grid."""

    directions: Annotated[int, Field(ge=4, le=64)] = 8
    """The number of gradient directions, evenly spaced over the full circle."""
    grid_size: Annotated[int, Field(ge=1, le=28)] = 10
    """The number of grid cells across the image, and as many down."""

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of features.

        Raises:
            InputError: the images are not square, or have several channels.
        """
        self._require_shape(input_shape)
        return self.directions * self.grid_size**2

    def encode(self, images: Tensor) -> Tensor:
        """Compute the features of standardized images (n, side, side): (n, directions · grid_size²)."""
        config = OrientedGradientConfig(self.directions, self.grid_size)
        return oriented_gradients(images, config, background=self.background)

    def show(self, inputs: Tensor, input_shape: tuple[int, ...]) -> Tensor:
        """Arrange the feature maps of each sample as one picture, (1, samples, height, width)."""
        return tile_maps(inputs, self.directions).unsqueeze(0)

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

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of pixels of a frame."""
        return math.prod(input_shape)

    def scaled(self, frames: Tensor) -> Tensor:
        """Divide frames of any shape by the root mean square. The errors are those of `__call__`."""
        if self.rms is None:
            raise InputError("Frames: rms is unknown; set it, or fit the transform on training frames")
        pixels = checked_pixels(frames)
        return pixels.float() / (255 * self.rms) if pixels.dtype == torch.uint8 else pixels / self.rms


@register("transform", "standardize")
@dataclass(frozen=True)
class Standardize(Transform):
    """Features of a table as network inputs: each one minus its mean, divided by its standard deviation."""

    takes_sequences: ClassVar[bool] = True

    mean: tuple[FiniteFloat, ...] | None = None
    """The mean of each feature. If left out, it is that of the training samples."""
    std: tuple[Size, ...] | None = None
    """The standard deviation of each feature. If left out, it is that of the training samples, and 1 for a constant feature."""

    @property
    def is_fitted(self) -> bool:
        """True if the means and standard deviations are known."""
        return self.mean is not None and self.std is not None

    def check(self) -> None:
        """Check that there are as many means as standard deviations."""
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std has {len(self.std)}; give one of each for every feature")

    def fitted(self: Self, samples: Tensor) -> Self:
        """Return this transform with the means and standard deviations of the samples' features, unless they are set.

        Args:
            samples: (n, *input_shape) numbers.

        Raises:
            InputError: a feature is NaN or infinite.
        """
        if self.is_fitted:
            return self
        features = _finite_features(samples).double()
        std, mean = torch.std_mean(features, 0, correction=0)
        constant = std <= 1e-9 * mean.abs().clamp(min=1e-30)
        values = {"mean": tuple(mean.tolist()), "std": tuple(std.where(~constant, 1.0).tolist())}
        return self.filled(**values)  # type: ignore[arg-type]

    def __call__(self, samples: Tensor) -> Tensor:
        """Standardize features.

        Args:
            samples: (n, *input_shape) numbers.

        Returns:
            (n, features) float32.

        Raises:
            InputError: a feature is NaN or infinite, their number is wrong, or the statistics are unknown.
        """
        if self.mean is None or self.std is None:
            raise InputError("Standardize: mean and std are unknown; set both, or fit the transform on training samples")
        features = _finite_features(samples)
        if features.shape[1] != len(self.mean):
            raise InputError(f"samples with {features.shape[1]} features: expected {len(self.mean)}, as in training")
        # In float64 first: features such as years are large beside their deviation.
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.mean, self.std))
        if features.dtype == torch.float64:
            return ((features - mean.to(features.device)) / std.to(features.device)).float()
        return (features.float() - mean.to(features.device, torch.float32)) / std.to(features.device, torch.float32)

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of features of a sample.

        Raises:
            InputError: the means are of another number of features.
        """
        size = math.prod(input_shape)
        if self.mean is not None and len(self.mean) != size:
            raise InputError(f"Standardize: means of {len(self.mean)} features, but samples have {size}")
        return size


def _finite_features(samples: Tensor) -> Tensor:
    """Flatten samples to (n, features), and check that all features are finite.

    Raises:
        InputError: a feature is NaN or infinite.
    """
    features = samples.flatten(1)
    if features.is_floating_point() and not bool(torch.isfinite(features).all()):
        sample, feature = (~torch.isfinite(features)).nonzero()[0].tolist()
        raise InputError(
            f"feature {feature} of sample {sample} is {float(features[sample, feature])}; replace missing values first"
        )
    return features
