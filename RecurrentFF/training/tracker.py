"""Log a run to Weights & Biases: online if the user is logged in, else offline. It never prompts and never ends the run."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from RecurrentFF.settings import Settings
from RecurrentFF.training.metrics import EpochMetrics


class Tracker:
    """A Weights & Biases run. After the first failure it does nothing.

    Args:
        settings: the configuration to log.
        folder: the run's folder. Offline data is in its subfolder `wandb`.
        print_line: prints a line for the user.
        resume: continue the run of this folder.
    """

    _SHUTDOWN_TIMEOUT = 60
    """Maximum time in seconds to send the remaining data at the end of a run."""

    def __init__(self, settings: Settings, folder: Path, print_line: Callable[[str], None], resume: bool = False) -> None:
        self._print_line = print_line
        self._run: Any = None
        try:
            import wandb

            mode = os.environ.get("WANDB_MODE", "online")
            if mode not in ("offline", "disabled") and not _logged_in(wandb):
                mode = "offline"  # in online mode, wandb would prompt for a key
            self._run = wandb.init(
                project="RecurrentFF",
                id=folder.name,
                resume="allow" if resume else None,
                dir=str(folder),
                config=settings.model_dump(mode="json"),
                mode=mode,  # type: ignore[arg-type]
                settings=wandb.Settings(silent=True, console="off", init_timeout=30),
            )
            print_line(f"wandb       {mode}" + (f", logged to {folder / 'wandb'}" if mode == "offline" else ""))
        except ModuleNotFoundError:
            print_line("wandb       off, training continues without it: it is not installed (pip install wandb)")
        except BaseException as error:
            self._give_up(error)

    def log(self, metrics: EpochMetrics) -> None:
        """Log the metrics of an epoch. A list becomes one curve for each layer."""
        record: dict[str, float] = {}
        for name, value in asdict(metrics).items():
            if isinstance(value, list):
                record |= {f"{name}/layer_{layer}": v for layer, v in enumerate(value, start=1)}
            elif value is not None:
                record[name] = value
        self._guarded(lambda run: run.log(record, step=metrics.epoch))

    def finish(self, summary: dict[str, Any]) -> None:
        """Log the run's summary and close the run."""
        self._guarded(lambda run: run.summary.update(summary))
        self._guarded(self._close)

    def _close(self, run: Any) -> None:
        """Close the run, but wait at most `_SHUTDOWN_TIMEOUT` seconds. Errors of closing are raised."""
        failures: list[Exception] = []

        def close() -> None:
            try:
                run.finish()
            except Exception as error:
                failures.append(error)

        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        closing.join(self._SHUTDOWN_TIMEOUT)
        if closing.is_alive():
            self._run = None
            self._print_line(
                f"wandb       has not sent everything after {self._SHUTDOWN_TIMEOUT} s; if the program does not end, press Ctrl-C"
            )
        for failure in failures:
            raise failure

    def _guarded(self, action: Callable[[Any], None]) -> None:
        if self._run is not None:
            try:
                action(self._run)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise error
        self._run = None
        self._print_line(
            f"wandb       off, training continues without it ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        )


def _logged_in(wandb: Any) -> bool:
    """Check if wandb has a key, without a prompt."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(Exception):  # a release that can't check without a prompt is treated as not logged in
        return bool(wandb.login(prompt=False, verify=False))
    return False
