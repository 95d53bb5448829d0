"""A new network from a configuration, on the device that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training import devices
from RecurrentFF.training.memory import require_room


def build(settings: Settings | str | Path | None = None, /, **arguments: Any) -> Network:
    """A new network, on the device and in the precision of its settings.

    Args:
        settings: the configuration, or the path of a TOML file; the defaults if left out.
        arguments: single keys over it: `build(data_size=784, num_classes=10, hidden_sizes=[200, 200], device="cpu")`.

    Returns:
        The network; its `settings` name the device and precision that "auto" led to.

    Raises:
        SettingsError: a key or value is not one, or data_size or num_classes is missing.
        DeviceError: this machine does not have the device.
    """
    if isinstance(settings, str | Path):
        settings = Settings.from_file(settings)
    elif not isinstance(settings, Settings | None):
        raise SettingsError(f"build: expected Settings or the path of a TOML file, not {type(settings).__name__}; "
                            "Settings.from_dict makes them from dictionaries")  # fmt: skip
    settings = (settings or Settings()).with_arguments(**arguments)
    settings = settings.model_copy(update={"device": devices.resolve(settings.device)})
    if settings.data_config.data_size is not None and settings.data_config.num_classes is not None:
        require_room(settings, torch.device(settings.device.device))
    return Network(settings, operand_dtype=devices.operand_dtype(settings.device)).to(settings.device.device)
