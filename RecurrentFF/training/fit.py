"""Training from a notebook, in one call."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from RecurrentFF.data.dataset import Batch, Dataset, LoaderDataset, Splits, TensorDataset
from RecurrentFF.errors import InputError
from RecurrentFF.model.network import Network
from RecurrentFF.training.console import Console
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.trainer import Trainer

Data = tuple[Tensor, Tensor] | Iterable[Batch]
"""A pair (inputs, labels) of tensors, or a DataLoader (or list) of such pairs as batches."""


def fit(network: Network, data: Data, *, validation: Data | None = None, quiet: bool = False) -> list[EpochMetrics]:
    """Train a network for the epochs of its settings, from fresh optimisers.

    Args:
        network: trained in place.
        data: (inputs, labels), of shapes (samples, data_size) and (samples,), cut into batches of `train_batch_size` in a new
            order every epoch; or a loader of (inputs, labels) batches, whose inputs may also be (timesteps, batch, data_size).
        validation: the same kind of data, whose accuracy is reported after every epoch.
        quiet: print nothing.

    Returns:
        What every epoch showed.

    Raises:
        InputError: shapes or labels don't fit the network.
    """
    splits = Splits(_dataset(data, network), _dataset(validation, network) if validation is not None else None)
    trainer = Trainer(network, splits, console=Console(quiet))
    trainer.fit()
    return trainer.history


def _dataset(data: Data, network: Network) -> Dataset:
    if not (isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor) and isinstance(data[1], Tensor)):
        return LoaderDataset(data)
    inputs, labels = data
    dataset = TensorDataset(inputs.to(network.device, network.dtype), labels.to(network.device))
    if inputs.shape[1] != network.topology.widths[0]:
        raise InputError(f"inputs have {inputs.shape[1]} features, but the network's data_size is {network.topology.widths[0]}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < network.num_classes:
        raise InputError(f"labels run from {int(labels.min())} to {int(labels.max())}; expected 0 to {network.num_classes - 1}")
    return dataset
