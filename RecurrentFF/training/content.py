"""The content of a checkpoint as one typed schema.

A checkpoint is data from a stranger: all of it is checked before any of it is used.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from torch import Tensor

from RecurrentFF.training.container import unsupported
from RecurrentFF.training.metrics import EpochMetrics, PlainList
from RecurrentFF.training.progress import Progress


def _plain_tensor(value: object) -> Tensor:
    """Check that a value is an ordinary tensor in memory, and not for instance a sparse one."""
    wrong = unsupported(value)
    if wrong or not isinstance(value, Tensor):
        raise ValueError(f"expected a tensor, not {wrong or type(value).__name__}")
    return value


PlainTensor = Annotated[Tensor, BeforeValidator(_plain_tensor)]
Tensors = Annotated[list[PlainTensor], PlainList]
"""Lists of tensors."""
Weights = dict[str, PlainTensor]
Size = Annotated[int, Field(ge=1, le=2**53)]


class _Part(BaseModel):
    """A part of a checkpoint: immutable, without unknown entries."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class SavedTask(_Part):
    """The task of a network, as `Task.to_tree` gives it."""

    name: str
    """The name of the data set."""
    input_shape: Annotated[list[Size], Field(max_length=8), PlainList]
    """The shape of a raw sample."""
    classes: Annotated[list[str | int], Field(min_length=2), PlainList]
    """The class names in the order of their numbers."""
    transform: dict[str, Any]
    """The name and the options of the transform."""


class SavedTotals(_Part):
    """The sums over the batches of an unfinished epoch."""

    sums: Tensors | None
    """The sum of each measurement; None before the first batch."""
    samples: Annotated[int, Field(ge=0, le=2**53)]
    """The number of samples in the sums."""
    weights_before: Tensors
    """The weights of each layer before the epoch, flattened."""


class SavedTraining(_Part):
    """All the state that resuming a training needs, besides the weights."""

    learner: dict[Any, Any]
    """The state of the learner: that of its optimizers."""
    progress: Progress
    """The progress of the training."""
    totals: SavedTotals
    """The sums over the current epoch."""
    history: Annotated[list[EpochMetrics], PlainList]
    """The metrics of all finished epochs."""
    average: dict[str, PlainTensor] | None = None
    """The moving average of the weights; None without."""
    best: Weights | None = None
    """The weights of the best epoch; None before the first, and in formats 5 to 7, where they are in a file of their own."""
    callbacks: dict[str, dict[Any, Any]] = {}
    """The state of each further callback by its name."""

    @model_validator(mode="after")
    def _check_history(self) -> SavedTraining:
        progress = self.progress
        if [metrics.epoch for metrics in self.history] != list(range(1, progress.epoch + 1)):
            raise ValueError(f"a history of {len(self.history)} epochs, but {progress.epoch} are finished")
        if progress.best_epoch > progress.epoch:
            raise ValueError(f"the best epoch is {progress.best_epoch}, but {progress.epoch} are finished")
        layers = [[len(part) for part in (m.layer_loss, m.badness_pos, m.badness_neg, m.weight_norm)] for m in self.history]
        if any(count != layers[0] for count in layers):
            raise ValueError("a history whose epochs have different numbers of layers")
        if (progress.batch > 0) != (self.totals.sums is not None) or (progress.batch > 0) != (self.totals.samples > 0):
            raise ValueError(f"sums over {self.totals.samples} samples, but {progress.batch} batches of the epoch are finished")
        return self


class Checkpoint(_Part):
    """The content of a checkpoint."""

    format: int
    """The format of the file that it was read from."""
    settings: str
    """The configuration, as TOML."""
    task: SavedTask | None = None
    """The task of the network; None if it takes network inputs."""
    own_modules: bool = False
    """True if the network was made with modules of its own, which a checkpoint does not hold."""
    network: Weights
    """The weights."""
    epoch: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """Number of the epoch whose weights they are; None if that is not known."""
    metrics: EpochMetrics | None = None
    """The metrics of that epoch."""
    training: SavedTraining | None = None
    """The state that resuming needs; None for weights only."""
    extra: dict[str, Any] = {}
    """Further entries that a program has saved."""

    @model_validator(mode="after")
    def _check_best(self) -> Checkpoint:
        best = None if self.training is None else self.training.best
        if best is not None and forms_of(best) != forms_of(self.network):
            raise ValueError("the best weights are those of another network")
        return self


def forms_of(weights: dict[str, Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """The type and the shape of each weight."""
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in weights.items()}
