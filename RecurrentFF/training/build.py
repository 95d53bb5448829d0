"""Build a network from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training import devices
from RecurrentFF.training.memory import require_memory


def build(settings: Settings | str | Path | None = None, /, **arguments: Any) -> Network:
    """Build a new network, on the device and in the precision of its settings.

    Args:
        settings: the configuration, or the path of a TOML file. The default is the default configuration.
        arguments: single keys, which override `settings`. Example:
            `build(data_size=784, num_classes=10, hidden_sizes=[200, 200], device="cpu")`.

    Returns:
        The network. Its `settings` name the device and the precision that were chosen for "auto".

    Raises:
        SettingsError: a key or a value is invalid, data_size or num_classes is missing, or training needs more memory than
            the device has.
        DeviceError: this machine does not have the device.
    """
    if isinstance(settings, str | Path):
        settings = Settings.from_file(settings)
    elif not isinstance(settings, Settings | None):
        raise SettingsError(f"build: expected Settings or the path of a TOML file, not {type(settings).__name__}; "
                            "for a dictionary, use Settings.from_dict")  # fmt: skip
    settings = (settings or Settings()).with_arguments(**arguments)
    settings = settings.model_copy(update={"device": devices.resolve(settings.device)})
    if settings.data_config.data_size is not None and settings.data_config.num_classes is not None:
        require_memory(settings, torch.device(settings.device.device))
    return Network(settings, compute_dtype=devices.compute_dtype(settings.device)).to(settings.device.device)
