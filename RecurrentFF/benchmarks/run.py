"""One run of a benchmark: build or resume, train, conclude."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from RecurrentFF.benchmarks.benchmark import Benchmark
from RecurrentFF.errors import SettingsError
from RecurrentFF.settings import Settings
from RecurrentFF.training import checkpoint
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.build import build
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.plots import plot_samples
from RecurrentFF.training.summary import conclude
from RecurrentFF.training.trainer import Trainer
from RecurrentFF.writing import write_text

SAMPLES_SHOWN = 6
"""In the picture of the data."""


def start(benchmark: Benchmark, settings: Settings, parent: Path) -> bool:
    """A new run, in a new folder below `parent`. Returns whether it came to its end, or was interrupted."""
    keep_freed_memory()
    network = build(settings)
    splits = benchmark.load(network.settings, network.device)
    if settings.model.should_load_weights and settings.training.weights is not None:
        checkpoint.load_weights(network, checkpoint.read(settings.training.weights), settings.training.weights)
    return _train(benchmark, Trainer(network, splits, RunFolder.create(parent, benchmark.name)))


def resume(benchmark: Benchmark, path: Path, change: Callable[[Settings], Settings]) -> bool:
    """Go on with the run in folder `path`, with its settings but for what `change` does to them. Returns as `start`."""
    keep_freed_memory()
    folder = RunFolder.existing(path)
    before = checkpoint.settings(checkpoint.read(folder.last), folder.last)
    settings = benchmark.complete(change(before))
    if settings.model.epochs != before.model.epochs and settings.model.lr_schedule == "cosine":
        raise SettingsError(
            f"--epochs {settings.model.epochs}: the cosine schedule of this run ends with its {before.model.epochs} epochs; "
            f"start another run from it with --weights {folder.last}"
        )
    network = build(settings)
    trainer = Trainer(network, benchmark.load(network.settings, network.device), folder)
    trainer.resume()
    if trainer.progress.epoch > settings.model.epochs:
        raise SettingsError(f"--epochs {settings.model.epochs}: the run has trained {trainer.progress.epoch} already")
    return _train(benchmark, trainer)


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
    plot_samples(benchmark.show(train, len(labels)), labels, folder.samples)
    if not trainer.fit():
        if trainer.tracker is not None:
            trainer.tracker.finish({})
        say(f"stopped     all saved; go on with --resume {folder.path}")
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
        f"device      {device.device}, {device.precision} matrix products",
        f"run folder  {folder.path}",
    ]
    if progress.epoch or progress.batch:
        over = "; all are trained, --epochs N would go on" if progress.epoch == model.epochs else ""
        lines.append(f"resumed     after {progress.epoch} epochs and {progress.batch} batches{over}")
    return lines
