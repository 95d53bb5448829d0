"""Weights & Biases, when asked for: online when logged in, else offline; it never asks a question and never ends a run."""

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
    """A Weights & Biases run, or nothing at all after its first failure.

    Args:
        settings: logged as the run's configuration.
        folder: the run's folder; offline data lies in its `wandb` folder.
        say: prints a line for the user.
        resume: whether the folder's run goes on.
    """

    _PATIENCE = 60
    """Seconds that the end of a run waits for the last of the data to be sent."""

    def __init__(self, settings: Settings, folder: Path, say: Callable[[str], None], resume: bool = False) -> None:
        self._say = say
        self._run: Any = None
        try:
            import wandb

            mode = os.environ.get("WANDB_MODE", "online")
            if mode not in ("offline", "disabled") and not _logged_in(wandb):
                mode = "offline"  # online, it would ask for a key
            self._run = wandb.init(
                project="RecurrentFF",
                id=folder.name,
                resume="allow" if resume else None,
                dir=str(folder),
                config=settings.model_dump(mode="json"),
                mode=mode,  # type: ignore[arg-type]
                settings=wandb.Settings(silent=True, console="off", init_timeout=30),
            )
            say(f"wandb       {mode}" + (f", logged to {folder / 'wandb'}" if mode == "offline" else ""))
        except ModuleNotFoundError:
            say("wandb       off, training goes on without it: it is not installed (pip install wandb)")
        except BaseException as error:
            self._give_up(error)

    def log(self, metrics: EpochMetrics) -> None:
        """One epoch; lists become one curve for each layer."""
        record: dict[str, float] = {}
        for name, value in asdict(metrics).items():
            if isinstance(value, list):
                record |= {f"{name}/layer_{layer}": v for layer, v in enumerate(value, start=1)}
            elif value is not None:
                record[name] = value
        self._guarded(lambda run: run.log(record, step=metrics.epoch))

    def finish(self, summary: dict[str, Any]) -> None:
        """Log the run's summary and close."""
        self._guarded(lambda run: run.summary.update(summary))
        self._guarded(self._close)

    def _close(self, run: Any) -> None:
        """Let what is still to be sent go, but don't wait for ever. Raises what closing raises."""
        failures: list[Exception] = []

        def close() -> None:
            try:
                run.finish()
            except Exception as error:
                failures.append(error)

        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        closing.join(self._PATIENCE)
        if closing.is_alive():
            self._run = None
            self._say(f"wandb       has not sent everything after {self._PATIENCE} s; if it keeps the program, Ctrl-C ends it")
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
        self._say(f"wandb       off, training goes on without it ({type(error).__name__}: {str(error).partition(chr(10))[0]})")


def _logged_in(wandb: Any) -> bool:
    """Whether wandb has a key, without asking for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(Exception):  # releases that can't be asked without a prompt count as not logged in
        return bool(wandb.login(prompt=False, verify=False))
    return False
