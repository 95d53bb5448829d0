"""The command `rff search`: a search whose study is kept in a database, and its results in a folder."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from RecurrentFF.errors import SettingsError
from RecurrentFF.registry import name_of
from RecurrentFF.search.api import SearchInterrupted, require_optuna, result_folder, search
from RecurrentFF.search.space import Space
from RecurrentFF.settings import Settings
from RecurrentFF.streams import write_line


def run(settings: Settings, arguments: argparse.Namespace) -> bool:
    """Run a search from the command line.

    Args:
        settings: the configuration, with the flags of a training applied.
        arguments: the values of the flags of `add_search_flags`.

    Returns:
        True if the search is complete, False if it was interrupted.

    Raises:
        RecurrentFFError: something is wrong; the message says what.
    """
    require_optuna()
    from RecurrentFF.search import plots

    plots.without_windows()
    space = Space.from_file(arguments.space)
    name = arguments.study or Path(arguments.config).stem
    folder = result_folder(arguments.output_dir or Path("runs"), name)
    storage = arguments.storage or f"sqlite:///{folder / 'study.db'}"
    try:
        search(
            settings,
            space,
            trials=_number(arguments.trials, "--trials"),
            storage=storage,
            study=name,
            sampler=arguments.sampler,
            pruner=arguments.pruner,
            seed=_number(arguments.sampler_seed, "--seed"),
            output_dir=folder.parent,
        )
    except SearchInterrupted as interrupted:
        write_line(f"stopped     {interrupted.finished} trials are finished; the same command continues the study '{name}'")
        return False
    data = name_of(settings.data)
    write_line("note        best.toml trains as many epochs and samples as a trial of the search; --epochs and --set change them")
    write_line(f"train it    rff train {data} --config-file {shlex.quote(str(folder / 'best.toml'))}")
    return True


def _number(text: str, flag: str) -> int:
    """A whole number of a flag.

    Raises:
        SettingsError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"{flag} {text}: expected a whole number") from None
