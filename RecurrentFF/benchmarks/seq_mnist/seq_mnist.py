"""Seq MNIST: python -m RecurrentFF.benchmarks.seq_mnist.seq_mnist [--config-file FILE]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.benchmarks.benchmark import Benchmark, make_splits
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from RecurrentFF.data.dataset import Dataset, Splits
    from RecurrentFF.data.mnist import LabeledImages
    from RecurrentFF.data.seq_mnist import PenStrokes
    from RecurrentFF.data.stroke_files import Sequences


def load(settings: Settings, device: torch.device) -> Splits:
    """Load training, validation and test strokes: traced from the package's digits, or read from the original data set's files.

    Raises:
        DataError: the data can't be read, or there are too few samples.
    """
    from RecurrentFF.data import mnist, stroke_files

    data = settings.data_config
    digits = mnist.read(device=device)
    if data.data_dir is not None:
        folder, names = Path(data.data_dir), ("train", "test")
        read = [stroke_files.read_folder(folder, name, split.labels) for name, split in zip(names, digits, strict=True)]
    else:
        train = _ends(digits[0], data.train_samples, data.validation_samples)
        read = [stroke_files.trace_cached(split) for split in (train, _ends(digits[1], data.test_samples, 0))]
    return make_splits(settings, *(_dataset(settings, sequences) for sequences in read))


def _ends(digits: LabeledImages, first: int, last: int) -> LabeledImages:
    """Select the digits that will be used, so that no others are traced.

    Args:
        digits: all digits of a split.
        first: the number of digits to select from the start; 0 selects all digits.
        last: the number of digits to select from the end.
    """
    import torch

    samples = len(digits.labels)
    if first == 0 or first + last >= samples:
        return digits
    return type(digits)(*(torch.cat([field[:first], field[samples - last :]]) for field in digits))


def _dataset(settings: Settings, sequences: Sequences) -> PenStrokes:
    from RecurrentFF.data.seq_mnist import PenStrokes

    data = settings.data_config
    return PenStrokes(
        sequences, settings.timesteps, stride=data.moves_per_timestep, window=data.delay_line, repeat=data.repeat_strokes
    )


def show(settings: Settings, dataset: Dataset, samples: int) -> Tensor:
    """Draw the pen's path up to each timestep, darkest at its position: (timesteps, samples, 28, 28)."""
    from RecurrentFF.data.seq_mnist import PenStrokes, render_strokes

    assert isinstance(dataset, PenStrokes)
    return render_strokes(dataset[:samples])


SEQ_MNIST = Benchmark(
    name="seq_mnist",
    datasets=("Seq MNIST",),
    description="Train a Recurrent Forward-Forward network on the pen strokes of MNIST's digits.",
    default_config=Path(__file__).with_name("default.toml"),
    data_size=lambda settings: 4 * settings.data_config.delay_line,
    num_classes=10,
    load=load,
    show=show,
)

if __name__ == "__main__":
    sys.exit(main(SEQ_MNIST))
