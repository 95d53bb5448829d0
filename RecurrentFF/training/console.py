"""Console output of a run: a progress bar in a terminal, and one line for every epoch."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from tqdm import tqdm

from RecurrentFF.streams import QuietStream, is_terminal, write_line
from RecurrentFF.training.metrics import EpochMetrics, Totals


class Console:
    """The console output of a run: lines on standard output, and a progress bar on standard error.

    The progress bar is shown only in a terminal or a notebook.

    Args:
        quiet: print nothing.
    """

    _REFRESH_SECONDS = 0.5  # between two updates of the shown metrics, since each one synchronizes with the device

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: tqdm[NoReturn] | None = None
        self._last_refresh = 0.0
        self._last_accuracy: float | None = None
        self._header_shown = False
        self._columns: list[str] = []

    def log(self, text: str) -> None:
        """Print one line for the user, as far as standard output can be written. Progress bars make room for it."""
        if self.quiet:
            return
        with self._bars_removed():
            write_line(text)

    @contextlib.contextmanager
    def _bars_removed(self) -> Iterator[None]:
        """Remove the progress bars, also those of other programs, while a line is printed."""
        with contextlib.ExitStack() as bars:
            with self._no_bar_after_failure():
                if self._bar is not None:
                    self._bar.clear()
            with contextlib.suppress(Exception):  # a bar of another program, on a stream that can't be written
                bars.enter_context(tqdm.external_write_mode(file=sys.stdout))
            yield
            with contextlib.suppress(Exception):
                bars.close()
        with self._no_bar_after_failure():
            if self._bar is not None:
                self._bar.refresh()

    def start(self, title: str, samples: int, done: int = 0) -> None:
        """Show a progress bar for an epoch of `samples` training samples, of which `done` are already done."""
        if self.quiet or not (is_terminal("stderr") or "ipykernel" in sys.modules):
            return
        with self._no_bar_after_failure():
            stream = QuietStream("stderr")
            self._bar = tqdm(
                desc=title, total=samples, initial=done, unit=" samples", leave=False, dynamic_ncols=True, file=stream
            )

    def advance(self, samples: int, totals: Totals) -> None:
        """Advance the progress bar by a batch of `samples`.

        The bar shows means over the epoch so far. They are updated about twice a second.
        """
        if self._bar is None:
            return
        with self._no_bar_after_failure():
            self._bar.update(samples)
            if time.monotonic() - self._last_refresh > self._REFRESH_SECONDS:
                self._bar.set_postfix(self._shown(totals))
                self._last_refresh = time.monotonic()

    def _shown(self, totals: Totals) -> dict[str, str]:
        """The metrics beside the progress bar."""
        mean = totals.mean()
        metrics = {"loss": f"{mean.loss.mean().item():.4f}"}
        if mean.badness_pos.shape[-1]:
            metrics["pairwise accuracy"] = _percent(mean.pairwise_accuracy.item())
        if self._last_accuracy is not None:
            metrics["validation"] = _percent(self._last_accuracy)
        return metrics

    def evaluating(self) -> None:
        """Show that the accuracies of the epoch are being measured."""
        if self._bar is not None:
            with self._no_bar_after_failure():
                self._bar.set_postfix_str("evaluating")

    def stop(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            with self._no_bar_after_failure():
                self._bar.close()
            self._bar = None

    @contextlib.contextmanager
    def _no_bar_after_failure(self) -> Iterator[None]:
        """Continue without a progress bar if showing it fails, for instance where no lock or thread can be had."""
        try:
            yield
        except Exception:
            self._bar = None

    def epoch(self, metrics: EpochMetrics, epochs: int, best: bool) -> None:
        """Remove the progress bar and print the line of an epoch. The first line has a header.

        Badness is Hinton's goodness with the sign flipped, so it is low for positive data.

        Args:
            metrics: the metrics of the epoch.
            epochs: number of epochs of the run.
            best: mark the epoch as the best so far.
        """
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
        if not self._header_shown:  # accuracies that this run does not measure have no column
            self._columns = [name for name, text in columns.items() if text != "-"]
        columns = {name: columns[name] for name in self._columns}
        layers = "  ".join(f"{pos:>7.3g}|{neg:<7.3g}" for pos, neg in pairs)
        if not self._header_shown:
            header = "  ".join(f"{name:>{max(8, len(name))}}" for name in columns)
            legend = " (* best)" if metrics.validation_accuracy is not None else ""
            badness = f"    badness positive|negative, layer 1 to {len(pairs)}" if pairs else "  "
            self.log(f"{header}{badness}{legend}".rstrip())
            self._header_shown = True
        star = " *" if best and metrics.validation_accuracy is not None else ""
        self.log("  ".join(f"{text:>{max(8, len(name))}}" for name, text in columns.items()) + f"  {layers}{star}".rstrip())
        self._last_accuracy = metrics.validation_accuracy


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f} %"
