"""The objective of a search: train one configuration, and return its highest validation accuracy. This module imports Optuna."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import optuna
import torch

from RecurrentFF.data.dataset import Splits
from RecurrentFF.data.task import Task
from RecurrentFF.errors import (
    BlackBoxError,
    CheckpointError,
    DataError,
    DivergenceError,
    InputError,
    RecurrentFFError,
    SettingsError,
    lacks_memory,
)
from RecurrentFF.registry import name_of, tree_of
from RecurrentFF.search.console import TrialConsole
from RecurrentFF.search.space import Space
from RecurrentFF.settings import Settings
from RecurrentFF.training.build import build
from RecurrentFF.training.callbacks import Callback, default_callbacks
from RecurrentFF.training.interruption import Interruption
from RecurrentFF.training.splits import load_splits
from RecurrentFF.training.trainer import Trainer

if TYPE_CHECKING:
    from RecurrentFF.model.learner import BatchMetrics
    from RecurrentFF.training.metrics import EpochMetrics

REFUSALS = (SettingsError, InputError, DataError, BlackBoxError, CheckpointError)
"""The errors of a configuration that can't be trained. The search continues after them."""

OUTCOME, REASON, CAUSE = "outcome", "reason", "cause"
"""The attributes of a trial without a result: "refused" or "diverged", the message, and the message without its numbers."""

_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
"""A number in a message."""


class TrialInterrupted(Exception):
    """The end of a trial by Ctrl-C. Optuna records it as failed."""


class Pruning(Callback):
    """Reports the validation accuracy of each epoch to Optuna, and ends the training if Optuna finds it not promising.

    Args:
        trial: Optuna's trial.
        interruption: the signals that the search has received, which end the training after the batch.

    Attributes:
        pruned: true if Optuna has ended the training.
    """

    def __init__(self, trial: optuna.Trial, interruption: Interruption) -> None:
        self.trial = trial
        self.interruption = interruption
        self.pruned = False

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        """End the training after a signal, also after one that came before the training received signals.

        Raises:
            TrialInterrupted: there was one.
        """
        if self.interruption.requested:
            raise TrialInterrupted

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Report an epoch. After the last one, nothing is left to save by pruning."""
        assert metrics.validation_accuracy is not None
        self.trial.report(metrics.validation_accuracy, metrics.epoch)
        if not trainer.finished and self.trial.should_prune():
            self.pruned = True
            trainer.stop("it is not promising")


class SearchData:
    """The data of a search, without test samples. They are loaded again only if the configuration asks for others.

    Args:
        task: the data that a program passes; None for the data set that the configuration names.
    """

    def __init__(self, task: Task | None = None) -> None:
        self._own = task
        self._task: tuple[object, Task] | None = None
        self._splits: tuple[object, Splits] | None = None

    def task(self, settings: Settings) -> Task:
        """The task of a configuration.

        Raises:
            SettingsError: the configuration names no data set, and none was passed.
            DataError, InputError: the data can't be read, or the transform does not fit them.
        """
        if self._own is not None:
            return self._own
        wanted = tree_of(settings.data), tree_of(settings.transform)
        if self._task is None or self._task[0] != wanted:
            task: Task | None = settings.data.task(settings.transform)
            if task is None:
                raise SettingsError(
                    f'data.name = "{name_of(settings.data)}": no data to read; name a data set in the configuration, for '
                    "instance by --set data.name=mnist"
                )
            self._task = wanted, task
        return self._task[1]

    def splits(self, settings: Settings, device: torch.device) -> Splits:
        """The training and the validation samples of a configuration. The test samples are not kept.

        Args:
            settings: the configuration.
            device: the device of the samples.

        Raises:
            SettingsError: there are no validation samples.
            DataError: the data can't be read.
        """
        training = settings.training
        wanted = (tree_of(settings.data), tree_of(settings.transform), training.seed, settings.timesteps,
                  training.train_accuracy_samples, device)  # fmt: skip
        if self._splits is None or self._splits[0] != wanted:
            self._splits = None  # so that the former samples do not fill the memory
            found = load_splits(self.task(settings), settings, device)._replace(test=None)
            if found.validation is None:
                raise SettingsError(
                    "data.validation_samples = 0: a search compares trials on validation samples; set it to the number of "
                    "training samples to set aside"
                    if self._own is None
                    else f"the task '{self._own.name}' has no validation samples, on which trials are compared; give it some"
                )
            self._splits = wanted, found
        return self._splits[1]


class Objective:
    """The objective function of a study: the highest validation accuracy of a training.

    Args:
        settings: the configuration of the search.
        space: the search space.
        data: the samples.
        console: shows the progress of a training.
        interruption: the signals that the search has received.

    Attributes:
        running: the number of the last trial; -1 before the first one.
    """

    def __init__(
        self, settings: Settings, space: Space, data: SearchData, console: TrialConsole, interruption: Interruption
    ) -> None:
        self.settings = settings
        self.space = space
        self.data = data
        self.console = console
        self.interruption = interruption
        self.running = -1

    def __call__(self, trial: optuna.Trial) -> float:
        """Train the configuration of a trial.

        Returns:
            The highest validation accuracy over the epochs, 0 to 1.

        Raises:
            optuna.TrialPruned: the training was not promising, or the configuration was refused or has diverged.
            TrialInterrupted: by Ctrl-C.
        """
        self.running, self.console.title = trial.number, f"trial {trial.number}"
        if self.interruption.requested:
            raise TrialInterrupted
        values = self.space.suggest(trial)
        try:
            return self._train(trial, self.space.applied(self.settings, values))
        except DivergenceError as error:
            raise _without_result(trial, "diverged", error, "divergence") from None
        except REFUSALS as error:
            raise _without_result(trial, "refused", error, _NUMBER.sub("N", str(error))) from None
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            raise _without_result(trial, "refused", SettingsError("not enough memory"), "memory") from None

    def _train(self, trial: optuna.Trial, settings: Settings) -> float:
        settings = for_trials(settings)
        network = build(settings, task=self.data.task(settings))
        splits = self.data.splits(settings, network.device)
        pruning = Pruning(trial, self.interruption)
        trainer = Trainer(network, splits, [*default_callbacks(network.settings), pruning], console=self.console)
        trainer.compile()
        if not trainer.fit():
            raise TrialInterrupted
        if pruning.pruned:
            raise optuna.TrialPruned
        return trainer.progress.best_accuracy


def for_trials(settings: Settings) -> Settings:
    """The settings of a trial: nothing is measured or logged besides the validation accuracy."""
    return settings.with_arguments(
        train_accuracy_samples=0, test_every_epoch=False, tracking={"wandb": False, "tensorboard": False, "profile": False}
    )


def _without_result(trial: optuna.Trial, outcome: str, error: RecurrentFFError, cause: str) -> optuna.TrialPruned:
    """Record why a trial has no result. Optuna takes it as pruned, so that its sampler avoids such values."""
    for name, value in ((OUTCOME, outcome), (REASON, str(error)), (CAUSE, cause)):
        trial.set_user_attr(name, value)
    return optuna.TrialPruned(str(error))


def outcome_of(trial: optuna.trial.FrozenTrial) -> str:
    """The outcome of a trial in a word: "complete", "pruned", "refused", "diverged", "failed", "running" or "waiting"."""
    return str(trial.user_attrs.get(OUTCOME, trial.state.name.lower()))


def reason_of(trial: optuna.trial.FrozenTrial) -> str:
    """The reason why a trial has no result; empty if it has one."""
    return str(trial.user_attrs.get(REASON, ""))


def cause_of(trial: optuna.trial.FrozenTrial) -> Any:
    """The attribute that trials without a result for the same reason share; None for one with a result."""
    return trial.user_attrs.get(CAUSE) if OUTCOME in trial.user_attrs else None
