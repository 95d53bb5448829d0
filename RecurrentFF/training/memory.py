"""Check before a run that its configuration fits into the memory of the device."""

from __future__ import annotations

import os

import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.assembly import block_sizes, sources_of_layers
from RecurrentFF.settings import Settings


def require_memory(settings: Settings, device: torch.device) -> None:
    """Check that training can fit into the memory of a device. Does nothing if the size of that memory is unknown.

    Raises:
        SettingsError: training needs more memory than the device has.
    """
    available = device_memory(device)
    required = required_memory(settings)
    if available is None or sum(required.values()) <= available:
        return
    largest = max(required, key=lambda key: required[key])
    raise SettingsError(
        f"training needs at least {sum(required.values()) / 2**30:,.0f} GiB, but {device} has {available / 2**30:,.0f}; "
        f"most of it is for {largest}, make that smaller"
    )


def required_memory(settings: Settings) -> dict[str, float]:
    """A lower bound of the memory of training, in bytes, by the configuration key that each term depends on most."""
    network = settings.network
    sizes = block_sizes(settings)
    inputs = {layer: sum(sizes[source] for source in sources) for layer, sources in sources_of_layers(settings).items()}
    weights = sum(sizes[layer] * inputs[layer] for layer in inputs)
    if any(connection.shares_weights for connection in network.connections):  # the kernels of a convolution are small
        weights -= sizes["h1"] * (sizes["x"] + sizes["h1"])
    candidates = (1 + settings.negatives.count) * settings.training.batch_size
    units = sum(network.hidden_sizes) + sizes["y"]
    return {
        "network.hidden_sizes": 12.0 * weights,  # weight, gradient and one moment
        # z, h, and two copies of the state in bfloat16 (4 bytes more in float32)
        "training.batch_size": 12.0 * candidates * units,
        "network.label_timesteps": 4.0
        * candidates
        * len(network.hidden_sizes)
        * network.label_timesteps,  # the badness at every timestep
    }


def device_memory(device: torch.device) -> int | None:
    """The size of a device's memory in bytes, None if it is unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None
