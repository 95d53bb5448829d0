"""Sources of negative data: wrong labels, wrong inputs, or both.

A source of your own is one class with one method, `sample`; pass it as `rff.fit(network, data, negatives=MySource())`, or
register it, to name it in a configuration. The sources of this module give wrong labels for the true input: uniform over the
wrong classes, or drawn in proportion to how likely they seem to the readout or to the network itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from RecurrentFF.errors import InputError
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.optimizers import Optimizer
from RecurrentFF.model.processes import WHOLE, BatchShare
from RecurrentFF.model.readout_training import DEFAULT_READOUT_OPTIMIZER, ReadoutTraining, ReadoutUpdate
from RecurrentFF.model.regularizers import Disturbance
from RecurrentFF.model.state import State
from RecurrentFF.options import Flag
from RecurrentFF.registry import Component, ComponentOf, register

if TYPE_CHECKING:  # the network imports nothing from here, but its type is needed
    from RecurrentFF.model.network import Network

Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SamplingContext(NamedTuple):
    """The data that a source of negatives may use."""

    network: Network
    """The network that is trained."""
    state: State
    """The network's state after the label-free timesteps, one candidate."""
    inputs: Tensor
    """The inputs as they were given, before noise and dropout, (timesteps or 1, features, 1, batch)."""
    disturbance: Disturbance
    """The noise and dropout of the inputs, which are applied to negative inputs, too."""
    labels: Tensor
    """The true labels, (label timesteps or 1, batch)."""
    mask: Tensor | None
    """The valid timesteps, (timesteps, batch), true or false; None if all are valid."""
    draws: BatchDraws
    """The random numbers of the batch: the same for a sample, whatever process or batch it is in."""
    share: BatchShare = WHOLE
    """The part of the batch that this process has."""

    def gathered(self, tensor: Tensor) -> Tensor:
        """A tensor of this process's samples, (…, batch), as that of all samples of the batch, (…, whole batch).

        All processes must call it alike. With one process, it is the tensor itself.
        """
        return self.share.gathered(tensor)

    @property
    def generator(self) -> torch.Generator:
        """A generator for a source that does not draw sample by sample: each process has another one."""
        return self.draws.generator("negatives")


class Negatives(NamedTuple):
    """The negative candidates of a batch. Where labels or inputs are left out, all candidates have the true ones."""

    labels: Tensor | None = None
    """Wrong labels, (candidates, label timesteps or 1, batch)."""
    inputs: Tensor | None = None
    """Wrong inputs, before noise and dropout, (timesteps or 1, features, candidates, batch)."""
    readout_loss: Tensor | None = None
    """The loss of the readout, where the source has trained it, (); None without."""


class NegativeSource(Component, ABC, kind="negatives"):
    """A source of negative candidates for every training batch.

    A prediction by badness compares labels. Wrong inputs with the true label (the default where `Negatives.labels` is left
    out) teach a network what inputs look like, but not which label belongs to one: let the readout predict then, which such a
    source can train, or give wrong labels as well.

    Attributes:
        count: the number of negative candidates for each sample.
        gives_labels: true if the candidates are different wrong labels, of which there are as many as other classes.
        gives_inputs: true if every candidate has an input of its own, so that label-free training can tell it from the positive
            one.
        needs_images: true if the network's inputs must be images.
        needs_circuit: true if the network's generative circuit makes the candidates, which are of different wrong classes.
        reads_activity: true if the source reads the label-free activity, and so needs timesteps before the label.
        predicts: true if the source predicts the labels of every batch by badness.
        trains_readout: true if the source trains the network's readout, which can then predict.
    """

    count: int = 1
    gives_labels: bool = False
    gives_inputs: bool = False
    needs_images: bool = False
    needs_circuit: bool = False
    reads_activity: bool = False
    predicts: bool = False
    trains_readout: bool = False

    @abstractmethod
    def sample(self, context: SamplingContext) -> Negatives:
        """The negative candidates of a batch; both labels and inputs, where given, have `count` of them."""

    def for_network(self, network: Network) -> NegativeSource:
        """The source that serves one training of a network: by default itself. One that learns returns an object with a state."""
        return self

    def state_dict(self) -> dict[str, Any]:
        """All that the next samples depend on, except the network and the generator. Empty by default."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, which this class ignores."""
        return


@register("negatives", "uniform")
@dataclass(frozen=True)
class UniformNegatives(NegativeSource):
    """Wrong labels, all equally likely."""

    count: Count = 1
    """The number of wrong labels of each sample, all of them different; at most num_classes − 1."""
    gives_labels = True

    def sample(self, context: SamplingContext) -> Negatives:
        """Draw uniformly from the wrong classes."""
        logits = torch.zeros(context.network.num_classes, device=context.network.device)
        return Negatives(sample_wrong_labels(logits, context.labels, context.draws, count=self.count))


@register("negatives", "readout")
@dataclass(frozen=True)
class ReadoutNegatives(NegativeSource):
    """Wrong labels that a linear readout of the label-free activity finds likely.

    The readout learns from every batch, before it is asked about the next one.
    """

    count: Count = 1
    """The number of wrong labels of each sample, all of them different; at most num_classes − 1."""
    temperature: Temperature = 1.0
    """The temperature of the softmax: below 1 it favors the likely wrong labels, above 1 it gives more varied ones."""
    optimizer: Annotated[Optimizer, ComponentOf("optimizer")] = DEFAULT_READOUT_OPTIMIZER
    """The optimizer of the readout."""
    gives_labels = True
    reads_activity = True
    trains_readout = True

    def for_network(self, network: Network) -> NegativeSource:
        """The source that trains and asks the readout of a network."""
        return _TrainedReadoutNegatives(self, network)

    def sample(self, context: SamplingContext) -> Negatives:
        """Refuse to draw: the source that `for_network` returns draws."""
        raise TypeError("ReadoutNegatives.sample: call sample of what for_network(network) returns")


class SourceWithReadout(NegativeSource):
    """A source that trains the readout of one network on every batch, beside the negatives that another source gives.

    Its state is that of the readout's optimizer.

    Args:
        source: gives the negatives. It has no state of its own.
        network: the network whose readout is trained.
        optimizer: the optimizer of the readout.
    """

    def __init__(self, source: NegativeSource, network: Network, optimizer: Optimizer) -> None:
        self.source = source
        self.count = source.count
        frozen = len(network.trained_modules()) < len(network.local_modules)
        self.training = ReadoutTraining(network.readout, optimizer, frozen=frozen)

    def train_readout(self, context: SamplingContext) -> ReadoutUpdate:
        """Update the readout with the label-free activity of a batch and its true labels, those of the first timestep."""
        features = context.network.hidden_pattern(context.state)[:, 0].T
        return self.training.update(context.network, features, context.labels[0], context.share)

    def sample(self, context: SamplingContext) -> Negatives:
        """Train the readout, and return the negatives of the source."""
        loss = self.train_readout(context).loss
        return self.source.sample(context)._replace(readout_loss=loss)

    def state_dict(self) -> dict[str, Any]:
        """The state of the readout's optimizer."""
        return self.training.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`. Raises ValueError if it is that of another optimizer."""
        self.training.load_state_dict(state)


@dataclass(frozen=True)
class InputNegatives(NegativeSource):
    """The base class of sources that give wrong inputs, and may train the readout beside them."""

    count: Count = 1
    """The number of wrong inputs of each sample."""
    trains_readout: Flag = field(default=True, kw_only=True)
    """Train the network's readout on the label-free activity of every batch, so that it can predict."""
    optimizer: Annotated[Optimizer, ComponentOf("optimizer")] = field(default=DEFAULT_READOUT_OPTIMIZER, kw_only=True)
    """The optimizer of the readout."""
    gives_inputs = True

    @property
    def reads_activity(self) -> bool:  # type: ignore[override]
        """True if the readout is trained."""
        return self.trains_readout

    def for_network(self, network: Network) -> NegativeSource:
        """The source for a network: one that trains its readout, or this one."""
        return SourceWithReadout(self, network, self.optimizer) if self.trains_readout else self


class _TrainedReadoutNegatives(SourceWithReadout):
    """The `ReadoutNegatives` of one network."""

    def __init__(self, options: ReadoutNegatives, network: Network) -> None:
        super().__init__(options, network, options.optimizer)
        self.temperature = options.temperature

    def sample(self, context: SamplingContext) -> Negatives:
        """Draw from softmax(logits / temperature) without the true class, and train the readout."""
        update = self.train_readout(context)
        drawn = sample_wrong_labels(update.logits, context.labels, context.draws, self.temperature, self.count)
        return Negatives(drawn, readout_loss=update.loss)


@register("negatives", "badness")
@dataclass(frozen=True)
class BadnessNegatives(NegativeSource):
    """Wrong labels that the network itself finds likely: those of low badness, at the price of a prediction for every batch."""

    count: Count = 1
    """The number of wrong labels of each sample, all of them different; at most num_classes − 1."""
    temperature: Temperature = 1.0
    """The temperature of the softmax: below 1 it favors the likely wrong labels, above 1 it gives more varied ones."""
    gives_labels = True
    predicts = True

    def sample(self, context: SamplingContext) -> Negatives:
        """Draw from softmax(−badness / temperature) without the true class."""
        logits = -context.network.badness_of(context.disturbance.apply(context.inputs), context.mask)
        drawn = sample_wrong_labels(logits, context.labels, context.draws, self.temperature, self.count)
        return Negatives(drawn)


def sample_wrong_labels(logits: Tensor, labels: Tensor, draws: BatchDraws, temperature: float = 1.0, count: int = 1) -> Tensor:
    """Labels for each sample, drawn without repetition from softmax(logits / temperature) without the true class.

    Args:
        logits: (..., batch, classes), broadcast against `labels`; zeros give uniform wrong labels.
        labels: (..., batch) the true classes, of an integer type.
        draws: the random numbers of the batch, on the same device.
        temperature: below 1 likely wrong labels become likelier, above 1 all become more alike.
        count: labels for each sample, fewer than there are classes.

    Returns:
        (count, ...), of the shape and type of `labels`. Never the true class, even where the probabilities of all others
        vanish.
    """
    # Infinite or undefined logits become finite, so that the true class alone is at −inf and can't win a tie.
    logits = (torch.nan_to_num(logits.float()) / temperature).clamp(-1e30, 1e30).expand(*labels.shape, logits.shape[-1])
    # The largest of logits + Gumbel noise is a draw from softmax(logits), with no probabilities that could all be zero. The
    # next largest are draws without repetition.
    timesteps, classes = labels.shape[:-1], logits.shape[-1]
    noise = draws.uniform("wrong labels", classes, *timesteps).movedim(0, -1).log().neg().log().neg()
    scores = (logits + noise).scatter(-1, labels.long().unsqueeze(-1), -torch.inf)
    return scores.topk(count, -1).indices.movedim(-1, 0).to(labels.dtype)


def require_shapes(negatives: Negatives, source: NegativeSource, context: SamplingContext) -> Negatives:
    """The negatives themselves. Raises InputError where their shapes are not those that the source has promised."""
    count, name, settings = source.count, type(source).__name__, context.network.settings
    if negatives.labels is None and negatives.inputs is None:
        raise InputError(f"{name}.sample: gives neither labels nor inputs, so negatives would equal the positive")
    _, features, _, batch = context.inputs.shape
    for kind, found, timesteps in (
        ("labels", negatives.labels, settings.network.label_timesteps),
        ("inputs", negatives.inputs, settings.timesteps),
    ):
        shapes = [(count, t, batch) if kind == "labels" else (t, features, count, batch) for t in (timesteps, 1)]
        if found is not None and tuple(found.shape) not in shapes:
            expected = " or ".join(map(str, shapes))
            raise InputError(f"{name}.sample: {kind} of shape {tuple(found.shape)}, expected {expected}")
    return negatives
