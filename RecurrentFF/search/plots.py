"""Optuna's plots of a study as PNG files. This module imports Optuna."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState

from RecurrentFF.atomic_files import write_bytes
from RecurrentFF.errors import OutputError
from RecurrentFF.search.studies import quiet
from RecurrentFF.training.figures import drawing, figure_class

ACCURACY = "validation accuracy"
"""The name of the objective in plots."""

IMPORTANCES = "importances.png"
"""The file of the plot of importances."""

PLOTS: dict[str, Callable[[optuna.Study], Any]] = {
    "history.png": lambda study: _module().plot_optimization_history(study, target_name=ACCURACY),
    IMPORTANCES: lambda study: _module().plot_param_importances(study, evaluator=PedAnovaImportanceEvaluator()),
    "slice.png": lambda study: _module().plot_slice(study, target_name=ACCURACY),
    "parallel.png": lambda study: _module().plot_parallel_coordinate(study, target_name=ACCURACY),
}
"""Optuna's plots, by the names of their files."""


def draw_plots(study: optuna.Study, folder: Path, *, with_importances: bool) -> list[str]:
    """Draw those plots that can be drawn, from at least two complete trials.

    Args:
        study: the study.
        folder: an existing folder.
        with_importances: draw the importances, too.

    Returns:
        The names of the files.
    """
    drawn: list[str] = []
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < 2:
        return drawn
    for name, plot in PLOTS.items():
        if name != IMPORTANCES or with_importances:
            try:
                _draw(folder / name, plot, study)
            except OutputError:
                continue
            drawn.append(name)
    return drawn


def without_windows() -> None:
    """Let matplotlib open no windows in this process. For commands only."""
    figure_class()
    import matplotlib

    matplotlib.use("agg")


def _module() -> Any:
    """Optuna's module of plots, which imports matplotlib."""
    import optuna.visualization.matplotlib

    return optuna.visualization.matplotlib


def _draw(path: Path, plot: Callable[[optuna.Study], Any], study: optuna.Study) -> None:
    """Write a plot as a PNG file. The settings of matplotlib, which Optuna changes, are restored.

    Raises:
        OutputError: it can't be drawn, or the file can't be written.
    """
    content = io.BytesIO()
    with drawing(path), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure_class()  # imports matplotlib, whatever backend the environment names
        import matplotlib
        from matplotlib import pyplot

        with matplotlib.rc_context():
            former = set(pyplot.get_fignums())
            try:
                plot(study)
                (new,) = set(pyplot.get_fignums()) - former
                pyplot.figure(new).savefig(content, format="png", dpi=110, bbox_inches="tight")
            finally:
                for number in set(pyplot.get_fignums()) - former:
                    pyplot.close(number)
    write_bytes(path, content.getvalue())
