"""The reference of all configuration keys, generated from the classes: type, default and docstring of each key.

`python -m RecurrentFF.settings.reference > docs/reference/configuration.md` writes the page in the documentation.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from RecurrentFF import toml
from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest
from RecurrentFF.options import Section, as_switch
from RecurrentFF.registry import Component, ComponentOf, component_class, names, schema, tree_of
from RecurrentFF.settings.sections import DEFAULT_NAMES, SECTIONS
from RecurrentFF.settings.tree import Settings

COMPONENT_SECTIONS = {
    "network.activation": "activation",
    "network.connections": "connection",
    "network.connections.function": "black_box",
    "objective": "objective",
    "negatives": "negatives",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "data": "data",
    "transform": "transform",
    "generative": "generative",
}
"""The sections of components, in the order of the page, and their kinds."""

ORDER = ("network", *COMPONENT_SECTIONS, *(name for name in SECTIONS if name != "network"))
"""All sections, in the order of the page."""

INTRODUCTION = """\
# Configuration

<!-- Written by: python -m RecurrentFF.settings.reference > docs/reference/configuration.md -->

A configuration is a TOML file. Every key has a default, and `rff config mnist_fast` prints one of the files that come with the
package. Keys of the command line's `--set` are written as `section.key=value`, for instance `--set training.epochs=3`.

A component, such as an objective or a data set, has the key `name` and the options of that name in one section. If the section
has no `name`, the options are those of the component that is marked as the default. `rff config --keys` prints the same tables,
with the components of your own that `--plugin MODULE` registers.
"""


@dataclass(frozen=True)
class Key:
    """One key of the configuration."""

    name: str
    """The name of the key; in a section of its own, with the name of that section and a dot."""
    type: str
    """The values that are accepted, in words."""
    default: str
    """The default as TOML; empty for a key that is not set by default."""
    meaning: str
    """The docstring of the key, in one line."""

    @property
    def summary(self) -> str:
        """The first sentence of the meaning."""
        return first_sentence(self.meaning)


def describe(cls: type) -> list[Key]:
    """Describe the keys of a section or a component, also those that it inherits.

    Args:
        cls: the class of a section, a subclass of `Section`; or a component class, which is a dataclass.
    """
    documented = docstrings(cls)
    model = cast("type[BaseModel]", cast(Any, schema)(cls) if issubclass(cls, Component) else cls)
    keys = []
    for name, field in model.model_fields.items():
        nested = field.annotation
        if (
            get_origin(nested) is None and isinstance(nested, type) and issubclass(nested, Section)
        ):  # list[int] is a type, in 3.10
            values = tree_of(field.get_default(call_default_factory=True))
            keys += [replace(key, name=f"{name}.{key.name}", default=as_toml(values.get(key.name))) for key in describe(nested)]
        else:
            default = None if field.is_required() else tree_of(field.get_default(call_default_factory=True))
            keys.append(Key(name, type_in_words(field.rebuild_annotation()), as_toml(default), documented.get(name, "")))
    return keys


def key_of(section: str, name: str) -> Key:
    """The key of one of the fixed sections, such as "training" and "epochs"."""
    return next(key for key in describe(SECTIONS[section]) if key.name == name)


@cache
def docstrings(cls: type) -> Mapping[str, str]:
    """The docstrings of a class's attributes, in one line each: strings that follow assignments, also in base classes."""
    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(parent))).body
        except (OSError, TypeError, SyntaxError, ValueError):  # defined where there is no file
            continue
        assert isinstance(definition, ast.ClassDef)
        for statement, following in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and _is_text(following):
                found[statement.target.id] = " ".join(following.value.value.split())  # type: ignore[attr-defined]
    return found


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def first_sentence(text: str) -> str:
    """The first sentence of a text in one line."""
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]


def as_toml(value: object) -> str:
    """A value as TOML in one line; empty for None."""
    return "" if value is None else toml.value_text(value)


# ---------------------------------------------------------------- types in words

_PLAIN: dict[object, str] = {
    bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "", Any: "any value"
}  # fmt: skip
_PLURALS = {"whole number": "whole numbers", "number": "numbers", "text": "texts", "negatives": "negatives"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def type_in_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Describe the values that an annotation accepts.

    Args:
        annotation: the annotation of a key.
        metadata: what surrounding Annotated[...] say about it.
    """
    for marker in metadata:
        if isinstance(marker, ComponentOf):
            return marker.kind
        if isinstance(marker, BeforeValidator) and marker.func is as_switch:
            return '"auto", true or false'
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_in_words(arguments[0], [*_flattened(arguments[1:]), *metadata])
    if origin is Literal:
        return _either([as_toml(value) for value in arguments])
    if origin in (Union, types.UnionType):
        return _either([type_in_words(argument, metadata) for argument in arguments if argument is not type(None)])
    if origin is tuple:
        return _tuple_in_words(arguments)
    if isinstance(annotation, type) and issubclass(annotation, Component):
        return getattr(annotation, "kind", annotation.__name__)
    base = _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))
    bounds = [f"{sign} {_number(value)}" for name, sign in _BOUNDS.items() if (value := _bound(metadata, name)) is not None]
    return base + (f" {', '.join(bounds)}" if bounds else "")


def _tuple_in_words(arguments: tuple[Any, ...]) -> str:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"list of {_plural(type_in_words(arguments[0]))}"
    parts = [type_in_words(argument) for argument in arguments]
    same = len(set(parts)) == 1
    return f"list of {len(parts)} {_plural(parts[0])}" if same else f"list [{', '.join(parts)}]"


def _plural(words: str) -> str:
    if words.startswith("list "):
        return f"lists {words.removeprefix('list ')}"
    noun = next((noun for noun in sorted(_PLURALS, key=len, reverse=True) if words.startswith(noun)), None)
    if noun is not None:
        return _PLURALS[noun] + words.removeprefix(noun)
    return f"{words}s" if words.isalpha() else words


def _number(value: float) -> str:
    return f"2^{value.bit_length() - 1}" if isinstance(value, int) and value > 2**31 else f"{value:g}"


def _either(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def _flattened(metadata: Sequence[Any]) -> Iterator[Any]:
    for marker in metadata:
        if isinstance(marker, FieldInfo):
            yield from _flattened(marker.metadata)
        else:
            yield marker


def _bound(metadata: Sequence[Any], name: str) -> float | None:
    return next((value for marker in metadata if isinstance(value := getattr(marker, name, None), int | float)), None)


# ---------------------------------------------------------------- the page


@dataclass(frozen=True)
class Part:
    """The keys of a section, or those of one of the components that it may name."""

    section: str
    """The path of the section."""
    component: str
    """The name of the component; empty for a section of fixed keys."""
    is_default: bool
    """True for the component of a section without a name."""
    description: str
    """The docstring of the class, its first paragraph in one line."""
    keys: list[Key]


def parts(section: str) -> list[Part]:
    """Describe a section of the configuration.

    Args:
        section: one of ORDER.

    Returns:
        One part for a section of fixed keys; else one for each component, the default first and the others by name.
    """
    if section in SECTIONS:
        return [Part(section, "", False, summary(section), describe(SECTIONS[section]))]
    kind = COMPONENT_SECTIONS[section]
    default = DEFAULT_NAMES.get(kind, "leaky_relu" if kind == "activation" else "")
    found = []
    for name in sorted(names(kind), key=lambda name: (name != default, name)):
        cls = component_class(kind, name)
        found.append(Part(section, name, name == default, _paragraph(cls), describe(cls)))
    return found


def summary(section: str) -> str:
    """Describe a section in one line; one inside another section in its first sentence, because its table has the others."""
    *parents, name = section.split(".")
    if len(parents) > 1:  # an option of a component that is itself one
        owner: type = component_class("connection", "black_box")
        return first_sentence(docstrings(owner)[name])
    return first_sentence(docstrings(SECTIONS[parents[0]])[name]) if parents else docstrings(Settings)[name]


def markdown() -> str:
    """Write the configuration page: a table of keys for each section and each component."""
    lines = [INTRODUCTION, f"`plugins` = `[]`: {docstrings(Settings)['plugins']}", ""]
    for section in ORDER:
        heading = f"[[{section}]]" if section == "network.connections" else f"[{section}]"
        lines += [f"## {heading}", "", summary(section), ""]
        for part in parts(section):
            if part.component:
                lines += [f'### name = "{part.component}"{" (the default)" if part.is_default else ""}', "", part.description, ""]
            if part.keys:
                lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
                lines += [_table_row(key) for key in part.keys]
                lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def text(wanted: str | None = None, width: int = 100) -> str:
    """Write the keys as plain text.

    Args:
        wanted: a section, such as "network" or "objective"; None for all of them.
        width: the number of characters of a line.

    Raises:
        SettingsError: there is no such section.
    """
    chosen = [name for name in ORDER if wanted in (None, name, name.rpartition(".")[2], name.partition(".")[0])]
    if not chosen:
        raise SettingsError(f"--keys {wanted}: there is no such section{nearest(str(wanted), ORDER)}")
    lines = [] if wanted else ["plugins = []", *_wrapped(docstrings(Settings)["plugins"], width, 6), ""]
    for section in chosen:
        lines += [f"[{section}]  {summary(section)}", ""]
        for part in parts(section):
            if part.component:
                lines.append(f'  name = "{part.component}"{"  (the default)" if part.is_default else ""}')
                lines += [*_wrapped(part.description, width, 6), ""]
            for key in part.keys:
                indent = 6 if part.component else 2
                default = f" = {key.default}" if key.default else ""
                lines.append(f"{' ' * indent}{key.name}{default}  ({key.type})")
                lines += [*_wrapped(key.meaning, width, indent + 4), ""]
    return "\n".join(lines).rstrip()


def _wrapped(paragraph: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(paragraph, width, initial_indent=" " * indent, subsequent_indent=" " * indent)


def _table_row(key: Key) -> str:
    cells = [f"`{key.name}`", key.type, f"`{key.default}`" if key.default else "not set", key.meaning]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _paragraph(cls: type) -> str:
    text = " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())
    return "" if text.startswith(f"{cls.__name__}(") else text  # the signature, which a dataclass without a docstring gets


if __name__ == "__main__":
    sys.stdout.write(markdown())
