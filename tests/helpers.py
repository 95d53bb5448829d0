"""Small networks and data that many tests share."""

from typing import Any

import torch
from torch import Tensor

from RecurrentFF.model.connections import Dense
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings

CLASSES = 5
DATA_SIZE = 7


def small_settings(**arguments: Any) -> Settings:
    """A network of unequal widths over a few timesteps."""
    defaults: dict[str, Any] = {
        "data_size": DATA_SIZE,
        "num_classes": CLASSES,
        "hidden_sizes": [9, 5, 8],
        "prelabel_timesteps": 2,
        "iterations": 3,
        "train_batch_size": 6,
        "device": "cpu",
        "precision": "float32",
    }
    return Settings.from_arguments(**(defaults | arguments))


def float64_network(*, fused: bool = True, **arguments: Any) -> Network:
    """A float64 network with biases that are not zero, so that they matter."""
    network = Network(small_settings(**arguments), dtype=torch.float64, fused=fused)
    generator = torch.Generator().manual_seed(5)
    for layer in hidden_layers(network):
        layer.bias.normal_(std=0.1, generator=generator)
    return network


def generator(seed: int = 0) -> torch.Generator:
    """A new source of randomness."""
    return torch.Generator().manual_seed(seed)


def hidden_layers(network: Network) -> list[Layer]:
    """The hidden layers of a network, bottom to top."""
    layers = []
    for module in network.hidden_layers():
        assert isinstance(module, Layer)
        layers.append(module)
    return layers


def dense(layer: Layer) -> Dense:
    """The first connection of a layer, which is the only one of the default network."""
    connection = layer.connections[0]
    assert isinstance(connection, Dense)
    return connection


def video(timesteps: int, batch: int = 6, seed: int = 0, data_size: int = DATA_SIZE) -> Tensor:
    """(timesteps, batch, data_size), every frame another, float64."""
    return torch.randn(timesteps, batch, data_size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def class_numbers(*shape: int, seed: int = 1, classes: int = CLASSES) -> Tensor:
    """Random labels."""
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def clusters(samples: int, noise: float = 0.3, seed: int = 2) -> tuple[Tensor, Tensor]:
    """A classification problem that can be learned in seconds: inputs (samples, DATA_SIZE), labels (samples,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    centers = torch.randn(CLASSES, DATA_SIZE, generator=torch.Generator().manual_seed(99))
    return centers[labels] + noise * torch.randn(samples, DATA_SIZE, generator=generator), labels
