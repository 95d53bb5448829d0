"""The common parts of the baselines: the interface that the training loop needs, and the training by backpropagation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.layers import LocalModule
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.network import Network
from RecurrentFF.model.optimizers import without_compiler
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.training.schedules import Cosine

LEARNING_RATE = 1e-3
"""The learning rate of Adam at the first batch."""


class Baseline(nn.Module):
    """The base class of baselines. They have what the training loop needs of a network, and no layer that learns locally.

    Args:
        network: the network to compare with, which determines the configuration, the task and the device.
    """

    baseline: str
    """The name of the baseline."""
    has_own_modules = True
    path: ClassVar[None] = None
    """There are no timesteps of layers to compile."""
    follows_precision: ClassVar[bool] = False
    """True if matrix products are in the precision of the configuration, false if they are in float32."""
    averages_weights: ClassVar[bool] = False
    """True if the moving average of the weights is that of the configuration, false if there is none."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        precision = network.settings.device.precision if self.follows_precision else "float32"
        averaging = network.settings.training.weight_averaging if self.averages_weights else 0.0
        self.settings = network.settings.with_arguments(schedule=Cosine(), weight_averaging=averaging, precision=precision)
        self.task = network.task
        self.input_size, self.num_classes = network.input_size, network.num_classes
        self.local_modules: list[LocalModule] = []

    @property
    @abstractmethod
    def description(self) -> str:
        """The line about the model for the user."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def hidden_layers(self) -> list[LocalModule]:
        """The empty list: there are no layers with badness."""
        return []

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Make the optimizer of all weights: Adam with a learning rate of LEARNING_RATE."""
        return without_compiler(torch.optim.Adam)(self.parameters(), lr=LEARNING_RATE)

    def logits(self, inputs: Tensor, mask: Tensor | None = None, draws: BatchDraws | None = None) -> Tensor:
        """Compute logits, (batch, classes).

        Args:
            inputs: network inputs, (batch, features) or (timesteps, batch, features).
            mask: (timesteps, batch), true at valid timesteps, which come first; None if all are valid.
            draws: the random numbers of dropout; None for no dropout, as in a prediction.
        """
        sequence = inputs.to(self.device, torch.float32)
        if sequence.dim() == 2:
            sequence = sequence.expand(self.settings.timesteps, -1, -1)
        logits: Tensor = self(sequence, None if mask is None else mask.to(self.device), draws)
        return logits

    @torch.no_grad()
    def predict_inputs(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The class number of the highest logit, (batch,)."""
        return self.logits(inputs, mask).argmax(1)


class BackpropagationLearner:
    """The training of a baseline, batch by batch, as `Learner` is that of a network.

    Args:
        model: changed in place.
    """

    def __init__(self, model: Baseline) -> None:
        self.model = model
        self.optimizer = model.make_optimizer()
        self.place = BatchPlace()
        self._base_rate = self.learning_rate

    def train_batch(self, inputs: Tensor, labels: Tensor, mask: Tensor | None = None) -> BatchMetrics:
        """Train on one batch. The arguments are those of `Learner.train_batch`, with one label for each sample."""
        logits = self.model.logits(inputs, mask, self._next_draws(len(labels)))
        loss = F.cross_entropy(logits, labels.to(self.model.device))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        none = torch.zeros(1, 0, device=loss.device)
        zero, one = torch.zeros((), device=loss.device), torch.ones(1, 1, device=loss.device)
        return BatchMetrics(loss.detach().view(1, 1), none, none, pairwise_accuracy=zero, valid_fraction=one, readout_loss=zero)

    def _next_draws(self, batch: int) -> BatchDraws:
        """The random numbers of the next batch, which depend on its place alone. The place moves to the batch after it."""
        place = self.place
        self.place = place._replace(first=place.first + batch)
        samples = torch.arange(place.first, place.first + batch, device=self.model.device)
        return BatchDraws(self.model.settings.training.seed, place.epoch, samples)

    def scale_learning_rates(self, factor: float) -> None:
        """Set the learning rate to `factor` times that at the first batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self._base_rate

    @property
    def learning_rate(self) -> float:
        """The present learning rate."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def state_dict(self) -> dict[str, Any]:
        """The name of the baseline, by which a resumed run makes it again, and the optimizer."""
        return {"baseline": self.model.baseline, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
