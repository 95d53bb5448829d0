"""Trackers: the metrics of a run in Weights & Biases and in TensorBoard. They never prompt and never end the run."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from RecurrentFF.errors import described, first_line
from RecurrentFF.registry import tree_of
from RecurrentFF.training.callbacks.base import Callback

if TYPE_CHECKING:
    from RecurrentFF.training.metrics import EpochMetrics
    from RecurrentFF.training.summary import Summary
    from RecurrentFF.training.trainer import Trainer


class Tracker(Callback):
    """The base class of trackers. After its first failure, which it reports in one line, a tracker does nothing more.

    Args:
        folder: the run's folder.
    """

    name: ClassVar[str]
    """The name of the tracker in the lines for the user."""
    package: ClassVar[str]
    """The name of the tracker's package, which pip installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._active = False

    def start(self, trainer: Trainer) -> None:
        """Open the tracker's run. It may raise any error."""
        raise NotImplementedError

    def record(self, values: dict[str, float], epoch: int) -> None:
        """Log the metrics of an epoch by name, with one entry `metric/layer_1` for each layer. It may raise any error."""
        raise NotImplementedError

    def finish(self, trainer: Trainer, results: dict[str, Any]) -> None:
        """Log the results, which are empty after an interruption, and close the tracker's run. It may raise any error."""
        raise NotImplementedError

    def on_fit_start(self, trainer: Trainer) -> None:
        """Open the tracker's run."""
        self._active = True
        self._guarded(trainer, lambda: self.start(trainer))

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        """Log the metrics of an epoch."""
        self._guarded(trainer, lambda: self.record(by_layer(metrics), metrics.epoch))

    def on_fit_end(self, trainer: Trainer, finished: bool) -> None:
        """Close the tracker's run after an interruption; a finished training has results to come."""
        if not finished:
            self._finish(trainer, {})

    def on_summary(self, trainer: Trainer, summary: Summary) -> None:
        """Log the results, and close the tracker's run."""
        self._finish(trainer, asdict(summary))

    def _finish(self, trainer: Trainer, results: dict[str, Any]) -> None:
        self._guarded(trainer, lambda: self.finish(trainer, results))
        self._active = False

    def _guarded(self, trainer: Trainer, action: Callable[[], None]) -> None:
        """Call a function of the tracker, unless one has failed before. If it fails, log the reason in one line."""
        if not self._active:
            return
        try:
            action()
        except ModuleNotFoundError as error:
            self._active = False
            missing = _is_of(error, self.package)
            reason = f": it is not installed (pip install {self.package})" if missing else f" ({first_line(error)})"
            trainer.log(f"{self.name:<12}off, training continues without it{reason}")
        except (Exception, SystemExit) as error:
            self._active = False
            trainer.log(f"{self.name:<12}off, training continues without it ({described(error)})")


class WeightsAndBiases(Tracker):
    """A Weights & Biases run: online if the user is logged in, else offline.

    The environment variables of wandb apply, such as WANDB_ENTITY, WANDB_NAME and WANDB_TAGS. Where they say nothing, the project
    is "RecurrentFF" (WANDB_PROJECT), the run has the name of its folder (WANDB_RUN_ID) and its files are in it (WANDB_DIR).
    """

    name = "wandb"
    package = "wandb"

    SHUTDOWN_TIMEOUT: ClassVar[float] = 60
    """Maximum time in seconds to send the remaining data at the end of a run."""

    _run: Any = None

    def start(self, trainer: Trainer) -> None:
        """Open the run of this folder, which is continued if the training is."""
        import wandb

        mode = os.environ.get("WANDB_MODE") or "online"
        if mode not in ("offline", "disabled") and not _logged_in(wandb):
            mode = "offline"  # in online mode, wandb would prompt for a key
        own = _unless_set(run_id=self.folder.name, resume="allow" if trainer.history else None, dir=str(self.folder))
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "RecurrentFF",
            id=own.get("run_id"),
            resume=own.get("resume"),
            dir=own.get("dir"),
            config=tree_of(trainer.settings),
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(**_unless_set(silent=True, console="off", init_timeout=30)),
        )
        folder = Path(os.environ.get("WANDB_DIR") or self.folder) / "wandb"
        trainer.log(f"wandb       {mode}" + (f", logged to {folder}" if mode == "offline" else ""))

    def record(self, values: dict[str, float], epoch: int) -> None:
        """Log the metrics of an epoch."""
        self._run.log(values, step=epoch)

    def finish(self, trainer: Trainer, results: dict[str, Any]) -> None:
        """Log the results and close the run, but wait at most `SHUTDOWN_TIMEOUT` seconds."""
        self._run.summary.update(results)
        failures: list[Exception] = []

        def close() -> None:
            try:
                self._run.finish()
            except Exception as error:
                failures.append(error)

        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        closing.join(self.SHUTDOWN_TIMEOUT)
        if closing.is_alive():
            limit = f"{self.SHUTDOWN_TIMEOUT:g} s"
            trainer.log(f"wandb       has not sent everything after {limit}; if the program does not end, press Ctrl-C")
        for failure in failures:
            raise failure


class TensorBoard(Tracker):
    """Event files for TensorBoard in the run's folder. Show them with `tensorboard --logdir RUN_DIR`."""

    name = "tensorboard"
    package = "tensorboard"

    _writer: Any = None

    def start(self, trainer: Trainer) -> None:
        """Open an event file. Epochs after the one that training continues from are removed."""
        from torch.utils.tensorboard import SummaryWriter  # it fails where tensorboard is not installed

        folder = self.folder / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=trainer.progress.epoch + 1)
        if not trainer.history:
            self._writer.add_text("settings", f"```toml\n{trainer.settings.to_toml()}\n```")
        trainer.log(f"tensorboard writes to {folder}")

    def record(self, values: dict[str, float], epoch: int) -> None:
        """Write the metrics of an epoch."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def finish(self, trainer: Trainer, results: dict[str, Any]) -> None:
        """Write the numbers among the results, and close the event file."""
        for name, value in results.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"summary/{name}", value, trainer.progress.epoch)
        self._writer.close()


def by_layer(metrics: EpochMetrics) -> dict[str, float]:
    """The measured metrics of an epoch by name; a list becomes one entry for each layer."""
    values: dict[str, float] = {}
    for name, value in asdict(metrics).items():
        if isinstance(value, list):
            values |= {f"{name}/layer_{layer}": number for layer, number in enumerate(value, start=1)}
        elif value is not None:
            values[name] = value
    return values


def _unless_set(**values: Any) -> dict[str, Any]:
    """The values whose environment variable, such as WANDB_RUN_ID for run_id, is not set: wandb reads the others by itself."""
    return {name: value for name, value in values.items() if not os.environ.get(f"WANDB_{name.upper()}")}


def _is_of(error: ModuleNotFoundError, package: str) -> bool:
    """Check if an error says that a package itself is missing, rather than one that it needs."""
    return error.name is None or error.name.partition(".")[0] == package


def _logged_in(wandb: Any) -> bool:
    """Check if wandb has a key, without a prompt."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(Exception):  # a release that can't check without a prompt is treated as not logged in
        return bool(wandb.login(prompt=False, verify=False))
    return False
