"""What a run shows while it goes: a progress bar where there is a terminal, and one line for every epoch."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from RecurrentFF.training.metrics import EpochMetrics, Totals


class Console:
    """Writes to standard output; the bar goes to standard error and only to a terminal or notebook.

    Args:
        quiet: say nothing at all.
    """

    _PATIENCE = 0.5  # seconds between two looks at the device's numbers, each of which waits for it

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: tqdm[NoReturn] | None = None
        self._last_look = 0.0
        self._last_accuracy: float | None = None
        self._header_shown = False

    def say(self, text: str) -> None:
        """One line for the user."""
        if self.quiet:
            return
        try:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads any more; the run goes on
            self.quiet = True
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (for the rest of the process)

    def start(self, title: str, samples: int, done: int = 0) -> None:
        """Begin an epoch of `samples` training samples, of which `done` are behind us."""
        if not self.quiet and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            self._bar = tqdm(desc=title, total=samples, initial=done, unit=" samples", leave=False, dynamic_ncols=True)

    def advance(self, samples: int, totals: Totals) -> None:
        """Count a batch of `samples`, and now and then show the means of the epoch so far."""
        if self._bar is None:
            return
        self._bar.update(samples)
        if time.monotonic() - self._last_look > self._PATIENCE:
            mean = totals.mean()
            shown = {"loss": f"{mean.loss.mean().item():.4f}", "pairs right": _percent(mean.pairs_right.item())}
            if self._last_accuracy is not None:
                shown["validation"] = _percent(self._last_accuracy)
            self._bar.set_postfix(shown)
            self._last_look = time.monotonic()

    def evaluating(self) -> None:
        """The epoch's batches are done, its accuracies are being measured."""
        if self._bar is not None:
            self._bar.set_postfix_str("evaluating")

    def stop(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def epoch(self, metrics: EpochMetrics, epochs: int, best: bool) -> None:
        """End an epoch with its line, below a header the first time."""
        self.stop()
        pairs = list(zip(metrics.badness_pos, metrics.badness_neg, strict=True))
        columns = {
            "epoch": f"{metrics.epoch}/{epochs}",
            "loss": f"{metrics.loss:.4f}",
            "train": _percent(metrics.train_accuracy),
            "validation": _percent(metrics.validation_accuracy),
            "test": _percent(metrics.test_accuracy),
            "samples/s": f"{metrics.samples_per_second:,.0f}",
        }
        layers = "  ".join(f"{pos:>7.3g}|{neg:<7.3g}" for pos, neg in pairs)
        if not self._header_shown:
            header = "  ".join(f"{name:>{max(9, len(name))}}" for name in columns)
            legend = " (* best so far)" if metrics.validation_accuracy is not None else ""
            self.say(f"{header}    badness true|wrong label, layer 1 to {len(pairs)}{legend}")
            self._header_shown = True
        star = " *" if best and metrics.validation_accuracy is not None else ""
        self.say("  ".join(f"{text:>{max(9, len(name))}}" for name, text in columns.items()) + f"  {layers}{star}".rstrip())
        self._last_accuracy = metrics.validation_accuracy


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"
