"""The training loop of all networks and baselines. What happens beside it is in callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from RecurrentFF.data.dataset import Dataset, Splits, require_batch
from RecurrentFF.data.task import Task
from RecurrentFF.errors import CallbackError, CheckpointError, DivergenceError, OutputError, first_line
from RecurrentFF.model.integrity import require_network
from RecurrentFF.model.learner import BatchMetrics, Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.registry import name_of
from RecurrentFF.settings import Settings
from RecurrentFF.tensors import errors_at
from RecurrentFF.training import checkpoint, compile_choice, compiling
from RecurrentFF.training.architecture import require_usable
from RecurrentFF.training.callbacks.base import Callback, require_callbacks
from RecurrentFF.training.callbacks.dispatch import Callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.content import Checkpoint, SavedTraining
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.group import TrainingGroup
from RecurrentFF.training.interruption import Interruption
from RecurrentFF.training.methods import reported_accuracy
from RecurrentFF.training.metrics import EpochMetrics, Totals, epoch_metrics, total_shapes
from RecurrentFF.training.progress import Progress
from RecurrentFF.training.randomness import epoch_order
from RecurrentFF.training.splits import check_splits, load_splits, matching_task
from RecurrentFF.training.stopwatch import Stopwatch, TimeOfParts


class BatchLearner(Protocol):
    """A learner as the training loop needs it. `Learner` is that of Recurrent Forward-Forward networks."""

    place: BatchPlace
    """The place of the next batch in the training, on which its random draws depend."""

    def train_batch(self, inputs: Tensor, labels: Tensor, mask: Tensor | None = None) -> BatchMetrics:
        """Train on one batch."""

    def scale_learning_rates(self, factor: float) -> None:
        """Set each learning rate to `factor` times its configured one."""

    @property
    def learning_rate(self) -> float:
        """The present learning rate."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next batch depends on, besides the weights and the place of the batch."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""


class Trainer:
    """Trains a network on data, epoch by epoch.

    Args:
        network: the network, trained in place.
        task: a task, or the data sets themselves. Without a validation set the last epoch is the best one.
        callbacks: called in this order at the events that `Callback` lists. `default_callbacks(settings, folder)` makes those
            that the settings ask for; without any, nothing is checked, printed or written.
        learner: trains the batches. By default it follows the network's settings.
        settings: the configuration of the training, that of the network if left out.
        console: the output for the user. The default prints to the terminal.

    Attributes:
        splits: the data sets.
        name: the name of the data.
        progress: the progress of the run.
        history: the metrics of all epochs.
        evaluated: the network that is evaluated and saved as the best: the trained one, or the moving average of its weights.
        totals: the sums of the metrics over the batches of the current epoch.
        saved: true if the last write into the run's folder succeeded.
        time: the time of training, evaluation, saving, and other parts.

    Raises:
        DataError: the data can't be read.
        InputError: the task's samples don't fit the network.
        SettingsError: something in `callbacks` is not a callback.
        CallbackError: a callback refuses the training.

    Examples:
        >>> trainer = Trainer(network, task, [*default_callbacks(network.settings), MyCallback()])
        >>> trainer.fit()
        True
    """

    def __init__(
        self,
        network: Network,
        task: Task | Splits,
        callbacks: Sequence[Callback] = (),
        *,
        learner: BatchLearner | None = None,
        settings: Settings | None = None,
        console: Console | None = None,
    ) -> None:
        self.callbacks = Callbacks(require_callbacks(callbacks))
        if not isinstance(network, nn.Module):  # a baseline is one, too
            require_network(network, "Trainer(network, task)")
        settings = settings or network.settings
        self.network = network
        self.splits = task if isinstance(task, Splits) else load_splits(matching_task(task, network), settings, network.device)
        self.settings = settings
        self.name = name_of(settings.data) if network.task is None else network.task.name
        self.learner: BatchLearner = Learner(network) if learner is None else learner
        self.group = TrainingGroup.of(network, self.settings, self.splits)
        self.console = console or Console(quiet=not self.group.is_first)
        self.evaluated = network
        self.progress = Progress()
        self.history: list[EpochMetrics] = []
        self.totals = Totals()
        self.saved = True
        self.time = TimeOfParts()
        self._weights_before = self._weights()
        self.callbacks.emit("setup", self)

    # ---------------------------------------------------------------- training

    def fit(self) -> bool:
        """Train the remaining epochs.

        Returns:
            True if the training is complete; False after Ctrl-C.

        Raises:
            InputError: inputs or labels don't fit the network.
            DivergenceError: the loss or the weights are not finite, and no callback has restored an earlier state.
            CallbackError: a callback has failed.
        """
        check_splits(self.splits, self.network)
        with self.group.training(), self.callbacks.closing(self), Interruption(self.group.count > 1) as interruption:
            self.callbacks.emit("on_fit_start", self)
            while not self.finished and not interruption.requested:
                self._train_epoch(interruption)
            self.callbacks.emit("on_fit_end", self, self.finished)
        return self.finished

    @property
    def finished(self) -> bool:
        """True if all epochs are done, or the training was stopped."""
        return self.progress.epoch >= self.settings.training.epochs or bool(self.progress.stopped)

    def stop(self, reason: str) -> None:
        """Complete the training after the current batch or epoch. An unfinished epoch is evaluated, too.

        Args:
            reason: a few words for the user.
        """
        self.progress.stopped = reason

    def continue_stopped(self) -> None:
        """Let a training that was stopped train its remaining epochs after all. Early stopping counts its epochs anew."""
        if self.progress.stopped:
            self.progress.stopped, self.progress.continued_after = "", self.progress.epoch

    def _train_epoch(self, interruption: Interruption) -> None:
        """Train the remaining batches of an epoch and evaluate it, or return to an earlier state if the training diverges."""
        try:
            with self.time.part("training"):
                self._train_batches(interruption)
            if not interruption.requested:
                with self.time.part("evaluation"):
                    self._end_epoch()
                self.group.agree_to_stop(interruption, self.progress)
        except DivergenceError as error:
            if not any(self.callbacks.emit("on_divergence", self, error)):
                raise

    def _train_batches(self, interruption: Interruption) -> None:
        """Train the remaining batches of the current epoch, until the training is interrupted or stopped."""
        options, train, epoch = self.settings.training, self.splits.train, self.progress.epoch
        size, batches = options.batch_size, train.batch_count(options.batch_size)
        order = epoch_order(options.seed, epoch, len(train))[self.progress.batch * size :]
        self.callbacks.emit("on_epoch_start", self)
        clock = Stopwatch()
        with self.group.divided(self.network):
            done = {"batches": self.progress.batch, "samples": self.totals.samples}
            for place, batch in self.group.batches(train, size, order, epoch, **done):
                rate = self.settings.schedule.factor(epoch, self.progress.batch, batches, options.epochs)
                self.learner.scale_learning_rates(rate * self.progress.rate_factor)
                self.learner.place = place
                with errors_at(f"epoch {epoch + 1}, batch {self.progress.batch + 1}"):
                    samples = place.size_of(require_batch(batch).inputs.shape[-2])
                    metrics = self.learner.train_batch(*batch)
                self.totals.add(metrics, samples)
                self.progress.batch += 1
                self.callbacks.emit("on_batch_end", self, metrics, samples)
                if self.group.agree_to_stop(interruption, self.progress):
                    break
        self.group.complete(self.network, self.evaluated, self.learner)
        self.callbacks.emit("on_batches_end", self)
        self._synchronize()
        self.progress.epoch_seconds += clock.seconds
        self.progress.seconds += clock.seconds

    def _end_epoch(self) -> None:
        """Evaluate the network, and record the epoch."""
        clock, progress = Stopwatch(), self.progress
        metrics = epoch_metrics(
            self.network,
            self.totals,
            self._weights_before,
            epoch=progress.epoch + 1,
            seconds=progress.epoch_seconds,
            learning_rate=self.learner.learning_rate,
            train_accuracy=self._accuracy(self.splits.train_subset, reports=True),
            validation_accuracy=self._accuracy(self.splits.validation),
            test_accuracy=self._accuracy(self.splits.test) if self.settings.training.test_every_epoch else None,
        )
        if self._is_best(metrics.validation_accuracy):
            progress.best_epoch = metrics.epoch
            progress.best_accuracy = -1.0 if metrics.validation_accuracy is None else metrics.validation_accuracy
        progress.epoch, progress.batch, progress.epoch_seconds = metrics.epoch, 0, 0.0
        progress.seconds += clock.seconds
        self.history.append(metrics)
        self.totals, self._weights_before = Totals(), self._weights()
        self.callbacks.emit("on_epoch_end", self, metrics)
        self.callbacks.emit("on_epoch_complete", self, metrics)

    def _is_best(self, accuracy: float | None) -> bool:
        """True if the weights after this epoch are better than those before, by their validation accuracy.

        With a generative circuit, which continues to learn, the later ones of equal accuracy are better. So where only the
        circuit learns, and the accuracy stays the same, the last weights are the best.
        """
        best = self.progress.best_accuracy
        return accuracy is None or accuracy > best or (accuracy == best and self.settings.generative is not None)

    # ---------------------------------------------------------------- output

    def log(self, text: str) -> None:
        """Print one line for the user."""
        self.console.log(text)

    def try_save(self, write: Callable[[], None]) -> bool:
        """Call a function that writes into the run's folder. If it fails, log the error in one line instead of raising it.

        Returns:
            True if the function raised no OutputError.
        """
        try:
            write()
        except OutputError as error:
            self.log(f"not saved   {error}")
            self.saved = False
            return False
        return True

    # ---------------------------------------------------------------- state

    def compile(self) -> None:
        """Compile the layers' timestep, if `device.compile` asks for it, or "auto" finds that this saves time.

        The choice is entered in `settings`. With several processes, all must call this.
        """
        compiled, network, progress = False, self.network, self.progress
        if isinstance(network, Network):
            before = False if progress.compiled is None and self.finished else progress.compiled
            choice = compile_choice.set_kernels(network, self.settings, self.splits.train, self.group, before, self.log)
            compiled, chosen = choice
            if self.settings.device.compile == "auto" or compiled != progress.compiled:  # else it is a choice from before
                progress.compiled = chosen
        self.settings = self.settings.model_copy(update={"device": self.settings.device.model_copy(update={"compile": compiled})})
        if self.evaluated is not self.network:
            compiling.share_kernels(self.network, self.evaluated)

    def state_dict(self) -> dict[str, Any]:
        """All that the next batch depends on besides the weights, with the metrics so far, for a checkpoint.

        Returns:
            The entries of `content.SavedTraining`.

        Raises:
            CallbackError: the state of a callback can't be saved.
        """
        totals = {"sums": self.totals.sums, "samples": self.totals.samples, "weights_before": self._weights_before}
        return {
            "learner": self.learner.state_dict(),
            "progress": {name: value for name, value in asdict(self.progress).items() if value is not None},
            "totals": totals,
            "history": [asdict(metrics) for metrics in self.history],
            **self.callbacks.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`. The errors are those of `load_state`."""
        self.load_state(SavedTraining(**state))

    def load_state(self, saved: SavedTraining) -> None:
        """Continue from the state of a training.

        Raises:
            ValueError: it is the state of another training.
            CallbackError: a callback does not accept its state.
        """
        self._require_fitting(saved)
        self.learner.load_state_dict(saved.learner)
        self.progress, self.history = replace(saved.progress), list(saved.history)
        totals, device = saved.totals, self.network.device
        self.totals = Totals(None if totals.sums is None else [total.to(device) for total in totals.sums], totals.samples)
        self._weights_before = [weight.to(device) for weight in totals.weights_before]
        self.callbacks.load_state(saved)

    def resume(self, start: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointError: the checkpoint can't be read, has weights only, or is of another architecture or training.
        """
        self.resume_from(checkpoint.read(start), start)

    def resume_from(self, saved: Checkpoint, start: Path) -> None:
        """Continue from the content of a checkpoint, whose path is `start`. The errors are those of `resume`."""
        training = checkpoint.require_training(saved, start)
        checkpoint.load_weights(self.network, saved, start)
        try:
            self.load_state(training)
            if training.best is not None:
                require_usable(training.best, self.network, start)
        except torch.OutOfMemoryError:
            raise
        except CallbackError as error:
            raise CallbackError(f"{start}: {error}") from error.__cause__
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
            reason = first_line(error)
            raise CheckpointError(f"{start}: the state in it is not that of this training ({reason})") from None

    def _require_fitting(self, saved: SavedTraining) -> None:
        """Check that a state has the sizes of this training, as far as only the trainer knows them.

        Raises:
            ValueError: it has not.
        """
        batches = self.splits.train.batch_count(self.settings.training.batch_size)
        if saved.progress.batch > batches:
            raise ValueError(f"{saved.progress.batch} batches of an epoch are done, but an epoch has {batches}")
        if [tuple(weight.shape) for weight in saved.totals.weights_before] != [tuple(w.shape) for w in self._weights_before]:
            raise ValueError("totals.weights_before has the weights of other layers")
        shapes = total_shapes(self.network)
        if saved.totals.sums is not None and [tuple(total.shape) for total in saved.totals.sums] != shapes:
            raise ValueError("totals.sums has the measurements of another network")
        layers = len(self.network.hidden_layers())
        if saved.history and len(saved.history[0].badness_pos) != layers:
            raise ValueError(f"history has {len(saved.history[0].badness_pos)} layers, but the network has {layers}")

    def _accuracy(self, dataset: Dataset | None, *, reports: bool = False) -> float | None:
        """The accuracy on a data set, which the processes measure together; None without one."""
        if dataset is None:
            return None
        if reports:  # by a method that is chosen on the first samples, and so must be that of one process
            return self.group.of_first(lambda: reported_accuracy(self.evaluated, dataset))
        return accuracy(self.evaluated, dataset, counts=self.group)

    def _weights(self) -> list[Tensor]:
        return [layer.weight_vector() for layer in self.network.hidden_layers()]

    def _synchronize(self) -> None:
        """Wait until the device has finished all its work, so that measured times are right."""
        next(self.network.parameters()).flatten()[0].item()
