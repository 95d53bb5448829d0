"""Single-digit Moving MNIST, made on the fly: a digit moves over a larger canvas and bounces off its walls.

A sequence is a pure function of (seed, split, sample number), and of the epoch where fresh velocities are asked for: the same on
every machine and device and in any order, at no cost in disk. After N. Srivastava, E. Mansimov and R. Salakhutdinov,
"Unsupervised Learning of Video Representations using LSTMs" (arXiv:1502.04681), with one digit and integer velocities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.dataset import Batch
from RecurrentFF.data.mnist import Digits
from RecurrentFF.data.randomness import random_bits

CANVAS = 64
"""Height and width of a frame, in pixels."""
DIGIT = 28
"""Height and width of a digit."""
FREE = CANVAS - DIGIT
"""Largest position of a digit's upper left corner, in both directions; the smallest is 0."""
SPEED = 5
"""Largest component of a velocity, in pixels a timestep."""

# The root mean square of a digit's pixels, scaled to 0..1, spread over the canvas: divided by it, a feature has about unit mean
# square, as the normalised activities of the network have.
_RMS = math.sqrt((0.1307**2 + 0.3081**2) * DIGIT**2 / CANVAS**2)


def velocities(seed: int, split: str, samples: Tensor, epoch: int = 0) -> Tensor:
    """The velocities of some samples, a pure function of the arguments.

    Args:
        samples: (n,) sample numbers.

    Returns:
        (n, 2) integers, down and right, each uniform in −SPEED..SPEED.
    """
    bits = random_bits(seed, split, samples, epoch)
    thirty_one = 2**31 - 1
    halves = torch.stack([bits & thirty_one, (bits >> 32) & thirty_one], 1)
    return (halves * (2 * SPEED + 1) >> 31) - SPEED


def trajectories(velocity: Tensor, timesteps: int) -> Tensor:
    """Where the digits' upper left corners are: from the canvas's centre, clamped to 0..FREE, where the component turns round.

    Args:
        velocity: (n, 2).

    Returns:
        (timesteps, n, 2).
    """
    position = torch.full_like(velocity, FREE // 2)
    positions = []
    for _ in range(timesteps):
        positions.append(position)
        position = position + velocity
        velocity = torch.where((position < 0) | (position > FREE), -velocity, velocity)
        position = position.clamp(0, FREE)
    return torch.stack(positions)


def render(digits: Tensor, positions: Tensor) -> Tensor:
    """Frames with the digits where they are, and zero elsewhere.

    Args:
        digits: (n, DIGIT, DIGIT).
        positions: (timesteps, n, 2).

    Returns:
        (timesteps, n, CANVAS²), row by row.
    """
    # A frame is a window on the digit amid a margin that it never leaves: cutting it out is a copy, at any position.
    windows = F.pad(digits, [FREE] * 4).unfold(1, CANVAS, 1).unfold(2, CANVAS, 1)  # (n, FREE + 1, FREE + 1, CANVAS, CANVAS)
    down, right = (FREE - positions).unbind(-1)
    return windows[torch.arange(len(digits), device=digits.device), down, right].flatten(2)


class MovingDigits:
    """Videos of digits, made batch by batch on the device of the digits.

    A batch's frames take timesteps · size · CANVAS² · 4 bytes, 100 MB for 12 timesteps and 500 samples, whatever the number of
    samples; the next batch's are made while these are still held.

    Args:
        digits: images (samples, 28, 28) uint8, and their labels.
        timesteps: of a sequence.
        seed: of the velocities, with `split` and a sample's number.
        split: name of the part of the data set that the digits are from.
        first: number of the first sample within the split.
        fresh: whether every epoch has velocities of its own.
    """

    def __init__(self, digits: Digits, timesteps: int, *, seed: int, split: str, first: int = 0, fresh: bool = False) -> None:
        self.digits = digits
        self.timesteps = timesteps
        self.seed = seed
        self.split = split
        self.first = first
        self.fresh = fresh

    def __len__(self) -> int:
        return len(self.digits.labels)

    def __getitem__(self, samples: slice) -> MovingDigits:
        """A part of the data set, each sample moving as it does in the whole."""
        start, stop, step = samples.indices(len(self))
        assert step == 1
        part = Digits(self.digits.images[start:stop], self.digits.labels[start:stop])
        first = self.first + start
        return MovingDigits(part, self.timesteps, seed=self.seed, split=self.split, first=first, fresh=self.fresh)

    def with_fresh_velocities(self, fresh: bool) -> MovingDigits:
        """The same samples, moving otherwise in every epoch or always as in the first."""
        return MovingDigits(self.digits, self.timesteps, seed=self.seed, split=self.split, first=self.first, fresh=fresh)

    def batch_count(self, size: int) -> int:
        """How many batches of `size` samples there are; the last may be smaller."""
        return math.ceil(len(self) / size)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Batches of `size` samples, (timesteps, size, CANVAS²) and (size,), in the given order, else as they stand."""
        order = torch.arange(len(self)) if order is None else order
        if len(order):  # an empty tensor would split into one empty batch
            for index in torch.split(order.to(self.digits.labels.device), size):
                velocity = velocities(self.seed, self.split, index + self.first, epoch if self.fresh else 0)
                images = self.digits.images[index].float() / (255 * _RMS)
                yield Batch(render(images, trajectories(velocity, self.timesteps)), self.digits.labels[index])
