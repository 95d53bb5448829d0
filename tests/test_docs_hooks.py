"""The hooks of the documentation site: links to files outside of docs/, formulas, and every notebook as a tutorial."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("nbconvert")

from tools import docs_hooks

ROOT = Path(__file__).parents[1]


class Configuration:
    """The part of a configuration of mkdocs that the hooks read."""

    extra = {"repository": "https://example.org/project"}  # noqa: RUF012
    docs_dir = str(ROOT / "docs")


class Page:
    """The part of a page of mkdocs that the hooks read."""

    class file:
        src_uri = "guides/page.md"


def rewritten(markdown: str) -> str:
    arguments: Any = (Page, Configuration, None)
    return docs_hooks.on_page_markdown(markdown, *arguments)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("memory.md#traces", "memory.md#traces"),
        ("../images/curves.png", "../images/curves.png"),
        ("https://arxiv.org/abs/2212.13345", "https://arxiv.org/abs/2212.13345"),
        ("../../CONTRIBUTING.md#words", "../development/contributing.md#words"),
        ("../../none.md", "../../none.md"),  # strict mkdocs refuses it
        ("../../examples/generate.ipynb", "../tutorials/generate.md"),
        ("../../examples", "https://example.org/project/tree/main/examples"),
        ("../../RecurrentFF/cli.py", "https://example.org/project/blob/main/RecurrentFF/cli.py"),
    ],
)
def test_a_link_leads_to_the_page_or_the_file(link: str, expected: str) -> None:
    assert rewritten(f"see [this]({link}).") == f"see [this]({expected})."


def test_links_of_a_page_from_another_folder_are_corrected() -> None:
    text = "[a](docs/guides/memory.md#traces) [b](LICENSE) [c](#words) [d](https://example.org)"
    expected = "[a](../guides/memory.md#traces) [b](../../LICENSE) [c](#words) [d](https://example.org)"
    assert docs_hooks.relinked(text, ".", "development") == expected


def test_formulas_become_mathml() -> None:
    html = r'<p><span class="arithmatex">\(a &lt; b\)</span></p><div class="arithmatex">\[x^2\]</div>'
    arguments: Any = (Page, Configuration, None)
    converted = docs_hooks.on_page_content(html, *arguments)
    assert converted.count("<math") == 2
    assert converted.count('display="block"') == 1
    assert "arithmatex" not in converted


def test_every_notebook_and_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    index = (ROOT / "docs/tutorials/index.md").read_text(encoding="utf-8")
    for notebook in (ROOT / "examples").glob("*.ipynb"):
        assert f"tutorials/{notebook.stem}.md" in navigation
        assert f"examples/{notebook.name}" in index
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in navigation
