"""Samples and network inputs arranged for a picture: images, values, or texts, each with a caption.

`Task.show` returns such panels, and `training.sample_plots` draws them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

KEPT_SAMPLES = 10
"""The number of raw samples that a data set keeps for pictures."""


class Images(NamedTuple):
    """Some samples as images, of any range of values."""

    caption: str
    """The subject of the images, in a few words."""
    images: Tensor
    """(timesteps, samples, maps, height, width); color images have a last axis of 3, with values in 0..1. Static images have one
    timestep. Maps are several images of one sample at one timestep, such as one for each direction."""
    titles: tuple[str, ...] = ("",)
    """A few characters for each map."""
    dark: bool = False
    """Show high values of gray images dark, as suits feature maps and ink on paper. Otherwise they are light, as in a photo.
    `Task.show` sets this for the pixels of a task whose `high_is_dark` is true. Colors always stay what they are."""


class Values(NamedTuple):
    """Some samples as plain numbers."""

    caption: str
    """The meaning of the numbers, in a few words."""
    values: Tensor
    """(timesteps, samples, features). Static samples have one timestep."""
    axis: str = "number of the network input"
    """The meaning of a feature, for the axis."""
    names: tuple[str, ...] = ()
    """A name of a few characters for each feature; empty for numbers."""
    mask: Tensor | None = None
    """(timesteps, samples), true where the values are valid; None for everywhere."""


class Texts(NamedTuple):
    """Some samples as texts."""

    texts: tuple[str, ...]
    """One text for each sample."""


Panel = Images | Values | Texts


def image_panel(caption: str, samples: Tensor, input_shape: tuple[int, ...]) -> Images | None:
    """Arrange images as a panel.

    Args:
        caption: what they show.
        samples: (n, *input_shape) or (timesteps, n, *input_shape), of any range and type.
        input_shape: (height, width) or (channels, height, width). Three channels are colors; others are averaged.

    Returns:
        The panel, with high values light; None if the samples are no images.
    """
    if len(input_shape) not in (2, 3):
        return None
    images = samples.reshape(-1 if samples.dim() > len(input_shape) + 1 else 1, *samples.shape[-len(input_shape) - 1 :]).float()
    if len(input_shape) == 2:
        return Images(caption, images.unsqueeze(2))
    if input_shape[0] != 3:
        return Images(caption, images.mean(2, keepdim=True))
    return Images(caption, _stretched(images).permute(0, 1, 3, 4, 2).unsqueeze(2))


class WithPicture:
    """The part of a data set with labels that belongs to pictures of its samples, see `Task.show`."""

    labels: Tensor
    """(samples,) class numbers."""
    kept: Tensor | None = None
    """The raw samples of `samples_to_show`, such as images of features; None if they are unknown."""

    def originals(self, samples: int) -> Tensor | None:
        """Return the raw samples that are kept for pictures; None without any."""
        return self.kept

    def samples_to_show(self, samples: int) -> Tensor:
        """Return the numbers of some samples of each class, see `some_of_each_class`."""
        return some_of_each_class(self.labels, samples)


def some_of_each_class(labels: Tensor, count: int) -> Tensor:
    """Choose samples for a picture: the first one of each class, then the second one of each class, and so on.

    Args:
        labels: (n,) class numbers. With labels of another shape, which change over time, the first samples are chosen.
        count: the number of samples to choose. There may be fewer.

    Returns:
        The numbers of the samples, (count,), on the device of the labels.
    """
    if labels.dim() != 1:
        return torch.arange(min(count, labels.shape[-1]), device=labels.device)
    order = labels.argsort(stable=True)
    return order[ranks_in_class(labels[order]).argsort(stable=True)][:count]


def ranks_in_class(labels: Tensor) -> Tensor:
    """Count, for each sample, the samples of its class before it. Labels are class numbers (n,), as is the result."""
    order = labels.argsort(stable=True)
    grouped = labels[order]
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(labels), device=labels.device) - torch.searchsorted(grouped, grouped)
    return ranks


def shows_the_same(first: Images, second: Images) -> bool:
    """True if two panels have the same images but for brightness and contrast, as pixels before and after a standardization."""
    if first.images.shape != second.images.shape:
        return False
    return torch.allclose(_stretched(first.images.cpu()), _stretched(second.images.cpu()), atol=1e-3)


def direction_names(count: int) -> tuple[str, ...]:
    """Name evenly spaced directions in the plane of an image, from the right clockwise.

    Returns:
        An arrow for each; where there are others than the eight arrows, with the degrees.
    """
    arrows = "→↘↓↙←↖↑↗"
    if len(arrows) % count == 0:
        return tuple(arrows[:: len(arrows) // count])
    angles = [number / count for number in range(count)]
    return tuple(
        f"{arrows[round(angle * len(arrows)) % len(arrows)]}{math.degrees(2 * math.pi * angle):.0f}°" for angle in angles
    )


def maps_of(inputs: Tensor, directions: int, grid_size: int) -> Tensor:
    """Arrange inputs (n, features) or (timesteps, n, features), direction by direction, as images of `Images`."""
    sequences = inputs if inputs.dim() == 3 else inputs.unsqueeze(0)
    return sequences.reshape(*sequences.shape[:2], directions, grid_size, grid_size)


def _stretched(images: Tensor) -> Tensor:
    """Bring the values of all images together to 0..1."""
    low, high = images.min(), images.max()
    return (images - low) / (high - low).clamp(min=1e-12)
