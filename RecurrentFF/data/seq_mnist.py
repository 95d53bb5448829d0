"""The stroke-sequence MNIST data set: a digit as the moves of a pen that draws it, a few moves at each timestep.

Modules `pen_strokes` and `population_code` have codes of the moves. The moves are traced from the digits, or read from
the files of the original data set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from RecurrentFF.data import mnist, stroke_cache, stroke_files
from RecurrentFF.data.dataset import Batch, LabeledImages, SplitOptions, Splits, split
from RecurrentFF.data.pen_strokes import PenStrokes, StrokeTransform, padded_moves
from RecurrentFF.data.source import DataSource, SourceTask, fitted_transform
from RecurrentFF.data.stroke_augmentation import NO_STROKE_AUGMENTATION, StrokeAugmentation, augment_moves
from RecurrentFF.data.stroke_files import SIDE, Sequences
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import DataError
from RecurrentFF.registry import register


class StrokeDataset:
    """A data set of pen-stroke sequences, whose inputs are computed batch by batch on the device of the moves.

    Args:
        sequences: the moves and labels, as traced or read.
        timesteps: number of timesteps of a sequence.
        transform: the code of the moves at a timestep.
        augmentation: random variation of the strokes, drawn again in every epoch.
        seed: seed of the augmentation; the sample number and the epoch are combined with it.
    """

    def __init__(
        self,
        sequences: Sequences,
        timesteps: int,
        transform: StrokeTransform,
        *,
        augmentation: StrokeAugmentation = NO_STROKE_AUGMENTATION,
        seed: int = 0,
    ) -> None:
        self.sequences = sequences
        self.timesteps = timesteps
        self.transform = transform
        self.augmentation = augmentation
        self.seed = seed
        self.stride = transform.moves_per_timestep
        self._starts = sequences.lengths.cumsum(0) - sequences.lengths

    def __len__(self) -> int:
        return len(self.sequences.labels)

    def __getitem__(self, samples: slice) -> StrokeDataset:
        """Return a slice of the data set, without augmentation, whose sample numbers would be others."""
        start, stop, step = samples.indices(len(self))
        assert step == 1
        _, lengths, labels = self.sequences
        first_move = int(lengths[:start].sum())
        moves = self.sequences.moves[first_move : first_move + int(lengths[start:stop].sum())]
        sliced = Sequences(moves, lengths[start:stop], labels[start:stop])
        return StrokeDataset(sliced, self.timesteps, self.transform)

    def augmented(self, augmentation: StrokeAugmentation, seed: int) -> StrokeDataset:
        """Return the same samples with random variation, see `StrokeDataset`."""
        return StrokeDataset(self.sequences, self.timesteps, self.transform, augmentation=augmentation, seed=seed)

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples; the last one may be smaller."""
        return math.ceil(len(self) / size)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches: inputs (timesteps, size, features), labels (size,), and the mask (timesteps, size) or None.

        Args:
            size: samples in a batch; the last batch may be smaller.
            order: sample numbers in the order in which they are taken; None for stored order.
            epoch: the epoch number, from 0, for the augmentation.
        """
        order = torch.arange(len(self)) if order is None else order
        if len(order):  # an empty tensor would split into one empty batch
            for index in torch.split(order.to(self.sequences.labels.device), size):
                moves = augment_moves(self.moves(index), self.augmentation, index, seed=self.seed, epoch=epoch, side=SIDE)
                prepared = self.transform.encode(moves, self.sequences.lengths[index], (SIDE, SIDE))
                yield Batch(prepared.inputs, self.sequences.labels[index], prepared.mask)

    @property
    def shown(self) -> str:
        """The subject of what `show` draws, in a few words."""
        others = "; the network's input is distorted at random, anew in every epoch" if self.augmentation else ""
        return f"what the pen has drawn after each timestep; the pen is at the black pixel{others}"

    def show(self, samples: int) -> Tensor:
        """Draw the pen's path up to each timestep for the first samples, as `render_strokes` does."""
        return render_strokes(self[:samples])

    def moves(self, index: Tensor) -> Tensor:
        """Return the moves of samples, truncated, padded with zeros or repeated to the length of `timesteps` timesteps.

        Args:
            index: (n,) sample numbers.

        Returns:
            (n, timesteps · moves_per_timestep, 4) int8: dx, dy, end of stroke, end of digit.
        """
        lengths, starts = self.sequences.lengths[index], self._starts[index]
        return padded_moves(self.sequences.moves, starts, lengths, self.timesteps * self.stride, self.transform.repeat)


def render_strokes(strokes: StrokeDataset) -> Tensor:
    """Render the drawing at each timestep. A repeated sequence is drawn once.

    Args:
        strokes: the sequences; all of them are rendered.

    Returns:
        (timesteps, samples, 28, 28): 1 at every pixel that the pen has drawn, 2 at its present pixel, 0 elsewhere.
    """
    moves = strokes.moves(torch.arange(len(strokes), device=strokes.sequences.labels.device)).cpu().long()
    repeated = (moves[..., 3].cumsum(1) - moves[..., 3]) > 0  # moves after the first end of the digit
    positions = moves[..., :2].cumsum(1) - 1
    not_padding = moves.abs().sum(2).flip(1).cumsum(1).flip(1) > 0
    drawn = (moves[..., 2] == 0) & ~repeated & not_padding
    drawings = torch.zeros(strokes.timesteps, len(strokes), 28, 28)
    for sample in range(len(strokes)):
        for t in range(strokes.timesteps):
            end = (t + 1) * strokes.stride
            pixels = positions[sample, :end][drawn[sample, :end]]
            drawings[t, sample, pixels[:, 1], pixels[:, 0]] = 1
            if len(pixels):
                drawings[t, sample, pixels[-1, 1], pixels[-1, 0]] = 2
    return drawings


@register("data", "seq_mnist")
@dataclass(frozen=True)
class SeqMnist(DataSource):
    """Seq MNIST: the strokes of a pen that draws MNIST's digits, a few moves at each timestep."""

    title: ClassVar[str] = "Seq MNIST"
    high_is_dark: ClassVar[bool] = True
    default_transform: ClassVar[Transform] = PenStrokes()

    data_dir: str | None = None
    """The folder of the original data set's files. If left out, the digits of this package are traced, once."""
    augmentation: StrokeAugmentation = NO_STROKE_AUGMENTATION
    """The random variation of training strokes, drawn again in every epoch."""

    def task(self, transform: Transform | None = None) -> SourceTask:
        """Make the task, whose samples are images of the digits 0 to 9. Arguments and errors are those of `DataSource.task`.

        Raises:
            DataError: the transform is no code of pen strokes.
        """
        fitted = fitted_transform(self, transform, lambda: mnist.read()[0])
        return SourceTask(self, (28, 28), tuple(range(10)), _pen_strokes(fitted), self._splits)

    def _splits(self, transform: Transform, options: SplitOptions) -> Splits:
        """Make training, validation and test strokes."""
        if options.timesteps is None:
            raise DataError("Seq MNIST: the number of timesteps is unknown; pass timesteps=…")
        strokes = _pen_strokes(transform)
        train, test = (StrokeDataset(sequences, options.timesteps, strokes) for sequences in self._read(options))
        selected, *others = split(train, test, options)
        return Splits(selected.augmented(self.augmentation, options.seed), *others)

    def _read(self, options: SplitOptions) -> list[Sequences]:
        digits = mnist.read(device=options.device)
        if self.data_dir is not None:
            folder, names = Path(self.data_dir), ("train", "test")
            return [stroke_files.read_folder(folder, name, images.labels) for name, images in zip(names, digits, strict=True)]
        train = _ends(digits[0], options.train_samples, options.validation_samples or 0)
        return [stroke_cache.trace_cached(images) for images in (train, _ends(digits[1], options.test_samples, 0))]


def _pen_strokes(transform: Transform) -> StrokeTransform:
    """Return the transform, if it is a code of pen strokes.

    Raises:
        DataError: it is another one.
    """
    if not isinstance(transform, StrokeTransform):
        raise DataError(
            f"Seq MNIST: its transform is pen_strokes or population_code, not {type(transform).__name__}; name one of them, or "
            "leave out the transform"
        )
    return transform


def _ends(digits: LabeledImages, first: int, last: int) -> LabeledImages:
    """Select the digits that will be used, so that no others are traced.

    Args:
        digits: all digits of a split.
        first: the number of digits to select from the start; 0 selects all digits.
        last: the number of digits to select from the end.
    """
    samples = len(digits.labels)
    if first == 0 or first + last >= samples:
        return digits
    return LabeledImages(*(torch.cat([field[:first], field[samples - last :]]) for field in digits))
