"""Start or resume a run from its configuration: of a network, or of a baseline on the same data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from RecurrentFF.atomic_files import write_bytes
from RecurrentFF.benchmarks.baseline import BackpropagationLearner
from RecurrentFF.benchmarks.baselines import make_baseline
from RecurrentFF.data.dataset import Splits
from RecurrentFF.data.task import Task
from RecurrentFF.distributed import session
from RecurrentFF.errors import CheckpointError, SettingsError
from RecurrentFF.launch import is_first
from RecurrentFF.model.network import Network
from RecurrentFF.paths import kind_of, read_bytes
from RecurrentFF.registry import name_of
from RecurrentFF.settings import Settings
from RecurrentFF.streams import note_once
from RecurrentFF.training import checkpoint
from RecurrentFF.training.allocation import keep_freed_memory
from RecurrentFF.training.build import build_untrained
from RecurrentFF.training.callbacks import Callback, default_callbacks
from RecurrentFF.training.callbacks.base import require_callbacks
from RecurrentFF.training.callbacks.default import core_callbacks
from RecurrentFF.training.content import Checkpoint
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.restarts import folder_before_restart, note_launch
from RecurrentFF.training.run import run_training, start_training
from RecurrentFF.training.splits import load_splits
from RecurrentFF.training.stopwatch import Stopwatch, TimeOfParts
from RecurrentFF.training.trainer import BatchLearner, Trainer


def start(
    settings: Settings,
    parent: Path,
    *,
    baseline: str | None = None,
    callbacks: Sequence[Callback] = (),
    clock: Stopwatch | None = None,
) -> bool:
    """Train a network in a new run, whose folder is created in `parent`.

    Args:
        settings: the configuration, which names the data set.
        parent: the folder of the run's folder.
        baseline: the name of a baseline to train in place of the network, see `baselines.make_baseline`.
        callbacks: further callbacks, which follow those that the settings ask for.
        clock: a stopwatch that was started with the command, for the part "start" of the run's time; None for no such part.

    Returns:
        True if the run is complete, False if it was interrupted.

    Raises:
        SettingsError: the configuration names no data set, or something that does not fit it.
        DataError: the data can't be read.
    """
    keep_freed_memory()
    group = None if settings.distributed.mode == "none" else session(settings.distributed.timeout)
    before = None if group is None else group.world.object_of(0, lambda: folder_before_restart(parent, group.launch))
    if before is not None:
        return resume(before, lambda settings: settings, callbacks=callbacks, clock=clock)
    name = name_of(settings.data) + (f"-{baseline}" if baseline else "")
    prepared = _prepare(settings, baseline, clock)
    weights = settings.training.weights
    if weights is not None and baseline is not None:
        raise SettingsError(f"training.weights = {weights!r}: a baseline has its own initial weights; leave it out")
    circuit = settings.generative
    if weights is None and circuit is not None and circuit.freeze_layers:
        note_once("generative.freeze_layers = true without --weights: the layers are random, and stay so")
    if weights is not None:
        file = checkpoint.best_in(Path(weights))
        checkpoint.load_weights(prepared.network, checkpoint.read(file), file, any_circuit=True)
    if group is not None and not is_first():
        trainer = prepared.trainer(None, callbacks)
        trainer.compile()
        return trainer.fit()

    def prepare(folder: RunFolder) -> Trainer:
        note_launch(folder, group)
        return prepared.trainer(folder, callbacks)

    return start_training(parent, name, prepare).finished


def resume(
    path: Path,
    change: Callable[[Settings], Settings],
    *,
    continue_stopped: bool = False,
    callbacks: Sequence[Callback] = (),
    clock: Stopwatch | None = None,
) -> bool:
    """Resume an interrupted run.

    A run that was stopped before its last epoch, for instance by early stopping, is complete. It is continued if `change` gives
    it another number of epochs than before.

    Args:
        path: the run's folder, or a checkpoint in that folder to resume from.
        change: a function from the run's settings to those of its continuation.
        continue_stopped: train the rest of a run that was stopped before its last epoch, for instance by early stopping. A change
            of the number of epochs does so, too.
        callbacks: further callbacks, which follow those that the settings ask for. Their states are restored.
        clock: as for `start`.

    Returns:
        True if the run is complete, False if it was interrupted again.

    Raises:
        CheckpointError: the folder or the checkpoint can't be resumed from.
        SettingsError: the change does not fit the run.
    """
    keep_freed_memory()
    group = session()
    if group is not None and group.launch.rank > 0:  # the first process reads the checkpoint for all
        saved, start = group.world.received_from(0)
        return _continue(None, saved, start, change, continue_stopped, callbacks, clock)
    is_file = kind_of(path, CheckpointError) == "file"
    folder = RunFolder.existing(path.parent if is_file else path)
    with folder.lock():
        start = path if is_file else folder.last_to_load
        saved = _read(start, folder)
        if group is not None:
            group.world.object_of(0, lambda: (saved, start))
        return _continue(folder, saved, start, change, continue_stopped, callbacks, clock)


def _continue(
    folder: RunFolder | None,
    saved: Checkpoint,
    start: Path,
    change: Callable[[Settings], Settings],
    continue_stopped: bool,
    callbacks: Sequence[Callback],
    clock: Stopwatch | None,
) -> bool:
    """Continue from the content of a checkpoint, whose path is `start`; without a folder, in a process that does not write."""
    before = checkpoint.settings(saved, start)
    settings = change(before)
    epochs = settings.training.epochs
    if epochs != before.training.epochs and settings.schedule.needs_fixed_epochs:
        raise SettingsError(
            f"--epochs {epochs}: the {name_of(settings.schedule)} schedule of this run ends with its {before.training.epochs} "
            f"epochs; start another run from it with --weights {start}"
        )
    baseline = checkpoint.require_training(saved, start).learner.get("baseline")
    if baseline is None:
        checkpoint.require_own_weights(saved, before, start)
    prepared = _prepare(settings, baseline, clock)
    if folder is not None:
        note_launch(folder, session())
    trainer = prepared.trainer(folder, callbacks)
    trainer.resume_from(saved, start)
    if trainer.progress.epoch > epochs:
        raise SettingsError(f"--epochs {epochs}: the run has trained {trainer.progress.epoch} already")
    if epochs != before.training.epochs:
        trainer.progress.compiled = None  # it is a training of another length, for which the measurement may decide otherwise
    if continue_stopped or epochs != before.training.epochs:
        trainer.continue_stopped()
    if folder is None:
        trainer.compile()
        return trainer.fit()
    if saved.format == checkpoint.FORMAT and start.resolve() != folder.last.resolve():  # which may be damaged
        write_bytes(folder.last, read_bytes(start, CheckpointError))
    return run_training(trainer, folder)


class _Prepared(NamedTuple):
    """The parts of a trainer."""

    network: Network
    splits: Splits
    learner: BatchLearner | None
    clock: Stopwatch | None
    """The stopwatch that was started with the command."""

    def trainer(self, folder: RunFolder | None, callbacks: Sequence[Callback]) -> Trainer:
        """A trainer with the callbacks that the settings ask for, and further ones; without a folder, one that does not write."""
        settings = self.network.settings
        own = core_callbacks(settings) if folder is None else default_callbacks(settings, folder)
        trainer = Trainer(self.network, self.splits, [*own, *require_callbacks(callbacks)], learner=self.learner)
        trainer.time = TimeOfParts(self.clock)
        return trainer


def _prepare(settings: Settings, baseline: str | None, clock: Stopwatch | None) -> _Prepared:
    """Build the network, or a baseline beside it, and read the data."""
    task = _task(settings)
    network = build_untrained(settings, task)
    splits = load_splits(task, network.settings, network.device)
    if baseline is None:
        return _Prepared(network, splits, None, clock)
    model = make_baseline(baseline, network, splits)
    # The loop needs of a network only what a baseline has, too.
    return _Prepared(cast(Network, model), splits, BackpropagationLearner(model), clock)


def _task(settings: Settings) -> Task:
    task: Task | None = settings.data.task(settings.transform)
    if task is None:
        raise SettingsError(f'data.name = "{name_of(settings.data)}": no data to read; name a data set, for instance "mnist"')
    return task


def _read(start: Path, folder: RunFolder) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: it can't be read; the message suggests the folder's previous checkpoint if that one can be.
    """
    try:
        return checkpoint.read(start)
    except CheckpointError as error:
        previous = folder.previous_to_load
        advice = (
            f"; the previous checkpoint is complete: resume from it with: rff resume {previous}" if _is_readable(previous) else ""
        )
        raise CheckpointError(f"{error}{advice}") from None


def _is_readable(path: Path) -> bool:
    try:
        checkpoint.read(path)
    except CheckpointError:
        return False
    return True
