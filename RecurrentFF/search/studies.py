"""Studies: what is known of all trials of a search. A study belongs to a configuration, a space and data. Imports Optuna."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState

from RecurrentFF import toml
from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import shown
from RecurrentFF.search import data_marks
from RecurrentFF.search.space import Space
from RecurrentFF.settings import Settings

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states that count as finished. A failed trial is one that was interrupted, and is run again."""

_CONFIGURATION, _SPACE, _DATA = "configuration", "space", "data"
"""The names of the attributes of a study that hold its configuration and its space as TOML, and the marks of its data."""

_FREE = {"device": ("device", "compile"), "distributed": None, "tracking": None}
"""The keys in which workers on one study may differ: some of a section, or the whole section."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Switch off Optuna's own messages and its warnings about experimental features, as a context manager."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def open_study(
    name: str,
    storage: BaseStorage | None,
    settings: Settings,
    space: Space,
    marks: dict[str, dict[str, Any]],
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> Study:
    """Create a study, or open the one of this name.

    Args:
        name: the name of the study in the storage.
        storage: the storage; None for the memory of this process.
        settings: the configuration of the search.
        space: the search space.
        marks: the marks of the data, see `data_marks.marks_of`.
        sampler: chooses the values of the next trials.
        pruner: ends trials of this process early.

    Raises:
        SettingsError: the study was made with another configuration, space or data, or by another program.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", sampler=sampler, pruner=pruner, load_if_exists=True
    )
    present = {_CONFIGURATION: settings.to_toml(), _SPACE: space.to_toml(), _DATA: marks}
    begun = bool(study.trials)  # before the attributes, which another worker may write at this moment
    known = study.user_attrs
    if not known.keys() & present.keys() and begun:
        raise SettingsError(f"study '{name}': was not made by a search of RecurrentFF; choose another name with --study")
    if not begun:
        for key in present.keys() - known.keys():
            study.set_user_attr(key, present[key])
        known = study.user_attrs
    _require_same(name, settings, space, known)
    found = data_marks.difference(known.get(_DATA) or {}, marks)
    if found is not None:
        raise SettingsError(
            f"study '{name}': was made with other data ({found}); choose another name with --study, or use those data"
        )
    return study


def _require_same(name: str, settings: Settings, space: Space, known: Mapping[str, Any]) -> None:
    """Check that a study has the present configuration and space.

    Raises:
        SettingsError: it has others.
    """
    present = {_CONFIGURATION: _compared(settings.to_toml()), _SPACE: toml.loads(space.to_toml())}
    former = {_CONFIGURATION: _compared(str(known.get(_CONFIGURATION, ""))), _SPACE: toml.loads(str(known.get(_SPACE, "")))}
    for kind in present:
        difference = _difference(former[kind], present[kind])
        if difference is not None:
            raise SettingsError(
                f"study '{name}': was made with another {kind} ({difference}); choose another name with --study, or use that "
                f"{kind}"
            )


def _compared(text: str) -> dict[str, Any]:
    """The keys of a configuration in which all workers on a study must agree. A key that the text lacks has its default."""
    try:
        tree = Settings.from_toml(text).to_tree()
    except SettingsError:  # a component that a program has passed as an object
        tree = toml.loads(text)
    for section, keys in _FREE.items():
        values = tree.pop(section, {})
        if keys is not None:
            tree[section] = {key: value for key, value in values.items() if key not in keys}
    return tree


def _difference(former: Mapping[str, Any], present: Mapping[str, Any], place: str = "") -> str | None:
    """The first key in which two trees differ, with its former and its present value; None if they are equal."""
    for key in sorted(former.keys() | present.keys()):
        path, before, now = f"{place}.{key}" if place else key, former.get(key), present.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found = _difference(before, now, path)
            if found is not None:
                return found
        elif before != now:
            words = [shown(value) if value is not None else "absent" for value in (before, now)]
            return f"{path}: {words[0]}, now {words[1]}"
    return None


def finished_trials(study: Study) -> list[optuna.trial.FrozenTrial]:
    """The trials of a study that are complete, pruned, refused or diverged."""
    return study.get_trials(deepcopy=False, states=FINISHED)
