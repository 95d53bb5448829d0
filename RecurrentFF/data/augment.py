"""Augmentation of training images: random flips, shifts, rotations, scaling, elastic distortion and cutout, new in every epoch.

The geometric transforms of an image form one displacement field of its pixels: an affine map plus a smooth random field for the
elastic distortion (P. Simard, D. Steinkraus, J. Platt, "Best practices for convolutional neural networks applied to visual
document analysis", 2003). The field is drawn from (seed, sample number, epoch). It is applied to a whole batch at once on the
device of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.dataset import Batch, Dataset, LabeledSamples, TensorDataset
from RecurrentFF.data.image_transforms import ImageTransform
from RecurrentFF.data.moments import NO_NORMALIZATION, NormalizationConfig, normalize
from RecurrentFF.data.pixels import scaled_pixels
from RecurrentFF.data.transforms import Transform
from RecurrentFF.data.warp import affine_grid, warp
from RecurrentFF.errors import DataError
from RecurrentFF.options import Flag, Section
from RecurrentFF.random_bits import random_numbers

ELASTIC_KNOTS = 5
"""Number of knots of the elastic distortion's random field, in each direction."""

PURPOSE, FLIP_PURPOSE = "distortion", "flip"
"""Names under which the random numbers are drawn. Another name would change the images of every seed."""


class Augmentation(Section):
    """Limits of the random transforms of a training image, drawn again in every epoch; 0 turns a transform off."""

    translate: Annotated[int, Field(ge=0)] = 0
    """The largest translation in both directions, in pixels. Whole pixels if no other transform moves the pixels."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """The largest rotation either way, in degrees."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The largest change of the image's size, larger or smaller, as a fraction of its side."""
    elastic: Annotated[float, Field(ge=0)] = 0.0
    """The largest displacement by the elastic distortion, a smooth random field, in both directions, in pixels."""
    flip: Flag = False
    """True mirrors every image, left to right, with a probability of one half. It suits clothes, but not digits or letters."""
    cutout: Annotated[int, Field(ge=0)] = 0
    """The side of the square that is covered with background, in pixels."""

    def __bool__(self) -> bool:
        """Return whether any transform is on."""
        return any((self.translate, self.rotation, self.scale, self.elastic, self.flip, self.cutout))

    def check_side(self, side: int) -> None:
        """Check the limits against the side of the images, in pixels.

        Raises:
            ValueError: a limit is too large.
        """
        for name, value, limit in (
            ("translate", self.translate, side - 1),
            ("elastic", self.elastic, side - 1),
            ("cutout", self.cutout, side),
        ):
            if value > limit:
                raise ValueError(f"augmentation.{name} = {value}: images have a side of {side} pixels; expected at most {limit}")


NO_AUGMENTATION = Augmentation()
"""Limits that leave every image unchanged."""


def augment(
    images: Tensor,
    config: Augmentation,
    samples: Tensor,
    *,
    seed: int,
    epoch: int,
    background: float,
    normalization: NormalizationConfig = NO_NORMALIZATION,
) -> Tensor:
    """Transform each image at random, a pure function of the arguments.

    Args:
        images: (n, side, side).
        config: limits of the transforms.
        samples: (n,) sample numbers of the images.
        seed: the seed of the run.
        epoch: the epoch number, from 0.
        background: value of an empty pixel, also of the pixels that come from outside the image.
        normalization: applied after the geometric transforms and before the cutout. It undoes the translation.

    Returns:
        (n, side, side).
    """
    side = images.shape[1]
    if config.flip:
        flipped = random_numbers(seed, FLIP_PURPOSE, samples, epoch, 1)[:, 0] < 0
        images = torch.where(flipped[:, None, None], images.flip(2), images)
    uniform = random_numbers(seed, PURPOSE, samples, epoch, 6 + 2 * ELASTIC_KNOTS**2)
    if config.translate or config.rotation or config.scale or config.elastic:
        grid = _affine_grid(config, uniform, side)
        if config.elastic:
            knots = uniform[:, 6:].view(-1, 2, ELASTIC_KNOTS, ELASTIC_KNOTS) * (2 * config.elastic / side)
            interpolation = _interpolation_matrix(side).to(knots)
            grid = grid + (interpolation @ knots @ interpolation.T).permute(0, 2, 3, 1)
        images = warp(images, grid, background)
    images = normalize(images, normalization, background=background)
    if config.cutout:
        images = torch.where(_square_mask(config.cutout, uniform[:, 4:6], side), background, images)
    return images


def _affine_grid(config: Augmentation, uniform: Tensor, side: int) -> Tensor:
    """Compute the position in the old image of each pixel of the new one, (n, side, side, 2) in −1..1."""
    translation = uniform[:, :2] * config.translate
    if not (config.rotation or config.scale or config.elastic):
        choices = 2 * config.translate + 1  # whole pixels, all equally likely
        translation = ((uniform[:, :2] + 1) / 2 * choices).floor().clamp(max=choices - 1) - config.translate
    angle = uniform[:, 2] * math.radians(config.rotation)
    scale = 1 / (1 + uniform[:, 3] * config.scale)  # inverse, because the map leads from the new image to the old one
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    matrix_rows = [
        torch.stack([cosine, -sine, 2 * translation[:, 0] / side], 1),
        torch.stack([sine, cosine, 2 * translation[:, 1] / side], 1),
    ]
    return affine_grid(torch.stack(matrix_rows, 1), side)


@cache
def _interpolation_matrix(side: int) -> Tensor:
    """Compute the matrix of cubic interpolation from a line of knots to a line of pixels, (side, ELASTIC_KNOTS)."""
    knots = torch.eye(ELASTIC_KNOTS).view(ELASTIC_KNOTS, 1, ELASTIC_KNOTS, 1)
    return F.interpolate(knots, (side, 1), mode="bicubic", align_corners=True).view(ELASTIC_KNOTS, side).T.contiguous()


def _square_mask(width: int, center: Tensor, side: int) -> Tensor:
    """Compute the masks of squares around centers (n, 2) in −1..1: (n, side, side), true inside the square."""
    pixels = torch.arange(side, device=center.device)
    corner = ((center + 1) / 2 * (side - width + 1)).floor().clamp(max=side - width).unsqueeze(2)
    inside_y, inside_x = ((pixels >= corner) & (pixels < corner + width)).unbind(1)
    return inside_y.unsqueeze(2) & inside_x.unsqueeze(1)


def flattened(images: Tensor) -> Tensor:
    """Return images (n, side, side) as pixels (n, side²), row by row."""
    return images.flatten(1)


def as_squares(pixels: Tensor) -> Tensor:
    """Return pixels (n, side²) as images (n, side, side)."""
    side = math.isqrt(pixels.shape[1])
    return pixels.view(-1, side, side)


class AugmentedImages:
    """A data set of square images with a new augmentation in every epoch.

    Args:
        images: the images before augmentation, each in row-major order.
        config: limits of the transforms.
        seed: seed of the transforms; the sample number and the epoch are combined with it.
        background: value of an empty pixel.
        normalization: normalization of the augmented images, as in `augment`.
        encode: function from augmented images (n, side, side) to network inputs (n, features).
    """

    def __init__(
        self,
        images: TensorDataset,
        config: Augmentation,
        *,
        seed: int,
        background: float,
        normalization: NormalizationConfig = NO_NORMALIZATION,
        encode: Callable[[Tensor], Tensor] = flattened,
    ) -> None:
        self.images = images
        self.config = config
        self.normalization = normalization
        self.encode = encode
        self.seed = seed
        self.background = background

    def __len__(self) -> int:
        return len(self.images)

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples; the last one may be smaller."""
        return self.images.batch_count(size)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches of `size` samples in the given order of sample numbers, by default in stored order."""
        order = torch.arange(len(self)) if order is None else order
        numbers = torch.split(order.to(self.images.labels.device), size)
        for samples, (inputs, labels, _) in zip(numbers, self.images.batches(size, order), strict=False):
            yield Batch(self.encode(self._augmented(as_squares(inputs), samples, epoch)), labels)

    def samples_to_show(self, samples: int) -> Tensor:
        """Return the numbers of images for a picture, some of each class, see `some_of_each_class`."""
        return self.images.samples_to_show(samples)

    def originals(self, samples: int) -> Tensor:
        """Return the images of `samples_to_show` before augmentation, (samples, side, side), see `Task.show`."""
        return as_squares(self.images.inputs[self.samples_to_show(samples)])

    def distorted(self, samples: int) -> Tensor:
        """Return the images of `samples_to_show` as they are in epoch 0, (samples, side, side)."""
        return self._augmented(self.originals(samples), self.samples_to_show(samples), 0)

    def _augmented(self, images: Tensor, samples: Tensor, epoch: int) -> Tensor:
        """Augment and normalize images (n, side, side)."""
        return augment(
            images,
            self.config,
            samples,
            seed=self.seed,
            epoch=epoch,
            background=self.background,
            normalization=self.normalization,
        )


def augmented_dataset(samples: LabeledSamples, transform: Transform, config: Augmentation, *, seed: int) -> Dataset:
    """Make a data set of training images with a new augmentation in every epoch.

    An image transform standardizes first, and normalizes and encodes the augmented images. Any other transform is given the
    augmented pixels as float32 in 0..1, as it is given images of uint8 without augmentation.

    Args:
        samples: images (n, side, side), of the range that `transforms.checked_pixels` accepts.
        transform: the transform from images to network inputs.
        config: limits of the augmentation.
        seed: the seed of the run.

    Raises:
        DataError: the images are not square, have several channels, or are too small for the limits; or they are of a type of
            integers that the transform is given unchanged without augmentation.
        InputError: the pixels are out of range.
    """
    shape = samples.samples.shape[1:]
    if len(shape) != 2 or shape[0] != shape[1]:
        raise DataError(f"augmentation of images of shape {tuple(shape)}: expected square images of one channel, (side, side)")
    try:
        config.check_side(shape[0])
    except ValueError as error:
        raise DataError(str(error)) from None
    if isinstance(transform, ImageTransform):
        data = TensorDataset(transform.standardized(samples.samples).flatten(1), samples.labels)
        background, normalization = transform.background, transform.normalization
        return AugmentedImages(
            data, config, seed=seed, background=background, normalization=normalization, encode=transform.encode
        )
    kind = samples.samples.dtype
    if not (transform.takes_bytes or kind.is_floating_point or kind in (torch.uint8, torch.bool)):
        raise DataError(f"augmentation of images of type {kind}: expected torch.uint8, or floating-point numbers in 0..1")
    data = TensorDataset(scaled_pixels(samples.samples).flatten(1), samples.labels)
    return AugmentedImages(data, config, seed=seed, background=0.0, encode=transform)
