"""The checks of `make lint`: the form of docstrings, and the words to avoid."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

DOCSTRINGS = {
    "A sentence.": None,
    "(units, batch): the activity.": None,
    'The value "auto".': None,
    "h' = (1 − d)·h + d·f(z).": None,
    "n(h) = h / norm(h): the pattern.": None,
    "Steps:\n\n- one\n- two": None,
    "The drive:\n\n    z = W · x + b": None,
    "Add numbers.\n\nArgs:\n    a: the first one.": None,
    "Add numbers.\n\nArgs:\n    a: the first one": "does not end with a full stop",
    "A fragment": "does not end with a full stop",
    "a sentence.": "begins with a lower-case letter",
    "What a layer wants.": "begins with 'What'",
    "Of its module.": "begins with 'Of'",
    "": "empty docstring",
}


@pytest.mark.parametrize("text", DOCSTRINGS)
@pytest.mark.parametrize("place", ["{}", "class A:\n    {}", "def f():\n    {}", "x = 1\n{}", "class A:\n    x: int\n    {}"])
def test_the_form_of_docstrings(text: str, place: str, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(place.format(repr(text)) + "\n")
    command = [sys.executable, str(ROOT / "tools/check_docstrings.py"), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = DOCSTRINGS[text]
    if expected is None:
        assert (result.returncode, result.stdout) == (0, "")
    else:
        (line,) = result.stdout.splitlines()
        assert result.returncode == 1 and line.startswith(f"{file}:{1 + place.count(chr(10))}: {expected}")


def test_every_word_to_avoid_is_found_by_the_regular_expression() -> None:
    expression = re.search(r"^regex = '''(.*)'''$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert expression
    for line in (ROOT / "tools/words.txt").read_text().splitlines():
        word, _, replacements = line.partition("->")
        assert replacements and word in re.findall(expression[1], f"{word}."), word
