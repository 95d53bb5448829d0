"""Train a network from Python, in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from RecurrentFF.data.dataset import Dataset, LoaderDataset, Splits, TensorDataset
from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.learner import Learner, Observer
from RecurrentFF.model.negatives import NegativeSource
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.trainer import Trainer

Data = tuple[Any, Any] | TensorDataset | Iterable[Sequence[Any]]
"""A pair (inputs, labels) of tensors or arrays, a TensorDataset, or a DataLoader or list of batches.

A batch is a pair (inputs, labels), or (inputs, labels, mask).
"""


def fit(
    network: Network,
    data: Data,
    *,
    validation: Data | None = None,
    output_dir: str | Path | None = None,
    quiet: bool = False,
    objective: Objective | None = None,
    negatives: NegativeSource | None = None,
    observers: Sequence[Observer] = (),
) -> list[EpochMetrics]:
    """Train a network for the epochs of its settings, with newly initialized optimizers.

    Args:
        network: the network, trained in place.
        data: the training data. Either (inputs, labels) of shapes (samples, data_size) and (samples,), which are split into
            batches of `train_batch_size` in a new order every epoch. Or a loader of (inputs, labels) batches. The inputs of a
            batch can also be (timesteps, batch, data_size), and its labels (iterations, batch). A batch can have a mask of
            shape (timesteps, batch) as its third element, for sequences that end before the last timestep
            (`Learner.train_batch` describes it).
        validation: data of the same kind. Its accuracy is reported after every epoch. Its labels must be (samples,) or (batch,).
        output_dir: the folder in which a run folder with metrics and checkpoints is created. By default nothing is written.
        quiet: print nothing.
        objective: the loss as a function of badness, in place of the one that the settings name.
        negatives: the source of negative candidates, in place of the one that the settings name.
        observers: called as training proceeds. Neither they nor objective and negatives are recorded in checkpoints.

    Returns:
        The metrics of every epoch.

    Raises:
        InputError: shapes or labels don't match the network.
        SettingsError: the settings ask for files, and `output_dir` is missing.
        DivergenceError: the loss or the weights are NaN or infinite.
        OutputError: the best weights could not be written to the run folder. The network is trained nevertheless.
        KeyboardInterrupt: the training was interrupted. The network keeps what it has learned.
    """
    model = network.settings.model
    if output_dir is None and (model.should_log_metrics or not model.skip_profiling):
        raise SettingsError("should_log_metrics and skip_profiling = false write files; pass output_dir to fit")
    splits = Splits(_dataset(data, network), _dataset(validation, network) if validation is not None else None)
    folder = RunFolder.create(Path(output_dir), "fit") if output_dir is not None else None
    learner = Learner(network, objective=objective, negatives=negatives, observers=observers)
    trainer = Trainer(network, splits, folder, Console(quiet), learner)
    trainer.compile()
    with folder.lock() if folder is not None else contextlib.nullcontext():
        finished = trainer.fit()
    if trainer.tracker is not None:
        trainer.tracker.finish({"best_epoch": trainer.progress.best_epoch})
    network.load_state_dict(trainer.evaluated.state_dict())  # the average of the weights, if there is one
    trainer.require_saved()
    if not finished:
        raise KeyboardInterrupt(f"after {trainer.progress.epoch} epochs and {trainer.progress.batch} batches")
    return trainer.history


def _dataset(data: Data, network: Network) -> Dataset:
    """Convert the user's data to a data set. Tensors are moved to the network's device; a loader's batches are not."""
    if isinstance(data, TensorDataset):
        data = data.inputs, data.labels
    elif isinstance(tensors := getattr(data, "tensors", None), tuple):  # torch's own TensorDataset
        data = tensors
    if not (isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(array, "shape") for array in data)):
        if isinstance(data, tuple) and len(data) == 3 and all(hasattr(array, "shape") for array in data):
            raise InputError(
                "data: expected (inputs, labels), not (inputs, labels, mask); "
                "pass sequences as a list of such batches, or as a DataLoader"
            )
        return LoaderDataset(data)
    inputs, labels = (torch.as_tensor(array) for array in data)
    if not inputs.is_floating_point():
        raise InputError(f"inputs of type {inputs.dtype}: expected floating point, scaled to about unit mean square")
    dataset = TensorDataset(inputs.to(network.device, network.dtype), labels.to(network.device))
    _require_match(dataset.inputs, dataset.labels, network)
    return dataset


def _require_match(inputs: Tensor, labels: Tensor, network: Network) -> None:
    data_size, classes = network.data_size, network.num_classes
    if inputs.shape[1] != data_size:
        raise InputError(f"inputs have {inputs.shape[1]} features, but the network's data_size is {data_size}")
    lowest, highest = int(labels.min()), int(labels.max())
    if not 0 <= lowest <= highest < classes:
        raise InputError(f"labels run from {lowest} to {highest}; expected 0 to {classes - 1}")
