"""The pictures of what a network with a generative circuit imagines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RecurrentFF.model.network import Network
from RecurrentFF.model.projection import has_circuit
from RecurrentFF.training import imagined
from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.callbacks.plots import try_to_draw
from RecurrentFF.training.files import RunFolder

if TYPE_CHECKING:
    from RecurrentFF.training.summary import Summary
    from RecurrentFF.training.trainer import Trainer


class ImaginationPlots(Callback):
    """The pictures reconstructions.png, completions.png and samples_generated.png, at the end of a run.

    They show validation samples, or training samples where there are none. A network without a circuit or a task has none.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_summary(self, trainer: Trainer, summary: Summary) -> None:
        """Draw the pictures with the best weights."""
        network, data = trainer.network, trainer.splits.validation or trainer.splits.train
        if not isinstance(network, Network) or not has_circuit(network) or network.task is None:
            return
        paths = imagined.Paths(self.folder.reconstructions, self.folder.completions, self.folder.generated)
        batch = next(iter(data.batches(network.settings.training.prediction_batch_size)))
        x = network.input_sequence(batch.inputs, batch.mask)
        for path, draw in imagined.pictures(network, x, batch.labels, paths).items():
            try_to_draw(trainer, draw, path)
