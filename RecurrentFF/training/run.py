"""A whole run in a folder: train, test the best weights once, and write configuration, summary and pictures."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from RecurrentFF.atomic_files import write_text
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.network import Network
from RecurrentFF.model.prediction import default_method
from RecurrentFF.model.projection import has_circuit
from RecurrentFF.registry import name_of
from RecurrentFF.settings import DeviceSettings
from RecurrentFF.training.architecture import weight_count
from RecurrentFF.training.callbacks.checkpoints import Checkpoints, load_best
from RecurrentFF.training.devices import has_fast_bfloat16
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.imagined import reconstruction_errors
from RecurrentFF.training.methods import MethodResult, compare_methods
from RecurrentFF.training.metrics import training_speed
from RecurrentFF.training.summary import Summary
from RecurrentFF.training.trainer import Trainer

RESUME = "continue with: rff resume {folder}"
"""The advice after an interruption of a run on data that its configuration names."""


def start_training(parent: Path, name: str, prepare: Callable[[RunFolder], Trainer], how_to_continue: str = "") -> Trainer:
    """Train in a new folder `name-DATE-TIME-number`. The command line and `rff.fit` with `output_dir` do this.

    After an error before the end of the first batch, the folder is removed: there is nothing in it to continue from.

    Args:
        parent: the folder of the run's folder.
        name: the first part of the folder's name.
        prepare: makes the trainer, with the callbacks of `default_callbacks(settings, folder)`.
        how_to_continue: printed after an interruption, as in `run_training`.

    Returns:
        The trainer. Its `finished` is false after an interruption.

    Raises:
        SettingsError: the folder can't be created.
        DivergenceError: the loss or the weights are not finite.
        OutputError: the configuration or the trained network could not be written.
    """
    folder = RunFolder.create(parent, name)
    with folder.lock(), undone_if_untrained(folder.remove) as watched:
        trainer = watched(prepare(folder))
        run_training(trainer, folder, how_to_continue)
    return trainer


@contextlib.contextmanager
def undone_if_untrained(undo: Callable[[], None]) -> Iterator[Callable[[Trainer], Trainer]]:
    """Undo the preparations of a training after an error before the end of its first batch, as a context manager.

    Args:
        undo: called after such an error, which is raised unchanged.

    Returns:
        A function that takes the trainer when it is made, and returns it. An error before that is one before the first batch.
    """
    trainers: list[Trainer] = []

    def watched(trainer: Trainer) -> Trainer:
        trainers.append(trainer)
        return trainer

    try:
        yield watched
    except Exception:
        if all(trainer.progress.is_initial for trainer in trainers):
            undo()
        raise


def run_training(trainer: Trainer, folder: RunFolder, how_to_continue: str = "") -> bool:
    """Train the remaining epochs of a run, and finish it.

    Args:
        trainer: with the callbacks of `default_callbacks(settings, folder)`. Its network has the best weights afterwards.
        folder: the run's folder, locked by the caller.
        how_to_continue: printed after an interruption, with the path of the folder in place of {folder}. By default this is the
            command `rff resume`.

    Returns:
        True if the run is complete, False if it was interrupted and can be resumed.

    Raises:
        DivergenceError: the loss or the weights are not finite.
        CheckpointError: the best weights can't be read.
        OutputError: the configuration or the trained network could not be written.
    """
    write_text(folder.config, trainer.settings.to_toml())
    for line in _header(trainer, folder):
        trainer.log(line)
    with trainer.time.part("compiling"):
        trainer.compile()
    write_text(folder.config, trainer.settings.to_toml())  # now with the choice of device.compile = "auto"
    if not trainer.finished:
        trainer.log("")
    if not trainer.fit():
        saved = "all saved" if trainer.saved else "not all could be saved (see above)"
        trainer.log(f"stopped     {saved}; " + (how_to_continue or RESUME).replace("{folder}", str(folder.path)))
        return False
    finish_run(trainer, folder)
    return True


def finish_run(trainer: Trainer, folder: RunFolder) -> Summary:
    """Load the best weights, evaluate them on the test set, if there is one, by every method, and write the summary.

    The best weights are those of the epoch with the highest validation accuracy, or the last ones without validation samples.
    The callbacks then draw the plots and print the results.

    Raises:
        CheckpointError: the best weights can't be read.
        OutputError: the trained network could not be saved. This is raised after everything else is done.
    """
    settings, progress, history = trainer.settings, trainer.progress, trainer.history
    load_best(trainer)
    validation_accuracy = progress.best_accuracy if trainer.splits.validation is not None else None
    test_accuracy, predictions = _results(trainer, validation_accuracy)
    summary = Summary(
        test_accuracy=test_accuracy,
        validation_accuracy=validation_accuracy,
        best_epoch=progress.best_epoch,
        epochs=progress.epoch,
        seconds=round(progress.seconds, 1),
        seconds_by_part={part: round(seconds, 3) for part, seconds in trainer.time.seconds().items()},
        samples_per_second=training_speed(history),
        weights=_weights(trainer.network),
        device=settings.device.device,
        precision=settings.device.precision,
        seed=settings.training.seed,
        torch=torch.__version__,
        processes=trainer.group.count,
        baseline=getattr(trainer.network, "baseline", None),
        prediction=default_method(trainer.network) if predictions else None,
        predictions=predictions,
        reconstruction_errors=_reconstruction_errors(trainer),
    )
    text = json.dumps(asdict(summary), indent=2) + "\n"
    trainer.try_save(lambda: write_text(folder.summary, text))
    trainer.callbacks.emit("on_summary", trainer, summary)
    checkpoints = trainer.callbacks.find(Checkpoints)
    if checkpoints is not None:
        checkpoints.require_saved(trainer)
    return summary


def _results(trainer: Trainer, validation_accuracy: float | None) -> tuple[float | None, dict[str, MethodResult]]:
    """Return the test accuracy by the network's own method, and the results of all methods; a baseline has but one method."""
    network, test = trainer.network, trainer.splits.test
    if isinstance(network, Network):
        with trainer.time.part("methods of prediction"):
            results = compare_methods(network, trainer.splits, validation_accuracy)
        return None if test is None else results[default_method(network)].test_accuracy, results
    with trainer.time.part("evaluation"):
        return None if test is None else accuracy(network, test), {}


def _reconstruction_errors(trainer: Trainer) -> dict[str, float]:
    """Return the errors of the reconstructions of test samples, or of validation samples if there are no others."""
    network, samples = trainer.network, trainer.splits.test or trainer.splits.validation
    if samples is None or not isinstance(network, Network) or not has_circuit(network):
        return {}
    with trainer.time.part("evaluation"):
        return reconstruction_errors(network, samples)


def _header(trainer: Trainer, folder: RunFolder) -> list[str]:
    """Return the first lines of a run's output: network, data, device and folder."""
    settings, progress = trainer.settings, trainer.progress
    samples = [f"{len(part):,} {name}" for name, part in trainer.splits._asdict().items() if part and name != "train_subset"]
    device = settings.device
    lines = [
        _network_line(trainer),
        f"data        {trainer.name}: {', '.join(samples)} samples; batches of {_batch_size(trainer)}",
        f"device      {device.device}, {device.precision} matrix products{_precision_warning(device)}",
        *([f"processes   {trainer.group}"] if trainer.group.count > 1 else []),
        f"run folder  {folder.path}",
    ]
    if not progress.is_initial:
        lines.append(f"resumed     after {progress.epoch} epochs and {progress.batch} batches{_completion(trainer, folder)}")
    return lines


def _network_line(trainer: Trainer) -> str:
    settings, weights = trainer.settings, _weights(trainer.network)
    description = getattr(trainer.network, "description", None)  # of a baseline
    if description is not None:
        return f"baseline    {description}, {weights:,} weights"
    return (
        f"network     {_sizes(trainer.network)}, {weights:,} weights{_circuit(trainer.network)}; "
        f"{settings.network.prelabel_timesteps} + {settings.network.label_timesteps} timesteps; "
        f"{name_of(settings.objective)} objective, {name_of(settings.optimizer)}"
        f"{'; a group of units for each class' if settings.network.class_groups else ''}"
    )


def _circuit(network: Network) -> str:
    """Return how many of the weights are those of a generative circuit, if there is one."""
    count = sum(parameter.numel() for m in network.local_modules if not m.is_hidden_layer for parameter in m.parameters())
    owner = "modules beside the layers" if network.settings.generative is None else "the generative circuit"
    return f", {count:,} of them of {owner}" if count else ""


def _completion(trainer: Trainer, folder: RunFolder) -> str:
    """Return the end of the line about a resumed run, if nothing remains to be trained."""
    if not trainer.finished:
        return ""
    stopped = f" ({trainer.progress.stopped})" if trainer.progress.stopped else ""
    if trainer.settings.schedule.needs_fixed_epochs:
        remaining = trainer.progress.stopped and trainer.progress.epoch < trainer.settings.training.epochs
        advice = (
            f"--epochs {trainer.settings.training.epochs} trains the rest"
            if remaining
            else f"--weights {folder.last} starts from it"
        )
        return f"; training is complete{stopped}; {advice}"
    longer = f"N above {trainer.settings.training.epochs}" if stopped else "N"
    return f"; training is complete{stopped}, --epochs {longer} trains longer"


def _weights(network: Network) -> int:
    """Return the number of weights of a network or a baseline."""
    if isinstance(network, Network):
        return weight_count(network)
    return sum(parameter.numel() for parameter in network.parameters())


def _sizes(network: Network) -> str:
    """Return the sizes of all blocks, and the shape of a convolutional layer: 784-3136 (16×14×14)-500-10."""
    shapes = {layer.name: layer.shape for layer in network.hidden_layers() if isinstance(layer, Layer)}
    planes = {name: f" ({'×'.join(map(str, shape))})" for name, shape in shapes.items() if len(shape) > 1}
    return "-".join(f"{size}{planes.get(name, '')}" for name, size in network.sizes.items())


def _precision_warning(device: DeviceSettings) -> str:
    """Return a warning if the hardware may emulate the precision, which is slow, else nothing."""
    if device.precision == "bfloat16" and not has_fast_bfloat16(torch.device(device.device)):
        return ', which is not known to be fast on this hardware; device.precision = "auto" selects float32 here'
    return ""


def _batch_size(trainer: Trainer) -> str:
    """Return the number of samples of a batch, and a hint if an epoch has so few batches that little is learned in it."""
    samples, size = len(trainer.splits.train), trainer.settings.training.batch_size
    if samples >= 4 * size or not isinstance(trainer.network, Network):
        return str(min(samples, size))
    batches = trainer.splits.train.batch_count(size)
    return f"{min(samples, size)}, {batches} in an epoch (a smaller training.batch_size learns more in it)"
