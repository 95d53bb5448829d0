"""A whole run in a folder: train, test the best weights once, and write configuration, summary and pictures."""

from __future__ import annotations

import json
from dataclasses import asdict

import torch

from RecurrentFF.atomic_files import write_text
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.network import Network
from RecurrentFF.registry import name_of
from RecurrentFF.settings import DeviceSettings
from RecurrentFF.training.callbacks.checkpoints import Checkpoints, load_best
from RecurrentFF.training.devices import has_fast_bfloat16
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.summary import Summary
from RecurrentFF.training.trainer import Trainer


def run_training(trainer: Trainer, folder: RunFolder) -> bool:
    """Train the remaining epochs of a run, and finish it. The command line and `rff.fit` with a folder do this.

    Args:
        trainer: with the callbacks of `default_callbacks(settings, folder)`. Its network has the best weights afterwards.
        folder: the run's folder, locked by the caller.

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
    trainer.compile()
    trainer.log("")
    if not trainer.fit():
        saved = "all saved" if trainer.saved else "not all could be saved (see above)"
        trainer.log(f"stopped     {saved}; continue with --resume {folder.path}")
        return False
    finish_run(trainer, folder)
    return True


def finish_run(trainer: Trainer, folder: RunFolder) -> Summary:
    """Load the best weights, evaluate them on the test set, if there is one, and write the summary.

    The best weights are those of the epoch with the highest validation accuracy, or the last ones without validation samples.
    The callbacks then draw the plots and print the results.

    Raises:
        CheckpointError: the best weights can't be read.
        OutputError: the trained network could not be saved. This is raised after everything else is done.
    """
    settings, progress, history = trainer.settings, trainer.progress, trainer.history
    load_best(trainer)
    summary = Summary(
        test_accuracy=None if trainer.splits.test is None else accuracy(trainer.network, trainer.splits.test),
        validation_accuracy=progress.best_accuracy if trainer.splits.validation is not None else None,
        best_epoch=progress.best_epoch,
        epochs=progress.epoch,
        seconds=round(progress.seconds, 1),
        samples_per_second=round(sum(m.samples_per_second for m in history) / max(1, len(history)), 1),
        weights=_weights(trainer.network),
        device=settings.device.device,
        precision=settings.device.precision,
        seed=settings.training.seed,
        torch=torch.__version__,
        baseline=getattr(trainer.network, "baseline", None),
    )
    text = json.dumps(asdict(summary), indent=2) + "\n"
    trainer.try_save(lambda: write_text(folder.summary, text))
    trainer.emit_summary(summary)
    checkpoints = trainer.find(Checkpoints)
    if checkpoints is not None:
        checkpoints.require_saved(trainer)
    return summary


def _header(trainer: Trainer, folder: RunFolder) -> list[str]:
    """Return the first lines of a run's output: network, data, device and folder."""
    settings, progress = trainer.settings, trainer.progress
    samples = [f"{len(part):,} {name}" for name, part in trainer.splits._asdict().items() if part and name != "train_subset"]
    device = settings.device
    lines = [
        _network_line(trainer),
        f"data        {trainer.name}: {', '.join(samples)} samples; batches of {settings.training.batch_size}",
        f"device      {device.device}, {device.precision} matrix products{_precision_warning(device)}",
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
        f"network     {_sizes(trainer.network)}, {weights:,} weights; "
        f"{settings.network.prelabel_timesteps} + {settings.network.label_timesteps} timesteps; "
        f"{name_of(settings.objective)} objective, {name_of(settings.optimizer)}"
    )


def _completion(trainer: Trainer, folder: RunFolder) -> str:
    """Return the end of the line about a resumed run, if nothing remains to be trained."""
    if not trainer.finished:
        return ""
    if trainer.progress.stopped:
        return f"; training is complete ({trainer.progress.stopped})"
    if trainer.settings.schedule.depends_on_epochs:
        return f"; training is complete; --weights {folder.last} starts from it"
    return "; training is complete, --epochs N trains longer"


def _weights(network: Network) -> int:
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
