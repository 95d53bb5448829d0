"""Samples to look at, in the form in which a network reads them, and the saved runs that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from RecurrentFF.analysis.images import images_of_inputs, images_of_raw
from RecurrentFF.data.dataset import Batch, Dataset, is_dataset
from RecurrentFF.data.loading import kept_randomness
from RecurrentFF.data.raw import is_pair
from RecurrentFF.data.relabeled import RelabeledDataset
from RecurrentFF.data.task import Task
from RecurrentFF.errors import CheckpointError, InputError
from RecurrentFF.messages import shown
from RecurrentFF.model.integrity import require_network
from RecurrentFF.model.network import Network
from RecurrentFF.paths import expanded
from RecurrentFF.registry import name_of
from RecurrentFF.training import checkpoint
from RecurrentFF.training.evaluation import labeled_batches
from RecurrentFF.training.run_data import load_run_data
from RecurrentFF.training.splits import load_splits
from RecurrentFF.values import of_python

SPLITS = ("validation", "test", "train")
"""The splits of a run's data, in the order in which they are looked for."""
IN_PYTHON = 'analysis.write_report(rff.load(path), (samples, labels), "report.html")'
"""The Python call for data that no command can read."""
MAX_SAMPLES = 1_000_000
"""The most samples that are drawn."""


@dataclass(frozen=True, repr=False)
class Samples:
    """Samples to look at, as network inputs."""

    x: Tensor
    """The network inputs, (timesteps or 1, features, 1, n)."""
    labels: Tensor
    """The class numbers, (n,)."""
    mask: Tensor | None
    """Valid timesteps, (timesteps, n): true until a sequence ends; None if all are valid."""
    index: Tensor
    """The number of each sample in the data, (n,), from 0."""
    images: Tensor | None = None
    """The samples as images, (n, height, width) or (n, height, width, 3); None if they are no images.

    High values are ink if the task has `high_is_dark`, and else light.
    """

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Return the shapes, without the values."""
        images = None if self.images is None else tuple(self.images.shape)
        return f"Samples(n={len(self)}, inputs={tuple(self.x.shape)}, images={images})"

    def take(self, chosen: Sequence[int] | Tensor) -> Samples:
        """Return some of the samples.

        Args:
            chosen: their positions among these samples, from 0.

        Examples:
            >>> len(samples.take([0, 3]))
            2
        """
        at = torch.as_tensor(chosen, dtype=torch.long)
        on = at.to(self.x.device)
        mask = None if self.mask is None else self.mask[:, at.to(self.mask.device)]
        images = None if self.images is None else self.images[at]
        return Samples(self.x[..., on], self.labels[at], mask, self.index[at], images)


class Run(NamedTuple):
    """A saved network, and data to look at it with."""

    network: Network
    """The network."""
    data: RunDataset
    """Network inputs and class numbers of one split. It can be passed to `rff.evaluate` and `choose`."""
    split: str
    """The split: "validation", "test" or "train"; "images" for a folder of images."""
    name: str
    """The name of the data set, or the folder of the images."""


class RunDataset:
    """A data set of network inputs, and the pixels of the same samples.

    Args:
        dataset: network inputs and class numbers.
        pixels: the same samples as pixels in 0..1; None if they are no images, or the network inputs are pixels already.
    """

    def __init__(self, dataset: Dataset, pixels: Dataset | None) -> None:
        self.dataset = dataset
        self.pixels = pixels

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def batch_count(self, size: int) -> int:
        """Return the number of batches of `size` samples."""
        return self.dataset.batch_count(size)

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield batches of network inputs, see `Dataset.batches`."""
        return self.dataset.batches(size, order, epoch)

    def images(self, index: Tensor, network: Network) -> Tensor | None:
        """Return the samples of these numbers as images; None if they are no images. Of a sequence, the last timestep is shown.

        Args:
            index: (n,) sample numbers.
            network: the network, which has a task.
        """
        if self.pixels is not None and network.task is not None:
            batch = next(iter(self.pixels.batches(len(index), index)))
            return images_of_raw(batch.inputs if batch.inputs.dim() == 2 else batch.inputs[-1], network.task)
        source: Any = self.dataset.dataset if isinstance(self.dataset, RelabeledDataset) else self.dataset
        if callable(getattr(source, "show", None)):  # drawn strokes
            return torch.cat([source[number : number + 1].show(1)[-1] for number in index.tolist()]).cpu()
        return None


def open_run(path: str | Path, *, split: str | None = None, data_dir: str | Path | None = None, device: str = "auto") -> Run:
    """Load the network of a run, and data to look at it with.

    Args:
        path: the folder of a run, whose best weights are loaded, or a checkpoint.
        split: "validation", "test" or "train"; None for the first of these that the run has.
        data_dir: the folder of the data, in place of the one in the configuration. For a network that a program has trained on
            data of its own: a folder of images in one folder for each class.
        device: the device of the network.

    Raises:
        CheckpointError: the checkpoint can't be read, or its network has no task.
        DataError: the data can't be read, or have no such split.
        InputError: there is no such split, or the data are a folder of images, which has none.

    Examples:
        >>> run = open_run("runs/mnist-2026-11-26-173248-ce82")
        >>> run.name, run.split, len(run.data)
        ('MNIST', 'validation', 5000)
    """
    if split is not None and split not in SPLITS:
        raise InputError(f"split = {shown(split)}: expected one of {', '.join(map(repr, SPLITS))}")
    file = expanded(path, CheckpointError)
    network = checkpoint.load(file, device)
    folder = None if data_dir is None else expanded(data_dir, CheckpointError)
    if split is not None and folder is not None and name_of(network.settings.data) == "own":
        raise InputError(f"split = {shown(split)}: the images of a folder are not divided into splits; leave the split out")
    order = SPLITS if split is None else (split,)
    data = load_run_data(network, file, folder, order, with_pixels=True, in_python=IN_PYTHON)
    return Run(network, RunDataset(data.dataset, data.pixels), data.split, data.name)


def choose(
    network: Network,
    data: Any,
    count: int | None = None,
    *,
    seed: int = 0,
    index: Sequence[int] | None = None,
    batch_first: bool | None = None,
) -> Samples:
    """Choose samples to look at. Random numbers that a DataLoader draws are those that it draws next, too.

    Args:
        network: the network that will read them.
        data: labeled samples as for `rff.evaluate`: a pair (samples, labels), a DataLoader, `run.data`, or a task, of which the
            validation samples are taken, or the test samples if it has none.
        count: the number of samples, which are drawn at random, without replacement; None, or more than there are, for all.
        seed: the seed of the draw.
        index: the numbers of the samples in the data, from 0, in place of a draw.
        batch_first: true if sequences are (batch, timesteps, ...), see `rff.evaluate`.

    Raises:
        InputError: samples or labels don't fit the network, there are none, or a number is not one of a sample.
        DataError: a task has no data.

    Examples:
        >>> samples = choose(network, (images, labels), 500)
        >>> samples.x.shape, samples.labels.shape
        (torch.Size([1, 784, 1, 500]), torch.Size([500]))
    """
    require_network(network, "choose(network, data)")
    with kept_randomness(data):
        part, _ = data_of(network, data, "choose")
        found, _ = read(network, part, count, "choose", seed=seed, index=index, batch_first=batch_first)
    return found


def read(
    network: Network,
    data: Any,
    count: int | None,
    caller: str,
    *,
    index: Sequence[int] | None = None,
    seed: int = 0,
    batch_first: bool | None = None,
) -> tuple[Samples, Tensor]:
    """`choose`, with the class numbers of all samples that were read, (samples,), and the name of the caller for messages."""
    wanted = None if index is None else [whole_number(number, "index") for number in index]
    limit = MAX_SAMPLES if count is None else whole_number(count, "count", 1)
    generator = torch.Generator().manual_seed(whole_number(seed, "seed"))
    chosen, keys, seen, every = _Chosen(), torch.zeros(0, dtype=torch.float64), 0, []
    for x, labels, mask in labeled_batches(network, data, batch_first, caller):
        numbers = torch.arange(seen, seen + len(labels))
        own = torch.rand(len(labels), generator=generator, dtype=torch.float64) if count is not None else numbers.double()
        kept = torch.ones(len(labels), dtype=torch.bool) if wanted is None else torch.isin(numbers, torch.tensor(wanted))
        chosen.add(x, labels.cpu(), mask, numbers, kept.nonzero()[:, 0])
        keys = torch.cat([keys, own[kept]])
        if wanted is None and len(keys) > limit:
            best = keys.topk(limit, largest=False).indices.sort().values
            chosen.keep(best)
            keys = keys[best]
        seen += len(labels)
        every.append(labels.cpu())
    if wanted is not None:
        _require_numbers(wanted, seen)
        chosen.keep(torch.searchsorted(torch.tensor(sorted(set(wanted))), torch.tensor(wanted)))
    found = chosen.samples()
    return replace(found, images=_images(network, data, found)), torch.cat(every)


def data_of(network: Network, data: Any, caller: str) -> tuple[Any, str]:
    """Data to look at, and the name of their split: the validation samples of a task, else its test samples.

    Args:
        network: the network.
        data: see `choose`. Data other than a task are returned with an empty name.
        caller: the name of the function that a program has called, for messages.

    Raises:
        InputError: the task has neither, or is not that of the network.
        DataError: the task has no data.
    """
    if not isinstance(data, Task):
        return data, ""
    task = data if network.task is None else data.adapted_to(network.task)
    splits = load_splits(task, network.settings, network.device)
    for split in SPLITS[:2]:
        if (found := getattr(splits, split)) is not None:
            return found, split
    raise InputError(f"{caller}: the task has neither validation nor test samples")


class _Chosen:
    """Samples that are collected from batches."""

    def __init__(self) -> None:
        self.parts: list[Samples] = []

    def add(self, x: Tensor, labels: Tensor, mask: Tensor | None, numbers: Tensor, at: Tensor) -> None:
        """Add some samples of a batch, by their positions in it."""
        if len(at):
            self.parts.append(Samples(x, labels, mask, numbers).take(at))

    def samples(self) -> Samples:
        """All samples that were collected. Raises InputError if there are none."""
        if not self.parts:
            raise InputError("samples to choose: there are none; give at least one")
        if len(self.parts) > 1:
            timesteps = max(len(part.x) for part in self.parts)
            xs = [part.x.expand(timesteps, -1, -1, -1) for part in self.parts]
            masks = [part.mask for part in self.parts]
            if any(mask is not None for mask in masks):
                length = next(len(mask) for mask in masks if mask is not None)
                filled = [torch.ones(length, len(part)) if part.mask is None else part.mask.cpu() for part in self.parts]
            mask = None if all(mask is None for mask in masks) else torch.cat(filled, 1)
            labels, index = (torch.cat([getattr(part, name) for part in self.parts]) for name in ("labels", "index"))
            self.parts = [Samples(torch.cat(xs, 3), labels, mask, index)]
        return self.parts[0]

    def keep(self, at: Tensor) -> None:
        """Keep some of the samples that were collected so far, in this order."""
        self.parts = [self.samples().take(at)]


def wrong_labels(labels: Tensor, num_classes: int, seed: int = 0) -> Tensor:
    """Draw a wrong class number for each sample, uniformly from all others.

    Args:
        labels: the true class numbers, (n,).
        num_classes: the number of classes, at least 2.
        seed: the labels depend on it, the number of samples and their true labels alone.

    Returns:
        (n,) class numbers.

    Examples:
        >>> bool((wrong_labels(labels, 10) == labels).any())
        False
    """
    shift = torch.randint(1, num_classes, labels.shape, generator=torch.Generator().manual_seed(seed))
    return (labels.cpu() + shift) % num_classes


def _images(network: Network, data: Any, samples: Samples) -> Tensor | None:
    """The samples as images, (n, height, width), or with 3 channels last; None if they are no images."""
    if network.task is None:
        return None
    if isinstance(data, RunDataset):
        known = data.images(samples.index, network)
        if known is not None:
            return known
    elif is_pair(data) and not is_dataset(data):
        raw = images_of_raw(data[0], network.task, samples.index)
        if raw is not None:
            return raw
    return None if network.task.image_shape is None else images_of_inputs(samples.x[-1, :, 0].T, network.task)


def counted(number: int, noun: str) -> str:
    """A number and what it counts, as in "1 sample" and "5,000 samples"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def whole_number(value: Any, name: str, lowest: int = 0) -> int:
    """A whole number as Python's own. Raises InputError if it is none, or too low."""
    number = of_python(value)
    if type(number) is not int or not lowest <= number < 2**63:
        raise InputError(f"{name} = {shown(value)}: expected a whole number of at least {lowest}")
    return number


def _require_numbers(wanted: Sequence[int], samples: int) -> None:
    beyond = [number for number in wanted if number >= samples]
    if beyond or not wanted:
        found = f"has the number {beyond[0]}" if beyond else "is empty"
        raise InputError(f"index {found}: expected numbers of samples from 0 to {samples - 1}")


def values_at_once(network: Network) -> int:
    """The most numbers that a record of one sample has: inputs, activity and drives of all timesteps, under two labels."""
    per_layer = [module.units * (1 + len(module.sources)) for module in network.hidden_layers()]
    return network.settings.timesteps * (network.input_size + 2 * sum(per_layer))
