"""The callbacks that a configuration asks for."""

from __future__ import annotations

from RecurrentFF.errors import SettingsError
from RecurrentFF.settings import Settings
from RecurrentFF.training.callbacks.averaging import WeightAveraging
from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.callbacks.checkpoints import MAX_RETRIES, Checkpoints
from RecurrentFF.training.callbacks.divergence import NonFiniteCheck
from RecurrentFF.training.callbacks.early_stopping import EarlyStopping
from RecurrentFF.training.callbacks.imagination import ImaginationPlots
from RecurrentFF.training.callbacks.json_lines import JsonLines
from RecurrentFF.training.callbacks.plots import Plots
from RecurrentFF.training.callbacks.profiler import Profiler
from RecurrentFF.training.callbacks.progress import ProgressConsole
from RecurrentFF.training.callbacks.trackers import TensorBoard, WeightsAndBiases
from RecurrentFF.training.files import RunFolder


def default_callbacks(settings: Settings, folder: RunFolder | None = None) -> list[Callback]:
    """The callbacks that a configuration asks for, in this order; a user's own follow them.

        NonFiniteCheck     ends a training that has diverged, before anything is saved
        WeightAveraging    if training.weight_averaging is not 0
        EarlyStopping      if training.early_stopping is not 0
        Checkpoints        the last state and the best weights; without a folder, the best weights in memory
        JsonLines          metrics.jsonl
        Profiler           if tracking.profile is true
        Plots              samples.png, curves.png and timesteps.png
        ImaginationPlots   with a generative circuit: reconstructions.png, completions.png and samples_generated.png
        ProgressConsole    on the trainer's console
        WeightsAndBiases   if tracking.wandb is true
        TensorBoard        if tracking.tensorboard is true

    Those from JsonLines to ImaginationPlots, and the trackers, need a folder.

    Args:
        settings: the configuration.
        folder: the run's folder; None to write no files.

    Raises:
        SettingsError: the settings ask for files, and there is no folder.
    """
    tracking, callbacks = settings.tracking, core_callbacks(settings, folder)
    if folder is None:
        _refuse_files(settings)
        return [*callbacks, ProgressConsole()]
    callbacks.append(JsonLines(folder))
    if tracking.profile:
        callbacks.append(Profiler(folder))
    callbacks.append(Plots(folder))
    if settings.generative is not None:
        callbacks.append(ImaginationPlots(folder))
    callbacks.append(ProgressConsole(folder))
    if tracking.wandb:
        callbacks.append(WeightsAndBiases(folder.path))
    if tracking.tensorboard:
        callbacks.append(TensorBoard(folder.path))
    return callbacks


def core_callbacks(settings: Settings, folder: RunFolder | None = None) -> list[Callback]:
    """Those of the default callbacks that change the training or keep its state: the first four.

    A process that trains together with others, and is not the one that writes and speaks for all, has these alone.

    Args:
        settings: the configuration.
        folder: the folder of the checkpoints; None to keep the best weights in memory.
    """
    training = settings.training
    retries = MAX_RETRIES if training.on_divergence == "retry" else 0
    callbacks: list[Callback] = [NonFiniteCheck()]
    if training.weight_averaging:
        callbacks.append(WeightAveraging(training.weight_averaging))
    if training.early_stopping:
        callbacks.append(EarlyStopping(training.early_stopping))
    return [*callbacks, Checkpoints(folder, retries)]


def _refuse_files(settings: Settings) -> None:
    wanted = [name for name in ("wandb", "tensorboard", "profile") if getattr(settings.tracking, name)]
    if wanted:
        raise SettingsError(
            f"tracking.{wanted[0]} = true writes files, and there is no folder for them; name one by output_dir=…"
        )
