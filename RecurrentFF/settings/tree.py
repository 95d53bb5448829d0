"""The whole configuration: one typed tree, read from TOML and written back to TOML. Every key has a default.

Precedence, from lowest to highest: the defaults, the configuration file, `--set section.key=value`. The defaults are those of
the original project: three layers of 200 units with the threshold objective. Former configurations are read by `legacy`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from RecurrentFF import toml
from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest, shortened
from RecurrentFF.options import Section, as_tuple
from RecurrentFF.registry import ComponentOf, make, make_components, name_of, tree_of
from RecurrentFF.settings import legacy, recipes
from RecurrentFF.settings.checks import (
    check_circuit,
    check_label_free,
    check_negatives,
    check_normalization,
    check_prediction,
    check_update_order,
)
from RecurrentFF.settings.former_keys import former_path
from RecurrentFF.settings.network import NetworkSettings
from RecurrentFF.settings.overrides import concerns, is_former_value, merged, options_of, overridden
from RecurrentFF.settings.plugins import import_modules
from RecurrentFF.settings.run import DeviceSettings, DistributedSettings, TrackingSettings, TrainingSettings
from RecurrentFF.settings.sections import DEFAULT_NAMES, SECTIONS
from RecurrentFF.values import of_python, require_values

if TYPE_CHECKING:  # their modules import torch
    from RecurrentFF.data.source import DataSource
    from RecurrentFF.data.transforms import Transform
    from RecurrentFF.model.generative import GenerativeCircuit
    from RecurrentFF.model.negatives import NegativeSource
    from RecurrentFF.model.objectives import Objective
    from RecurrentFF.model.optimizers import Optimizer
    from RecurrentFF.training.schedules import Schedule
else:
    DataSource = Transform = NegativeSource = GenerativeCircuit = Objective = Optimizer = Schedule = Any


def _default(kind: str) -> Any:
    return Field(default_factory=lambda: make(kind, DEFAULT_NAMES[kind], kind))


class Settings(Section):
    """The complete configuration of a run. Sections and keys are those of the TOML file.

    Raises:
        SettingsError: a section, key or value is invalid.
    """

    plugins: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """Python modules that register components of your own. They are imported when a run is started from this file."""
    network: NetworkSettings = Field(default_factory=NetworkSettings)
    """Sizes, connections and timesteps."""
    objective: Annotated[Objective, ComponentOf("objective")] = _default("objective")
    """The loss of each layer, as a function of badness."""
    negatives: Annotated[NegativeSource, ComponentOf("negatives")] = _default("negatives")
    """The source of negative data."""
    optimizer: Annotated[Optimizer, ComponentOf("optimizer")] = _default("optimizer")
    """The optimizer of the layers."""
    schedule: Annotated[Schedule, ComponentOf("schedule")] = _default("schedule")
    """The learning rate over the epochs."""
    data: Annotated[DataSource, ComponentOf("data")] = _default("data")
    """The data set, and its split into training, validation and test samples."""
    transform: Annotated[Transform, ComponentOf("transform")] | None = None
    """The fixed conversion of a sample to the network's input. The default is the data set's own."""
    generative: Annotated[GenerativeCircuit, ComponentOf("generative")] | None = None
    """The generative circuit, which reconstructs, completes and generates inputs. The default is none.

    The value "none" (in Python also None) switches off the circuit of a recipe: --set generative=none.
    """
    training: TrainingSettings = TrainingSettings()
    """Seed, length, batches and evaluation of a run."""
    device: DeviceSettings = DeviceSettings()
    """The device, and how it computes."""
    distributed: DistributedSettings = DistributedSettings()
    """The division of a training among several processes."""
    tracking: TrackingSettings = TrackingSettings()
    """The destinations of metrics, besides the run's folder."""

    def __init__(self, /, **sections: Any) -> None:
        require_values(sections)
        super().__init__(**_with_components(sections))

    @model_validator(mode="after")
    def _check_components(self) -> Settings:
        check_negatives(self)
        check_label_free(self)
        check_prediction(self)
        check_circuit(self)
        check_update_order(self)
        check_normalization(self)
        return self

    @model_validator(mode="after")
    def _check_adversarial_noise(self) -> Settings:
        network = self.network
        delay, label = network.label_delay if self.learning_needs_label else 1, len(network.hidden_sizes) + 1
        if network.adversarial_noise and network.label_timesteps <= delay:
            raise ValueError(
                f"network.label_timesteps = {network.label_timesteps}: adversarial_noise perturbs inputs only after timestep "
                f"{delay} with the label, once a layer that reads them has learned from it; set more label_timesteps"
                + (f", or connect the label with residual_connections = [[{label}, 1]]" if delay > 1 else "")
            )
        return self

    @model_validator(mode="after")
    def _check_images(self) -> Settings:
        transform = self.transform
        for index, connection in enumerate(self.network.connections):
            if connection.needs_images and transform is not None and not transform.gives_images:
                raise ValueError(
                    f"network.connections[{index}]: it needs pixels, but the transform gives features that are no image; "
                    "use another transform, or leave this out"
                )
        return self

    @property
    def learning_needs_label(self) -> bool:
        """True if a layer has nothing to learn until the label has reached it."""
        gives_inputs = self.negatives.gives_inputs  # which differ from the first timestep on
        own_units = self.network.class_groups  # the badness of two labels differs at once
        return self.objective.ranks_only and not self.network.peer_normalization and not gives_inputs and not own_units

    @property
    def prediction_window(self) -> tuple[int, int]:
        """The first and the last timestep of the prediction window, numbered from 0 where the label is shown, both included."""
        return self.network.window

    @property
    def timesteps(self) -> int:
        """The number of timesteps of a training sequence, before the label and with it."""
        return self.network.prelabel_timesteps + self.network.label_timesteps

    # ---------------------------------------------------------------- reading

    @classmethod
    def from_dict(
        cls, tree: Mapping[str, Any], origin: str = "settings", *, data: str | None = None, import_plugins: bool = False
    ) -> Settings:
        """Create settings from nested dictionaries, section by section.

        Args:
            tree: values by key, by section; of the present form, or of a former one.
            origin: the name of their source, for error messages.
            data: the data set of a configuration that names none.
            import_plugins: import the modules in the key `plugins`, which runs their code.

        Raises:
            SettingsError: a section, key or value is invalid, or a plugin can't be imported.
        """
        former_names: dict[str, str] = {}
        named = {"data": {"name": data}} if data is not None else {}
        try:
            if not isinstance(tree, Mapping):
                raise SettingsError(f"expected sections and their keys, not a {type(tree).__name__}")
            require_values(tree)
            if legacy.is_former(tree):
                tree, former_names = legacy.translate_file(tree, named, strict=data is not None)
            if import_plugins:
                import_modules(tree.get("plugins", ()))
            return cls(**merged(named, tree))
        except SettingsError as error:
            raise SettingsError(f"{origin}: {error}{legacy.hint(former_names, error)}", error.place) from None

    @classmethod
    def from_file(cls, path: str | Path, *, data: str | None = None, import_plugins: bool = True) -> Settings:
        """Read settings from a TOML file, and import the plugins that it names.

        Args:
            path: the file, or the name of a recipe, one of the configurations of this package.
            data: as for `from_dict`.
            import_plugins: as for `from_dict`.

        Raises:
            SettingsError: the file is missing, unreadable or not TOML, or a section, key or value is invalid.
        """
        if not isinstance(path, str | os.PathLike):
            raise SettingsError(f"from_file: expected the path of a TOML file, not a {type(path).__name__}")
        return cls.from_toml(recipes.read(path), str(path), data=data, import_plugins=import_plugins)

    @classmethod
    def from_toml(cls, text: str, origin: str = "settings", *, data: str | None = None, import_plugins: bool = False) -> Settings:
        """Read settings from TOML text.

        Args:
            text: the content of a configuration file.
            origin: the name of its source, for error messages.
            data: as for `from_dict`.
            import_plugins: as for `from_dict`.

        Raises:
            SettingsError: the text is not TOML, or a section, key or value is invalid.
        """
        try:
            tree = toml.loads(text)
        except toml.TooLargeError as error:
            raise SettingsError(f"{origin}: can't be read as a configuration ({error})") from None
        except toml.TOMLDecodeError as error:
            raise SettingsError(f"{origin}: not valid TOML ({error})") from None
        return cls.from_dict(tree, origin, data=data, import_plugins=import_plugins)

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Settings:
        """Create settings from single keys and components, for instance `hidden_sizes=[100], device="cpu", objective="pairwise"`.

        Raises:
            SettingsError: a key or a value is invalid.
        """
        return cls().with_arguments(**arguments)

    def with_arguments(self, **arguments: Any) -> Settings:
        """Return a copy with some keys or components set.

        Args:
            arguments: keys of the sections network, training, device and tracking, which no two of them share; components as
                objects, names or dictionaries, such as `optimizer={"name": "adam", "learning_rate": 1e-3}`; or whole sections as
                dictionaries.

        Raises:
            SettingsError: a key or a value is invalid.
        """
        former_names: dict[str, str] = {}
        try:
            require_values(arguments)
            tree = self._by_section(arguments)
            if legacy.is_former(tree):
                tree, former_names = legacy.translate(tree, self.to_tree())
            settings = Settings(**merged(self._parts(), tree))
            settings.to_toml()  # so that what a checkpoint can't hold is refused now, and not after training
            return settings
        except SettingsError as error:
            raise SettingsError(f"arguments: {error}{legacy.hint(former_names, error)}", error.place) from None

    def _by_section(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as sections and their keys; those of former configurations in former sections."""
        tree: dict[str, Any] = {}
        for key, value in arguments.items():
            section = next((name for name, section in SECTIONS.items() if key in section.model_fields), None)
            former = former_path(key)
            value = options_of(value) if isinstance(value, BaseModel) else of_python(value)
            if key in type(self).model_fields and not is_former_value(key, value):
                tree[key] = value if not isinstance(value, Mapping) else tree.get(key, {}) | dict(value)
            elif section is not None:
                tree.setdefault(section, {})[key] = value
            elif former is not None:
                tree.setdefault(former.partition(".")[0], {})[key] = value
            else:
                raise SettingsError(f"unknown key '{shortened(key)}'{self._home_of(key)}")
        return tree

    def _home_of(self, key: str) -> str:
        """The end of the message about an unknown argument: the component that has an option of this name, or a similar key."""
        for kind in (*DEFAULT_NAMES, "transform"):
            component = getattr(self, kind)
            if component is not None and key != "name" and key in options_of(component):
                return f"; it is an option of {kind}: {kind}={{'name': '{name_of(component)}', '{key}': …}}"
        known = {*type(self).model_fields, *(key for section in SECTIONS.values() for key in section.model_fields)}
        return nearest(key, known)

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
        overrides = [overrides] if isinstance(overrides, str) else list(map(str, overrides))
        written = [shortened(name, 120) for name in written or [f"--set {override}" for override in overrides]]
        tree, places = self._parts(), []
        former: dict[str, Any] = {}
        for override, name in zip(overrides, written, strict=True):
            tree, changed = overridden(tree, override, name, former)
            places.append(changed)
        try:
            return Settings(**tree)
        except SettingsError as error:
            at_fault = [
                name for name, paths in zip(written, places, strict=True) if any(concerns(path, error.place) for path in paths)
            ]
            raise SettingsError(f"{' '.join(at_fault or written)}: {error}", error.place) from None

    # ---------------------------------------------------------------- writing

    def to_tree(self) -> dict[str, Any]:
        """Return all keys as nested dictionaries, lists and plain values. Keys without a value are omitted."""
        tree: dict[str, Any] = tree_of(self)
        return tree

    def to_toml(self) -> str:
        """Return all keys as TOML. Keys without a value are omitted. `from_toml` is the inverse.

        Raises:
            SettingsError: an option of a component is no number, text or boolean, or list of them, or the text would be too long.
        """
        tree = self.to_tree()
        try:
            text = toml.dumps(tree)
        except TypeError:
            path, value = _unwritable(tree, "") or ("", None)
            raise SettingsError(
                f"{path}: a configuration can't hold a {type(value).__name__}; use numbers, text, booleans, and lists of them",
                path,
            ) from None
        try:
            toml.require_size(text)
        except toml.TooLargeError as error:
            raise SettingsError(f"the configuration could not be read again ({error}); use shorter lists and texts") from None
        return text

    def _parts(self) -> dict[str, Any]:
        """The sections as dictionaries; components stay objects, since a class need not be registered."""
        tree: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            tree[name] = options_of(value) if isinstance(value, BaseModel) else value
        return tree


def _unwritable(value: Any, path: str) -> tuple[str, Any] | None:
    """The path and the value of the first entry of a tree that TOML has no type for; None if there is none."""
    entries: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        entries = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        entries = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    elif not isinstance(value, str | int | float):
        return path, value
    return next((found for place, item in entries if (found := _unwritable(item, place)) is not None), None)


def _is_switched_off(circuit: object) -> bool:
    """True for the name "none", alone or as a section without other keys."""
    name = circuit["name"] if isinstance(circuit, Mapping) and list(circuit) == ["name"] else circuit
    return isinstance(name, str) and name == "none"


def _with_components(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Make all components that a configuration describes. A section without a name has its default component."""
    tree = {key: dict(value) if isinstance(value, Mapping) else value for key, value in sections.items()}
    for kind, name in DEFAULT_NAMES.items():
        if isinstance(tree.get(kind), Mapping):
            tree[kind] = {"name": name} | dict(tree[kind])
    hints = {name: field.rebuild_annotation() for name, field in Settings.model_fields.items()}
    if _is_switched_off(tree.get("generative")):
        tree["generative"] = None
    transform = tree.pop("transform", None)
    made = make_components(hints, tree, "")
    if transform is not None:
        default = getattr(made.get("data"), "default_transform", None)
        if isinstance(transform, Mapping) and "name" not in transform and default is not None:
            transform = tree_of(default) | dict(transform)
        made["transform"] = make("transform", transform, "transform")
    if isinstance(made.get("network"), Mapping):
        fields = {name: field.rebuild_annotation() for name, field in NetworkSettings.model_fields.items()}
        made["network"] = make_components(fields, made["network"], "network")
    return made
