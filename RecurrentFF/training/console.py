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

    def say(self, text: str) -> None:
        """One line for the user."""
        if not self.quiet:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def bar(self, title: str, samples: int, done: int = 0) -> EpochBar:
        """A progress bar for one epoch of `samples` training samples, of which `done` are behind us."""
        return EpochBar(title, samples, done, self._last_accuracy, hidden=self.quiet or not sys.stderr.isatty())

    def epoch(self, metrics: EpochMetrics, epochs: int, best: bool) -> None:
        """The line of a finished epoch."""
        shown = [f"epoch {metrics.epoch:>{len(str(epochs))}}/{epochs}", f"loss {metrics.loss:.4f}"]
        for name in ("train", "validation", "test"):
            value: float | None = getattr(metrics, f"{name}_accuracy")
            shown += [f"{name} {100 * value:.2f} %"] if value is not None else []
        pairs = zip(metrics.badness_pos, metrics.badness_neg, strict=True)
        shown += ["badness true|wrong " + " ".join(f"{pos:.3g}|{neg:.3g}" for pos, neg in pairs)]
        shown += [f"{metrics.samples_per_second:,.0f} samples/s"]
        self.say("  ".join(shown) + ("  *" if best else ""))
        self._last_accuracy = metrics.validation_accuracy


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
