"""The flags of the command lines. Importing this module, and asking for --help, does not import torch."""

from __future__ import annotations

import argparse
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from RecurrentFF.errors import RecurrentFFError, SettingsError, lacks_memory, printable
from RecurrentFF.launch import ending_together, error_line, is_first
from RecurrentFF.paths import expanded, reason_of
from RecurrentFF.settings.reference import key_of
from RecurrentFF.streams import discard_unwritten, replace_closed, write_line, write_output

INTERRUPTED = 130
"""The exit code of a program that was ended by Ctrl-C."""

VARIANTS = ("plain float32", "float32", "bfloat16", "float32 compiled", "bfloat16 compiled")
"""The variants that the speed benchmark measures."""


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake as a SettingsError, in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise a SettingsError with this message."""
        raise SettingsError(f"{message}; --help lists the flags")

    def print_help(self, file: object = None) -> None:
        """Print the help on standard output, as the result of a command."""
        if is_first():
            write_output(self.format_help(), end="")


def exit_code(work: Callable[[], bool]) -> int:
    """Run a command, and print an error in one line: those of this package, of the file system, and the lack of memory.

    Any other exception is a mistake in the code, and keeps its traceback. Standard output and standard error may be in any state.
    Of several processes on one host, only one prints the line of an error.

    Args:
        work: the command. It returns False if it was interrupted by Ctrl-C and has saved its state.

    Returns:
        0, 2 after an error, or 130 after Ctrl-C.
    """
    replace_closed()
    try:
        with ending_together():
            return 0 if work() else INTERRUPTED
    except RecurrentFFError as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        with error_line() as is_own:
            if is_own:
                write_line("interrupted", "stderr")
        return INTERRUPTED
    except OSError as error:
        return _failed(_of_the_system(error))
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return _failed("not enough memory; use a smaller training.batch_size or network, or fewer samples")
    finally:
        discard_unwritten()


def _failed(message: str) -> int:
    """Print the line of an error, unless another process does so, and return the exit code."""
    with error_line() as is_own:
        if is_own:
            write_line(f"error: {printable(message)}", "stderr")
    return 2


def _of_the_system(error: OSError) -> str:
    """The message about an error of the file system that no other place has explained: the file, or the place in the code."""
    try:
        os.getcwd()  # noqa: PTH109 (Path.cwd() is the same)
    except OSError:
        return "the present folder does not exist any more; change to another one"
    if error.filename is not None:
        return f"{_text(error.filename)}: {reason_of(error)}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({type(error).__name__} in {Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{reason_of(error)}{place}"


def _text(path: object) -> str:
    """A path of an OSError as a text. It may be bytes, or the number of an open file."""
    return os.fsdecode(path) if isinstance(path, bytes) else str(path)


def user_path(text: str) -> Path:
    """Read a path that the user names, with ~ as the home folder, for argparse."""
    try:
        return expanded(text, SettingsError, "not a path")
    except SettingsError as error:  # argparse adds the name of the flag
        raise argparse.ArgumentTypeError(str(error)) from None


def key_help(section: str, name: str) -> str:
    """The help of a flag that stands for a key: the first sentence of the key's docstring."""
    return key_of(section, name).summary.replace("%", "%%")


def add_plugin_flag(parser: argparse.ArgumentParser) -> None:
    """Add --plugin, which sets `plugins`."""
    text = "import a Python module that registers components of your own; repeatable"
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE", dest="plugins", help=text)


def add_training_flags(parser: argparse.ArgumentParser, datasets: tuple[str, ...] = (), *, resumes: bool = False) -> None:
    """Add the flags of a command that starts a run.

    Args:
        parser: the parser of the command.
        datasets: the names among which --dataset chooses; without any, there is no such flag.
        resumes: add --resume, for a command that also resumes runs.
    """
    add = parser.add_argument
    add("--config-file", type=user_path, metavar="FILE",
        help="TOML file, or the name of a recipe, which `rff config` lists (default: the data set's recipe)")  # fmt: skip
    _add_override_flag(parser)
    add_continuation_flags(parser)
    add("--seed", metavar="N", help=key_help("training", "seed"))
    add("--output-dir", type=user_path, metavar="DIR", help="folder in which the run's folder is created (default: runs)")
    parser.set_defaults(dataset=None, resume=None)
    if datasets:
        add("--dataset", metavar="NAME", help=f"one of {', '.join(datasets)} (default: {datasets[0]})")
    add(
        "--baseline",
        metavar="NAME",
        help="train a baseline on the same data, by backpropagation: logistic; mlp, a multilayer perceptron with the network's "
        "layer sizes and dropout; cnn, a feed-forward network with the network's convolutions; gru or rnn, "
        "a GRU or a plain recurrent network of as many weights as the network; or, with a number of units, as in gru-400",
    )
    add("--weights", type=user_path, metavar="FILE", help=key_help("training", "weights"))
    if resumes:
        text = "resume an interrupted run, in its folder and with its configuration"
        add("--resume", type=user_path, metavar="RUN_DIR", help=text)


def _add_override_flag(parser: argparse.ArgumentParser) -> None:
    text = "override a key of the configuration, e.g. --set optimizer.learning_rate=1e-3; repeatable"
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides", help=text)


def add_continuation_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that a resumed run accepts, too."""
    _add_common_flags(parser)
    add = parser.add_argument
    add("--distributed", metavar="MODE", help="with torchrun: " + key_help("distributed", "mode"))
    add("--layer-processes", metavar="N", help="with torchrun: " + key_help("distributed", "layer_processes"))


def _add_common_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--device", help=key_help("device", "device"))
    add("--epochs", metavar="N", help=key_help("training", "epochs"))
    add("--data-dir", type=user_path, metavar="DIR", help="an existing data folder instead of the built-in data")
    add_plugin_flag(parser)


def add_search_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a search."""
    add = parser.add_argument
    add("config", type=user_path, metavar="CONFIG", help="TOML file, or the name of a recipe, which `rff config` lists")
    add("--space", type=user_path, metavar="FILE", required=True, help="TOML file of the keys to search and their values")
    text = "finished trials of the study after which the search ends, those of earlier commands and other workers included"
    add("--trials", metavar="N", default="50", help=f"{text} (default: 50)")
    text = "database of the study: sqlite:///FILE, or postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
    add("--storage", metavar="URL", help=f"{text} (default: study.db in the folder of the results)")
    add("--study", metavar="NAME", help="name of the study; the same name continues it (default: the name of CONFIG)")
    add("--sampler", metavar="NAME", default="tpe", help="tpe, or random, which is random search (default: tpe)")
    text = "median, hyperband or none: what ends a training early if it is not promising"
    add("--pruner", metavar="NAME", default="median", help=f"{text} (default: median)")
    text = "seed of the sampler; the trainings have training.seed of the configuration"
    add("--seed", metavar="N", default="0", dest="sampler_seed", help=f"{text} (default: 0)")
    text = "folder in which the folder search-NAME with the results is created"
    add("--output-dir", type=user_path, metavar="DIR", help=f"{text} (default: runs)")
    _add_override_flag(parser)
    _add_common_flags(parser)


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the report on several runs."""
    add = parser.add_argument
    text = "folder of runs that differ only in their seed; the folders of single runs make one group together"
    add("folders", type=user_path, nargs="+", metavar="FOLDER", help=text)
    add("--csv", type=user_path, metavar="FILE", help="write the metrics of every epoch of every run to this file")
    add("--plot", type=user_path, metavar="PNG", help="plot the validation errors to this file")


def add_analysis_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the analysis of a run."""
    add = parser.add_argument
    add("--output", type=user_path, metavar="HTML", help="the file to write (default: analysis.html in the folder of the run)")
    text = "samples that are recorded under true and wrong labels; all are predicted"
    add("--samples", type=int, default=500, metavar="N", help=f"{text} (default: 500)")
    text = "validation, test or train: the samples to look at (default: the first of these that the run has)"
    add("--split", choices=("validation", "test", "train"), metavar="SPLIT", help=text)
    add("--seed", type=int, default=0, metavar="N", help="seed of the draw of these samples and of wrong labels (default: 0)")
    data_help = "the folder of the data; one of images in class folders if a program has trained the network"
    add("--data-dir", type=user_path, metavar="DIR", help=data_help)
    add("--device", default="auto", help=key_help("device", "device"))
    add_plugin_flag(parser)


def add_speed_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the speed benchmark."""
    add = parser.add_argument
    add("--units", type=int, nargs="+", default=[200, 500, 2000], help="units of each layer (default: 200 500 2000)")
    add("--timesteps", type=int, nargs=2, default=[10, 15], metavar=("WITHOUT", "WITH"),
        help="timesteps without and with the label (default: 10 15)")  # fmt: skip
    add("--rounds", type=int, default=5, help="measurements of each; their medians are shown (default: 5)")
    add("--variants", nargs="+", choices=VARIANTS[1:], help="variants beside the plain one (default: those fast here)")
    add("--device", default="auto", help=key_help("device", "device"))
    add("--json", type=user_path, metavar="FILE", help="write everything measured to this file")
    add("--scaling", type=user_path, metavar="PNG", help="measure and draw how the cost grows, too")
