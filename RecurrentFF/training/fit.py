"""Training from a notebook, in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Dataset, LoaderDataset, Splits, TensorDataset
from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.network import Network
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.trainer import Trainer

Data = tuple[Any, Any] | TensorDataset | Iterable[Sequence[Any]]
"""A pair (inputs, labels) of tensors or arrays, a TensorDataset, or a DataLoader (or list) of such pairs as batches, with or
without a mask."""


def fit(
    network: Network,
    data: Data,
    *,
    validation: Data | None = None,
    output_dir: str | Path | None = None,
    quiet: bool = False,
) -> list[EpochMetrics]:
    """Train a network for the epochs of its settings, from fresh optimisers.

    Args:
        network: trained in place.
        data: (inputs, labels), of shapes (samples, data_size) and (samples,), cut into batches of `train_batch_size` in a new
            order every epoch; or a loader of (inputs, labels) batches, whose inputs may also be (timesteps, batch, data_size)
            and whose labels, in training, (iterations, batch). A third part is the mask (timesteps, batch) of sequences that
            are over before the last timestep: see `Learner.train_batch`.
        validation: the same kind of data, whose accuracy is reported after every epoch.
        output_dir: where a run folder with metrics and checkpoints is made; none, nothing is written.
        quiet: print nothing.

    Returns:
        What every epoch showed.

    Raises:
        InputError: shapes or labels don't fit the network.
        DivergenceError: the numbers are no longer finite.
        OutputError: the best weights could not be written to the run folder; the network has what it has learned.
        KeyboardInterrupt: after an interruption; the network keeps what it has learned.
    """
    model = network.settings.model
    if output_dir is None and (model.should_log_metrics or not model.skip_profiling):
        raise SettingsError("should_log_metrics and skip_profiling = false write files: tell fit where, with output_dir=")
    splits = Splits(_dataset(data, network), _dataset(validation, network) if validation is not None else None)
    folder = RunFolder.create(Path(output_dir), "fit") if output_dir is not None else None
    trainer = Trainer(network, splits, folder, Console(quiet))
    trainer.compile()
    with folder.alone() if folder is not None else contextlib.nullcontext():
        finished = trainer.fit()
    if trainer.tracker is not None:
        trainer.tracker.finish({"best_epoch": trainer.progress.best_epoch})
    network.load_state_dict(trainer.evaluated.state_dict())  # the average of the weights, if there is one
    trainer.require_saved()
    if not finished:
        raise KeyboardInterrupt(f"after {trainer.progress.epoch} epochs and {trainer.progress.batch} batches")
    return trainer.history


def _dataset(data: Data, network: Network) -> Dataset:
    """The data set of whatever was given, on the network's device if it is all there."""
    if isinstance(data, TensorDataset):
        data = data.inputs, data.labels
    elif isinstance(tensors := getattr(data, "tensors", None), tuple):  # torch's own TensorDataset
        data = tensors
    if not (isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(part, "shape") for part in data)):
        if isinstance(data, tuple) and len(data) == 3 and all(hasattr(part, "shape") for part in data):
            raise InputError("(inputs, labels, mask) as one data set: give sequences as a list of such batches, or a DataLoader")
        return LoaderDataset(data)
    inputs, labels = (torch.as_tensor(part) for part in data)
    if not inputs.is_floating_point():
        raise InputError(f"inputs of type {inputs.dtype}: expected floating point, scaled to about unit mean square")
    dataset = TensorDataset(inputs.to(network.device, network.dtype), labels.to(network.device))
    _require_fit(dataset.inputs, dataset.labels, network)
    return dataset


def _require_fit(inputs: Tensor, labels: Tensor, network: Network) -> None:
    data_size, classes = network.topology.widths[0], network.num_classes
    if inputs.shape[1] != data_size:
        raise InputError(f"inputs have {inputs.shape[1]} features, but the network's data_size is {data_size}")
    lowest, highest = int(labels.min()), int(labels.max())
    if not 0 <= lowest <= highest < classes:
        raise InputError(f"labels run from {lowest} to {highest}; expected 0 to {classes - 1}")
