"""The online training of the readout: one update for every training batch, beside the layers.

A source of negatives that trains the readout has a `ReadoutTraining`. The layers never learn from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from RecurrentFF.model.divided_readout import logits_of, own_columns
from RecurrentFF.model.optimizers import Optimizer, RMSprop, load_state
from RecurrentFF.model.processes import WHOLE, BatchShare
from RecurrentFF.model.readout import Readout

if TYPE_CHECKING:  # the network imports nothing from here, but its type is needed
    from RecurrentFF.model.network import Network

DEFAULT_READOUT_OPTIMIZER = RMSprop(learning_rate=1e-3)
"""The optimizer of a readout, unless another one is chosen."""


class ReadoutUpdate(NamedTuple):
    """The values that one update of the readout has computed."""

    logits: Tensor
    """The logits before the update, (batch, classes)."""
    loss: Tensor
    """The mean cross-entropy of these logits, ()."""


class ReadoutTraining:
    """The training of a readout by cross-entropy on the true labels.

    Args:
        readout: changed in place.
        kind: the optimizer with its options.
        frozen: the readout stays unchanged, as layers that a generative circuit freezes.
    """

    def __init__(self, readout: Readout, kind: Optimizer, *, frozen: bool = False) -> None:
        self.readout = readout
        self.kind = kind
        self.frozen = frozen
        self.optimizer = kind.make(readout.parameters())

    def update(self, network: Network, features: Tensor, labels: Tensor, share: BatchShare = WHOLE) -> ReadoutUpdate:
        """Learn from one batch, unless the readout is frozen.

        Args:
            network: the network, whose layers may be divided among processes.
            features: (batch, features), the label-free activity of this process's hidden layers.
            labels: (batch,) class numbers.
            share: the part of the batch that these samples are.
        """
        logits, columns = logits_of(network, features), own_columns(network)
        gradients = self.readout.gradients(logits, features, labels, columns=columns, batch=share.size)
        if not self.frozen:
            weight, self.readout.bias.grad = share.summed(gradients.weight, gradients.bias)
            (self.readout.weight.grad,) = network.processes.sum_over_layers(weight)  # each process has some of its columns
            self.optimizer.step()
        return ReadoutUpdate(logits, gradients.loss)

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizer."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`. Raises ValueError if it is that of another optimizer."""
        load_state(self.optimizer, self.kind, state)
