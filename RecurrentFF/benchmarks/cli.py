"""The command line that all benchmarks share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.errors import RecurrentFFError, SettingsError
from RecurrentFF.settings import Settings

if TYPE_CHECKING:  # torch takes seconds to import, which --help need not wait for
    import torch

    from RecurrentFF.data.dataset import Splits

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended


@dataclass(frozen=True)
class Benchmark:
    """A data set to train on from the command line."""

    name: str
    """Of its run folders."""
    dataset: str
    """As data_config.dataset names it."""
    description: str
    default_config: Path
    """Used without --config-file."""
    data_size: int
    num_classes: int
    load: Callable[[Settings, Path | None, torch.device], Splits]
    """From settings, --data-dir and the device."""

    def complete(self, settings: Settings) -> Settings:
        """Fill in what the data set decides. Raises SettingsError where the configuration says otherwise."""
        facts = {"dataset": self.dataset, "data_size": self.data_size, "num_classes": self.num_classes}
        for key, fact in facts.items():
            said = getattr(settings.data_config, key)
            if said is not None and str(said).lower() != str(fact).lower():
                raise SettingsError(f"data_config.{key} = {said!r}, but this benchmark's is {fact!r}; leave it out or set it so")
        return settings.model_copy(update={"data_config": settings.data_config.model_copy(update=facts)})


def main(benchmark: Benchmark, argv: Sequence[str] | None = None) -> int:
    """Run a benchmark. Returns the exit code: 0, 2 after a mistake of the user's (named in one line), 130 after Ctrl-C."""
    parser = argument_parser(benchmark)
    try:
        return _run(benchmark, parser.parse_args(argv))
    except RecurrentFFError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def argument_parser(benchmark: Benchmark) -> argparse.ArgumentParser:
    """The flags."""
    module = f"RecurrentFF.benchmarks.{benchmark.name}.{benchmark.name}"
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=benchmark.description)
    add = parser.add_argument
    add("--config-file", type=Path, metavar="FILE", help="TOML configuration (default: the benchmark's own recipe)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        help="override a key of the configuration, e.g. --set model.ff_adam.learning_rate=1e-3; repeatable",
    )
    add("--device", help='"auto", "cpu", "cuda", "cuda:N" or "mps"')
    add("--epochs", type=int, metavar="N", help="how many epochs to train")
    add("--seed", type=int, metavar="N", help="of weights, sample order, negative labels and dropout")
    add("--output-dir", type=Path, default=Path("runs"), metavar="DIR", help="where the run's folder is made (default: runs)")
    add("--data-dir", type=Path, metavar="DIR", help="an existing data folder instead of the built-in data")
    add("--weights", type=Path, metavar="FILE", help="start from the weights of this checkpoint")
    add("--resume", type=Path, metavar="RUN_DIR", help="go on with an interrupted run, in its folder, as it was configured")
    return parser


def _run(benchmark: Benchmark, arguments: argparse.Namespace) -> int:
    settings = _settings(benchmark, arguments)

    from RecurrentFF.training import checkpoint, devices
    from RecurrentFF.training.console import Console
    from RecurrentFF.training.files import RunFolder, write_text
    from RecurrentFF.training.summary import conclude
    from RecurrentFF.training.trainer import Trainer

    settings = settings.model_copy(update={"device": devices.resolve(settings.device)})
    splits = benchmark.load(settings, arguments.data_dir, devices.resolve_device(settings.device.device))
    network = checkpoint.build(settings)
    if arguments.weights is not None:
        checkpoint.load_weights(network, arguments.weights)

    resumed = arguments.resume is not None
    folder = RunFolder.existing(arguments.resume) if resumed else RunFolder.create(arguments.output_dir, benchmark.name)
    trainer = Trainer(network, splits, folder, Console())
    if resumed:
        trainer.resume()
    write_text(folder.config, settings.to_toml())

    for line in _greeting(settings, trainer, folder):
        trainer.console.say(line)
    if not trainer.fit():
        trainer.console.say(f"stopped     all saved; go on with --resume {folder.path}")
        return INTERRUPTED
    conclude(trainer, folder)
    return 0


def _settings(benchmark: Benchmark, arguments: argparse.Namespace) -> Settings:
    """The effective configuration: file, then --set, then the flags of their own."""
    overrides = list(arguments.overrides)
    flags = {"device.device": arguments.device, "model.epochs": arguments.epochs, "training.seed": arguments.seed}
    overrides += [f"{key}={value}" for key, value in flags.items() if value is not None]
    if arguments.resume is not None:
        if arguments.config_file or arguments.overrides or arguments.weights or arguments.seed is not None:
            raise SettingsError("--resume keeps the configuration of its run; only --device, --epochs and --data-dir go with it")
        from RecurrentFF.training.files import RunFolder

        return benchmark.complete(Settings.from_file(RunFolder.existing(arguments.resume).config, overrides))
    if arguments.weights is not None:
        overrides.append("model.should_load_weights=true")
    settings = Settings.from_file(arguments.config_file or benchmark.default_config, overrides)
    if settings.model.should_load_weights and arguments.weights is None:
        raise SettingsError("model.should_load_weights is on: name the checkpoint to start from with --weights FILE")
    return benchmark.complete(settings)


def _greeting(settings: Settings, trainer: object, folder: object) -> list[str]:
    from RecurrentFF.training.files import RunFolder
    from RecurrentFF.training.trainer import Trainer

    assert isinstance(trainer, Trainer) and isinstance(folder, RunFolder)
    model, data = settings.model, settings.data_config
    weights = sum(p.numel() for p in trainer.network.parameters())
    samples = [f"{len(part):,} {name}" for name, part in trainer.splits._asdict().items() if part and name != "train_probe"]
    lines = [
        f"network     {'-'.join(str(n) for n in trainer.network.topology.widths)}, {weights:,} weights; "
        f"{model.prelabel_timesteps} + {data.iterations} timesteps; {model.objective} objective, {model.ff_optimizer}",
        f"data        {data.dataset}: {', '.join(samples)} samples; batches of {data.train_batch_size}",
        f"device      {settings.device.device}, {settings.device.precision} matrix products",
        f"run folder  {folder.path}",
    ]
    if trainer.progress.epoch or trainer.progress.batch:
        lines.append(f"resumed     after {trainer.progress.epoch} epochs and {trainer.progress.batch} batches")
    return [*lines, ""]
