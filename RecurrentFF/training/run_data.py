"""The data of a saved network: those that its configuration names, or a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from RecurrentFF import toml
from RecurrentFF.data.dataset import Dataset
from RecurrentFF.data.image_folder import ImageFolderTask
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.task import Task
from RecurrentFF.errors import CheckpointError, DataError, RecurrentFFError
from RecurrentFF.model.network import Network
from RecurrentFF.registry import name_of

IN_PYTHON = "rff.evaluate(rff.load(path), (samples, labels))"
"""The Python call that evaluates a network for whose data there is no command."""
_LEAST: dict[str, dict[str, Any]] = {
    "train": {"test_samples": 1},  # the number of validation samples decides which samples are trained on
    "validation": {"train_samples": 1, "test_samples": 1},
    "test": {"train_samples": 1, "validation_samples": 0},
}
"""For the split that is loaded, the arguments of `Task.splits` by which the others take the least time and memory."""


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
    in_python: str = IN_PYTHON,
) -> RunData:
    """Load the data to look at a saved network with. Of the other splits, no more is loaded than the task demands.

    Args:
        network: the network.
        path: its checkpoint or run folder, for messages.
        data_dir: the folder of the data, in place of the one in the configuration. For a network that a program has trained on
            data of its own: a folder of images in one folder for each class.
        order: the splits in the order in which they are looked for. Those of a folder of images are not distinguished.
        with_pixels: load the pixels, too, of images that become other features in the network inputs.
        in_python: the call that does the same in Python, for messages about data that no command can read.

    Raises:
        CheckpointError: the network has no task, which says what its inputs are.
        DataError: the data can't be read, or have none of these splits.
        InputError: the data do not fit the network.
    """
    is_named = name_of(network.settings.data) != "own"
    task = _named_task(network, data_dir) if is_named else _folder_task(network, data_dir, path, in_python)

    def load(task: Task) -> tuple[str, Dataset]:
        if is_named:
            return _first_split(task, network, order)
        dataset = _split(task, network, "test") or _split(task, network, "train")
        assert dataset is not None
        return "images", dataset

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


def _folder_task(network: Network, folder: Path | None, path: Path, in_python: str) -> Task:
    """The images of a folder, with the transform and the class numbers of the network."""
    task = network.task
    if task is None:
        raise CheckpointError(f"{path}: has no task, which says what its inputs are; in Python: {in_python}")
    if folder is None:
        raise DataError(
            f"{path}: trained on data that a program passed ('{task.name}'), which a command can't read; name a folder of images "
            f"in class folders by --data-dir DIR, or in Python: {in_python}"
        )
    if len(task.input_shape) not in (2, 3):
        raise DataError(f"{path}: its samples are no images (shape {task.input_shape}); in Python: {in_python}")
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
    for name in order:
        dataset = _split(task, network, name)
        if dataset is not None:
            return name, dataset
    if len(order) == 1:
        raise DataError(f"{task.name}: no {order[0]} samples; set data.{order[0]}_samples")
    raise DataError(f"{task.name}: neither test nor validation samples; set data.test_samples or data.validation_samples")


def _split(task: Task, network: Network, name: str) -> Dataset | None:
    """One split of a task, None if there is none. The others are left out, or have one sample, where that is possible."""
    settings = network.settings
    options: dict[str, Any] = {"device": network.device, "seed": settings.training.seed, "timesteps": settings.timesteps}
    try:
        splits = task.splits(**options, **_LEAST[name])
    except DataError:  # the loader of a plugin accepts no number of samples; data that can't be read fail once more
        splits = task.splits(**options)
    found: Dataset | None = getattr(splits, name)
    return found


def _pixels(task: Task, load: Callable[[Task], tuple[str, Dataset]]) -> Dataset | None:
    """The samples of a task as pixels in 0..1; None if they are no images, or the network inputs are pixels already."""
    if task.transform.gives_images or len(task.input_shape) not in (2, 3):
        return None
    plain = Task(task.name, task.input_shape, task.classes, Pixels(mean=0.0, std=1.0))
    try:
        return load(task.adapted_to(plain))[1]
    except RecurrentFFError:  # as for pen strokes, which have no pixels
        return None
