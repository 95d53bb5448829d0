"""The Japanese Vowels data set: nine speakers say the vowels "ae", and the class is the speaker.

An utterance has 7 to 29 frames of 12 cepstral coefficients of a linear prediction. There are 270 for training, 30 of each
speaker, and 370 for the test. M. Kudo, J. Toyama, M. Shimbo, "Multidimensional curve classification using passing-through
regions", Pattern Recognition Letters 20(11–13), 1999; https://archive.ics.uci.edu/dataset/128/japanese+vowels.

The files are those of the package sktime, or of aeon, of which nothing is imported.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from RecurrentFF.data.files import require_folder
from RecurrentFF.data.sequence_task import SequenceTask
from RecurrentFF.data.source import Count, DataSource
from RecurrentFF.data.transforms import Standardize, Transform
from RecurrentFF.data.ts_files import TimeSeries, read_ts_file
from RecurrentFF.errors import DataError
from RecurrentFF.paths import expanded, kind_of
from RecurrentFF.registry import register

PACKAGES = ("sktime", "aeon")
"""The packages that have the files, in the order in which they are looked for."""

SPEAKERS = tuple(range(1, 10))
"""The names of the classes."""

_COEFFICIENTS = 12
_NAME = "JapaneseVowels"
_REMEDY = (
    "install the package that has its files, by pip install --no-deps sktime, or in a copy of the repository by pip install -e "
    f'".[sequences]", or name the folder of {_NAME}_TRAIN.ts and {_NAME}_TEST.ts with --data-dir'
)


@register("data", "japanese_vowels")
@dataclass(frozen=True)
class JapaneseVowels(DataSource):
    """Japanese Vowels: 640 utterances of nine speakers, 7 to 29 frames of 12 coefficients each."""

    title: ClassVar[str] = "Japanese Vowels"
    default_transform: ClassVar[Transform] = Standardize()

    validation_samples: Count | None = 54
    """The number of training utterances, the last ones of each speaker, which select the best epoch; if left out, 54.

    With 0, all utterances are trained on, and the weights of the last epoch are kept.
    """
    data_dir: str | None = None
    """The folder of the files JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts. If left out, that of an installed package."""

    def task(self, transform: Transform | None = None) -> SequenceTask:
        """Read the utterances, and make the task, whose classes are the speakers 1 to 9.

        Args:
            transform: the transform of a frame to network inputs; None for coefficients of zero mean and unit variance.

        Raises:
            DataError: the files are missing or can't be read, or there are fewer utterances than requested.
            InputError: the transform does not fit the frames.
        """
        folder = data_folder(self.data_dir)
        train, test = (_in_rounds(read_split(folder, part)) for part in ("TRAIN", "TEST"))
        count = 54 if self.validation_samples is None else self.validation_samples
        remaining = len(train.labels) - count
        if remaining < 1:
            raise DataError(f"data.validation_samples = {count}, but there are {len(train.labels)} training utterances; lower it")
        return SequenceTask(
            train.sequences[:remaining],
            _speakers(train.labels[:remaining]),
            transform=self.default_transform if transform is None else transform,
            classes=SPEAKERS,
            validation=(train.sequences[remaining:], _speakers(train.labels[remaining:])) if count else None,
            test=(test.sequences, _speakers(test.labels)),
            name=self.title,
            train_samples=self.train_samples,
            test_samples=self.test_samples,
        )


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Return the folder of the two files.

    Args:
        data_dir: the folder that a user names; None for that of an installed package.

    Raises:
        DataError: there is no such folder, or no package that has one.
    """
    if data_dir is not None:
        folder = expanded(data_dir, DataError)
        require_folder(folder, _REMEDY)
        return folder
    for package in PACKAGES:
        for home in _homes(package):
            if kind_of(folder := home / "datasets" / "data" / _NAME, DataError) == "folder":
                return folder
    raise DataError(f"no Japanese Vowels; {_REMEDY}")


def read_split(folder: Path, part: str) -> TimeSeries:
    """Read the utterances of "TRAIN" or "TEST".

    Raises:
        DataError: the file can't be read, or has no frames of 12 coefficients by the speakers 1 to 9.
    """
    file = folder / f"{_NAME}_{part}.ts"
    series = read_ts_file(file)
    if series.sequences[0].shape[1] != _COEFFICIENTS or set(series.classes) != set(map(str, SPEAKERS)):
        raise DataError(f"{file}: not the utterances of Japanese Vowels; expected {_COEFFICIENTS} dimensions and classes 1 to 9")
    return series


def _homes(package: str) -> list[Path]:
    """The folders of an installed package, which is not imported; empty if it is not installed."""
    try:
        spec: ModuleSpec | None = find_spec(package)
    except (ImportError, ValueError):  # another module is in its place
        spec = None
    return [] if spec is None else [Path(home) for home in spec.submodule_search_locations or []]


def _in_rounds(series: TimeSeries) -> TimeSeries:
    """Order utterances in rounds: the first of each speaker, then the second of each, so that any slice has all speakers."""
    seen: Counter[str] = Counter()
    rounds = []
    for label in series.labels:
        rounds.append(seen[label])
        seen[label] += 1
    order = sorted(range(len(rounds)), key=rounds.__getitem__)
    return TimeSeries([series.sequences[i] for i in order], [series.labels[i] for i in order], series.classes)


def _speakers(labels: list[str]) -> list[int]:
    return [int(label) for label in labels]
