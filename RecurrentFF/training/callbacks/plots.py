"""The pictures of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from RecurrentFF.data.dataset import LoaderDataset
from RecurrentFF.data.task import shown_batch
from RecurrentFF.errors import printable
from RecurrentFF.model.network import Network
from RecurrentFF.model.prediction import badness_of_layers
from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.figures import drawing
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.plots import plot_curves, plot_timesteps
from RecurrentFF.training.sample_plots import plot_samples

if TYPE_CHECKING:
    from RecurrentFF.training.summary import Summary
    from RecurrentFF.training.trainer import Trainer

SAMPLES_SHOWN = 10
"""The largest number of samples in the picture of the data."""


class Plots(Callback):
    """The pictures samples.png at the start of a run, and curves.png and timesteps.png at its end.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_fit_start(self, trainer: Trainer) -> None:
        """Show training samples as a person knows them, and as the network sees them."""
        task, train = trainer.network.task, trainer.splits.train
        if task is None or isinstance(train, LoaderDataset):
            return  # to look at a loader's batches may change its later ones

        def draw() -> None:
            labels = shown_batch(train, SAMPLES_SHOWN).labels[:SAMPLES_SHOWN].tolist()
            names = [str(task.classes[number]) for number in labels]
            title = f"{trainer.name}: some of the {len(train):,} training samples"
            plot_samples(task.show(train, len(labels)), names, title, self.folder.samples)

        try_to_draw(trainer, draw, self.folder.samples)

    def on_summary(self, trainer: Trainer, summary: Summary) -> None:
        """Show the learning curves, and badness over time on validation samples.

        Badness is not shown if the layers have seen no labels, or if there is but one timestep.
        """
        accuracy, reduction = summary.test_accuracy, trainer.settings.network.badness
        title = self._title(trainer, summary)
        history, best_epoch, path = trainer.history, summary.best_epoch, self.folder.curves
        try_to_draw(trainer, lambda: plot_curves(history, title, path, best_epoch, accuracy, reduction), path)
        compares_labels = isinstance(trainer.network, Network) and not trainer.settings.training.label_free
        if trainer.splits.validation is not None and compares_labels and trainer.settings.timesteps > 1:
            try_to_draw(trainer, lambda: self._plot_timesteps(trainer, title), self.folder.timesteps)

    def _title(self, trainer: Trainer, summary: Summary) -> str:
        """The title of the plots: the data, the kind of network, the result, and the name of the run's folder."""
        kind = trainer.name if summary.baseline is None else f"{trainer.name}, baseline {summary.baseline}"
        weights = f"with the weights of epoch {summary.best_epoch}"
        if summary.test_accuracy is not None:
            result = f"{100 * summary.test_accuracy:.2f} % of the test samples right {weights}"
        elif summary.validation_accuracy is not None:
            result = f"{100 * summary.validation_accuracy:.2f} % of the validation samples right {weights}"
        else:
            result = f"{summary.epochs} epochs"
        return f"{kind}: {result}\n{printable(self.folder.path.name)}"

    def _plot_timesteps(self, trainer: Trainer, title: str) -> None:
        network, validation = trainer.network, trainer.splits.validation
        assert validation is not None
        batch = next(iter(validation.batches(network.samples_at_once)))
        inputs = network.input_sequence(batch.inputs)
        badness = badness_of_layers(network, inputs)
        logits = logits_over_time(network, inputs) if trainer.settings.negatives.trains_readout else None
        labels = batch.labels.to(network.device)
        valid = network.valid_timesteps(batch.mask, len(labels))
        names = [module.name for module in network.hidden_layers()]
        layers = [names.index(name) + 1 for name in network.prediction_layers]
        window, reduction = trainer.settings.prediction_window, trainer.settings.network.badness
        title = f"{title}; {len(labels):,} validation samples"
        plot_timesteps(badness, labels, valid, window, layers, self.folder.timesteps, reduction, logits, title)


def logits_over_time(network: Network, x: Tensor) -> Tensor:
    """The readout's logits after each timestep before the label, (label-free timesteps, batch, classes).

    Args:
        network: the network, whose readout is trained on the activity after the last one of them.
        x: inputs in the network's layout, (timesteps or 1, features, 1, batch).
    """
    logits: list[Tensor] = [torch.zeros(0, x.shape[3], network.num_classes, device=network.device)]
    with torch.no_grad():
        state = network.path.new_state(1, x.shape[3])
        network.settle(state, x, None, lambda now: logits.append(network.readout(network.hidden_pattern(now)[:, 0].T)[None]))
    return torch.cat(logits)


def try_to_draw(trainer: Trainer, draw: Callable[[], None], path: Path) -> None:
    """Draw a picture. A run never ends because of one: any failure becomes one line."""

    def guarded() -> None:
        with trainer.time.part("pictures"), drawing(path):
            draw()

    trainer.try_save(guarded)
