"""The whole configuration: one typed tree, read from TOML and written back to TOML. Every key has a default.

Precedence, from lowest to highest: the defaults, the configuration file, `--set section.key=value`. The defaults describe the
network of configs/tutorial.toml, with the threshold objective. Configuration files of the original project load unchanged.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import toml
from pydantic import ValidationError, model_validator

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import in_words, nearest
from RecurrentFF.settings.model import ModelSettings
from RecurrentFF.settings.run import DataSettings, DeviceSettings, TrainingSettings
from RecurrentFF.settings.types import Section

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Settings(Section):
    """The complete configuration of a run. Sections and keys are those of the TOML file.

    Raises:
        SettingsError: a section, key or value is invalid.
    """

    device: DeviceSettings = DeviceSettings()
    model: ModelSettings = ModelSettings()
    data_config: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()

    def __init__(self, /, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            place = ".".join(str(step) for step in error.errors()[0]["loc"])
            raise SettingsError(in_words(error, Settings), place) from None

    @model_validator(mode="after")
    def _check_prediction_window(self) -> Settings:
        first, last = self.prediction_window
        if not first <= last < self.data_config.iterations:
            raise ValueError(
                f"model.prediction_window: [{first}, {last}] must be two timesteps in ascending order below "
                f"data_config.iterations = {self.data_config.iterations}"
            )
        return self

    @model_validator(mode="after")
    def _check_number_of_negatives(self) -> Settings:
        classes = self.data_config.num_classes
        if classes is not None and self.model.negatives >= classes:
            raise ValueError(
                f"model.negatives = {self.model.negatives}: an input of {classes} classes has only {classes - 1} wrong labels"
            )
        return self

    @model_validator(mode="after")
    def _check_adversarial_noise(self) -> Settings:
        model, iterations = self.model, self.data_config.iterations
        delay, label = model.label_delay if model.learning_needs_label else 1, len(model.hidden_sizes) + 1
        if model.adversarial_noise and iterations <= delay:
            raise ValueError(
                f"data_config.iterations = {iterations}: adversarial_noise perturbs inputs only after timestep {delay} with "
                "the label, once a layer that reads them has learned from it; set more iterations"
                + (f", or connect the label with residual_connections = [[{label}, 1]]" if delay > 1 else "")
            )
        return self

    @model_validator(mode="after")
    def _check_receptive_field(self) -> Settings:
        if self.model.convolution is not None and self.data_config.edge_directions:
            raise ValueError(
                "model.convolution: it needs pixels, but with data_config.edge_directions = "
                f"{self.data_config.edge_directions} the input is oriented-gradient features; set it to 0, or leave this out"
            )
        if self.model.receptive_field and self.data_config.edge_directions:
            raise ValueError(
                f"model.receptive_field = {self.model.receptive_field}: it needs pixels, but with data_config.edge_directions = "
                f"{self.data_config.edge_directions} the input is oriented-gradient features; set one of them to 0"
            )
        return self

    @property
    def prediction_window(self) -> tuple[int, int]:
        """The first and the last timestep of the prediction window, numbered from 0 where the label is shown, both included."""
        timesteps = self.data_config.iterations
        middle, half_width = timesteps // 2, timesteps // 10
        return self.model.prediction_window or (middle - half_width, middle + half_width)

    @property
    def timesteps(self) -> int:
        """The number of timesteps of a training sequence, before the label and with it."""
        return self.model.prelabel_timesteps + self.data_config.iterations

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], origin: str = "settings") -> Settings:
        """Create settings from nested dictionaries, section by section.

        Args:
            tree: values by key, by section.
            origin: the name of their source, for error messages.

        Raises:
            SettingsError: a section, key or value is invalid.
        """
        try:
            return cls(**{str(key): value for key, value in tree.items()})
        except SettingsError as error:
            raise SettingsError(f"{origin}: {error}", error.place) from None

    @classmethod
    def from_file(cls, path: str | Path) -> Settings:
        """Read settings from a TOML file.

        Raises:
            SettingsError: the file is missing, unreadable or not TOML, or a section, key or value is invalid.
        """
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
        """Read settings from TOML text.

        Args:
            text: the content of a configuration file.
            origin: the name of its source, for error messages.

        Raises:
            SettingsError: the text is not TOML, or a section, key or value is invalid.
        """
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{origin}: not valid TOML ({error})") from None
        return cls.from_dict(tree, origin)

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Settings:
        """Create settings from keys of any section, for instance `hidden_sizes=[100], device="cpu", seed=3`.

        Raises:
            SettingsError: a key or a value is invalid.
        """
        return cls().with_arguments(**arguments)

    def with_arguments(self, **arguments: Any) -> Settings:
        """Return a copy with some keys set. No two sections share a key, so the section is not named.

        Raises:
            SettingsError: a key or a value is invalid.
        """
        sections = {name: field.default for name, field in type(self).model_fields.items()}
        section_of = {key: name for name, section in sections.items() for key in _names(section)}
        unknown = next((key for key in arguments if key not in section_of), None)
        if unknown is not None:
            known = [key for section in sections.values() for key in type(section).model_fields]
            raise SettingsError(f"arguments: unknown key '{unknown}'{nearest(unknown, known)}")
        tree = self._tree_without(f"{section_of[key]}.{key}" for key in arguments)
        for key, value in arguments.items():
            tree[section_of[key]][key] = value
        return self.from_dict(tree, "arguments")

    def override(self, overrides: Sequence[str], written: Sequence[str] | None = None) -> Settings:
        """Return a copy with assignments of the form "section.key=value" applied.

        A value is written as in TOML; text may be unquoted.

        Args:
            overrides: the assignments; of two to the same key, the later one is used.
            written: for each assignment, the user's own spelling of it, for error messages. The default is `--set` and the
                assignment.

        Raises:
            SettingsError: an assignment is invalid; the message quotes it.
        """
        paths = [override.partition("=")[0].strip() for override in overrides]
        tree = self._tree_without(paths)
        written = written or [f"--set {override}" for override in overrides]
        for override, name in zip(overrides, written, strict=True):
            _assign(tree, override, name)
        try:
            return Settings(**tree)
        except SettingsError as error:
            at_fault = [name for path, name in zip(paths, written, strict=True) if f"{error.place}.".startswith(f"{path}.")]
            raise SettingsError(f"{' '.join(at_fault or written)}: {error}", error.place) from None

    def to_toml(self) -> str:
        """Return all keys as TOML, with their current names. Keys without a value are omitted. `from_toml` is the inverse."""
        return toml.dumps(self.model_dump(mode="json", exclude_none=True))

    def _tree_without(self, paths: Iterable[str]) -> dict[str, Any]:
        """Return the tree without the current name of each key that one of these "section.key" paths sets by an older name."""
        tree = self.model_dump()
        for path in paths:
            section, _, key = path.partition(".")
            aliases = getattr(self, section).aliases() if section in tree else {}
            tree.get(section, {}).pop(aliases.get(key), None)
        return tree


def _names(section: Section) -> list[str]:
    """Return the current and the older names of a section's keys."""
    return [*type(section).model_fields, *section.aliases()]


def _assign(tree: dict[str, Any], override: str, written: str) -> None:
    """Set one key of the tree from "section.key=value"."""
    path, separator, text = override.partition("=")
    if not separator or "." not in path:
        raise SettingsError(f"{written}: write it as section.key=value, for instance model.epochs=3")
    *parents, key = path.strip().split(".")
    for depth, parent in enumerate(parents):
        if parent in tree and tree[parent] is None:  # a section that is left out by default
            tree[parent] = {}
        if not isinstance(tree.get(parent), dict):
            where = ".".join(parents[: depth + 1])
            raise SettingsError(f"{written}: there is no section '{where}'{nearest(parent, tree)}")
        tree = tree[parent]
    tree[key] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    """Read a TOML value, or return the text itself if it is not TOML: on a command line, `cuda:1` needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
