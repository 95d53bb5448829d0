"""Associative retrieval: a sequence of letters, each with a digit, after which one of the letters asks for its digit.

A sample is the text "c9k8j3f1??c", whose class is 9, as numbers of symbols: 0..25 for the letters a to z, 26..35 for the digits,
36 for "?". The letters of a sample are all different. After J. Ba et al., "Using Fast Weights to Attend to the Recent Past"
(arXiv:1610.06258, section 4.1), with the numbers of samples of that paper. Every sample is a pure function of (seed, split,
sample number), the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.dataset import Batch, LabeledSamples, SplitOptions, Splits, split
from RecurrentFF.data.panels import Panel, Texts, Values
from RecurrentFF.data.source import Count, DataSource, SourceTask
from RecurrentFF.data.transforms import Prepared, Transform
from RecurrentFF.errors import DataError, InputError
from RecurrentFF.options import Flag
from RecurrentFF.random_bits import random_numbers
from RecurrentFF.registry import register

SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789?"
"""The symbols, in the order of their numbers."""
LETTERS, DIGITS = 26, 10
QUESTION = SYMBOLS.index("?")
TRAINING, TEST = 110_000, 20_000
"""The number of samples before the validation samples are cut off, 10,000 by default, and that of test samples."""


def as_symbols(texts: Sequence[str]) -> Tensor:
    """Convert texts of equal length, such as "c9k8??c", to numbers of symbols, (n, length).

    Raises:
        InputError: the texts are of different lengths, or have another character.
    """
    if isinstance(texts, str) or len({len(text) for text in texts}) != 1:
        raise InputError("texts of symbols: expected a list of texts of equal length, such as ['c9k8??c', 'a1b2??b']")
    unknown = next((character for text in texts for character in text if character not in SYMBOLS), None)
    if unknown is not None:
        raise InputError(f"texts of symbols: {unknown!r} is none of {SYMBOLS}; use these")
    return torch.tensor([[SYMBOLS.index(character) for character in text] for text in texts])


def as_texts(samples: Tensor) -> list[str]:
    """Convert numbers of symbols, (n, length), to texts."""
    return ["".join(SYMBOLS[number] for number in sample) for sample in samples.tolist()]


def retrieval_samples(seed: int, split: str, samples: Tensor, pairs: int) -> LabeledSamples:
    """Make samples, a pure function of the arguments.

    Args:
        seed: the seed of the data.
        split: the name of the split, "train" or "test".
        samples: (n,) sample numbers.
        pairs: the number of letters with a digit, 1 to 26.

    Returns:
        Numbers of symbols, (n, 2 · pairs + 3) int64, and the digits that are asked for, (n,).
    """
    letters = random_numbers(seed, f"{split}: letters", samples, 0, LETTERS).argsort(stable=True, dim=1)[:, :pairs]
    uniform = (random_numbers(seed, f"{split}: digits", samples, 0, pairs + 1) + 1) / 2  # from 0 to below 1
    digits = (uniform[:, :pairs] * DIGITS).long().clamp(max=DIGITS - 1)
    asked = (uniform[:, pairs:] * pairs).long().clamp(max=pairs - 1)
    known = torch.stack([letters, LETTERS + digits], 2).flatten(1)
    question = torch.full((len(samples), 2), QUESTION)
    return LabeledSamples(torch.cat([known, question, letters.gather(1, asked)], 1), digits.gather(1, asked)[:, 0])


@register("transform", "one_hot_symbols")
@dataclass(frozen=True)
class OneHotSymbols(Transform):
    """Symbols as network inputs, one for each of the 37 symbols. The last one, the query, stays until the last timestep."""

    gives_sequences: ClassVar[bool] = True

    pairs: Flag = True
    """Show a letter and its digit at one timestep, and both question marks at another one; else one symbol at each timestep."""
    size: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0
    """The input of a symbol that is shown; all others are 0."""

    def output_size(self, input_shape: tuple[int, ...]) -> int:
        """Return the number of symbols.

        Raises:
            InputError: the samples are not sequences of letters with digits, two question marks and a query.
        """
        if len(input_shape) != 1 or input_shape[0] < 5 or input_shape[0] % 2 == 0:
            raise InputError(f"OneHotSymbols: samples of shape {input_shape}; expected an odd number of symbols, at least 5")
        return len(SYMBOLS)

    def show_samples(self, samples: Tensor, distorted: Tensor | None, input_shape: tuple[int, ...]) -> list[Panel]:
        """Return samples as texts for a picture, see `Transform.show_samples`."""
        return [Texts(tuple(as_texts(samples)))]

    def show_inputs(self, inputs: Tensor, mask: Tensor | None, input_shape: tuple[int, ...]) -> list[Panel]:
        """Arrange network inputs for a picture, see `Transform.show_inputs`."""
        return [Values("network input: which symbols are shown at each timestep", inputs, "symbol", tuple(SYMBOLS), mask)]

    def __call__(self, samples: Tensor) -> Tensor:
        """Return the inputs of as many timesteps as the symbols need, (timesteps, n, 37)."""
        return self.prepare(samples, None).inputs

    def prepare(self, samples: Tensor, timesteps: int | None) -> Prepared:
        """Convert symbols to network inputs.

        Args:
            samples: numbers of symbols, (n, 2 · pairs + 3).
            timesteps: the number of timesteps, at which the query fills those that remain; None for as many as the symbols need.

        Returns:
            The inputs, (timesteps, n, 37), without a mask: all timesteps are valid.

        Raises:
            InputError: a number is not that of a symbol, or there are too few timesteps.
        """
        numbers = samples.long()
        if not bool(((numbers == samples) & (numbers >= 0) & (numbers < len(SYMBOLS))).all()):
            raise InputError(f"numbers of symbols: expected whole numbers from 0 to {len(SYMBOLS) - 1}; see as_symbols")
        shown = F.one_hot(numbers, len(SYMBOLS)).float().transpose(0, 1).mul(self.size)
        if self.pairs:
            shown = torch.cat([torch.maximum(shown[:-1:2], shown[1:-1:2]), shown[-1:]])
        count = len(shown) if timesteps is None else timesteps
        if count < len(shown):
            raise InputError(
                f"{numbers.shape[1]} symbols need {len(shown)} timesteps, and there are {count}; raise network.prelabel_timesteps"
            )
        return Prepared(torch.cat([shown, shown[-1:].expand(count - len(shown), -1, -1)]))


class RetrievalDataset:
    """A data set of sequences of symbols, whose inputs are computed batch by batch.

    Args:
        samples: numbers of symbols, and the digits that are asked for.
        timesteps: the number of timesteps of a sequence.
        transform: the transform of the symbols.
    """

    def __init__(self, samples: LabeledSamples, timesteps: int, transform: Transform) -> None:
        self.samples = samples
        self.timesteps = timesteps
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, samples: slice) -> RetrievalDataset:
        """Return a slice of the data set."""
        return RetrievalDataset(self.samples[samples], self.timesteps, self.transform)

    def originals(self, samples: int) -> Tensor:
        """Return the symbols of the first samples, see `Task.show`."""
        return self.samples.samples[:samples]

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples; the last one may be smaller."""
        return math.ceil(len(self) / size)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches of `size` samples, inputs (timesteps, size, features) and labels (size,), in the given order."""
        order = torch.arange(len(self)) if order is None else order
        if len(order):  # an empty tensor would split into one empty batch
            for index in torch.split(order.to(self.samples.labels.device), size):
                chosen = self.samples[index]
                yield Batch(self.transform.prepare(chosen.samples, self.timesteps).inputs, chosen.labels)


@register("data", "associative_retrieval")
@dataclass(frozen=True)
class AssociativeRetrieval(DataSource):
    """Associative retrieval: letters with a digit each, after which one of the letters asks for its digit."""

    title: ClassVar[str] = "Associative retrieval"
    default_transform: ClassVar[Transform] = OneHotSymbols()
    gives_sequences: ClassVar[bool] = True

    validation_samples: Count | None = 10_000
    """The number of samples cut from the end of the 110,000 for training, which select the best epoch."""
    pairs: Annotated[int, Field(ge=1, le=LETTERS)] = 4
    """The number of letters that have a digit."""
    data_seed: Annotated[int, Field(ge=0)] = 0
    """The seed of the samples, which are the same for all seeds of a training."""

    def task(self, transform: Transform | None = None) -> SourceTask:
        """Make the task, whose classes are the digits 0 to 9. The arguments and errors are those of `DataSource.task`."""
        chosen = self.default_transform if transform is None else transform
        return SourceTask(self, (2 * self.pairs + 3,), tuple(range(DIGITS)), chosen, self._splits)

    def _splits(self, transform: Transform, options: SplitOptions) -> Splits:
        """Make training, validation and test sequences."""
        if options.timesteps is None:
            raise DataError("Associative retrieval: the number of timesteps is unknown; pass timesteps=…")
        train, test = (
            RetrievalDataset(
                retrieval_samples(self.data_seed, name, torch.arange(count), self.pairs).to(options.device),
                options.timesteps,
                transform,
            )
            for name, count in (("train", TRAINING), ("test", TEST))
        )
        return Splits(*split(train, test, options))
