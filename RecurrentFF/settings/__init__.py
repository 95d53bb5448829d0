"""The configuration: one typed tree, read from TOML and written back to TOML. Every key has a default."""

from RecurrentFF.settings.model import ModelSettings
from RecurrentFF.settings.run import DataSettings, DeviceSettings, TrainingSettings
from RecurrentFF.settings.tree import Settings

__all__ = ["DataSettings", "DeviceSettings", "ModelSettings", "Settings", "TrainingSettings"]
