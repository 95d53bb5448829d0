"""The evaluation of a saved network from the command line, on the data that its configuration names or on a folder of images."""

from __future__ import annotations

from pathlib import Path

from RecurrentFF.benchmarks.cli import plugins_of_checkpoint, with_plugin_hint
from RecurrentFF.benchmarks.run_files import read_summary
from RecurrentFF.errors import CheckpointError, DataError, OutputError, printable
from RecurrentFF.paths import kind_of, reported
from RecurrentFF.settings.network import PredictionMethod
from RecurrentFF.streams import write_output
from RecurrentFF.training import checkpoint
from RecurrentFF.training.evaluation import Evaluation, evaluate
from RecurrentFF.training.files import FORMER_SUFFIX, RunFolder
from RecurrentFF.training.run_data import load_run_data

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
    refuse_baseline(path)
    if predictions is not None:
        require_other_file("--predictions", predictions, path)
    network = with_plugin_hint(lambda: checkpoint.load(path, device), lambda: plugins_of_checkpoint(path))
    data = load_run_data(network, path, data_dir)
    name = data.name if data.split == "images" else f"{data.name}, {data.split} samples"
    result = evaluate(network, data.dataset, method=method)
    try:
        write_output("\n".join([f"data     {printable(name)}", str(result), "", *_confusion(result)]))
    finally:  # also if standard output is on a full disk
        if predictions is not None:
            result.write_predictions(predictions)


def refuse_baseline(path: Path) -> None:
    """Raise CheckpointError if a run folder is that of a baseline, which has no network."""
    try:
        baseline = read_summary(path).get("baseline")
    except DataError:
        return
    if baseline is not None:
        raise CheckpointError(
            f"{path}: the run of a baseline ({baseline}), which can't be evaluated; name the run of a network, or read "
            f"{path / 'summary.json'}"
        )


def require_other_file(flag: str, output: Path, path: Path) -> None:
    """Check that a result is not written over the checkpoint, or over a file that training has written to its run folder.

    Args:
        flag: the flag that names the file, for the message.
        output: the file to write.
        path: the checkpoint, or the folder of its run.

    Raises:
        OutputError: it would be.
    """
    with reported(output, OutputError, "can't be written"):
        file, checkpoint_path = output.resolve(), path.resolve()
    if kind_of(file, OutputError, "can't be written") is None:
        return
    run = RunFolder(checkpoint_path if kind_of(checkpoint_path, CheckpointError) == "folder" else checkpoint_path.parent)
    known = [value for value in vars(run).values() if isinstance(value, Path)]
    if file in (checkpoint_path, *known, *(each.with_suffix(FORMER_SUFFIX) for each in known)):
        raise OutputError(f"{flag} {output}: a file of the run that is evaluated; name another one")


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
