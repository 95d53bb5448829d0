"""The targets "settings", a configuration file, and "set", the assignments of --set."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from RecurrentFF import toml
from RecurrentFF.cli import present_form
from RecurrentFF.errors import SettingsError
from RecurrentFF.options import Section
from RecurrentFF.registry import HOMES, component_class, names, schema, tree_of
from RecurrentFF.settings import Settings, former_keys, recipes
from RecurrentFF.settings.sections import SECTIONS
from RecurrentFF.training.build import build
from RecurrentFF.training.memory import require_memory, required_memory
from tests.helpers import all_settings, values_of
from tools.fuzz.contract import ContractError, answer
from tools.fuzz.mutations import WORDS, among, mutated
from tools.fuzz.parts import folder_with
from tools.fuzz.target import Target
from tools.fuzz.trees import TEXTS, edited, values

FORMER = Path(__file__).parents[2] / "tests" / "fixtures" / "former"
"""The folder of former configurations."""
SMALL = 16 * 2**20
"""The memory of networks that are built, in bytes."""


def check_file(example: bytes) -> None:
    """Read a configuration file, and as a former one; write what is valid and read it again; build a small network."""
    path = folder_with({"config.toml": example}) / "config.toml"
    answer(partial(present_form, path), str(path))
    for data in (None, "mnist"):
        settings = answer(partial(Settings.from_file, path, data=data, import_plugins=False), str(path))
        if settings is not None:
            check_settings(settings)


def check_assignments(example: bytes) -> None:
    """Apply assignments to the default configuration and to a recipe, all at once."""
    assignments = json.loads(example)
    for settings in (Settings(), Settings.from_file("mnist_conv")):
        changed = answer(partial(settings.override, assignments), "--set")
        if changed is not None:
            check_settings(changed)


def check_settings(settings: Settings) -> None:
    """Write valid settings and read them again; build the network, if it is small.

    Raises:
        ContractError: what is read is not what was written.
    """
    text = answer(settings.to_toml)
    if text is None:
        return
    try:
        again = Settings.from_toml(text.encode().decode())
    except (UnicodeEncodeError, SettingsError) as error:
        raise ContractError("valid settings that can't be written and read again", str(error)) from error
    if again.to_toml() != text:
        raise ContractError("settings that change when they are written and read again", _difference(text, again.to_toml()))
    network = settings.network
    sizes = {"input_size": network.input_size or 9, "num_classes": network.num_classes or 4}
    sized = answer(partial(settings.with_arguments, **sizes, data="own", device="cpu", compile=False))
    if sized is None:
        return
    required = answer(lambda: sum(required_memory(sized).values()))
    answer(partial(require_memory, sized, torch.device("cpu")))
    if required is not None and required < SMALL:
        answer(partial(build, sized))


def _difference(text: str, other: str) -> str:
    lines = zip(text.splitlines(), other.splitlines(), strict=False)
    return next((f"{one!r} became {two!r}" for one, two in lines if one != two), "the number of lines")


# ---------------------------------------------------------------- examples

VALUES = values()
"""Any values."""


@cache
def keys() -> dict[str, dict[str, Any]]:
    """The keys of each section, with the annotations of their values; of a section with a component, the keys of all of them."""
    found: dict[str, dict[str, Any]] = {name: _annotations(section) for name, section in SECTIONS.items()}
    for kind in HOMES:
        found[kind] = {"name": str}
        for name in names(kind):
            cls: Any = component_class(kind, name)
            found[kind] |= _annotations(schema(cls))
    for path in (*former_keys.MOVED, *former_keys.OTHERS):
        section, _, key = path.partition(".")
        found.setdefault(section, {})[key] = int
    return found


def _annotations(section: type[Section]) -> dict[str, Any]:
    return {name: field.rebuild_annotation() for name, field in section.model_fields.items()}


@cache
def trees() -> list[Any]:
    """Valid configurations as nested dictionaries: the default, the recipes, and former ones."""
    files = [*(recipes.path_of(name) for name in recipes.names()), *sorted(FORMER.glob("*.toml"))]
    return [Settings().to_tree(), *(toml.loads(file.read_text(encoding="utf-8")) for file in files)]


@cache
def value_of(section: str, key: str) -> st.SearchStrategy[bytes]:
    """A value of a key in the spelling of TOML: in its range, any other one, or no value at all."""
    valid: st.SearchStrategy[Any] = st.integers()
    if key == "name":
        valid = st.sampled_from(names(section) if section in HOMES else ["mnist"])
    elif key in keys()[section]:
        valid = values_of(keys()[section][key]).map(tree_of)
    return st.one_of(valid.map(as_toml), VALUES.map(as_toml), among(WORDS))


def as_toml(value: object) -> bytes:
    """A value in the spelling of TOML, as far as it has one; else its text."""
    try:
        return toml.dumps({"v": value}).partition("=")[2].strip().encode("utf-8", "surrogateescape")
    except (TypeError, ValueError, RecursionError):
        return str(type(value)).encode()


@cache
def entry() -> st.SearchStrategy[tuple[bytes, bytes, bytes]]:
    """A section, a key and a value, which mostly go together."""

    def with_value(place: tuple[str, str]) -> st.SearchStrategy[tuple[bytes, bytes, bytes]]:
        section, key = place
        return st.tuples(st.just(section.encode()), st.just(key.encode("utf-8", "surrogatepass")), value_of(section, key))

    known = st.sampled_from([(section, key) for section, some in keys().items() for key in some])
    odd = st.tuples(st.sampled_from(list(keys())), among(TEXTS))
    return st.one_of(known, known, known, odd).flatmap(with_value)


def documents() -> st.SearchStrategy[bytes]:
    """A configuration of a few sections, keys and values, some of them twice or at odd places."""
    headers = among([b"[%b]"] * 10 + [b"[[%b]]", b"[network.%b]", b"[network.connections]#%b", b"['%b\n']", b"#%b"])
    line = st.builds(lambda header, parts: b"%b\n%b = %b" % (header % parts[0], *parts[1:]), headers, entry())
    return st.lists(line, min_size=1, max_size=5).map(b"\n".join)


def file_examples() -> st.SearchStrategy[bytes]:
    """Configuration files, valid and not."""
    written = [toml.dumps(tree).encode() for tree in trees()]
    changed = edited(trees(), VALUES).map(as_document)
    valid = all_settings().map(lambda settings: settings.to_toml().encode("utf-8", "surrogatepass"))
    return st.one_of(mutated(written, text=True), changed, documents(), valid)


def as_document(tree: Any) -> bytes:
    """A tree as TOML; the text of its type, if TOML has no such value."""
    try:
        return toml.dumps(tree).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, AttributeError, RecursionError):
        return b"[network]\n"


def as_argument(text: bytes) -> str:
    """An argument as Python gets it: bytes that are not UTF-8 are surrogates."""
    return text.decode("utf-8", "surrogateescape")


def assignment_examples() -> st.SearchStrategy[bytes]:
    """One to four assignments, as a JSON list."""
    known = entry().map(lambda parts: as_argument(b"%b.%b=%b" % parts))
    section = st.sampled_from([*keys(), "plugins", ""])
    whole = st.builds(lambda name, value: f"{name}={value}", section, VALUES.map(as_toml).map(as_argument))
    odd = mutated([text.encode() for text in SAMPLES], text=True).map(as_argument)
    assignment = st.one_of(known, known, odd, whole)
    return st.lists(assignment, min_size=1, max_size=4).map(lambda texts: json.dumps(texts).encode())


SAMPLES = (
    "network.hidden_sizes=[20, 10]", "objective.name=pairwise", "objective=pairwise", "data.data_dir=~/data", "plugins=[]",
    "network.connections=[{name='receptive_field', side=3}]", "negatives.optimizer.name=adam", "model.ff_rmsprop.momentum=0.5",
    "transform.name=pixels", "device.device=cuda:1", "data.augmentation.translate=3", "network.activation.name=relu",
)  # fmt: skip
"""Assignments that are valid by themselves, or with others."""

TARGETS = [
    Target("settings", file_examples, check_file),
    Target("set", assignment_examples, check_assignments),
]
