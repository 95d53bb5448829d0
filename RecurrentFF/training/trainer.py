"""The training loop of all benchmarks and notebooks. It writes metrics and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Dataset, Splits
from RecurrentFF.errors import CheckpointError, DivergenceError, OutputError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.training import checkpoint, compiling
from RecurrentFF.training.averaging import average
from RecurrentFF.training.console import Console
from RecurrentFF.training.divergence import NonFiniteLossCheck
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.interruption import Interruption
from RecurrentFF.training.metrics import EpochMetrics, Totals, epoch_metrics, write_metrics
from RecurrentFF.training.profiling import profiler
from RecurrentFF.training.schedule import learning_rate_factor
from RecurrentFF.training.stopwatch import Stopwatch
from RecurrentFF.training.tracker import Tracker

MAX_RETRIES = 5
"""Maximum number of retries after divergences, with on_divergence = "retry"."""


@dataclass
class Progress:
    """Progress of a run. It is saved in the last checkpoint."""

    epoch: int = 0
    """Number of finished epochs."""
    batch: int = 0
    """Number of finished batches of the current epoch."""
    best_epoch: int = 0
    """Number of the best epoch so far, from 1, 0 before the first. Without validation samples this is the last epoch."""
    best_accuracy: float = -1.0
    """Validation accuracy of the best epoch, −1 if there is none."""
    seconds: float = 0.0
    """Duration of the run so far in seconds, evaluation included."""
    epoch_seconds: float = 0.0
    """Duration of the current epoch's batches so far in seconds."""
    rate_factor: float = 1.0
    """Factor of all learning rates. It is halved after each divergence, with on_divergence = "retry"."""


class Trainer:
    """Trains a network on data, epoch by epoch.

    Args:
        network: the network, trained in place.
        splits: the data sets. Without a validation set the last epoch is the best one.
        folder: the folder for metrics and checkpoints. By default nothing is written.
        console: the output for the user. The default prints to the terminal.
        learner: trains the batches. By default it follows the network's settings.
    """

    def __init__(
        self,
        network: Network,
        splits: Splits,
        folder: RunFolder | None = None,
        console: Console | None = None,
        learner: Learner | None = None,
    ) -> None:
        self.network = network
        device = network.settings.device.model_copy(update={"compile": compiling.resolve(network, len(splits.train))})
        self.settings = network.settings.model_copy(update={"device": device})  # "auto" is resolved for this data
        self.splits = splits
        self.folder = folder
        self.console = console or Console()
        self.learner = Learner(network) if learner is None else learner
        self.tracker: Tracker | None = None
        self.progress = Progress()
        self.history: list[EpochMetrics] = []
        self._totals = Totals()
        self._weights_before = self._weights()
        self._average = average(network)
        self.saved = True
        """True if the last write into the folder succeeded."""
        self._best: dict[str, Tensor] | None = None  # the best epoch's weights until best.pt is written

    def compile(self) -> None:
        """Compile the layers' timestep, if `device.compile` asks for it."""
        if self.settings.device.compile:
            compiling.prepare(self.network, self.console.log)
        compiling.share_kernels(self.network, self.evaluated)

    def fit(self) -> bool:
        """Train the remaining epochs.

        Returns:
            True if all epochs are done; False after Ctrl-C, when the state has been saved.

        Raises:
            DivergenceError: the loss or the weights are NaN or infinite, and retries are off or used up.
        """
        if self.folder is not None and self.settings.model.should_log_metrics:
            self.tracker = Tracker(self.settings, self.folder.path, self.console.log, resume=bool(self.history))
        trace = self.folder.profile if self.folder and not self.settings.model.skip_profiling else None
        if self.progress == Progress():
            self._save_last()  # so that a run that is killed at any moment can be resumed
        with Interruption() as interruption, profiler(trace) as profiling:
            while self.progress.epoch < self.settings.model.epochs and not interruption.requested:
                self._train_and_end_epoch(interruption, profiling.step)
        done = self.progress.epoch >= self.settings.model.epochs
        if done and self.saved and self.folder is not None:
            self.folder.previous.unlink(missing_ok=True)  # only an interrupted run needs it
        return done

    def _train_and_end_epoch(self, interruption: Interruption, after_batch: Callable[[], None]) -> None:
        try:
            metrics = self._end_epoch() if self._train_epoch(interruption, after_batch) else None
        except DivergenceError as error:
            self._retry(error)
            return
        if metrics is not None and self.tracker is not None:
            self.tracker.log(metrics)

    def _retry(self, error: DivergenceError) -> None:
        """Resume from the last checkpoint with half the learning rate. Raise `error` if retries are off or used up."""
        self.console.stop()
        factor = self.progress.rate_factor / 2
        if self.settings.training.on_divergence == "stop" or self.folder is None or factor < 2**-MAX_RETRIES:
            raise error
        self.resume()
        self.progress.rate_factor = factor
        place = str(error).partition(":")[0]
        self.console.log(f"diverged    in {place}; back to the last checkpoint, with learning rates times {factor:g}")

    def _train_epoch(self, interruption: Interruption, after_batch: Callable[[], None]) -> bool:
        """Train the remaining batches of the current epoch.

        Returns:
            True if all batches are done; False after Ctrl-C, when the state has been saved.
        """
        size, epochs = self.settings.data_config.train_batch_size, self.settings.model.epochs
        seed, train, start = self.settings.training.seed, self.splits.train, self.progress.batch
        order = epoch_order(seed, self.progress.epoch, len(train))
        batches = train.batch_count(size)
        self.console.start(f"epoch {self.progress.epoch + 1}/{epochs}", len(train), self._totals.samples)
        clock, divergence = Stopwatch(), NonFiniteLossCheck(self.progress.epoch + 1, start)
        for batch in train.batches(size, order[start * size :], self.progress.epoch):
            factor = learning_rate_factor(self.settings.model, self.progress.epoch, self.progress.batch, batches)
            self.learner.scale_learning_rates(factor * self.progress.rate_factor)
            self.learner.generator.manual_seed(batch_seed(seed, self.progress.epoch, self.progress.batch))
            samples = batch.labels.shape[-1]
            metrics = self.learner.train_batch(*batch)
            divergence.add(metrics.loss)
            self._totals.add(metrics, samples)
            if self._average is not None:
                self._average.update_parameters(self.network)
            self.progress.batch += 1
            self.console.advance(samples, self._totals)
            after_batch()
            if interruption.requested:
                break
        divergence.check()
        self._synchronize()
        self.progress.epoch_seconds += clock.seconds
        self.progress.seconds += clock.seconds
        if interruption.requested:
            self.console.stop()
            self._save_last()
        return not interruption.requested

    def _end_epoch(self) -> EpochMetrics:
        """Evaluate the network, print and save the metrics, and save the checkpoints.

        Raises:
            DivergenceError: a metric of a layer is NaN or infinite.
        """
        self.console.evaluating()
        clock = Stopwatch()
        accuracies = {
            "train_accuracy": self._accuracy(self.splits.train_subset),
            "validation_accuracy": self._accuracy(self.splits.validation),
            "test_accuracy": self._accuracy(self.splits.test) if self.settings.training.test_every_epoch else None,
        }
        metrics = epoch_metrics(
            self.network,
            self._totals,
            self._weights_before,
            epoch=self.progress.epoch + 1,
            seconds=self.progress.epoch_seconds,
            learning_rate=self.learner.learning_rate,
            **accuracies,
        )
        require_finite(metrics)
        best = metrics.validation_accuracy is None or metrics.validation_accuracy > self.progress.best_accuracy
        if best:
            self.progress.best_epoch = metrics.epoch
            self.progress.best_accuracy = metrics.validation_accuracy if metrics.validation_accuracy is not None else -1.0
        self.history.append(metrics)
        self.progress.epoch, self.progress.batch, self.progress.epoch_seconds = metrics.epoch, 0, 0.0
        self._totals = Totals()
        self._weights_before = self._weights()
        self.console.epoch(metrics, self.settings.model.epochs, best)
        self.progress.seconds += clock.seconds
        if self.folder is not None:
            history, folder = self.history, self.folder
            self.try_save(lambda: write_metrics(folder.metrics, history))
            if best:
                self._best = self.evaluated.state_dict()
            self._save_last()
        return metrics

    def _save_best(self, folder: RunFolder) -> None:
        """Write the best epoch's weights to best.pt. If that fails, they stay in memory and in the last checkpoint."""
        if self._best is not None:
            best, metrics = self._best, asdict(self.history[self.progress.best_epoch - 1])
            extra: dict[str, Any] = {"epoch": self.progress.best_epoch, "metrics": metrics}
            if self.try_save(lambda: checkpoint.save(self.network, folder.best, weights=best, **extra)):
                self._best = None
            else:
                # Keep a copy, since training continues to change the weights.
                self._best = {name: tensor.clone() for name, tensor in best.items()}

    def load_best(self) -> None:
        """Load the weights of the best epoch into the network.

        Raises:
            CheckpointError: best.pt is missing or damaged.
        """
        assert self.folder is not None
        if self._best is not None:
            self.network.load_state_dict(self._best)
        else:
            checkpoint.load_weights(self.network, checkpoint.read(self.folder.best), self.folder.best)

    def require_saved(self) -> None:
        """Try once more to save the best weights, if they are not saved yet.

        Raises:
            OutputError: they can't be written.
        """
        if self.folder is not None and self._best is not None:
            checkpoint.save(self.network, self.folder.best, weights=self._best, epoch=self.progress.best_epoch)
            self._best = None

    def try_save(self, write: Callable[[], None]) -> bool:
        """Call a function that writes into the run's folder. If it fails, log the error in one line instead of raising it.

        Returns:
            True if the function raised no OutputError.
        """
        try:
            write()
        except OutputError as error:
            self.console.log(f"not saved   {error}")
            self.saved = False
            return False
        return True

    def _save_last(self) -> None:
        """Save the last checkpoint: all the state that the next batch depends on, and the sums of the current epoch."""
        if self.folder is not None:
            folder = self.folder
            self._save_best(folder)
            totals = {"sums": self._totals.sums, "samples": self._totals.samples, "weights_before": self._weights_before}
            state: dict[str, Any] = {
                "learner": self.learner.state_dict(),
                "progress": asdict(self.progress),
                "totals": totals,
                "history": [asdict(metrics) for metrics in self.history],
                "average": self._average.state_dict() if self._average is not None else None,
                "best": self._best,
            }
            success = self.try_save(lambda: checkpoint.save(self.network, folder.last, previous=folder.previous, **state))
            self.saved = success and self._best is None

    def resume(self, start: Path | None = None) -> None:
        """Resume from a checkpoint, by default the last one of the folder.

        Raises:
            CheckpointError: the checkpoint can't be read, has weights only, or is of another architecture.
        """
        assert self.folder is not None
        start = start or self.folder.last
        saved = checkpoint.read(start)
        if not {"learner", "progress", "totals", "history"} <= saved.keys():
            raise CheckpointError(f"{start}: has weights only, no state to resume from; start a new run from it with --weights")
        checkpoint.load_weights(self.network, saved, start)
        self.learner.load_state_dict(saved["learner"])
        if self._average is not None:
            self._average.load_state_dict(saved["average"])
        self._best = saved["best"]
        self.progress = Progress(**saved["progress"])
        self.history = [EpochMetrics(**metrics) for metrics in saved["history"]]
        totals, device = saved["totals"], self.network.device
        self._totals = Totals([t.to(device) for t in totals["sums"]] if totals["sums"] else None, totals["samples"])
        self._weights_before = [weight.to(device) for weight in totals["weights_before"]]

    def _accuracy(self, dataset: Dataset | None) -> float | None:
        return None if dataset is None else accuracy(self.evaluated, dataset)

    @property
    def evaluated(self) -> Network:
        """The network that is evaluated and saved as the best: the moving average if there is one, else the trained network."""
        if self._average is None:
            return self.network
        assert isinstance(self._average.module, Network)
        return self._average.module

    def _weights(self) -> list[Tensor]:
        return [layer.weight_vector() for layer in self.network.hidden_layers()]

    def _synchronize(self) -> None:
        """Wait until the device has finished all its work, so that measured times are right."""
        self.network.readout.bias[0].item()


def epoch_order(seed: int, epoch: int, samples: int) -> Tensor:
    """The random order of the samples in an epoch, a pure function of the arguments.

    Returns:
        Indices of the samples, of shape (samples,).
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(samples, generator=generator)


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """The seed of a batch's negative labels and dropout masks, a pure function of the arguments.

    A checkpoint therefore needs no state of the random generator, and a run can resume on a device of another kind.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    offset = int(torch.randint(2**62, (), generator=generator))
    return offset ^ batch


def require_finite(metrics: EpochMetrics) -> None:
    """Check that the metrics of all layers are finite.

    Raises:
        DivergenceError: a metric is NaN or infinite. The message names the first one and its layer.
    """
    for name in ("layer_loss", "badness_pos", "badness_neg", "weight_norm"):
        for layer, value in enumerate(getattr(metrics, name), start=1):
            if not math.isfinite(value):
                raise DivergenceError(
                    f"epoch {metrics.epoch}: the training has diverged, {name} of layer {layer} is {value}; "
                    "use a smaller learning rate (the checkpoint of the previous epoch is kept)"
                )
