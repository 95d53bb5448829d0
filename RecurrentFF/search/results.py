"""The results of a search: the best configuration, a table, and Optuna's plots. This module imports Optuna."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from RecurrentFF.atomic_files import write_text
from RecurrentFF.errors import SettingsError, printable
from RecurrentFF.search.console import short_names, shown_value
from RecurrentFF.search.objective import outcome_of, reason_of
from RecurrentFF.search.plots import draw_plots
from RecurrentFF.search.space import Space
from RecurrentFF.search.studies import finished_trials, quiet
from RecurrentFF.settings import Settings

BEST = 10
"""The number of trials in the table."""


@dataclass(frozen=True)
class SearchResult:
    """The result of a search. `print` it for a table of the best trials."""

    study: optuna.Study = field(repr=False)
    """Optuna's study, with all trials."""
    space: Space = field(repr=False)
    """The search space."""
    settings: Settings = field(repr=False)
    """The configuration of the search, without the values of any trial."""
    best_trial: int
    """The number of the best trial, from 0."""
    best_accuracy: float
    """Its validation accuracy, 0 to 1. It is the highest of many, and so higher than that on new samples."""
    best_values: dict[str, Any]
    """The value of each key of the space in the best trial."""
    best_settings: Settings = field(repr=False)
    """The configuration of the search with these values."""

    @property
    def importances(self) -> dict[str, float]:
        """The importance of each key for the accuracy, 0 to 1, the highest first; empty with fewer than four complete trials.

        They sum to 1. The method is PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255).
        """
        if len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < 4 or len(self.space) < 2:
            return {}
        with quiet():
            return dict(get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator()))

    def __str__(self) -> str:
        """The best trials as a table."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = sorted(trials, key=lambda trial: (-_accuracy(trial), trial.number))[:BEST]
        rows = [["trial", "validation", "epochs", "seconds", *short_names(self.space).values()]]
        for trial in best:
            values = self.space.values_of(trial.params)
            accuracy = f"{100 * _accuracy(trial):.2f} %"
            rows.append([str(trial.number), accuracy, str(len(trial.intermediate_values)), f"{seconds_of(trial):.1f}",
                         *(printable(shown_value(values[key]), 60) for key in self.space)])  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)

    def write(self, folder: Path) -> list[str]:
        """Write best.toml, trials.csv and Optuna's plots.

        Args:
            folder: an existing folder, in which files of these names are replaced.

        Returns:
            The names of the files that were written, without those of plots that could not be drawn.

        Raises:
            OutputError: best.toml or trials.csv can't be written.
        """
        write_text(folder / "best.toml", self.best_settings.to_toml())
        write_text(folder / "trials.csv", self._trials_as_csv())
        return ["best.toml", "trials.csv", *draw_plots(self.study, folder, with_importances=bool(self.importances))]

    def _trials_as_csv(self) -> str:
        """All finished trials, one in a line."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial", "outcome", "validation_accuracy", "epochs", "seconds", *self.space, "reason"])
        for trial in finished_trials(self.study):
            accuracy = "" if trial.value is None else f"{trial.value:.6g}"
            values = [trial.params.get(key, "") for key in self.space]
            facts = [trial.number, outcome_of(trial), accuracy, len(trial.intermediate_values), f"{seconds_of(trial):.1f}"]
            writer.writerow([*facts, *values, reason_of(trial)])
        return text.getvalue()


def result_of(study: optuna.Study, space: Space, settings: Settings) -> SearchResult:
    """The result of a study.

    Raises:
        SettingsError: no trial is complete; the message has the reason of the last one.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not trials:
        finished = finished_trials(study)
        last = [": ".join(filter(None, (outcome_of(trial), reason_of(trial)))) for trial in finished[-1:]]
        reason = f"; the last one was {last[0]}" if last else ""
        raise SettingsError(f"study '{study.study_name}': none of {len(finished)} trials has a result{reason}")
    best = min(trials, key=lambda trial: (-_accuracy(trial), trial.number))
    values = space.values_of(best.params)
    return SearchResult(study, space, settings, best.number, _accuracy(best), values, space.applied(settings, values))


def seconds_of(trial: FrozenTrial) -> float:
    """The duration of a finished trial in seconds."""
    return 0.0 if trial.duration is None else trial.duration.total_seconds()


def _accuracy(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
