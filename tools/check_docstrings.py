"""Check the form of docstrings: python tools/check_docstrings.py FOLDER_OR_FILE...

A docstring is a full sentence that can be read alone. This script checks what a program can: the first character, the first
word, and the full stop at the end, in the docstrings of modules, classes, functions and attributes (a string that follows an
assignment). It prints one line for each mistake, and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FRAGMENTS = frozenset(["What", "How", "Where", "Whether", "Which", "Of", "That", "See", "Since", "From", "So", "It"])
"""First words of clauses that continue another sentence or the name above them."""
SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes|Note|Notes):$")
"""A header of a docstring's section, whose indented entries are sentences."""
SENTENCE_END = re.compile(r"""[.!?]["'`”)\]]*$""")
"""A full stop, with closing quotes or parentheses."""
LOWER_CASE_WORD = re.compile(r"[a-z][\w-]*[ .,;:](?!=)")
"""A word that begins with a lower-case letter, but not a formula such as "z = W · x + b" or "log(x)"."""
BLOCK_LINE = re.compile(r"([-*+|] ?|\d+\. |```|>>> )")
"""The beginning of a line in a list, a table or a code block."""


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line number and text of all docstrings of a module, those of attributes included."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for position, statement in enumerate(node.body):
            follows_assignment = position > 0 and isinstance(node.body[position - 1], ast.Assign | ast.AnnAssign)
            if (position == 0 or follows_assignment) and isinstance(statement, ast.Expr):
                value = statement.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield statement.lineno, inspect.cleandoc(value.value)


def mistakes(text: str) -> list[str]:
    """Return descriptions of what is wrong with a docstring, none if it is well-formed."""
    if not text:
        return ["empty docstring"]
    found = []
    if LOWER_CASE_WORD.match(text):
        found.append(f"begins with a lower-case letter: {text.splitlines()[0][:40]!r}")
    first = re.match(r"\w+", text)
    if first and first[0] in FRAGMENTS:
        found.append(f"begins with {first[0]!r}; begin with a noun phrase or an imperative verb")
    if not _ends_well(text):
        found.append(f"does not end with a full stop: {text.splitlines()[-1].strip()[-40:]!r}")
    return found


def _ends_well(text: str) -> bool:
    """Return True for text that ends with a sentence, or with a list, a table, a formula or a code block."""
    *before, last = text.splitlines()
    introduced_by_colon = len(paragraphs := text.split("\n\n")) > 1 and paragraphs[-2].endswith(":")
    if SENTENCE_END.search(last) or BLOCK_LINE.match(last.lstrip()) or introduced_by_colon:
        return True
    indent = len(last) - len(last.lstrip())
    headers = (line for line in reversed(before) if line.strip() and len(line) - len(line.lstrip()) < indent)
    return indent > 0 and not SECTION.search(next(headers, ""))


def main(paths: list[str]) -> int:
    """Check all Python files below the paths. Returns the exit code: 1 if there is a mistake, else 0."""
    files = sorted(file for path in map(Path, paths) for file in ([path] if path.is_file() else path.rglob("*.py")))
    lines = [
        f"{file}:{line}: {mistake}"
        for file in files
        for line, text in docstrings(ast.parse(file.read_text(encoding="utf-8")))
        for mistake in mistakes(text)
    ]
    print("\n".join(lines), end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
