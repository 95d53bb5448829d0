"""The evaluation of a saved network from the command line, on the data that its configuration names or on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from RecurrentFF import toml
from RecurrentFF.benchmarks.cli import plugins_of_checkpoint, with_plugin_hint
from RecurrentFF.benchmarks.run_files import read_summary
from RecurrentFF.data.dataset import Dataset
from RecurrentFF.data.image_folder import ImageFolderTask
from RecurrentFF.errors import CheckpointError, DataError, OutputError, printable
from RecurrentFF.model.network import Network
from RecurrentFF.paths import kind_of, reported
from RecurrentFF.registry import name_of
from RecurrentFF.settings.network import PredictionMethod
from RecurrentFF.streams import write_output
from RecurrentFF.training import checkpoint
from RecurrentFF.training.evaluation import Evaluation, evaluate
from RecurrentFF.training.files import FORMER_SUFFIX, RunFolder
from RecurrentFF.training.splits import load_splits

MAX_CLASSES = 20
"""The largest number of classes whose confusion matrix is printed."""


def run(
    path: Path,
    data_dir: Path | None = None,
    predictions: Path | None = None,
    device: str = "auto",
    method: PredictionMethod | None = None,
) -> None:
    """Evaluate a saved network on its test samples; on its validation samples, if there are no test samples.

    Print the accuracy, and that of each class, and the confusion matrix. The file of predictions is written after that.

    Args:
        path: a checkpoint, or the folder of a run, whose best weights are evaluated.
        data_dir: the folder of the data, in place of the one in the configuration. For a network that a program has trained on
            data of its own: a folder of images in one folder for each class.
        predictions: a CSV file to write, see `Evaluation.write_predictions`.
        device: the device of the network.
        method: the method of prediction, None for that of the network's configuration.

    Raises:
        RecurrentFFError: the checkpoint or the data can't be read, or do not fit, or the result can't be written.
    """
    _refuse_baseline(path)
    if predictions is not None:
        _require_other_file(predictions, path)
    network = with_plugin_hint(lambda: checkpoint.load(path, device), lambda: plugins_of_checkpoint(path))
    if name_of(network.settings.data) == "own":
        name, data = _image_folder(network, data_dir, path)
    else:
        name, data = _named_data(network, data_dir)
    result = evaluate(network, data, method=method)
    try:
        write_output("\n".join([f"data     {printable(name)}", str(result), "", *_confusion(result)]))
    finally:  # also if standard output is on a full disk
        if predictions is not None:
            result.write_predictions(predictions)


def _refuse_baseline(path: Path) -> None:
    try:
        baseline = read_summary(path).get("baseline")
    except DataError:
        return
    if baseline is not None:
        raise CheckpointError(
            f"{path}: a baseline ({baseline}), which has no checkpoint of a network; its result is in {path / 'summary.json'}"
        )


def _require_other_file(predictions: Path, path: Path) -> None:
    """Check that the predictions are not written over the checkpoint, or over a file that training has written to its run folder.

    Raises:
        OutputError: they would be.
    """
    with reported(predictions, OutputError, "can't be written"):
        file, checkpoint_path = predictions.resolve(), path.resolve()
    if kind_of(file, OutputError, "can't be written") is None:
        return
    run = RunFolder(checkpoint_path if kind_of(checkpoint_path, CheckpointError) == "folder" else checkpoint_path.parent)
    known = [value for value in vars(run).values() if isinstance(value, Path)]
    if file in (checkpoint_path, *known, *(each.with_suffix(FORMER_SUFFIX) for each in known)):
        raise OutputError(f"--predictions {predictions}: a file of the run that is evaluated; name another one")


def _named_data(network: Network, data_dir: Path | None) -> tuple[str, Any]:
    """The test or validation samples of the data set that the configuration names."""
    settings = network.settings
    if data_dir is not None:
        settings = settings.override([f"data.data_dir={toml.value_text(str(data_dir.absolute()))}"], [f"--data-dir {data_dir}"])
    transform = network.task.transform if network.task is not None else settings.transform
    task = settings.data.task(transform)
    assert task is not None
    if network.task is not None:
        task = task.adapted_to(network.task)
    splits = load_splits(task, settings, network.device)
    data, part = (splits.validation, "validation") if splits.test is None else (splits.test, "test")
    if data is None:
        raise DataError(f"{task.name}: neither test nor validation samples; set data.test_samples or data.validation_samples")
    return f"{task.name}, {part} samples", data


def _image_folder(network: Network, folder: Path | None, path: Path) -> tuple[str, Dataset]:
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
    splits = images.adapted_to(task).splits(device=network.device, timesteps=network.settings.timesteps)
    return str(folder), splits.test or splits.train


def _confusion(result: Evaluation) -> list[str]:
    """The confusion matrix as lines of text; a hint in its place if there are many classes."""
    if len(result.classes) > MAX_CLASSES:
        return [f"{len(result.classes)} classes: --predictions CSV writes all predictions, for a confusion matrix"]
    names = [printable(str(name)) for name in result.classes]
    first = max(len("true class"), *map(len, names))
    width = max(len(name) for name in [*names, *(str(int(count)) for count in result.confusion.flatten())])
    lines = [f"{'true class':<{first}}  {'  '.join(name.rjust(width) for name in names)}  (columns: predicted class)"]
    for name, counts in zip(names, result.confusion.tolist(), strict=True):
        lines.append(f"{name:<{first}}  {'  '.join(str(count).rjust(width) for count in counts)}")
    return lines
