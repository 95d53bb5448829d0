"""The configuration: one typed tree with a default for every key, read from TOML and written back to TOML."""

from RecurrentFF.settings.model import ModelSettings
from RecurrentFF.settings.run import DataSettings, DeviceSettings, TrainingSettings
from RecurrentFF.settings.tree import Settings

__all__ = ["DataSettings", "DeviceSettings", "ModelSettings", "Settings", "TrainingSettings"]
