"""Optuna's plots of a study as PNG files. This module imports Optuna."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState

from RecurrentFF.atomic_files import write_bytes
from RecurrentFF.errors import OutputError, printable
from RecurrentFF.search.studies import quiet
from RecurrentFF.training.figures import drawing, figure_class

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

ACCURACY = "validation accuracy"
"""The name of the objective in plots."""

IMPORTANCES = "importances.png"
"""The file of the plot of importances."""

TITLES = {
    "history.png": "Validation accuracy of the trials, and the best one so far",
    IMPORTANCES: "Importance of the keys for the validation accuracy",
    "slice.png": "Validation accuracy of the trials by the value of each key",
    "parallel.png": "Values and validation accuracy of the trials, one line for each",
}
"""The titles of the plots."""

LONGEST_CHOICE = 24
"""The largest number of characters of a choice on an axis, which loses its middle beyond that."""

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


def make_readable(figure: Figure, title: str) -> None:
    """Give Optuna's plot a title, and room for the names of choices and the numbers on logarithmic axes.

    Args:
        figure: the plot.
        title: the title.
    """
    if len(figure.axes) > 2:  # a plot with axes for each key
        figure.set_size_inches(max(7.0, 2.6 * (len(figure.axes) - 1)), 5.5)
    for axes in figure.axes:
        axes.set_title("", loc="center")
        axes.set_title("", loc="left")
        if len(figure.axes) > 2 and axes.get_xlabel():  # above, where it is clear of the names of choices
            axes.set_title(axes.get_xlabel(), fontsize="medium")
            axes.set_xlabel("")
        for axis in (axes.xaxis, axes.yaxis):
            _label_ticks(axis)
        legend = axes.get_legend()
        for text in legend.get_texts() if legend is not None else ():
            text.set_text({"Best Value": "best so far"}.get(text.get_text(), text.get_text()))
        if axes.get_xlabel() == "Hyperparameter Importance":
            axes.set(xlabel="importance, in total 1", ylabel="")
            if legend is not None:
                legend.remove()
    figure.suptitle(title, y=0.97)


def _label_ticks(axis: Axis) -> None:
    """Shorten the names of choices, show plain numbers on a logarithmic axis, and turn both on a horizontal axis."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter, LogLocator, NullLocator

    turned: dict[str, Any] = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if axis.get_label_position() in ("bottom", "top") else {}
    )
    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=9))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
        if turned:
            axis.set_tick_params(labelrotation=35)
    formatter = axis.get_major_formatter()
    if isinstance(formatter, StrCategoryFormatter | FixedFormatter):
        labels = axis.get_ticklabels()
        names = [printable(label.get_text().strip("'"), LONGEST_CHOICE) for label in labels]
        axis.set_ticks(axis.get_ticklocs(), names, **turned)


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
                make_readable(pyplot.figure(new), TITLES[path.name])
                pyplot.figure(new).savefig(content, format="png", dpi=110, bbox_inches="tight")
            finally:
                for number in set(pyplot.get_fignums()) - former:
                    pyplot.close(number)
    write_bytes(path, content.getvalue())
