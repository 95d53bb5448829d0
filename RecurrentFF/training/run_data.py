"""The data of a saved network: those that its configuration names, or a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from RecurrentFF import toml
from RecurrentFF.data.dataset import Dataset
from RecurrentFF.data.image_folder import ImageFolderTask
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.task import Task
from RecurrentFF.errors import CheckpointError, DataError, RecurrentFFError
from RecurrentFF.model.network import Network
from RecurrentFF.registry import name_of
from RecurrentFF.training.splits import load_splits


class RunData(NamedTuple):
    """One split of the data of a saved network."""

    name: str
    """The name of the data set, or the folder of the images."""
    split: str
    """The split: "train", "validation" or "test"; "images" for all images of a folder."""
    dataset: Dataset
    """Network inputs and the network's class numbers."""
    pixels: Dataset | None = None
    """The same samples as pixels in 0..1, flattened, for samples that are images; None for others, and if not asked for."""


def load_run_data(
    network: Network,
    path: Path,
    data_dir: Path | None = None,
    order: Sequence[str] = ("test", "validation"),
    *,
    with_pixels: bool = False,
) -> RunData:
    """Load the data to look at a saved network with.

    Args:
        network: the network.
        path: its checkpoint or run folder, for messages.
        data_dir: the folder of the data, in place of the one in the configuration. For a network that a program has trained on
            data of its own: a folder of images in one folder for each class.
        order: the splits in the order in which they are looked for. Those of a folder of images are not distinguished.
        with_pixels: load the pixels, too, of images that become other features in the network inputs.

    Raises:
        CheckpointError: the network has no task, which says what its inputs are.
        DataError: the data can't be read, or have none of these splits.
        InputError: the data do not fit the network.
    """
    is_named = name_of(network.settings.data) != "own"
    task = _named_task(network, data_dir) if is_named else _folder_task(network, data_dir, path)

    def load(task: Task) -> tuple[str, Dataset]:
        if is_named:
            return _first_split(task, network, order)
        splits = task.splits(device=network.device, timesteps=network.settings.timesteps)
        return "images", splits.test or splits.train

    split, dataset = load(task)
    name = task.name if is_named else str(data_dir)
    return RunData(name, split, dataset, _pixels(task, load) if with_pixels else None)


def _named_task(network: Network, data_dir: Path | None) -> Task:
    """The data set that the configuration names, with the transform and the class numbers of the network."""
    settings = network.settings
    if data_dir is not None:
        settings = settings.override([f"data.data_dir={toml.value_text(str(data_dir.absolute()))}"], [f"--data-dir {data_dir}"])
    task = settings.data.task(network.task.transform if network.task is not None else settings.transform)
    assert task is not None
    return task if network.task is None else task.adapted_to(network.task)


def _folder_task(network: Network, folder: Path | None, path: Path) -> Task:
    """The images of a folder, with the transform and the class numbers of the network."""
    task = network.task
    if task is None:
        raise CheckpointError(f"{path}: has no task, which says what its inputs are; evaluate it in Python, with rff.evaluate")
    if folder is None:
        raise DataError(
            f"{path}: trained on data that a program passed ('{task.name}'), which a command can't read; name a folder of images "
            "in class folders by --data-dir DIR, or in Python: rff.evaluate(rff.load(path), (samples, labels))"
        )
    if len(task.input_shape) not in (2, 3):
        raise DataError(f"{path}: its samples are no images (shape {task.input_shape}); evaluate it in Python, with rff.evaluate")
    height, width = task.input_shape[-2:]
    images = ImageFolderTask(folder, size=(height, width), grayscale=len(task.input_shape) == 2, validation=None,
                             transform=task.transform)  # fmt: skip
    names = {str(name) for name in task.classes}
    unknown = [str(name) for name in images.classes if str(name) not in names]
    if unknown:
        expected = ", ".join(map(str, task.classes))
        raise DataError(f"{folder}: the folder {unknown[0]} is none of the network's classes, {expected}")
    return images.adapted_to(task)


def _first_split(task: Task, network: Network, order: Sequence[str]) -> tuple[str, Dataset]:
    """The first split that there is, and its name."""
    splits = load_splits(task, network.settings, network.device)
    for name in order:
        dataset: Dataset | None = getattr(splits, name)
        if dataset is not None:
            return name, dataset
    if len(order) == 1:
        raise DataError(f"{task.name}: no {order[0]} samples; set data.{order[0]}_samples")
    raise DataError(f"{task.name}: neither test nor validation samples; set data.test_samples or data.validation_samples")


def _pixels(task: Task, load: Callable[[Task], tuple[str, Dataset]]) -> Dataset | None:
    """The samples of a task as pixels in 0..1; None if they are no images, or the network inputs are pixels already."""
    if task.transform.gives_images or len(task.input_shape) not in (2, 3):
        return None
    plain = Task(task.name, task.input_shape, task.classes, Pixels(mean=0.0, std=1.0))
    try:
        return load(task.adapted_to(plain))[1]
    except RecurrentFFError:  # as for pen strokes, which have no pixels
        return None
