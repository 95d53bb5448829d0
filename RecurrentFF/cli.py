"""The command line `rff`, also as `python -m RecurrentFF`: train, resume, search, evaluate, and look at runs and configurations.

Modules that import torch, which takes seconds, are imported when a command needs them.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from RecurrentFF import toml
from RecurrentFF.benchmarks.benchmark import MNIST, MOVING_MNIST, SEQ_MNIST, Benchmark
from RecurrentFF.benchmarks.cli import configured, resume, start_or_resume
from RecurrentFF.benchmarks.flags import (
    Parser,
    add_analysis_flags,
    add_continuation_flags,
    add_plugin_flag,
    add_report_flags,
    add_search_flags,
    add_speed_flags,
    add_training_flags,
    exit_code,
    key_help,
    user_path,
)
from RecurrentFF.errors import SettingsError, printable
from RecurrentFF.late_imports import lasting_imports
from RecurrentFF.launch import ended, is_first
from RecurrentFF.messages import nearest
from RecurrentFF.settings import Settings, legacy, recipes, reference
from RecurrentFF.settings.network import METHODS
from RecurrentFF.settings.plugins import import_modules
from RecurrentFF.streams import write_line, write_output

DESCRIPTION = "The Recurrent Forward-Forward network: train it, evaluate it, and look at its runs and configurations."
DATA_HELP = (
    "name of a data set: mnist, fashion_mnist, moving_mnist, seq_mnist, japanese_vowels, associative_retrieval, image_folder (a "
    "folder of images for each class, in --data-dir), or one of your own that --plugin or the configuration registers"
)
RUN_HELP = "folder of a run, or a checkpoint in it"
NEWEST_HELP = f"{RUN_HELP} (a folder: its best weights; a folder of runs: the newest)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; the default is those of the program.

    Returns:
        The exit code: 0, 2 after an error (which is printed in one line), or 130 after Ctrl-C.
    """
    return ended(exit_code(lambda: _run(sys.argv[1:] if argv is None else list(argv))))


def _run(argv: list[str]) -> bool:
    if not argv:
        argument_parser().print_help()
        return True
    arguments = argument_parser().parse_args(argv)
    with contextlib.suppress(OSError):  # the present folder may have been removed
        if str(Path.cwd()) not in sys.path:  # as `python -m` does, so that a plugin in the present folder is found
            sys.path.append(str(Path.cwd()))
    if not arguments.takes_part and not is_first():  # nothing is divided, so that one of several processes does it
        return True
    finished: bool = arguments.work(arguments)
    return finished


def argument_parser() -> Parser:
    """Create the parser of the command line. The value `work` is the function of the command."""
    parser = Parser(prog="rff", description=DESCRIPTION)
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(work=_version, takes_part=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    train = commands.add_parser("train", help="train a network, or a baseline, on a data set", description="Train on a data set.")
    train.add_argument("data", metavar="DATA", help=DATA_HELP)
    add_training_flags(train)
    train.set_defaults(work=_train, takes_part=True)

    continued = commands.add_parser("resume", help="resume an interrupted run", description="Resume an interrupted run.")
    continued.add_argument("run", type=user_path, metavar="RUN", help=RUN_HELP)
    add_continuation_flags(continued)
    continued.set_defaults(work=lambda arguments: _with_plugins(arguments) and resume(arguments.run, arguments), takes_part=True)

    text = "search for the best values of keys of a configuration, by validation accuracy"
    searched = commands.add_parser("search", help=text, description=f"{text.capitalize()}. The test samples are not used.")
    add_search_flags(searched)
    searched.set_defaults(work=_search)

    _add_evaluate(commands)
    _add_analyse(commands)
    _add_reports(commands)
    _add_config(commands)
    return parser


def _add_evaluate(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "accuracy of a network by class, and its confusions, on the test samples"
    parser = commands.add_parser("evaluate", help=text, description=f"Print the {text}.")
    parser.add_argument("run", type=user_path, metavar="RUN", help=NEWEST_HELP)
    data_help = "the folder of the data; one of images in class folders if a program has trained the network"
    parser.add_argument("--data-dir", type=user_path, metavar="DIR", help=data_help)
    method_help = "the method of prediction: " + ", ".join(METHODS) + " (default: that of the network's configuration)"
    parser.add_argument("--prediction", choices=METHODS, metavar="METHOD", help=method_help)
    file_help = "write the predictions, and the badness or the logit of every class, to this file"
    parser.add_argument("--predictions", type=user_path, metavar="CSV", help=file_help)
    parser.add_argument("--device", default="auto", help=key_help("device", "device"))
    add_plugin_flag(parser)
    parser.set_defaults(work=_evaluate)


def _add_analyse(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "report on a network in one HTML file: drives, badness, sparsity, weights, receptive fields, mistakes"
    parser = commands.add_parser("analyse", aliases=["analyze"], help=text, description=f"Write a {text}.")
    parser.add_argument("run", type=user_path, metavar="RUN", help=NEWEST_HELP)
    add_analysis_flags(parser)
    parser.set_defaults(work=_analyse)


def _add_reports(commands: argparse._SubParsersAction[Parser]) -> None:
    runs = commands.add_parser("runs", help="list the runs in a folder", description="List the runs in a folder.")
    runs.add_argument("folder", type=user_path, nargs="?", default=Path("runs"), metavar="FOLDER", help="default: runs")
    runs.set_defaults(work=_runs)

    text = "mean and deviation of the results of runs over their seeds"
    report = commands.add_parser("report", help=text, description=f"Print the {text}, with one line for each folder of runs.")
    add_report_flags(report)
    report.set_defaults(work=_report)

    text = "measure the speed against plain autograd code"
    speed = commands.add_parser("speed", help=text, description=f"{text.capitalize()}.")
    add_speed_flags(speed)
    speed.set_defaults(work=_speed)


def _add_config(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "list or print the recipes, and explain the keys of a configuration"
    parser = commands.add_parser("config", help=text, description=f"{text.capitalize()}.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this recipe (default: list all of them)")
    parser.add_argument("--keys", nargs="?", const="", metavar="SECTION", help="explain all keys, or those of a section")
    parser.add_argument("--former", type=user_path, metavar="FILE", help="print a former configuration in the present form")
    add_plugin_flag(parser)
    parser.set_defaults(work=_config)


def _with_plugins(arguments: argparse.Namespace) -> bool:
    import_modules(arguments.plugins)
    return True


def _version(arguments: argparse.Namespace) -> bool:
    from RecurrentFF import __version__

    write_output(__version__)
    return True


def _train(arguments: argparse.Namespace) -> bool:
    known = [benchmark for benchmark in (MNIST, MOVING_MNIST, SEQ_MNIST) if arguments.data in benchmark.data]
    benchmark = known[0] if known else Benchmark(arguments.data, (arguments.data,), "")
    if len(benchmark.data) > 1:
        arguments.dataset = arguments.data
    return start_or_resume(benchmark, arguments)


def _search(arguments: argparse.Namespace) -> bool:
    settings = configured(arguments.config, arguments)

    with lasting_imports():
        from RecurrentFF.search import command

    return command.run(settings, arguments)


def _choose_newest(arguments: argparse.Namespace) -> None:
    """Take the newest run of a folder of runs, and say which one that is."""
    from RecurrentFF.benchmarks.run_files import newest_run

    chosen = newest_run(arguments.run)
    if chosen != arguments.run:
        write_line(f"newest run in {printable(str(arguments.run))}: {printable(str(chosen))}")
        arguments.run = chosen


def _evaluate(arguments: argparse.Namespace) -> bool:
    import_modules(arguments.plugins)
    _choose_newest(arguments)

    with lasting_imports():
        from RecurrentFF.benchmarks import evaluation

    evaluation.run(arguments.run, arguments.data_dir, arguments.predictions, arguments.device, arguments.prediction)
    return True


def _analyse(arguments: argparse.Namespace) -> bool:
    import_modules(arguments.plugins)
    _choose_newest(arguments)

    with lasting_imports():
        from RecurrentFF.benchmarks import analysis

    analysis.run(arguments)
    return True


def _runs(arguments: argparse.Namespace) -> bool:
    from RecurrentFF.benchmarks import runs

    write_output(runs.table(arguments.folder))
    return True


def _report(arguments: argparse.Namespace) -> bool:
    from RecurrentFF.benchmarks import report

    return report.run(arguments)


def _speed(arguments: argparse.Namespace) -> bool:
    from RecurrentFF.benchmarks import speed

    finished = speed.run(arguments)
    for file in (arguments.json, arguments.scaling):
        if file is not None:
            write_line(f"written to {file}")
    return finished


def _config(arguments: argparse.Namespace) -> bool:
    import_modules(arguments.plugins)
    chosen = [value for value in (arguments.name, arguments.keys, arguments.former) if value is not None]
    if len(chosen) > 1:
        raise SettingsError("config: NAME, --keys and --former exclude each other; give one of them")
    if arguments.keys is not None:
        write_output(reference.text(arguments.keys or None, width=shutil.get_terminal_size((100, 24)).columns))
    elif arguments.former is not None:
        write_output(present_form(arguments.former), end="")
    elif arguments.name is not None:
        if arguments.name not in recipes.names():
            raise SettingsError(f"config {arguments.name}: there is no such recipe{nearest(arguments.name, recipes.names())}")
        write_output(recipes.path_of(arguments.name).read_text(encoding="utf-8"), end="")
    else:
        width = max(map(len, recipes.names()))
        write_output("\n".join(f"{name:<{width}}  {recipes.description(name)}" for name in recipes.names()))
    return True


def present_form(path: Path) -> str:
    """Write a former configuration in the present form, with the comment at its top.

    Args:
        path: a TOML file with the sections [model] and [data_config].

    Raises:
        SettingsError: the file can't be read, has the present form already, or is invalid.
    """
    Settings.from_file(path, import_plugins=False)  # names what is wrong in it
    text = recipes.read(path)
    tree = toml.loads(text)
    if not legacy.is_former(tree):
        raise SettingsError(f"{path}: has the present form already, with no section [model] or [data_config]")
    new = legacy.translate_file(tree, {}, strict=False).tree
    sections = [f"[{name}]\n" + "".join(f"{key} = {reference.as_toml(value)}\n" for key, value in new[name].items())
                for name in Settings.model_fields if new.get(name) and name != "plugins"]  # fmt: skip
    if "plugins" in new:
        sections.insert(0, f"plugins = {reference.as_toml(new['plugins'])}\n")
    lines = text.splitlines()
    comment = lines[: next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    return "\n".join([*(["\n".join([*comment, ""])] if comment else []), *sections])


if __name__ == "__main__":
    sys.exit(main())
