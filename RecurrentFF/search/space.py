"""The search space: keys of a configuration, and the values that each of them may have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from RecurrentFF import toml
from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest, shortened, shown
from RecurrentFF.paths import expanded, read_text
from RecurrentFF.registry import name_of, tree_of
from RecurrentFF.search.domains import DOMAINS, Domain, as_list
from RecurrentFF.settings import Settings
from RecurrentFF.values import require_values

if TYPE_CHECKING:
    from optuna.trial import Trial

MAX_CHARACTERS = 2**20
"""The largest size of a file of a search space, in characters."""

EXAMPLE = '{ type = "float", low = 1e-4, high = 1e-2, log = true }'

TRAINING_ONLY = ("train_samples", "augmentation", "fresh_velocities")
"""The options of data sets that change the training samples alone."""

_DRAWS = 32
"""Number of random draws of the other keys, with which a value is tried that the configuration refuses by itself."""


class Space(Mapping[str, Domain]):
    """A search space: a mapping of configuration keys, such as "optimizer.learning_rate", to their possible values.

    Args:
        entries: values by key, or nested by section. A value is a `Float`, `Int` or `Categorical`, or a mapping of the same
            options with the key "type", as in a TOML file.
        origin: the name of the source, for error messages.

    Raises:
        SettingsError: an entry is invalid, a key is named twice, or there is none.

    Examples:
        >>> Space({"network.dropout": Float(low=0.0, high=0.5), "network.hidden_sizes": Categorical(choices=[[100], [200, 100]])})
    """

    def __init__(self, entries: Mapping[str, Any], origin: str = "space") -> None:
        self.origin = origin
        self._domains: dict[str, Domain] = {}
        try:
            if not isinstance(entries, Mapping):
                raise SettingsError(f"expected keys and their values, not a {type(entries).__name__}")
            require_values(entries)
            for key, entry in _entries(entries, ""):
                if key in self._domains:
                    raise SettingsError(f"{key}: named twice; leave one of the entries out")
                self._domains[key] = _domain(key, entry)
            self._require_separate_keys()
        except SettingsError as error:
            raise SettingsError(f"{origin}: {error}") from None

    @classmethod
    def from_toml(cls, text: str, origin: str = "space") -> Space:
        """Read a search space from TOML text. The errors are those of `Space`, or that it is not TOML."""
        try:
            return cls(toml.loads(text), origin)
        except toml.TOMLDecodeError as error:
            raise SettingsError(f"{origin}: not valid TOML ({error})") from None

    @classmethod
    def from_file(cls, path: str | Path) -> Space:
        """Read a search space from a TOML file. The errors are those of `from_toml`, or that the file can't be read."""
        file = expanded(path, SettingsError)
        return cls.from_toml(read_text(file, SettingsError, 4 * MAX_CHARACTERS), str(path))

    def __getitem__(self, key: str) -> Domain:
        return self._domains[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)

    def to_toml(self) -> str:
        """The space as TOML, with one table for each key. `from_toml` is the inverse."""
        tree = {key: {name: as_list(value) for name, value in domain if value is not None} for key, domain in self.items()}
        return toml.dumps(tree)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Let Optuna choose a value for each key."""
        return {key: domain.suggest(trial, key) for key, domain in self.items()}

    def values_of(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the configuration that the parameters of a trial stand for."""
        return {key: domain.value_of(parameters[key]) for key, domain in self.items() if key in parameters}

    def applied(self, settings: Settings, values: Mapping[str, Any]) -> Settings:
        """The settings with some values of this space. The name of a component is set before its options.

        Raises:
            SettingsError: the configuration refuses the values.
        """
        keys = sorted(values, key=lambda key: not key.endswith(".name"))
        overrides = [f"{key}={toml.value_text(as_list(values[key]))}" for key in keys]
        return settings.override(overrides, [f"{key} = {shown(values[key])}" for key in keys])

    def require_accepted(self, settings: Settings) -> None:
        """Check that a configuration has all keys, and accepts both ends of each range and each choice.

        A value that it refuses by itself may fit with other values of this space. That is found out by random draws.

        Args:
            settings: the configuration of the search.

        Raises:
            SettingsError: a key is unknown, or a value is refused, or would change what trials are compared on.
        """
        random = Random(0)
        for key, domain in self.items():
            for name, value in domain.ends():
                override, written = f"{key}={toml.value_text(as_list(value))}", f"{key}, {name} = {shown(value)}"
                try:
                    changed = settings.override([override], [written])
                except SettingsError as error:
                    accepted = self._accepted_with_others(settings, key, value, random)
                    if accepted is None:
                        raise SettingsError(f"{self.origin}: {error}") from None
                    changed = accepted
                _require_comparable(settings, changed, f"{self.origin}: {key}")

    def _accepted_with_others(self, settings: Settings, key: str, value: Any, random: Random) -> Settings | None:
        """The settings with a value, and with the first of a few random draws of the other keys that makes them valid."""
        others = {name: domain for name, domain in self.items() if name != key}
        for _ in range(_DRAWS if others else 0):
            draw = {name: domain.draw(random) for name, domain in others.items()}
            with contextlib.suppress(SettingsError):
                return self.applied(settings, draw | {key: value})
        return None

    def _require_separate_keys(self) -> None:
        if not self._domains:
            raise SettingsError(f"has no key to search; write for instance optimizer.learning_rate = {EXAMPLE}")
        for key in self:
            inner = next((other for other in self if other.startswith(f"{key}.")), None)
            if inner is not None:
                raise SettingsError(f"{key}, {inner}: the first key contains the second; write its options into the choices")


def _entries(tree: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    """All entries of nested tables with their keys. A table that has nothing but tables is a section."""
    for name, value in tree.items():
        key = f"{place}.{name}" if place else str(name)
        if isinstance(value, Mapping) and value and all(isinstance(item, Mapping | Domain) for item in value.values()):
            yield from _entries(value, key)
        else:
            yield key, value


def _domain(key: str, entry: Any) -> Domain:
    """The values of one key.

    Raises:
        SettingsError: the entry is invalid.
    """
    key = shortened(key)
    if isinstance(entry, Domain):
        return entry
    if not isinstance(entry, Mapping):
        raise SettingsError(f"{key} = {shown(entry)}: expected a table, for instance {EXAMPLE}")
    kind = entry.get("type")
    if not isinstance(kind, str):
        raise SettingsError(f'{key}: has no type; write type = "float", "int" or "categorical", for instance {EXAMPLE}')
    if kind not in DOMAINS:
        raise SettingsError(f"{key}: type = {shown(kind)}: there is no such type{nearest(kind, DOMAINS)}")
    cls: Any = DOMAINS[kind]
    missing = [name for name, field in cls.model_fields.items() if field.is_required() and name not in entry]
    if missing:
        raise SettingsError(f"{key}: has no {missing[0]}, which type = '{kind}' needs")
    try:
        domain: Domain = cls(**{str(name): value for name, value in entry.items()})
    except SettingsError as error:
        raise SettingsError(f"{key}: {error}") from None
    return domain


def _require_comparable(settings: Settings, changed: Settings, place: str) -> None:
    """Refuse a key on which the validation samples, chance or the machine depend, or that has no effect in a search.

    Raises:
        SettingsError: it is such a key.
    """
    if changed.plugins != settings.plugins:
        raise SettingsError(f"{place}: plugins are imported before a search; name them in the configuration")
    if changed.tracking != settings.tracking:
        raise SettingsError(f"{place}: the trials of a search are not tracked; leave it out")
    if changed.device != settings.device:
        raise SettingsError(f"{place}: all trials of a worker have the device of the configuration; leave it out")
    if changed.distributed != settings.distributed:
        raise SettingsError(f"{place}: a search trains in one process; leave it out")
    if changed.training.seed != settings.training.seed:
        raise SettingsError(
            f"{place}: the seed is the same in all trials; leave it out, and repeat the search or the best configuration with "
            "other seeds"
        )
    parts = [(name_of(each.data), {key: value for key, value in tree_of(each.data).items() if key not in TRAINING_ONLY})
             for each in (settings, changed)]  # fmt: skip
    if parts[0] != parts[1]:
        raise SettingsError(
            f"{place}: may change the validation samples, on which trials are compared; leave it out (of [data], only "
            f"{', '.join(TRAINING_ONLY)} may be searched)"
        )
