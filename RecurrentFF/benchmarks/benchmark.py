"""Benchmarks: a data set, and how to load it and show it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import shown
from RecurrentFF.settings import Settings
from RecurrentFF.settings.run import BENCHMARK_KEYS, DataSettings

if TYPE_CHECKING:  # importing torch takes seconds, and --help does not need it
    import torch
    from torch import Tensor

    from RecurrentFF.data.dataset import Dataset, Sliceable, Splits


@dataclass(frozen=True)
class Benchmark:
    """A data set to train on from the command line."""

    name: str
    """The name of the benchmark's module, and of its run folders."""
    datasets: tuple[str, ...]
    """The valid names in data_config.dataset. The first one is the default."""
    description: str
    """The text at the top of `--help`."""
    default_config: Path
    """The configuration file that is used without --config-file."""
    data_size: Callable[[Settings], int]
    """A function from the settings to the number of input features at a timestep."""
    num_classes: int
    """The number of classes."""
    load: Callable[[Settings, torch.device], Splits]
    """A function that loads training, validation and test data to a device. It may raise DataError."""
    show: Callable[[Settings, Dataset, int], Tensor]
    """A function that returns the first samples as images, (timesteps, samples, height, width), of any range of values.

    Its arguments are the settings, the data set, and the number of samples.
    """

    def folder_name(self, settings: Settings) -> str:
        """Return the first part of a run folder's name: the benchmark's name, or a data set's other than the default."""
        dataset = settings.data_config.dataset
        return self.name if dataset in (None, self.datasets[0]) else str(dataset)

    def check_keys(self, settings: Settings) -> None:
        """Refuse keys in data_config that only another benchmark uses, and that would have no effect here.

        New runs are checked. A resumed run keeps the configuration that it was started with.

        Raises:
            SettingsError: such a key does not have its default value.
        """
        data = settings.data_config
        if str(data.dataset or self.datasets[0]).lower() not in map(str.lower, self.datasets):
            return  # the configuration of another data set, which `complete` refuses
        fields = DataSettings.model_fields
        others = [(key, name) for name, keys in BENCHMARK_KEYS.items() if name != self.name for key in keys]
        set_keys = [(key, name) for key, name in others if getattr(data, key) != fields[key].default]
        if set_keys:
            key, name = set_keys[0]
            more = f" (and {len(set_keys) - 1} more)" if set_keys[1:] else ""
            raise SettingsError(
                f"data_config.{key} = {shown(getattr(data, key))}{more}: used by the {name} benchmark only, and this is "
                f"{self.name}; leave it out or set it to {shown(fields[key].default)}"
            )

    def complete(self, settings: Settings) -> Settings:
        """Return the settings with the keys that the data set determines: its name, number of features and number of classes.

        Raises:
            SettingsError: the configuration sets one of them to another value.
        """
        allowed = {"dataset": self.datasets, "data_size": (self.data_size(settings),), "num_classes": (self.num_classes,)}
        facts = {}
        for key, values in allowed.items():
            given = getattr(settings.data_config, key)
            matching = [value for value in values if given is None or str(given).lower() == str(value).lower()]
            if not matching:
                expected = " or ".join(repr(value) for value in values)
                assignment = shlex.quote(f"data_config.{key}={values[0]}")
                raise SettingsError(
                    f"data_config.{key} = {given!r}, but this benchmark's is {expected}; leave it out or correct it, "
                    f"for instance by --set {assignment}"
                )
            facts[key] = matching[0]
        return settings.with_arguments(**facts)


def make_splits(settings: Settings, train: Sliceable, test: Sliceable) -> Splits:
    """Split data into training, validation and test samples of the sizes in the settings.

    Raises:
        DataError: there are too few samples.
    """
    from RecurrentFF.data.dataset import split

    return split(
        train,
        test,
        validation_samples=settings.data_config.validation_samples,
        train_samples=settings.data_config.train_samples,
        test_samples=settings.data_config.test_samples,
        train_subset_samples=settings.training.train_accuracy_samples,
    )


def show_images(settings: Settings, dataset: Dataset, samples: int) -> Tensor:
    """Return the first samples of square images, for `Benchmark.show`.

    Args:
        settings: not used.
        dataset: inputs (batch, pixels) or (timesteps, batch, pixels), the pixels row by row.
        samples: the number of samples.

    Returns:
        (timesteps, samples, side, side); static images have one timestep.
    """
    inputs = next(iter(dataset.batches(samples))).inputs
    videos = inputs if inputs.dim() == 3 else inputs.unsqueeze(0)
    side = math.isqrt(videos.shape[2])
    return videos.reshape(*videos.shape[:2], side, side)
