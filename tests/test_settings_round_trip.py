"""Every value that a configuration may hold is read again as it was written: texts, numbers, lists, in memory and in files."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from RecurrentFF import toml
from RecurrentFF.atomic_files import write_text
from RecurrentFF.data.mnist import Mnist
from RecurrentFF.model.objectives import Threshold
from RecurrentFF.registry import register
from RecurrentFF.settings import Settings, recipes
from RecurrentFF.settings.reference import as_toml
from tests.helpers import HARD_CHARACTERS, TEXT

EVERY_INT = st.integers(-(2**63), 2**63 - 1)
EVERY_FLOAT = st.floats(allow_nan=False) | st.sampled_from([-0.0, 5e-324, 2.2e-308, 1e16, 1e22, 1.7976931348623157e308])


@register("objective", "holding_any_value")
@dataclass(frozen=True)
class HoldingAnyValue(Threshold):
    """An objective with an option of each type."""

    text: str = ""
    number: float = 0.0
    whole: int = 0
    flag: bool = False
    texts: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    nested: tuple[tuple[int, ...], ...] = ()
    table: dict[str, Any] | None = None


ANY_OBJECTIVE = st.builds(
    HoldingAnyValue,
    text=TEXT,
    number=EVERY_FLOAT,
    whole=EVERY_INT,
    flag=st.booleans(),
    texts=st.lists(TEXT, max_size=3).map(tuple),
    numbers=st.lists(EVERY_FLOAT, max_size=3).map(tuple),
    nested=st.lists(st.lists(EVERY_INT, max_size=2).map(tuple), max_size=2).map(tuple),
    table=st.none() | st.dictionaries(TEXT, TEXT | EVERY_INT | EVERY_FLOAT | st.booleans(), max_size=3),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ANY_OBJECTIVE)
def test_every_value_of_every_type_is_read_as_it_was_written(objective: HoldingAnyValue) -> None:
    written = Settings.from_arguments(objective=objective)
    read = Settings.from_toml(written.to_toml())
    assert read == written and repr(read) == repr(written)  # the sign of 0.0 counts, too


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(TEXT, min_size=3, max_size=3))
def test_every_text_survives_a_file(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    written = Settings.from_arguments(weights=texts[0], data=Mnist(data_dir=texts[1]), plugins=[texts[2]])
    folder = tmp_path_factory.getbasetemp()
    write_text(folder / "written.toml", written.to_toml())
    with (folder / "of_windows.toml").open("w", encoding="utf-8-sig", newline="\r\n") as file:  # as its editors write text
        file.write(written.to_toml())
    for name in ("written.toml", "of_windows.toml"):
        assert Settings.from_file(folder / name, import_plugins=False) == written


@pytest.mark.parametrize("character", HARD_CHARACTERS, ids=lambda character: f"U+{ord(character):04X}")
def test_a_character_that_is_hard_to_write_is_read_again(character: str) -> None:
    for text in (character, f"a{character}b", f"{character}x{character}", rf"c\xyz{character}"):
        written = Settings.from_arguments(weights=text, data=Mnist(data_dir=text))
        assert Settings.from_toml(written.to_toml()) == written
        assert toml.loads(f"key = {as_toml(text)}") == {"key": text}
        overridden = Settings().override([f"training.weights={toml.value_text(text)}"])
        assert overridden.training.weights == text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(TEXT, st.lists(TEXT | EVERY_FLOAT | EVERY_INT | st.booleans(), max_size=3), max_size=3))
def test_a_value_in_one_line_is_read_as_it_was_written(table: dict[str, Any]) -> None:
    line = toml.value_text(table)
    assert "\n" not in line and toml.loads(f"key = {line}") == {"key": table}


@pytest.mark.parametrize("number", [-0.0, 5e-324, 1e308, -(2**63), 2**63 - 1, 1e16, math.pi])
def test_the_extreme_numbers_are_read_as_they_were_written(number: float) -> None:
    key = "whole" if isinstance(number, int) else "number"
    read = Settings.from_toml(Settings.from_arguments(objective={"name": "holding_any_value", key: number}).to_toml())
    assert repr(getattr(read.objective, key)) == repr(number)


def test_a_text_with_a_byte_order_mark_before_it_is_read(tmp_path: Path) -> None:
    text = "[training]\nepochs = 3\n"
    (tmp_path / "marked.toml").write_text(text, encoding="utf-8-sig")
    (tmp_path / "former.toml").write_text("[model]\nepochs = 3\n", encoding="utf-8-sig")
    for read in (Settings.from_file(tmp_path / "marked.toml"), Settings.from_toml(f"\ufeff{text}"),
                 Settings.from_file(tmp_path / "former.toml")):  # fmt: skip
        assert read.training.epochs == 3
    assert recipes.read(tmp_path / "marked.toml") == text


@pytest.mark.parametrize("density", ["1", "1.0"])
def test_a_former_file_with_full_connections_is_read(density: str) -> None:
    assert Settings.from_toml(f"[model]\ninterconnect_density = {density}\nepochs = 3\n").training.epochs == 3
    assert Settings().override([f"model.interconnect_density={density}"]) == Settings()
