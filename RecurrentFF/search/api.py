"""Search from Python, in one call. The command `rff search` makes the same call."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import shown
from RecurrentFF.paths import expanded, reported
from RecurrentFF.search.space import Space
from RecurrentFF.settings import Settings
from RecurrentFF.values import of_python

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study

    from RecurrentFF.data.task import Task
    from RecurrentFF.search.results import SearchResult

DEFAULT_TRIALS = 50
"""The number of trials of a search."""


class SearchInterrupted(KeyboardInterrupt):
    """The interruption of `search` by Ctrl-C.

    Args:
        study: Optuna's study.
        finished: the number of its finished trials.

    Attributes:
        study: Optuna's study. Its finished trials are kept, and the interrupted one is run again first.
        finished: the number of its finished trials.
    """

    def __init__(self, study: Study, finished: int) -> None:
        super().__init__(f"after {finished} finished trials")
        self.study = study
        self.finished = finished


def search(
    settings: Settings | str | Path,
    space: Space | Mapping[str, Any] | str | Path,
    *,
    trials: int = DEFAULT_TRIALS,
    storage: str | BaseStorage | None = None,
    study: str | None = None,
    sampler: str = "tpe",
    pruner: str = "median",
    seed: int = 0,
    task: Task | None = None,
    output_dir: str | Path | None = None,
    quiet: bool = False,
) -> SearchResult:
    """Train many configurations, and find the one of the highest validation accuracy. The test samples are not used.

    A study in a storage is continued by the same call. Several processes may work on it at the same time.

    Args:
        settings: the configuration, or a TOML file or recipe. It names the data set, unless `task` is given.
        space: the keys to search and their values: a `Space`, its entries, or a TOML file.
        trials: the number of finished trials of the study after which the search ends, those of earlier calls and of other
            processes included. Each process that works on it finishes the trial that it has begun.
        storage: a database, such as "sqlite:///search.db", or a storage of Optuna; None keeps the study in memory.
        study: the name of the study; by default, the name of the file or recipe, or "search".
        sampler: "tpe", the tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS), or "random", random search.
        pruner: "median" ends a training whose accuracy is below the median of earlier ones after the same epoch, from the sixth
            trial on; "hyperband" (Li et al. 2018, arXiv:1603.06560); "none".
        seed: the seed of the sampler, at least 0. The trainings have training.seed of the configuration.
        task: data that a program passes, with validation samples.
        output_dir: the folder for "search-NAME", with the best configuration, a table of trials, and plots; None writes nothing.
        quiet: print nothing.

    Returns:
        The result, with the best configuration.

    Raises:
        SettingsError: an argument is invalid, the configuration refuses a value of the space or has no validation samples, the
            study is that of another configuration, space or data, the first trials are all refused for the same reason, no trial
            has a result, or Optuna is not installed.
        DataError, InputError: the data can't be read, or `task` is no task.
        DeviceError, CheckpointError: this machine does not have the device, or training.weights can't be read.
        OutputError: the storage or the output folder can't be written.
        SearchInterrupted: a KeyboardInterrupt, by Ctrl-C. The same call continues a study in a storage.

    Examples:
        >>> result = search("mnist_raw", {"optimizer.learning_rate": Float(low=1e-4, high=1e-2, log=True)}, trials=20)
        >>> rff.build(result.best_settings)
    """
    require_optuna()
    name = _study_name(study, settings)
    trials, seed = _whole_number(trials, "trials", 1), _whole_number(seed, "seed", 0)
    _require_storage(storage)
    settings, space = _settings_of(settings), _space_of(space)
    from RecurrentFF.data.task import require_task  # imported late, with Optuna and torch
    from RecurrentFF.search.run import Plan, run

    task = None if task is None else require_task(task)
    folder = None if output_dir is None else result_folder(output_dir, name)
    return run(Plan(settings, space, trials, storage, name, sampler, pruner, seed, task, folder, quiet))


def _study_name(study: object, settings: object) -> str:
    """The name of a study: the given one, that of the configuration's file or recipe, or "search".

    Raises:
        SettingsError: it is no text, or has other characters.
    """
    name = (Path(settings).stem if isinstance(settings, str | Path) else "search") if study is None else study
    if not isinstance(name, str):
        raise SettingsError(f"study = {shown(name)}: expected text")
    if not re.fullmatch(r"\w[\w .+-]*", name):
        raise SettingsError(f"study '{name}': a name has letters, digits, spaces, and the signs _ . + - only")
    return name


def _settings_of(settings: Settings | str | Path) -> Settings:
    """The configuration, read if it is a file. Raises SettingsError if it is neither."""
    if isinstance(settings, str | Path):
        return Settings.from_file(settings)
    if not isinstance(settings, Settings):
        raise SettingsError(f"settings = {shown(settings)}: expected Settings, the path of a TOML file, or the name of a recipe")
    return settings


def _space_of(space: Space | Mapping[str, Any] | str | Path) -> Space:
    """The search space, read if it is a file, or made of its entries. Raises SettingsError if it is invalid."""
    if isinstance(space, str | Path):
        return Space.from_file(space)
    return space if isinstance(space, Space) else Space(space)


def _whole_number(value: object, name: str, lowest: int) -> int:
    """A whole number of Python's own type.

    Raises:
        SettingsError: it is none, or too low.
    """
    number = of_python(value)
    if type(number) is not int:
        raise SettingsError(f"{name} = {shown(value)}: expected a whole number")
    if number < lowest:
        raise SettingsError(f"{name} = {number}: expected at least {lowest}")
    return number


def _require_storage(storage: object) -> None:
    """Check the type of a storage.

    Raises:
        SettingsError: it is another one.
    """
    from optuna.storages import BaseStorage

    if not isinstance(storage, str | BaseStorage | None):
        raise SettingsError(
            f"storage = {shown(storage)}: expected a URL such as sqlite:///search.db, a storage of Optuna, or None"
        )


def result_folder(parent: str | Path, study: str) -> Path:
    """Create the folder of the results of a study, if there is none.

    Raises:
        SettingsError: the folder can't be created.
    """
    folder = expanded(parent, SettingsError, "the folder of the results can't be created") / f"search-{study}"
    with reported(folder, SettingsError, "can't be created"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def require_optuna() -> None:
    """Check that Optuna is installed.

    Raises:
        SettingsError: it is not.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # a bar for notebooks, which is not used here
            import optuna  # noqa: F401
    except ImportError:
        raise SettingsError('a search needs Optuna 4.9 or newer: pip install "RecurrentFF[search]"') from None
