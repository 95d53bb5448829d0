"""How often the network is right."""

from __future__ import annotations

import torch

from RecurrentFF.data.dataset import Dataset
from RecurrentFF.model.network import Network


def accuracy(network: Network, dataset: Dataset) -> float:
    """Share of the data set's samples whose predicted label is the true one, 0 to 1."""
    correct = torch.zeros((), dtype=torch.long, device=network.device)
    for inputs, labels in dataset.batches(network.settings.data_config.test_batch_size):
        correct += (network.predict(inputs) == labels.to(network.device)).sum()
    return correct.item() / len(dataset)
