"""One run of a benchmark: build or resume, train, conclude."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from RecurrentFF.benchmarks.benchmark import Benchmark
from RecurrentFF.errors import CheckpointError, SettingsError
from RecurrentFF.settings import DeviceSettings, Settings
from RecurrentFF.training import checkpoint
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.build import build
from RecurrentFF.training.devices import multiplies_bfloat16_fast
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.plots import plot_samples
from RecurrentFF.training.summary import conclude
from RecurrentFF.training.trainer import Trainer
from RecurrentFF.writing import write_atomically, write_text

SAMPLES_SHOWN = 6
"""In the picture of the data."""


def start(benchmark: Benchmark, settings: Settings, parent: Path) -> bool:
    """A new run, in a new folder below `parent`. Returns whether it came to its end, or was interrupted."""
    keep_freed_memory()
    network = build(settings)
    splits = benchmark.load(network.settings, network.device)
    if settings.model.should_load_weights and settings.training.weights is not None:
        checkpoint.load_weights(network, checkpoint.read(settings.training.weights), settings.training.weights)
    folder = RunFolder.create(parent, benchmark.folder_name(settings))
    with folder.alone():
        return _train(benchmark, Trainer(network, splits, folder))


def resume(benchmark: Benchmark, path: Path, change: Callable[[Settings], Settings]) -> bool:
    """Go on with the run in folder `path`, or from the checkpoint `path` in it, with its settings but for what `change` does to
    them. Returns as `start`."""
    keep_freed_memory()
    folder = RunFolder.existing(path.parent if path.is_file() else path)
    with folder.alone():
        return _go_on(benchmark, folder, path if path.is_file() else folder.last, change)


def _go_on(benchmark: Benchmark, folder: RunFolder, start: Path, change: Callable[[Settings], Settings]) -> bool:
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
    if start.resolve() != folder.last.resolve():  # what can be gone on from takes the place of what is damaged
        write_atomically(folder.last, lambda file: file.write_bytes(start.read_bytes()))
    return _train(benchmark, trainer)


def _read(start: Path, folder: RunFolder) -> dict[str, Any]:
    """The content of a checkpoint. Raises CheckpointError, which names the folder's one before the last if that is whole."""
    try:
        return checkpoint.read(start)
    except CheckpointError as error:
        advice = f"; the one before it is whole: go on from it with --resume {folder.former}" if _whole(folder.former) else ""
        raise CheckpointError(f"{error}{advice}") from None


def _whole(path: Path) -> bool:
    try:
        checkpoint.read(path)
    except CheckpointError:
        return False
    return True


def _train(benchmark: Benchmark, trainer: Trainer) -> bool:
    folder, say = trainer.folder, trainer.console.say
    assert folder is not None
    write_text(folder.config, trainer.settings.to_toml())
    for line in _greeting(trainer, folder):
        say(line)
    trainer.compile()
    say("")
    train = trainer.splits.train
    labels = next(iter(train.batches(SAMPLES_SHOWN))).labels
    trainer.attempt(lambda: plot_samples(benchmark.show(trainer.settings, train, len(labels)), labels, folder.samples))
    if not trainer.fit():
        if trainer.tracker is not None:
            trainer.tracker.finish({})
        saved = "all saved" if trainer.saved else "not all could be saved (see above)"
        say(f"stopped     {saved}; go on with --resume {folder.path}")
        return False
    conclude(trainer, folder)
    return True


def _greeting(trainer: Trainer, folder: RunFolder) -> list[str]:
    """What is about to be trained, on what."""
    settings, progress = trainer.settings, trainer.progress
    model, data, device = settings.model, settings.data_config, settings.device
    weights = sum(parameter.numel() for parameter in trainer.network.parameters())
    samples = [f"{len(part):,} {name}" for name, part in trainer.splits._asdict().items() if part and name != "train_probe"]
    lines = [
        f"network     {'-'.join(str(n) for n in trainer.network.topology.widths)}, {weights:,} weights; "
        f"{model.prelabel_timesteps} + {data.iterations} timesteps; {model.objective} objective, {model.ff_optimizer}",
        f"data        {data.dataset}: {', '.join(samples)} samples; batches of {data.train_batch_size}",
        f"device      {device.device}, {device.precision} matrix products{_if_emulated(device)}",
        f"run folder  {folder.path}",
    ]
    if progress.epoch or progress.batch:
        over = "; all are trained, --epochs N would go on" if progress.epoch == model.epochs else ""
        lines.append(f"resumed     after {progress.epoch} epochs and {progress.batch} batches{over}")
    return lines


def _if_emulated(device: DeviceSettings) -> str:
    """What to say of a precision that the hardware may only emulate."""
    if device.precision == "bfloat16" and not multiplies_bfloat16_fast(torch.device(device.device)):
        return ', which this hardware is not known to be fast at; device.precision = "auto" takes float32 here'
    return ""
