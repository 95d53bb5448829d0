"""The configuration: one typed tree, read from TOML and written back to TOML. Every key has a default."""

from RecurrentFF.settings.network import NetworkSettings
from RecurrentFF.settings.run import DeviceSettings, TrackingSettings, TrainingSettings
from RecurrentFF.settings.tree import Settings

__all__ = ["DeviceSettings", "NetworkSettings", "Settings", "TrackingSettings", "TrainingSettings"]
