"""What a run shows while it goes: a progress bar where there is a terminal, and one line for every epoch."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from RecurrentFF.training.metrics import EpochMetrics, Totals


class Console:
    """Writes to standard output; the bar goes to standard error and only to a terminal.

    Args:
        quiet: say nothing at all.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._last_accuracy: float | None = None
        self._header_shown = False

    def say(self, text: str) -> None:
        """One line for the user."""
        if not self.quiet:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def bar(self, title: str, samples: int, done: int = 0) -> EpochBar:
        """A progress bar for one epoch of `samples` training samples, of which `done` are behind us."""
        return EpochBar(title, samples, done, self._last_accuracy, hidden=self.quiet or not sys.stderr.isatty())

    def epoch(self, metrics: EpochMetrics, epochs: int, best: bool) -> None:
        """The line of a finished epoch, below a header the first time."""
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
            self.say(f"{header}    badness true|wrong label, layer 1 to {len(pairs)} (* best so far)")
            self._header_shown = True
        self.say(
            "  ".join(f"{text:>{max(9, len(name))}}" for name, text in columns.items()) + f"  {layers} {'*' if best else ''}"
        )
        self._last_accuracy = metrics.validation_accuracy


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


class EpochBar:
    """Progress within an epoch. Numbers are read off the device a few times a second at most."""

    _PATIENCE = 0.5  # seconds

    def __init__(self, title: str, samples: int, done: int, accuracy: float | None, hidden: bool) -> None:
        self._bar = tqdm(
            desc=title, total=samples, initial=done, unit=" samples", leave=False, disable=hidden, dynamic_ncols=True
        )
        self._accuracy = accuracy
        self._shown = 0.0

    def update(self, samples: int, totals: Totals) -> None:
        """Count a batch of `samples`, and now and then show the means of the epoch so far."""
        if self._bar.disable:
            return
        self._bar.update(samples)
        if time.monotonic() - self._shown > self._PATIENCE:
            mean = totals.mean()
            shown = {"loss": f"{mean.loss.mean().item():.4f}", "pairs right": f"{100 * mean.pairs_right.item():.1f} %"}
            if self._accuracy is not None:
                shown["validation"] = f"{100 * self._accuracy:.2f} %"
            self._bar.set_postfix(shown)
            self._shown = time.monotonic()

    def close(self) -> None:
        """Take the bar off the screen."""
        self._bar.close()
