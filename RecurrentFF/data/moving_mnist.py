"""The single-digit Moving MNIST data set: videos of a digit that crosses a larger canvas and bounces off its walls.

Videos are generated batch by batch. A video is a pure function of (seed, split, sample number), and also of the epoch if fresh
velocities are requested. It is the same on every machine and device and in any order, and takes no disk space. After
N. Srivastava, E. Mansimov and R. Salakhutdinov, "Unsupervised Learning of Video Representations using LSTMs" (arXiv:1502.04681),
with one digit and integer velocities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data import mnist
from RecurrentFF.data.dataset import Batch, LabeledImages, SplitOptions, Splits, split
from RecurrentFF.data.image_transforms import Frames, OrientedGradients
from RecurrentFF.data.source import DataSource, SourceTask, fitted_transform
from RecurrentFF.data.transforms import Transform, as_given
from RecurrentFF.errors import DataError
from RecurrentFF.options import Flag
from RecurrentFF.random_bits import random_bits
from RecurrentFF.registry import register

CANVAS_SIDE = 64
"""Height and width of a frame, in pixels."""
DIGIT_SIDE = 28
"""Height and width of a digit, in pixels."""
MAX_POSITION = CANVAS_SIDE - DIGIT_SIDE
"""Largest position of a digit's upper left corner in both directions, in pixels; the smallest is 0."""
MAX_SPEED = 5
"""Largest component of a velocity, in pixels per timestep."""

# Root mean square of a digit's pixels, scaled to 0..1, averaged over the canvas. Divided by it, a feature has a mean square of
# about 1, like the normalized activities of the network.
_RMS = math.sqrt((0.1307**2 + 0.3081**2) * DIGIT_SIDE**2 / CANVAS_SIDE**2)
_MEAN = 0.1307 * DIGIT_SIDE**2 / CANVAS_SIDE**2
_STD = math.sqrt(_RMS**2 - _MEAN**2)

MOVING_FRAMES = Frames(rms=_RMS)
"""The transform of the videos: the division by the root mean square of their pixels."""


def velocities(seed: int, split: str, samples: Tensor, epoch: int = 0) -> Tensor:
    """Draw the velocities of samples, a pure function of the arguments.

    Args:
        seed: the seed of the run.
        split: name of the split, "train" or "test".
        samples: (n,) sample numbers.
        epoch: the epoch number, from 0.

    Returns:
        (n, 2) integers, down and right, each uniform in −MAX_SPEED..MAX_SPEED.
    """
    bits = random_bits(seed, split, samples, epoch)
    mask = 2**31 - 1
    halves = torch.stack([bits & mask, (bits >> 32) & mask], 1)  # 31 bits for each component
    return (halves * (2 * MAX_SPEED + 1) >> 31) - MAX_SPEED


def trajectories(velocity: Tensor, timesteps: int) -> Tensor:
    """Compute the positions of the digits' upper left corners at every timestep.

    A digit starts at the center of the canvas. A position beyond a wall is clamped to 0..MAX_POSITION, and that component of the
    velocity changes its sign.

    Args:
        velocity: (n, 2), down and right, in pixels per timestep.
        timesteps: number of frames.

    Returns:
        (timesteps, n, 2), down and right, in pixels.
    """
    position = torch.full_like(velocity, MAX_POSITION // 2)
    positions = []
    for _ in range(timesteps):
        positions.append(position)
        position = position + velocity
        velocity = torch.where((position < 0) | (position > MAX_POSITION), -velocity, velocity)
        position = position.clamp(0, MAX_POSITION)
    return torch.stack(positions)


def render(digits: Tensor, positions: Tensor) -> Tensor:
    """Render frames with the digits at the given positions, and zero elsewhere.

    Args:
        digits: (n, DIGIT_SIDE, DIGIT_SIDE).
        positions: (timesteps, n, 2), down and right, in pixels.

    Returns:
        (timesteps, n, CANVAS_SIDE²), each frame in row-major order.
    """
    # A frame is a window on the digit with a margin around it: taking a window is a copy, at any position.
    windows = F.pad(digits, [MAX_POSITION] * 4).unfold(1, CANVAS_SIDE, 1).unfold(2, CANVAS_SIDE, 1)
    # windows: (n, MAX_POSITION + 1, MAX_POSITION + 1, CANVAS_SIDE, CANVAS_SIDE)
    down, right = (MAX_POSITION - positions).unbind(-1)
    return windows[torch.arange(len(digits), device=digits.device), down, right].flatten(2)


class MovingDigits:
    """A data set of videos of moving digits, generated batch by batch on the device of the digits.

    A batch's frames take timesteps · size · CANVAS_SIDE² · 4 bytes: 100 MB for 12 timesteps and 500 samples, for any number of
    samples in the data set. Twice that is needed while the next batch is generated.

    Args:
        digits: images (samples, 28, 28) uint8, and their labels.
        timesteps: number of frames of a video.
        seed: seed of the velocities; `split` and the sample number are combined with it.
        split: name of the split that the digits are from, "train" or "test".
        first_sample: number of the first sample within the split.
        fresh_velocities: whether every epoch has its own velocities.
        transform: the transform of frames (n, CANVAS_SIDE, CANVAS_SIDE); by default, division by their root mean square.
    """

    def __init__(
        self,
        digits: LabeledImages,
        timesteps: int,
        *,
        seed: int,
        split: str,
        first_sample: int = 0,
        fresh_velocities: bool = False,
        transform: Transform = MOVING_FRAMES,
    ) -> None:
        self.digits = digits
        self.timesteps = timesteps
        self.seed = seed
        self.split = split
        self.first_sample = first_sample
        self.fresh_velocities = fresh_velocities
        self.transform = transform

    def __len__(self) -> int:
        return len(self.digits.labels)

    @overload
    def __getitem__(self, samples: slice) -> MovingDigits: ...
    @overload
    def __getitem__(self, samples: int) -> tuple[Tensor, int]: ...
    def __getitem__(self, samples: slice | int) -> MovingDigits | tuple[Tensor, int]:
        """Return a slice of the data set, in which each sample keeps its velocity; or a sample for a loader of torch.

        Args:
            samples: a slice with step 1; or the number of a sample, whose video (timesteps, features) and label are returned.
        """
        if not isinstance(samples, slice):
            number = range(len(self))[samples]  # raises IndexError beyond the last sample
            batch = next(self.batches(1, torch.tensor([number])))
            return batch.inputs[:, 0], int(batch.labels[0])
        start, stop, step = samples.indices(len(self))
        assert step == 1
        return MovingDigits(
            LabeledImages(self.digits.images[start:stop], self.digits.labels[start:stop]),
            self.timesteps,
            seed=self.seed,
            split=self.split,
            first_sample=self.first_sample + start,
            fresh_velocities=self.fresh_velocities,
            transform=self.transform,
        )

    def with_fresh_velocities(self, fresh_velocities: bool) -> MovingDigits:
        """Return the same samples with new velocities in every epoch, or always with those of epoch 0."""
        return MovingDigits(
            self.digits,
            self.timesteps,
            seed=self.seed,
            split=self.split,
            first_sample=self.first_sample,
            fresh_velocities=fresh_velocities,
            transform=self.transform,
        )

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples; the last one may be smaller."""
        return math.ceil(len(self) / size)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches of `size` samples, inputs (timesteps, size, features) and labels (size,).

        Args:
            size: samples in a batch; the last batch may be smaller.
            order: sample numbers in the order in which they are taken; None for stored order.
            epoch: the epoch number, from 0, for fresh velocities.
        """
        order = torch.arange(len(self)) if order is None else order
        if len(order):  # an empty tensor would split into one empty batch
            for index in torch.split(order.to(self.digits.labels.device), size):
                velocity = velocities(self.seed, self.split, index + self.first_sample, epoch if self.fresh_velocities else 0)
                positions = trajectories(velocity, self.timesteps)
                yield Batch(self._inputs(self.digits.images[index], positions), self.digits.labels[index])

    def originals(self, samples: int) -> Tensor:
        """Return the frames of the first videos, (timesteps, samples, CANVAS_SIDE, CANVAS_SIDE) uint8, see `Task.show`."""
        numbers = torch.arange(min(samples, len(self)), device=self.digits.labels.device)
        velocity = velocities(self.seed, self.split, numbers + self.first_sample)
        frames = render(self.digits.images[numbers], trajectories(velocity, self.timesteps))
        return frames.view(self.timesteps, len(numbers), CANVAS_SIDE, CANVAS_SIDE)

    def _inputs(self, digits: Tensor, positions: Tensor) -> Tensor:
        """Render digits (n, DIGIT_SIDE, DIGIT_SIDE) uint8 at positions (timesteps, n, 2), and transform the frames."""
        if isinstance(self.transform, Frames):
            return render(self.transform.scaled(digits), positions)  # the same as below, with fewer pixels to scale
        if isinstance(self.transform, OrientedGradients) and not any(self.transform.normalization):
            return self.transform.encode_moved(digits, positions, CANVAS_SIDE)  # the same, up to rounding
        frames = render(digits, positions).view(-1, CANVAS_SIDE, CANVAS_SIDE)
        return self.transform(as_given(frames, self.transform)).view(*positions.shape[:2], -1)


@register("data", "moving_mnist")
@dataclass(frozen=True)
class MovingMnist(DataSource):
    """Moving MNIST: videos of a digit that crosses a canvas of 64 × 64 pixels and bounces off its walls."""

    title: ClassVar[str] = "Moving MNIST"
    high_is_dark: ClassVar[bool] = True
    default_transform: ClassVar[Transform] = MOVING_FRAMES
    gives_sequences: ClassVar[bool] = True

    data_dir: str | None = None
    """An existing torchvision data folder of MNIST to read instead of the digits of this package."""
    fresh_velocities: Flag = True
    """Draw a new velocity for each training digit in every epoch, instead of the same one in all epochs."""

    def task(self, transform: Transform | None = None) -> SourceTask:
        """Make the task, whose classes are the digits 0 to 9. The arguments and errors are those of `DataSource.task`.

        The mean and standard deviation of the canvas are those of the digits on an empty canvas.
        """
        fitted = fitted_transform(self, transform, self._first_frames, rms=_RMS, mean=_MEAN, std=_STD)
        if fitted.gives_sequences:
            raise DataError("Moving MNIST: its samples are sequences already; choose another transform, such as frames")
        return SourceTask(self, (CANVAS_SIDE, CANVAS_SIDE), tuple(range(10)), fitted, self._splits)

    def _read(self, device: torch.device | None) -> tuple[LabeledImages, LabeledImages]:
        return mnist.read(Path(self.data_dir) if self.data_dir is not None else None, device)

    def _first_frames(self) -> LabeledImages:
        """Return the training digits in the middle of the canvas, where every video starts."""
        images, labels = self._read(None)[0]
        return LabeledImages(F.pad(images, [MAX_POSITION // 2] * 4), labels)

    def _splits(self, transform: Transform, options: SplitOptions) -> Splits:
        """Make training, validation and test videos. Only training videos get new velocities in every epoch."""
        if options.timesteps is None:
            raise DataError("Moving MNIST: the number of timesteps is unknown; pass timesteps=…")
        train, test = (
            MovingDigits(digits, options.timesteps, seed=options.seed, split=name, transform=transform)
            for name, digits in zip(("train", "test"), self._read(options.device), strict=True)
        )
        selected, *others = split(train, test, options)
        return Splits(selected.with_fresh_velocities(self.fresh_velocities), *others)
