"""Changes of a configuration: sections that are merged, and assignments of single keys by `--set`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from RecurrentFF import toml
from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest, shortened
from RecurrentFF.registry import Component, name_of, tree_of
from RecurrentFF.settings import legacy
from RecurrentFF.settings.former_keys import FORMER_SECTIONS
from RecurrentFF.settings.sections import DEFAULT_NAMES, SECTIONS
from RecurrentFF.values import require_values


def merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with changes. A component with another name replaces the former one; otherwise its options are changed."""
    result = dict(tree)
    for key, change in changes.items():
        before, change = result.get(key), _named(key, change)
        if isinstance(change, Mapping) and before is not None:
            former = options_of(before) if isinstance(before, Component | BaseModel) else before
            if isinstance(former, Mapping) and ("name" not in change or change["name"] == former.get("name")):
                change = merged(former, change)
        result[key] = change
    return result


def _named(key: str, change: Any) -> Any:
    """A change of the tree; the name of a component stands for a section with that name."""
    is_name = isinstance(change, str) and key in (*DEFAULT_NAMES, "transform", "generative", "activation")
    return {"name": change} if is_name else change


def options_of(component: Component | BaseModel) -> dict[str, Any]:
    """The name and the options of a component, or the keys of a section.

    Nested components stay objects, since a class need not be registered.
    """
    if isinstance(component, BaseModel):
        return {name: getattr(component, name) for name in type(component).model_fields}
    names: list[str] = [field.name for field in fields(component)] if is_dataclass(component) else []
    return {"name": name_of(component)} | {name: getattr(component, name) for name in names}


def is_former_value(key: str, value: object) -> bool:
    """True for a value of a section's name that has another meaning as a former key, or as a key of a section."""
    return (key == "negatives" and isinstance(value, int)) or (key == "device" and not isinstance(value, Mapping))


def overridden(tree: Mapping[str, Any], override: str, written: str, former: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A tree with one assignment applied, in the present form or a former one, and the present paths that it sets.

    Args:
        tree: is not changed.
        override: the assignment.
        written: its spelling for error messages.
        former: the former keys that earlier assignments set, to which this one is added.
    """
    try:
        partial, places = _assignment(override, tree), [override.partition("=")[0].strip()]
        if legacy.is_former(partial):
            former.update(legacy.joined(former, partial))
            partial, former_names = legacy.translate(legacy.with_related(partial, former), _sections(tree_of(tree)))
            places = list(former_names)
        return merged(tree, partial), places
    except SettingsError as error:
        raise SettingsError(f"{written}: {error}", error.place) from None


def _sections(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree in which sections, and the components in lists, are dictionaries. Others are left out.

    Earlier assignments may have made something else of them. A later one replaces it, or it is refused with the whole tree.
    """
    sections = {name: dict(section) for name, section in tree.items() if isinstance(section, Mapping)}
    for section, key in (("objective", "objectives"), ("network", "connections")):
        entries = sections.get(section, {}).get(key, ())
        kept = [entry for entry in entries if _is_named(entry)] if isinstance(entries, list) else []
        if entries:
            sections[section][key] = kept
    if not isinstance(sections.get("negatives", {}).get("optimizer", {}), Mapping):
        del sections["negatives"]["optimizer"]
    return sections


def _is_named(entry: object) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("name"), str)


def _assignment(override: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Read "section.key=value" as nested dictionaries of one key."""
    path, separator, text = override.partition("=")
    steps = path.strip().split(".")
    single = [name for name in tree if name not in SECTIONS]  # a component's name, or the plugins
    if not separator or (len(steps) < 2 and steps[0] not in single):
        raise SettingsError("write it as section.key=value, for instance training.epochs=3")
    known = [*tree, *FORMER_SECTIONS]
    if steps[0] not in known:
        raise SettingsError(f"there is no section '{shortened(steps[0])}'{nearest(steps[0], known)}")
    value: Any = _toml_value(text.strip())
    for step in reversed(steps[1:]):
        value = {step: value}
    require_values(value, steps[0])
    return {steps[0]: value}


def concerns(path: str, place: str) -> bool:
    """True if an assignment to a path may be the cause of a mistake at a place."""
    return f"{place}.".startswith(f"{path}.") or f"{path}.".startswith(f"{place}.")


def _toml_value(text: str) -> Any:
    """Read a TOML value, or return the text itself if it is not TOML: on a command line, `cuda:1` needs no quotes.

    Raises:
        SettingsError: the text has quotes and is not TOML, or is beyond a limit of what is read.
    """
    try:
        tree = toml.loads(f"value = {text}")
    except toml.TooLargeError as error:
        raise SettingsError(f"the value can't be read ({error})") from None
    except toml.TOMLDecodeError as error:
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":  # it was meant as TOML
            raise SettingsError(f"the value is not valid TOML ({error})") from None
        return text
    return tree["value"] if len(tree) == 1 else text  # a text of several lines may have more keys
