"""Whether what a configuration asks for fits into the memory there is, said before a run fails in the middle of it."""

from __future__ import annotations

import os

import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.topology import Topology
from RecurrentFF.settings import Settings


def require_room(settings: Settings, device: torch.device) -> None:
    """Raise SettingsError if training can't fit into the device's memory; does nothing where that size is not known."""
    room = size(device)
    wanted = needed(settings)
    if room is None or sum(wanted.values()) <= room:
        return
    most = max(wanted, key=lambda key: wanted[key])
    raise SettingsError(
        f"a training needs at least {sum(wanted.values()) / 2**30:,.0f} GiB, but {device} has {room / 2**30:,.0f}; "
        f"most of it is for {most}, make that smaller"
    )


def needed(settings: Settings) -> dict[str, float]:
    """Bytes that training takes at least, by the key they depend on most."""
    model, data = settings.model, settings.data_config
    assert data.data_size is not None and data.num_classes is not None
    topology = Topology((data.data_size, *model.hidden_sizes, data.num_classes), model.residual_connections)
    weights = sum(topology.widths[layer] * sum(topology.widths[s] for s in topology.sources(layer)) for layer in topology.hidden)
    rows = (1 + model.negatives) * data.train_batch_size
    return {
        "model.hidden_sizes": 12.0 * weights,  # weight, gradient and one moment
        "data_config.train_batch_size": 12.0 * rows * topology.height,  # activity, and the state twice in two bytes or once more
        "data_config.iterations": 8.0 * rows * data.num_classes * data.iterations,  # the labels of every timestep
    }


def size(device: torch.device) -> int | None:
    """Bytes of the device's memory; None where that can't be told."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None
