"""The results of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from RecurrentFF.errors import OutputError
from RecurrentFF.paths import names_in
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.methods import MethodResult


@dataclass(frozen=True)
class Summary:
    """Results of a finished run. Accuracies are fractions from 0 to 1."""

    test_accuracy: float | None
    """Accuracy on the test set, None without one."""
    validation_accuracy: float | None
    """Accuracy on the validation set after the best epoch, None without validation samples."""
    best_epoch: int
    """Number of the epoch whose weights were tested. Without validation samples this is the last epoch."""
    epochs: int
    """Number of trained epochs."""
    seconds: float
    """Duration of training and evaluation in seconds. A resumed run has the sum of all its sessions."""
    samples_per_second: float
    """Training samples a second: those of all epochs, divided by the duration of their training, without the evaluation."""
    weights: int
    """Number of trained weights and biases."""
    device: str
    """Name of the device."""
    precision: str
    """Precision of matrix products."""
    seed: int
    """Seed of the run."""
    torch: str
    """Version of torch."""
    seconds_by_part: dict[str, float] = field(default_factory=dict)
    """Seconds of each part of the run's last session, the longest first: "training", "evaluation", "saving", "pictures" (without
    those that follow the summary), "methods of prediction", "compiling", "other", and of a command "start": the import of torch,
    the data with their features, and the network."""
    processes: int = 1
    """Number of processes that have trained together, in the last session of the run."""
    baseline: str | None = None
    """Name of the baseline, None for a Recurrent Forward-Forward network."""
    prediction: str | None = None
    """Method of prediction that gave the accuracies above, None for a baseline.

    It is "badness" in place of "propose_and_verify" where the readout can't propose labels.
    """
    reconstruction_errors: dict[str, float] = field(default_factory=dict)
    """Mean squared error of reconstructions of test samples, or of validation samples without a test set, by the level that they
    are projected from, as `training.imagined` measures it. It is empty without a generative circuit."""
    predictions: dict[str, MethodResult] = field(default_factory=dict)
    """Results of each method that the network can predict by, with the weights that were tested. A baseline has none."""


def result_lines(
    summary: Summary, test_samples: int, folder: RunFolder | None, parts: Mapping[str, float] | None = None
) -> list[str]:
    """The lines about the results for the user.

    Args:
        summary: the results.
        test_samples: the number of test samples.
        parts: the seconds of each part of the run so far; None for no line about them.
        folder: the run's folder, whose files are listed; None if there is none.
    """
    minutes, seconds = divmod(round(summary.seconds), 60)
    lines = [""]
    if summary.test_accuracy is not None:
        correct = 100 * summary.test_accuracy
        lines.append(f"test        {correct:.2f} % right, {100 - correct:.2f} % wrong of {test_samples:,}")
    lines += [
        weights_of(summary.best_epoch, summary.validation_accuracy),
        f"time        {minutes} min {seconds} s; {summary.samples_per_second:,.0f} training samples/s",
        *_line_of_parts(parts or {}),
        *_method_lines(summary),
        *_reconstruction_lines(summary),
    ]
    if folder is not None:
        lines.append(f"results     {folder.path}: {', '.join(_files(folder))}")
    return lines


def _line_of_parts(parts: Mapping[str, float]) -> list[str]:
    """The line about the parts of the run's time, those of at least one percent; none without any time."""
    whole = sum(parts.values())
    shown = [f"{part} {100 * seconds / whole:.0f} %" for part, seconds in parts.items() if seconds >= 0.01 * whole > 0]
    minutes, seconds = divmod(round(whole), 60)
    return [f"{'':<12}{minutes} min {seconds} s in all: {', '.join(shown)}"] if shown else []


def _method_lines(summary: Summary) -> list[str]:
    """One line for each method of prediction, which says what it measured, and which one the run itself used."""
    lines: list[str] = []
    for method, result in summary.predictions.items():
        accuracies = {"validation": result.validation_accuracy, "test": result.test_accuracy}
        measured = [f"{name} {100 * value:.2f} %" for name, value in accuracies.items() if value is not None]
        own = " (this run's method)" if method == summary.prediction else ""
        text = f"{method:<18}  {', '.join(measured)}; {result.samples_per_second:,.0f} samples/s{own}"
        lines.append(f"{'' if lines else 'prediction':<12}{text}")
    return lines


def _reconstruction_lines(summary: Summary) -> list[str]:
    """The line about the reconstructions of a generative circuit; none without one."""
    errors = [f"{error:.4f} from {level}" for level, error in summary.reconstruction_errors.items()]
    early = f" (circuit of epoch {summary.best_epoch} of {summary.epochs})" if summary.best_epoch < summary.epochs else ""
    return [f"circuit     mean squared error of reconstructions: {', '.join(errors)}{early}"] if errors else []


def _files(folder: RunFolder) -> list[str]:
    """The names of the files in the run's folder; none if somebody has moved it meanwhile."""
    try:
        return [name for name in names_in(folder.path, OutputError) if not name.startswith(".")]
    except OutputError:
        return []


def weights_of(epoch: int, validation_accuracy: float | None) -> str:
    """The output line about the epoch whose weights were tested."""
    reason = "the last" if validation_accuracy is None else f"the best on validation ({100 * validation_accuracy:.2f} %)"
    return f"weights     of epoch {epoch}, {reason}"
