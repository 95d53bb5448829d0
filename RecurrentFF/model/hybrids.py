"""Hybrid negatives: images that are made of patches of two samples (Hinton 2022, arXiv:2212.13345, section 3.2).

    hybrid = m·a + (1 − m)·b

Here a is a sample of the batch, b another one, and m a mask of large patches: a random bit image, blurred repeatedly with
[1/4, 1/2, 1/4] in both directions, and thresholded at ½. A hybrid has the short-range correlations of real images, but not
the long-range ones, which a network that tells the two apart must learn. It needs no label for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.negatives import Count, InputNegatives, Negatives, NegativeSource, SamplingContext
from RecurrentFF.registry import register

if TYPE_CHECKING:  # the network imports nothing from here, but its type is needed
    from RecurrentFF.model.network import Network


@register("negatives", "hybrid")
@dataclass(frozen=True)
class HybridNegatives(InputNegatives):
    """Wrong inputs: each is a mixture of the sample and another one of the batch, by a random mask (Hinton 2022, section 3.2).

    Labels are never read, so that the other sample is of the same class in about one of C cases. A sequence has one mask at all
    timesteps, and its own end. A batch of a single sample has no other one: its hybrids are the sample itself, from which
    nothing can be learned.
    """

    count: Count = 1
    """The number of hybrids of each sample, each with another mask and, where the batch is large enough, another sample."""
    blur: Annotated[int, Field(ge=0, le=1000)] = 10
    """The number of times that the random bits are blurred. The patches are about 3 · sqrt(blur) pixels wide."""
    mask: Literal["image", "features"] = "image"
    """The mask: patches of an "image", or single "features", each drawn by itself, for inputs that are no image."""

    @property
    def needs_images(self) -> bool:  # type: ignore[override]
        """True if the mask has patches."""
        return self.mask == "image"

    def for_network(self, network: Network) -> NegativeSource:
        """The source for a network.

        Raises:
            SettingsError: the mask is of an image, and the network's inputs are none.
        """
        if self.needs_images:
            _image_shape(network)
        return super().for_network(network)

    def sample(self, context: SamplingContext) -> Negatives:
        """Draw masks and partners, and mix the inputs of the batch."""
        features, batch = context.inputs.shape[1], context.inputs.shape[3]
        if self.mask == "image":
            *channels, height, width = _image_shape(context.network)
            patches = random_patches(self.count, height, width, self.blur, context.draws)
            own = patches.permute(1, 2, 0, 3).reshape(1, height * width, self.count, batch).repeat(1, *(channels or [1]), 1, 1)
        else:
            own = context.draws.chosen("mask of features", 0.5, 1, features, self.count)
        partners = random_partners(self.count, context.draws)
        return Negatives(inputs=torch.where(own, context.inputs, context.gathered(context.inputs)[:, :, 0, partners]))


def random_patches(count: int, height: int, width: int, blur: int, draws: BatchDraws) -> Tensor:
    """Random masks of patches, of which about half the pixels are true: (count, height, width, batch).

    Args:
        count: the masks of each sample.
        height, width: the size of a mask.
        blur: the number of times that random bits are blurred with [1/4, 1/2, 1/4] in both directions. Beyond the border they
            are continued by those at the border.
        draws: the random numbers of the batch, on the device of the masks.
    """
    bits = draws.chosen("patches", 0.5, count, height, width).to(torch.float32).movedim(3, 1)
    rows, columns = (_blur_matrix(length, blur).to(bits) for length in (height, width))
    blurred: Tensor = rows @ bits @ columns
    return (blurred > 0.5).movedim(1, 3)


@cache  # the same for every batch
def _blur_matrix(length: int, repetitions: int) -> Tensor:
    """The symmetric matrix that blurs a vector of some length repeatedly with [1/4, 1/2, 1/4], (length, length) float64."""
    once = torch.diag(torch.full((length,), 0.5, dtype=torch.float64))
    index = torch.arange(length)
    for neighbor in (index - 1, index + 1):
        once[index, neighbor.clamp(0, length - 1)] += 0.25
    power: Tensor = torch.linalg.matrix_power(once, repetitions)
    return power


def random_partners(count: int, draws: BatchDraws) -> Tensor:
    """For each sample the indices of others in the whole batch, (count, batch): different ones, if the batch is large enough.

    A random order of the samples is closed to a circle, and the partners of a sample are those that follow it.
    """
    order = draws.whole.uniform("partners").argsort(stable=True)
    batch, place = len(order), torch.arange(len(order), device=order.device)
    steps = 1 + torch.arange(count, device=order.device) % max(1, batch - 1)
    partners = torch.empty(count, batch, dtype=torch.long, device=order.device)
    partners[:, order] = order[(place + steps.unsqueeze(1)) % batch]
    return partners[:, draws.part]


def _image_shape(network: Network) -> tuple[int, ...]:
    """The shape of the image in a network's inputs. Raises SettingsError if they are none."""
    shape = None if network.task is None else network.task.image_shape
    if shape is None:
        found = "the network has no task, which would name their shape"
        if network.task is not None:
            found = f"those of {network.task.name} are none"
        raise SettingsError(
            f'negatives.mask = "image": hybrids need inputs that are images, and {found}; use a transform that gives pixels, or '
            'set negatives.mask = "features"'
        )
    return shape
