"""Start and resume runs: the implementation of `rff train`, `rff resume` and the benchmarks' own commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from RecurrentFF import toml
from RecurrentFF.benchmarks.benchmark import Benchmark
from RecurrentFF.benchmarks.flags import Parser, add_training_flags, exit_code
from RecurrentFF.errors import CheckpointError, SettingsError
from RecurrentFF.late_imports import lasting_imports
from RecurrentFF.launch import ended
from RecurrentFF.messages import nearest
from RecurrentFF.registry import name_of, names, tree_of
from RecurrentFF.settings import Settings, recipes
from RecurrentFF.settings.former_keys import DATASETS
from RecurrentFF.settings.plugins import import_modules
from RecurrentFF.settings.user_paths import with_absolute_paths
from RecurrentFF.training.stopwatch import Stopwatch

Result = TypeVar("Result")

DATA_NAMES = ("data.name", "data_config.dataset")
"""The present and the former key of the data set's name."""


def main(benchmark: Benchmark, argv: Sequence[str] | None = None) -> int:
    """Run a benchmark from the command line.

    Args:
        benchmark: the benchmark.
        argv: the arguments; the default is those of the program.

    Returns:
        The exit code: 0, 2 after an error (which is printed in one line), or 130 after Ctrl-C.
    """
    return ended(exit_code(lambda: start_or_resume(benchmark, argument_parser(benchmark).parse_args(argv))))


def argument_parser(benchmark: Benchmark) -> Parser:
    """Create the parser of a benchmark's command line."""
    module = f"RecurrentFF.benchmarks.{benchmark.name}.{benchmark.name}"
    parser = Parser(prog=f"python -m {module}", description=benchmark.description)
    add_training_flags(parser, benchmark.data if len(benchmark.data) > 1 else (), resumes=True)
    return parser


def start_or_resume(benchmark: Benchmark, arguments: argparse.Namespace) -> bool:
    """Start a run, or resume the one that --resume names, a flag of the benchmarks' own commands.

    Args:
        benchmark: the data sets among which the configuration may choose.
        arguments: the values of the flags of `add_training_flags`.

    Returns:
        True if the run is complete, False if it was interrupted.

    Raises:
        RecurrentFFError: something is wrong; the message says what.
    """
    import_modules(arguments.plugins)
    if arguments.resume is None:
        return _start(benchmark, arguments)
    fixed = ("config_file", "overrides", "weights", "seed", "output_dir", "baseline", "dataset")
    if any(getattr(arguments, flag) for flag in fixed):
        raise SettingsError(
            "--resume keeps the configuration of its run; combine it with --device, --epochs, --data-dir, --distributed, "
            "--layer-processes and --plugin only"
        )
    return resume(arguments.resume, arguments, benchmark)


def _start(benchmark: Benchmark, arguments: argparse.Namespace) -> bool:
    clock, settings = Stopwatch(), _configured(benchmark, arguments)
    weights, baseline = settings.training.weights, arguments.baseline
    if weights == "":  # a former configuration with should_load_weights
        raise SettingsError(
            "training.weights is empty, or model.should_load_weights true: name the checkpoint to start from, with --weights FILE"
        )
    if baseline is not None and weights is not None:
        raise SettingsError(f"--baseline {baseline}: a baseline has its own initial weights; leave out --weights")
    if name_of(settings.data) == "image_folder" and getattr(settings.data, "data_dir", None) is None:
        raise SettingsError("image_folder: no folder of images is named; pass --data-dir FOLDER, with a folder for each class")

    with lasting_imports():
        from RecurrentFF.benchmarks import run  # imported late, with torch

    return run.start(settings, arguments.output_dir or Path("runs"), baseline=baseline, clock=clock)


def resume(path: Path, arguments: argparse.Namespace, benchmark: Benchmark | None = None) -> bool:
    """Resume an interrupted run. Plugins that its configuration names are not imported, since only --plugin is the user's word.

    Args:
        path: the run's folder, or a checkpoint in it.
        arguments: the values of the flags of `add_continuation_flags`.
        benchmark: the data sets that the run may have been trained on; None for all that can be named.

    Returns:
        True if the run is complete, False if it was interrupted.

    Raises:
        RecurrentFFError: something is wrong; the message says what.
    """
    clock = Stopwatch()
    with lasting_imports():
        from RecurrentFF.benchmarks import run

    def change(settings: Settings) -> Settings:
        require_named_data(settings, path)
        name = name_of(settings.data)
        if benchmark is not None and name not in benchmark.data:
            raise CheckpointError(f"{path}: a run on {name}, not on {_either(benchmark.data)}; resume it with: rff resume {path}")
        return with_absolute_paths(settings.override(*_assignments(arguments)))

    return with_plugin_hint(
        lambda: run.resume(path, change, continue_stopped=arguments.epochs is not None, clock=clock),
        lambda: plugins_of_checkpoint(path),
    )


def configured(path: Path, arguments: argparse.Namespace) -> Settings:
    """Read the configuration of a search, and apply the flags.

    Args:
        path: a TOML file, or the name of a recipe.
        arguments: the values of the flags of `add_search_flags`.

    Raises:
        SettingsError: the configuration, a flag, or a plugin is invalid.
    """
    import_modules(arguments.plugins)
    overrides, written = _assignments(arguments)
    pairs = [override.partition("=") for override in overrides]
    named = [value.strip().strip("\"'") for key, _, value in pairs if key.strip() == "data.name"]
    settings = Settings.from_file(path, data=named[-1] if named else None).override(overrides, written)
    plugins = [name for name in arguments.plugins if name not in settings.plugins]
    return with_absolute_paths(settings.with_arguments(plugins=(*settings.plugins, *plugins)))


def require_named_data(settings: Settings, path: Path) -> None:
    """Refuse the run of a program that passed its own data.

    Raises:
        CheckpointError: the configuration names no data set.
    """
    if name_of(settings.data) != "own":
        return

    from RecurrentFF.training import checkpoint

    task = checkpoint.read(checkpoint.last_in(path)).task
    name = "own data" if task is None else task.name
    raise CheckpointError(
        f"{path}: trained on data that a program passed ('{name}'), which a command can't read; "
        "continue it in Python, with rff.fit"
    )


def with_plugin_hint(work: Callable[[], Result], plugins: Callable[[], object]) -> Result:
    """Call a function that reads a saved configuration; if a component is unknown, say which flag imports it.

    Args:
        work: the function.
        plugins: a function that returns the plugins that the saved configuration names. They are shown, and not imported.

    Raises:
        RecurrentFFError: the error of the function.
    """
    try:
        return work()
    except (CheckpointError, SettingsError) as error:
        words = str(error)
        if "must be imported first" not in words:
            raise
        modules = plugins()
        named = [str(name) for name in modules] if isinstance(modules, list | tuple) else []
        flags = " ".join(f"--plugin {name}" for name in named) or "--plugin MODULE"
        raise type(error)(f"{words}; here, pass {flags}") from None


def plugins_of_checkpoint(path: Path) -> object:
    """The plugins in the configuration of a checkpoint.

    Args:
        path: the checkpoint, or the folder of its run.
    """
    from RecurrentFF.training import checkpoint

    return toml.loads(checkpoint.read(checkpoint.last_in(path)).settings).get("plugins")


def _configured(benchmark: Benchmark, arguments: argparse.Namespace) -> Settings:
    """Read the configuration, and apply the flags.

    Raises:
        SettingsError: it is invalid, or names a data set that is not one of the benchmark.
    """
    data = benchmark.data[0] if arguments.dataset is None else DATASETS.get(arguments.dataset.lower(), arguments.dataset)
    file = recipes.default_for(data) if arguments.config_file is None else recipes.find(arguments.config_file)
    try:
        settings = Settings.from_file(file, data=data if data in benchmark.data else benchmark.data[0])
    except SettingsError as error:
        if error.place != "data.name" or data in names("data"):
            raise
        raise SettingsError(f"there is no data set '{data}'{_advice(data)}") from None
    overrides, written = _assignments(arguments)
    if arguments.dataset is not None:
        overrides.append(f"data.name={toml.value_text(data)}")
        written.append(f"--dataset {arguments.dataset}")
    if any(override.partition("=")[0].strip() == "plugins" for override in overrides):
        raise SettingsError(
            "--set plugins=…: name a plugin with --plugin MODULE, which is imported before the configuration is read"
        )
    naming = [override.partition("=")[0].strip() in DATA_NAMES for override in overrides]
    for override, words, names_data in zip(overrides, written, naming, strict=True):
        if names_data:
            settings = _with_data(settings, settings.override([override], [words]), benchmark)
            _require_data_of(benchmark, settings, f"{words}: ")
    _require_configuration_for(benchmark, settings, file)
    others = [index for index, names_data in enumerate(naming) if not names_data]
    settings = settings.override([overrides[index] for index in others], [written[index] for index in others])
    plugins = [name for name in arguments.plugins if name not in settings.plugins]
    return with_absolute_paths(settings.with_arguments(plugins=(*settings.plugins, *plugins)))


def _advice(data: str) -> str:
    """The advice about the name of a data set that does not exist. It may be that of a recipe."""
    if data in recipes.names():
        return f", but a recipe: rff train {name_of(Settings.from_file(data).data)} --config-file {data}"
    known = [name for name in names("data") if name != "own"]
    return f"{nearest(data, known)}; for one of your own, pass --plugin MODULE"


def _assignments(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The values of --set, then those of the flags that stand for a single key, so that these take precedence.

    Returns:
        The assignments for `Settings.override`, and the user's own spelling of each.
    """
    overrides = list(getattr(arguments, "overrides", []))
    written = [f"--set {override}" for override in overrides]
    keys = {"device": "device.device", "epochs": "training.epochs", "seed": "training.seed", "data_dir": "data.data_dir",
            "weights": "training.weights", "distributed": "distributed.mode",
            "layer_processes": "distributed.layer_processes"}  # fmt: skip
    for flag, key in keys.items():
        value = getattr(arguments, flag, None)
        if value is not None:
            overrides.append(f"{key}={toml.value_text(str(value)) if isinstance(value, Path) else value}")
            written.append(f"--{flag.replace('_', '-')} {value}")
    return overrides, written


def _with_data(settings: Settings, named: Settings, benchmark: Benchmark) -> Settings:
    """The settings with another data set of the benchmark, which keeps the options of the former one.

    Args:
        settings: the settings, with the options of their data set.
        named: the same with the new data set.
        benchmark: the data sets that have the same options.
    """
    former, name = name_of(settings.data), name_of(named.data)
    if former == name or not {former, name} <= set(benchmark.data):
        return named
    return settings.with_arguments(data=tree_of(settings.data) | {"name": name})


def _require_data_of(benchmark: Benchmark, settings: Settings, place: str = "") -> None:
    name = name_of(settings.data)
    if name not in benchmark.data:
        raise SettingsError(
            f"{place}data.name = '{name}', but this command is for {_either(benchmark.data)}; leave it out or correct it, "
            f"for instance by --set data.name={benchmark.data[0]}"
        )


def _require_configuration_for(benchmark: Benchmark, settings: Settings, file: Path) -> None:
    """Refuse a configuration file for another data set, and name the recipe that suits the command's.

    Raises:
        SettingsError: the configuration names another data set.
    """
    name, recipe = name_of(settings.data), recipes.default_for(benchmark.data[0]).stem
    if name not in benchmark.data:
        kind = "recipe" if file.parent == recipes.FOLDER else "configuration"
        data = {"image_folder": "your own images"}.get(benchmark.data[0], f"'{benchmark.data[0]}'")
        raise SettingsError(
            f"{file}: this {kind} is for {name}, not for {_either(benchmark.data)} (its data.name = '{name}'); "
            f"the recipe `{recipe}` suits {data}"
        )


def _either(data: tuple[str, ...]) -> str:
    return " or ".join(repr(name) for name in data)
