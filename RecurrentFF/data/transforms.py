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

from RecurrentFF.data.panels import Images, Panel, Values, image_panel
from RecurrentFF.data.pixels import scaled_pixels
from RecurrentFF.errors import InputError
from RecurrentFF.registry import Component, register

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

    @property
    def limits(self) -> tuple[float, float] | None:
        """The lowest and the highest network input that there can be; None if that is unknown, which is the default."""
        return None

    def inverse(self, inputs: Tensor) -> Tensor | None:
        """Convert network inputs back to samples, flattened: (n, features) or (timesteps, n, features), of the same shape.

        Returns:
            The samples in their own scale; None if that is not possible, which is the default.
        """
        return None

    def show_samples(self, samples: Tensor, distorted: Tensor | None, input_shape: tuple[int, ...]) -> list[Panel]:
        """Arrange raw samples for a picture, as a person knows them. By default, samples with two or three axes are images.

        Args:
            samples: (n, *input_shape) or (timesteps, n, *input_shape).
            distorted: the same samples after random variation, in a form and scale between samples and inputs; None for none.
            input_shape: shape of a raw sample.
        """
        panels = [image_panel("image" if samples.dim() == len(input_shape) + 1 else "frames", samples, input_shape)]
        if distorted is not None:
            panels.append(image_panel("distorted at random, anew in every epoch", distorted, input_shape))
        return [panel for panel in panels if panel is not None]

    def show_inputs(self, inputs: Tensor, mask: Tensor | None, input_shape: tuple[int, ...]) -> list[Panel]:
        """Arrange network inputs for a picture of some samples. By default, they are images if `show` makes them images.

        Args:
            inputs: (samples, features) or (timesteps, samples, features).
            mask: valid timesteps, (timesteps, samples); None for all.
            input_shape: shape of a raw sample.
        """
        if type(self).show is not Transform.show:
            return [Images("network input", self.show(inputs, input_shape).unsqueeze(2), dark=True)]
        panel = (
            image_panel("network input", inputs.reshape(*inputs.shape[:-1], *input_shape), input_shape)
            if self.gives_images
            else None
        )
        return (
            [panel]
            if panel is not None
            else [Values("network input", inputs if inputs.dim() == 3 else inputs.unsqueeze(0), mask=mask)]
        )

    def show(self, inputs: Tensor, input_shape: tuple[int, ...]) -> Tensor:
        """Arrange network inputs as images, one for each sample and timestep.

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


def as_given(samples: Tensor, transform: Transform) -> Tensor:
    """Bring raw samples (n, *input_shape) to the form in which a transform takes them: images of uint8 are scaled to 0..1."""
    is_image = samples.dtype == torch.uint8 and samples.dim() in (3, 4)
    return scaled_pixels(samples) if is_image and not transform.takes_bytes else samples


@register("transform", "identity")
@dataclass(frozen=True)
class Identity(Transform):
    """No transform: samples are network inputs already."""

    gives_images: ClassVar[bool] = True
    takes_sequences: ClassVar[bool] = True
    takes_bytes: ClassVar[bool] = True  # `__call__` refuses them

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

    def inverse(self, inputs: Tensor) -> Tensor:
        """Return network inputs, which are samples."""
        return inputs

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of values of a sample."""
        return math.prod(input_shape)


@register("transform", "standardize")
@dataclass(frozen=True)
class Standardize(Transform):
    """Features of a table as network inputs: each one minus its mean, divided by its standard deviation, times a scale."""

    takes_sequences: ClassVar[bool] = True

    mean: tuple[FiniteFloat, ...] | None = None
    """The mean of each feature. If left out, it is that of the training samples."""
    std: tuple[Size, ...] | None = None
    """The standard deviation of each feature. If left out, it is that of the training samples, and 1 for a constant feature."""
    scale: Size = 1.0
    """The standard deviation of each network input.

    A larger value helps where there are few features, of which the layers would otherwise see little beside their own activity.
    """

    def show_inputs(self, inputs: Tensor, mask: Tensor | None, input_shape: tuple[int, ...]) -> list[Panel]:
        """Arrange network inputs for a picture, see `Transform.show_inputs`."""
        scale = "" if self.scale == 1 else f", times {self.scale:g}"
        caption = f"network input: each feature minus its mean, divided by its standard deviation{scale}"
        return [Values(caption, inputs if inputs.dim() == 3 else inputs.unsqueeze(0), axis="number of the feature", mask=mask)]

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
        std = std / self.scale
        if features.dtype == torch.float64:
            return ((features - mean.to(features.device)) / std.to(features.device)).float()
        return (features.float() - mean.to(features.device, torch.float32)) / std.to(features.device, torch.float32)

    def inverse(self, inputs: Tensor) -> Tensor:
        """Return the features in their own scale: network inputs times the standard deviations by the scale, plus the means."""
        mean, std = (torch.tensor(values).to(inputs) for values in (self.mean, self.std))
        return inputs * (std / self.scale) + mean

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
