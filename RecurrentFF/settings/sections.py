"""The sections of a configuration: those of fixed keys, and the default components of the others."""

from RecurrentFF.options import Section
from RecurrentFF.settings.network import NetworkSettings
from RecurrentFF.settings.run import DeviceSettings, DistributedSettings, TrackingSettings, TrainingSettings

DEFAULT_NAMES = {"objective": "threshold", "negatives": "uniform", "optimizer": "rmsprop", "schedule": "step", "data": "own"}
"""The component of each section that a configuration without a name in it gets."""

SECTIONS: dict[str, type[Section]] = {
    "network": NetworkSettings,
    "training": TrainingSettings,
    "device": DeviceSettings,
    "distributed": DistributedSettings,
    "tracking": TrackingSettings,
}
"""The sections whose keys are fixed. The keys of the other sections are the options of a component."""
