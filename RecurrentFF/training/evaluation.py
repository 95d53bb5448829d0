"""Accuracy of a network on a data set."""

from __future__ import annotations

import torch

from RecurrentFF.data.dataset import Dataset
from RecurrentFF.errors import InputError
from RecurrentFF.model.network import Network


def accuracy(network: Network, dataset: Dataset) -> float:
    """Measure the fraction of a data set's samples whose predicted label is the true one, 0 to 1.

    Raises:
        InputError: the labels change over time. A prediction has one label for the whole sequence.
    """
    correct, samples = torch.zeros((), dtype=torch.long, device=network.device), 0
    for inputs, labels, mask in dataset.batches(network.settings.data_config.test_batch_size):
        if labels.dim() != 1:
            raise InputError(f"accuracy: labels of shape {tuple(labels.shape)}; expected (batch,)")
        correct += (network.predict(inputs, mask) == labels.to(network.device)).sum()
        samples += len(labels)
    return correct.item() / samples
