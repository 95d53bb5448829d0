"""The configuration: one typed tree, read from TOML and written back to TOML. Every key has a default."""

from RecurrentFF.settings.network import NetworkSettings
from RecurrentFF.settings.run import DeviceSettings, DistributedSettings, TrackingSettings, TrainingSettings
from RecurrentFF.settings.tree import Settings

__all__ = ["DeviceSettings", "DistributedSettings", "NetworkSettings", "Settings", "TrackingSettings", "TrainingSettings"]
