"""One run of a benchmark: build or resume the network, train it, test it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from RecurrentFF.atomic_files import write_atomically, write_text
from RecurrentFF.benchmarks.benchmark import Benchmark
from RecurrentFF.errors import CheckpointError, SettingsError
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.network import Network
from RecurrentFF.settings import DeviceSettings, Settings
from RecurrentFF.training import checkpoint
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.build import build
from RecurrentFF.training.devices import has_fast_bfloat16
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.plots import plot_samples
from RecurrentFF.training.summary import finish_run
from RecurrentFF.training.trainer import Trainer

SAMPLES_SHOWN = 6
"""The number of samples in the run's picture of the data."""


def start(benchmark: Benchmark, settings: Settings, parent: Path) -> bool:
    """Train a network in a new run, whose folder is created in `parent`.

    Returns:
        True if the run is complete, False if it was interrupted.
    """
    keep_freed_memory()
    network = build(settings)
    splits = benchmark.load(network.settings, network.device)
    if settings.model.should_load_weights and settings.training.weights is not None:
        checkpoint.load_weights(network, checkpoint.read(settings.training.weights), settings.training.weights)
    folder = RunFolder.create(parent, benchmark.folder_name(settings))
    with folder.lock():
        return _train(benchmark, Trainer(network, splits, folder))


def resume(benchmark: Benchmark, path: Path, change: Callable[[Settings], Settings]) -> bool:
    """Resume an interrupted run.

    Args:
        benchmark: the benchmark of the run.
        path: the run's folder, or a checkpoint in that folder to resume from.
        change: a function from the run's settings to those of its continuation.

    Returns:
        True if the run is complete, False if it was interrupted again.
    """
    keep_freed_memory()
    folder = RunFolder.existing(path.parent if path.is_file() else path)
    with folder.lock():
        return _continue(benchmark, folder, path if path.is_file() else folder.last, change)


def _continue(benchmark: Benchmark, folder: RunFolder, start: Path, change: Callable[[Settings], Settings]) -> bool:
    before = checkpoint.settings(_read(start, folder), start)
    settings = benchmark.complete(change(before))
    if settings.model.epochs != before.model.epochs and settings.model.lr_schedule == "cosine":
        raise SettingsError(
            f"--epochs {settings.model.epochs}: the cosine schedule of this run ends with its {before.model.epochs} epochs; "
            f"start another run from it with --weights {folder.last}"
        )
    network = build(settings)
    trainer = Trainer(network, benchmark.load(network.settings, network.device), folder)
    trainer.resume(start)
    if trainer.progress.epoch > settings.model.epochs:
        raise SettingsError(f"--epochs {settings.model.epochs}: the run has trained {trainer.progress.epoch} already")
    if start.resolve() != folder.last.resolve():  # replace a damaged checkpoint by the one that was resumed from
        write_atomically(folder.last, lambda file: file.write_bytes(start.read_bytes()))
    return _train(benchmark, trainer)


def _read(start: Path, folder: RunFolder) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        CheckpointError: it can't be read; the message suggests the folder's previous checkpoint if that one can be.
    """
    try:
        return checkpoint.read(start)
    except CheckpointError as error:
        previous = f"; the previous checkpoint is complete: resume from it with --resume {folder.previous}"
        advice = previous if _is_readable(folder.previous) else ""
        raise CheckpointError(f"{error}{advice}") from None


def _is_readable(path: Path) -> bool:
    try:
        checkpoint.read(path)
    except CheckpointError:
        return False
    return True


def _train(benchmark: Benchmark, trainer: Trainer) -> bool:
    folder, log = trainer.folder, trainer.console.log
    assert folder is not None
    write_text(folder.config, trainer.settings.to_toml())
    for line in _header(trainer, folder):
        log(line)
    trainer.compile()
    log("")
    train = trainer.splits.train
    labels = next(iter(train.batches(SAMPLES_SHOWN))).labels
    trainer.try_save(lambda: plot_samples(benchmark.show(trainer.settings, train, len(labels)), labels, folder.samples))
    if not trainer.fit():
        if trainer.tracker is not None:
            trainer.tracker.finish({})
        saved = "all saved" if trainer.saved else "not all could be saved (see above)"
        log(f"stopped     {saved}; continue with --resume {folder.path}")
        return False
    finish_run(trainer, folder)
    return True


def _header(trainer: Trainer, folder: RunFolder) -> list[str]:
    """Return the first lines of a run's output: network, data, device and folder."""
    settings, progress = trainer.settings, trainer.progress
    model, data, device = settings.model, settings.data_config, settings.device
    weights = sum(parameter.numel() for parameter in trainer.network.parameters())
    samples = [f"{len(part):,} {name}" for name, part in trainer.splits._asdict().items() if part and name != "train_subset"]
    lines = [
        f"network     {_sizes(trainer.network)}, {weights:,} weights; "
        f"{model.prelabel_timesteps} + {data.iterations} timesteps; {model.objective} objective, {model.ff_optimizer}",
        f"data        {data.dataset}: {', '.join(samples)} samples; batches of {data.train_batch_size}",
        f"device      {device.device}, {device.precision} matrix products{_precision_warning(device)}",
        f"run folder  {folder.path}",
    ]
    if progress.epoch or progress.batch:
        over = "; training is complete" if progress.epoch == model.epochs else ""
        if over:
            over += ", --epochs N trains longer" if model.lr_schedule == "step" else f"; --weights {folder.last} starts from it"
        lines.append(f"resumed     after {progress.epoch} epochs and {progress.batch} batches{over}")
    return lines


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
