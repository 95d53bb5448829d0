"""Run a search: open the study, train its trials, and write the results. This module imports Optuna and torch."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import NamedTuple

import torch
from optuna.storages import BaseStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback, Study
from optuna.trial import FrozenTrial, TrialState

from RecurrentFF.data.task import Task
from RecurrentFF.distributed import Launch
from RecurrentFF.errors import CheckpointError, SettingsError
from RecurrentFF.search import storage as storages
from RecurrentFF.search.api import SearchInterrupted
from RecurrentFF.search.console import TrialConsole, short_names, shown_value
from RecurrentFF.search.data_marks import marks_of
from RecurrentFF.search.objective import Objective, SearchData, TrialInterrupted, cause_of, for_trials, outcome_of, reason_of
from RecurrentFF.search.results import SearchResult, result_of, seconds_of
from RecurrentFF.search.samplers import make_pruner, make_sampler
from RecurrentFF.search.space import Space
from RecurrentFF.search.studies import FINISHED, finished_trials, open_study, quiet
from RecurrentFF.settings import Settings
from RecurrentFF.settings.user_paths import with_absolute_paths
from RecurrentFF.training import checkpoint, devices
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.interruption import Interruption

SAME_REASON = 3
"""A search ends if this many trials have finished, and all of them without a result for the same reason."""


class Plan(NamedTuple):
    """The arguments of `search`, checked as far as that needs neither Optuna nor the data."""

    settings: Settings
    space: Space
    trials: int
    storage: str | BaseStorage | None
    study: str
    sampler: str
    pruner: str
    seed: int
    task: Task | None
    folder: Path | None
    quiet: bool


def run(plan: Plan) -> SearchResult:
    """Run a search. The arguments and the errors are those of `search`."""
    if Launch.from_environment() is not None:
        raise SettingsError("a search trains in one process; for several, start the command several times, and not by torchrun")
    keep_freed_memory()
    settings, space = with_absolute_paths(plan.settings), plan.space
    sampler, pruner = make_sampler(plan.sampler, plan.seed), make_pruner(plan.pruner, _most_epochs(settings, space))
    space.require_accepted(settings)
    _require_own_data(plan)
    _require_readable_weights(settings, space)
    console, data = TrialConsole(plan.quiet), SearchData(plan.task)
    splits = data.splits(for_trials(settings), torch.device(devices.resolve(settings.device).device))
    url = plan.storage if isinstance(plan.storage, str) else ""
    with quiet(), storages.reported(url):
        storage = storages.open_storage(plan.storage) if isinstance(plan.storage, str) else plan.storage
        study = open_study(plan.study, storage, settings, space, marks_of(splits), sampler, pruner)
        for line in _header(plan, study, len(splits.train), len(splits.validation or ())):
            console.say(line)
        with Interruption() as interruption:
            _train(study, Objective(settings, space, data, console, interruption), plan.trials)
        finished = len(finished_trials(study))
        if interruption.requested and finished < plan.trials:
            raise SearchInterrupted(study, finished)
        return _report(result_of(study, space, settings), plan.folder, console)


def _most_epochs(settings: Settings, space: Space) -> int:
    """The highest number of epochs that a trial may have."""
    domain = space.get("training.epochs")
    ends = [settings.training.epochs] if domain is None else [value for _, value in domain.ends()]
    return max((value for value in ends if isinstance(value, int)), default=settings.training.epochs)


def _require_own_data(plan: Plan) -> None:
    """Refuse keys that have no effect on data that a program passes.

    Raises:
        SettingsError: the space has one.
    """
    key = next((key for key in plan.space if key.partition(".")[0] in ("data", "transform")), None)
    if plan.task is not None and key is not None:
        raise SettingsError(f"{plan.space.origin}: {key}: has no effect on a task that is passed; leave it out")


def _require_readable_weights(settings: Settings, space: Space) -> None:
    """Read the checkpoints from which trials begin.

    Raises:
        CheckpointError: one can't be read.
    """
    domain = space.get("training.weights")
    values = [settings.training.weights] if domain is None else [value for _, value in domain.ends()]
    for value in values:
        weights = with_absolute_paths(settings.with_arguments(weights=value)).training.weights
        if weights is not None:
            try:
                checkpoint.read(checkpoint.best_in(Path(weights)))
            except CheckpointError as error:
                raise CheckpointError(f"training.weights: {error}") from None


def _train(study: Study, objective: Objective, trials: int) -> None:
    """Train trials until the study has enough of them, or a signal has come.

    Raises:
        SettingsError: the first trials have no result for the same reason, or another worker has taken over a trial.
    """

    def after_trial(study: Study, trial: FrozenTrial) -> None:
        objective.console.say(_line(study, trial, objective.space))
        if trial.state == TrialState.FAIL and trial.params:
            RetryHeartbeatStaleTrialCallback(max_retry=storages.MAX_RETRIES)(study, trial)
        if objective.interruption.requested:
            study.stop()
        _require_progress(study, trial)

    if len(finished_trials(study)) >= trials:
        return
    enough = MaxTrialsCallback(trials, states=FINISHED)
    gc.freeze()  # so that collecting the garbage of a trial, such as its network, does not look at all that was there before
    try:
        study.optimize(objective, catch=(TrialInterrupted,), callbacks=[after_trial, enough], gc_after_trial=True)
    except ValueError as error:
        if not str(error).startswith("Cannot tell a FAIL trial"):
            raise
        raise SettingsError(
            f"trial {objective.running}: another worker has taken it over, since this one gave no sign of life for "
            f"{storages.GRACE_SECONDS} s; the same command continues the study"
        ) from None
    finally:
        gc.unfreeze()


def _require_progress(study: Study, trial: FrozenTrial) -> None:
    """End a search in which no trial can have a result.

    Raises:
        SettingsError: all finished trials have no result for the same reason.
    """
    cause = cause_of(trial)
    if cause is not None:
        finished = finished_trials(study)
        if len(finished) >= SAME_REASON and all(cause_of(each) == cause for each in finished):
            raise SettingsError(
                f"study '{study.study_name}': all of {len(finished)} trials were {outcome_of(trial)} for the same reason: "
                f"{reason_of(trial)}"
            )


def _header(plan: Plan, study: Study, train: int, validation: int) -> list[str]:
    """The first lines of a search."""
    place = "in memory"
    if plan.storage is not None:
        place = f"in {storages.shown_url(plan.storage)}" if isinstance(plan.storage, str) else "in a storage"
    finished = len(finished_trials(study))
    pruner = "no pruner" if plan.pruner == "none" else f"{plan.pruner} pruner"
    return [
        f"study       {plan.study} {place}; {finished} of {plan.trials} trials finished",
        f"space       {', '.join(plan.space)}",
        f"data        {train:,} train, {validation:,} validation samples; the test samples are not used",
        f"method      {plan.sampler} sampler, seed {plan.seed}; {pruner}",
        "",
    ]


def _line(study: Study, trial: FrozenTrial, space: Space) -> str:
    """The line of a trial that has ended."""
    outcome = outcome_of(trial) if trial.state in FINISHED else "interrupted"
    accuracy = "-" if trial.value is None else f"{100 * trial.value:.2f} %"
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    is_best = trial.value is not None and trial.state == TrialState.COMPLETE
    star = " *" if is_best and all((trial.value or 0) >= (each.value or 0) for each in complete) else "  "
    reason = f"; {reason_of(trial)}" if reason_of(trial) else ""
    names, found = short_names(space), space.values_of(trial.params)
    values = ", ".join(f"{names[key]} = {shown_value(value)}" for key, value in found.items())
    return f"trial {trial.number:<4}  {outcome:<11} {accuracy:>9}{star} {seconds_of(trial):>8.1f} s  {values}{reason}"


def _report(result: SearchResult, folder: Path | None, console: TrialConsole) -> SearchResult:
    """Print the results of a search, and write them into a folder if there is one.

    Raises:
        OutputError: they can't be written.
    """
    importances = ", ".join(f"{key} {value:.2f}" for key, value in result.importances.items())
    lines = ["", *str(result).splitlines(), ""]
    lines.append(f"best        trial {result.best_trial}, validation accuracy {100 * result.best_accuracy:.2f} %")
    if importances:
        lines.append(f"importance  {importances}")
    for line in lines:
        console.say(line)
    if folder is not None:
        console.say(f"written     {folder}: {', '.join(result.write(folder))}")
    return result
