"""The configuration: one typed tree with a default for every key, read from TOML and written back to TOML.

Precedence, lowest first: the defaults below, the configuration file, `--set section.key=value`.
`Settings()` alone is the tutorial network with the threshold objective; old configuration files load unchanged.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import toml
from pydantic import ValidationError, model_validator

from RecurrentFF.errors import SettingsError
from RecurrentFF.settings.fields import Section
from RecurrentFF.settings.model import ModelSettings
from RecurrentFF.settings.run import DataSettings, DeviceSettings, TrainingSettings
from RecurrentFF.wording import in_words, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Settings(Section):
    """Everything that a run depends on. Sections and keys are those of the TOML file. Raises SettingsError."""

    device: DeviceSettings = DeviceSettings()
    model: ModelSettings = ModelSettings()
    data_config: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()

    def __init__(self, /, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise SettingsError(in_words(error, Settings), place) from None

    @model_validator(mode="after")
    def _window_lies_within_iterations(self) -> Settings:
        first, last = self.prediction_window
        if not first <= last < self.data_config.iterations:
            raise ValueError(
                f"model.prediction_window: [{first}, {last}] must be two rising timesteps below "
                f"data_config.iterations = {self.data_config.iterations}"
            )
        return self

    @model_validator(mode="after")
    def _there_are_enough_wrong_labels(self) -> Settings:
        classes = self.data_config.num_classes
        if classes is not None and self.model.negatives >= classes:
            raise ValueError(f"model.negatives = {self.model.negatives}: of {classes} classes only {classes - 1} are wrong")
        return self

    @model_validator(mode="after")
    def _there_is_time_to_move_an_input(self) -> Settings:
        model, iterations = self.model, self.data_config.iterations
        learned, label = model.label_hops if model.waits_for_label else 1, len(model.hidden_sizes) + 1
        if model.adversarial_noise and iterations <= learned:
            raise ValueError(
                f"data_config.iterations = {iterations}: adversarial_noise moves inputs only after timestep {learned} with "
                "the label, when a layer that reads them has learned from it; give it more"
                + (f", or connect the label with residual_connections = [[{label}, 1]]" if learned > 1 else "")
            )
        return self

    @model_validator(mode="after")
    def _patches_are_of_pixels(self) -> Settings:
        if self.model.receptive_field and self.data_config.edge_directions:
            raise ValueError(
                f"model.receptive_field = {self.model.receptive_field}: is a patch of pixels, but with "
                f"data_config.edge_directions = {self.data_config.edge_directions} the input is edges; set one of them to 0"
            )
        return self

    @property
    def prediction_window(self) -> tuple[int, int]:
        """First and last label timestep that count in a prediction, both included."""
        timesteps = self.data_config.iterations
        middle, half_width = timesteps // 2, timesteps // 10
        return self.model.prediction_window or (middle - half_width, middle + half_width)

    @property
    def timesteps(self) -> int:
        """Timesteps of a training sequence: those before the label and those with it."""
        return self.model.prelabel_timesteps + self.data_config.iterations

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], origin: str = "settings") -> Settings:
        """Settings from nested dictionaries; `origin` names their source in messages. Raises SettingsError."""
        try:
            return cls(**{str(key): value for key, value in tree.items()})
        except SettingsError as error:
            raise SettingsError(f"{origin}: {error}", error.place) from None

    @classmethod
    def from_file(cls, path: str | Path) -> Settings:
        """Settings from a TOML file. Raises SettingsError."""
        try:
            return cls.from_toml(Path(path).read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            raise SettingsError(f"{path}: no such configuration file") from None
        except OSError as error:
            raise SettingsError(f"{path}: the configuration file can't be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{path}: not a text file; a configuration is TOML in UTF-8") from None

    @classmethod
    def from_toml(cls, text: str, origin: str = "settings") -> Settings:
        """Settings from TOML; `origin` names their source in messages. Raises SettingsError."""
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{origin}: not valid TOML ({error})") from None
        return cls.from_dict(tree, origin)

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Settings:
        """Settings from keys alone: `Settings.from_arguments(hidden_sizes=[100], device="cpu", seed=3)`. Raises SettingsError."""
        return cls().with_arguments(**arguments)

    def with_arguments(self, **arguments: Any) -> Settings:
        """A copy with some keys set. Each key of the configuration has one section, so the section need not be named.

        Raises:
            SettingsError: a key or value is not one.
        """
        tree = self.model_dump()
        for key, value in arguments.items():
            homes = [section for section in tree.values() if key in section]
            if not homes:
                known = [name for section in tree.values() for name in section]
                raise SettingsError(f"arguments: unknown key '{key}'{nearest(key, known)}")
            homes[0][key] = value
        return self.from_dict(tree, "arguments")

    def override(self, overrides: Sequence[str], written: Sequence[str] | None = None) -> Settings:
        """A copy with "section.key=value" assignments; the value is written as in TOML, text may go unquoted.

        Args:
            overrides: the assignments.
            written: for each, how the user wrote it, for messages; by default as --set.

        Raises:
            SettingsError: names the assignment at fault.
        """
        tree = self.model_dump()
        written = written or [f"--set {override}" for override in overrides]
        for override, name in zip(overrides, written, strict=True):
            _assign(tree, override, name)
        try:
            return Settings(**tree)
        except SettingsError as error:
            keys = [override.partition("=")[0].strip() for override in overrides]
            at_fault = [name for key, name in zip(keys, written, strict=True) if f"{error.place}.".startswith(f"{key}.")]
            raise SettingsError(f"{' '.join(at_fault or written)}: {error}", error.place) from None

    def to_toml(self) -> str:
        """The whole tree as TOML; keys without a value are left out. `from_toml` gives it back."""
        return toml.dumps(self.model_dump(mode="json", exclude_none=True))


def _assign(tree: dict[str, Any], override: str, written: str) -> None:
    """Set one key of the tree from "section.key=value"."""
    path, separator, text = override.partition("=")
    if not separator or "." not in path:
        raise SettingsError(f"{written}: write it as section.key=value, for instance model.epochs=3")
    *parents, key = path.strip().split(".")
    for depth, parent in enumerate(parents):
        if not isinstance(tree.get(parent), dict):
            where = ".".join(parents[: depth + 1])
            raise SettingsError(f"{written}: there is no section '{where}'{nearest(parent, tree)}")
        tree = tree[parent]
    tree[key] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    """`text` as TOML reads it, or as it stands where TOML can't: `cuda:1` need not be quoted on a command line."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
