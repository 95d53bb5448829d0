"""What a benchmark consists of."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from RecurrentFF.errors import SettingsError
from RecurrentFF.settings import Settings
from RecurrentFF.settings.run import OF_ONE_BENCHMARK, DataSettings
from RecurrentFF.wording import shown

if TYPE_CHECKING:  # torch takes seconds to import, which --help need not wait for
    import torch
    from torch import Tensor

    from RecurrentFF.data.dataset import Dataset, Sliceable, Splits


@dataclass(frozen=True)
class Benchmark:
    """A data set to train on from the command line."""

    name: str
    """Of its module."""
    datasets: tuple[str, ...]
    """Names that data_config.dataset may have; the first if it has none."""
    description: str
    default_config: Path
    """Used without --config-file."""
    data_size: Callable[[Settings], int]
    """Inputs per timestep."""
    num_classes: int
    load: Callable[[Settings, torch.device], Splits]
    """The data, on the device. May raise DataError."""
    show: Callable[[Settings, Dataset, int], Tensor]
    """The first so many samples as what they look like: (timesteps, samples, height, width), on any scale."""

    def folder_name(self, settings: Settings) -> str:
        """What the folder of a run is called after: the benchmark, or a data set of it that is not its first."""
        dataset = settings.data_config.dataset
        return self.name if dataset in (None, self.datasets[0]) else str(dataset)

    def refuse_keys_of_others(self, settings: Settings) -> None:
        """For a new run: one that goes on keeps what it was told. Raises SettingsError where data_config sets what only another
        benchmark uses, and which would change nothing here."""
        data = settings.data_config
        if str(data.dataset or self.datasets[0]).lower() not in map(str.lower, self.datasets):
            return  # it is the configuration of another data set, as `complete` says
        fields = DataSettings.model_fields
        others = [(key, name) for name, keys in OF_ONE_BENCHMARK.items() if name != self.name for key in keys]
        said = [(key, name) for key, name in others if getattr(data, key) != fields[key].default]
        if said:
            key, name = said[0]
            more = f" (and {len(said) - 1} more)" if said[1:] else ""
            raise SettingsError(
                f"data_config.{key} = {shown(getattr(data, key))}{more}: used by the {name} benchmark only, and this is "
                f"{self.name}; leave it out or set it to {shown(fields[key].default)}"
            )

    def complete(self, settings: Settings) -> Settings:
        """Fill in what the data set decides. Raises SettingsError where the configuration says otherwise."""
        allowed = {"dataset": self.datasets, "data_size": (self.data_size(settings),), "num_classes": (self.num_classes,)}
        facts = {}
        for key, values in allowed.items():
            said = getattr(settings.data_config, key)
            fitting = [value for value in values if said is None or str(said).lower() == str(value).lower()]
            if not fitting:
                facts_are = " or ".join(repr(value) for value in values)
                so = shlex.quote(f"data_config.{key}={values[0]}")
                raise SettingsError(
                    f"data_config.{key} = {said!r}, but this benchmark's is {facts_are}; leave it out or set it so, "
                    f"for instance by --set {so}"
                )
            facts[key] = fitting[0]
        return settings.with_arguments(**facts)


def cut(settings: Settings, train: Sliceable, test: Sliceable) -> Splits:
    """Training, validation and test data of the sizes that the settings name. Raises DataError if there is too little."""
    from RecurrentFF.data.dataset import split

    return split(
        train,
        test,
        validation_samples=settings.data_config.validation_samples,
        train_samples=settings.data_config.train_samples,
        test_samples=settings.data_config.test_samples,
        probe_samples=settings.training.train_accuracy_samples,
    )


def images(settings: Settings, dataset: Dataset, samples: int) -> Tensor:
    """`Benchmark.show` where the inputs are square images, row by row."""
    inputs = next(iter(dataset.batches(samples))).inputs
    videos = inputs if inputs.dim() == 3 else inputs.unsqueeze(0)
    side = math.isqrt(videos.shape[2])
    return videos.reshape(*videos.shape[:2], side, side)
