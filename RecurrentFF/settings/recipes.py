"""The recipes: configurations that come with the package, as TOML files in the folder RecurrentFF/recipes.

In a clone of the repository, `configs` is a link to that folder.
"""

from __future__ import annotations

from pathlib import Path

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest
from RecurrentFF.paths import expanded, kind_of, read_text
from RecurrentFF.toml import MAX_TEXT

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
"""The folder of the recipes."""

GENERAL = "general"
"""The name of the recipe for data sets that have none of their own."""

DEFAULTS = {
    "mnist": "mnist_fast",
    "fashion_mnist": "fashion_mnist",
    "moving_mnist": "moving_mnist",
    "seq_mnist": "seq_mnist",
    "japanese_vowels": "japanese_vowels",
    "associative_retrieval": "associative_retrieval",
}
"""The name of the recipe that each data set is trained with if the user names none."""


def names() -> list[str]:
    """The names of all recipes."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def path_of(name: str) -> Path:
    """The file of a recipe."""
    return FOLDER / f"{name}.toml"


def default_for(data: str) -> Path:
    """The file of a data set's default recipe.

    Args:
        data: the registered name of the data set.
    """
    return path_of(DEFAULTS.get(data, GENERAL))


def find(path: Path) -> Path:
    """The configuration file that a user names: an existing file, or else the recipe of this name, if there is one.

    A folder that has the name of a recipe does not hide it.

    Raises:
        SettingsError: it can't be found out whether the file exists.
    """
    return path_of(str(path)) if str(path) in names() and kind_of(path, SettingsError) != "file" else path


def read(path: str | Path) -> str:
    """The text of the configuration file or recipe that a user names.

    Raises:
        SettingsError: the file is missing, can't be read, is too large, or is not text.
    """
    path = expanded(path, SettingsError)
    file = find(path)
    if kind_of(file, SettingsError) is None:
        raise SettingsError(f"{path}: no such configuration file, and no recipe of that name{nearest(str(path), names())}")
    return read_text(file, SettingsError, 4 * MAX_TEXT)  # a character has up to four bytes


def description(name: str) -> str:
    """The first line of a recipe's comment."""
    return path_of(name).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
