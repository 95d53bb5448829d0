"""Hooks of the documentation site: pages from notebooks and files at the root, links to source files, and math.

mkdocs.yml names this file. It is imported by mkdocs alone.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "CHANGELOG.md": "development/changelog.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "SECURITY.md": "development/security.md",
}
"""Files at the root of the repository that are pages of the site, too, and the address of each."""
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@event_priority(50)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files in docs/: the tutorials, and files at the root."""
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        for file in tutorial(path, config):
            files.append(file)
    for name, address in ROOT_PAGES.items():
        content = relinked((ROOT / name).read_text(encoding="utf-8"), ".", posixpath.dirname(address))
        files.append(File.generated(config, address, content=content))
    return files


def tutorial(path: Path, config: MkDocsConfig) -> Iterator[File]:
    """Convert a notebook with its stored outputs to a page and its pictures."""
    exporter: Any = MarkdownExporter()  # type: ignore[no-untyped-call]
    body, resources = exporter.from_filename(str(path), resources={"output_files_dir": f"{path.stem}_files"})
    source = f"{config.extra['repository']}/blob/main/examples/{path.name}"
    title, _, rest = relinked(ANSI.sub("", body), "examples", "tutorials").lstrip().partition("\n")
    note = f"This page is the notebook [examples/{path.name}]({source}) with its outputs ([download]({path.name}))."
    text = f"{title}\n\n{note}\n{rest}"
    yield File.generated(config, f"tutorials/{path.stem}.md", content=text)
    yield File.generated(config, f"tutorials/{path.name}", content=path.read_bytes())
    for name, content in resources["outputs"].items():
        yield File.generated(config, f"tutorials/{name}", content=content)


def relinked(text: str, source: str, target: str) -> str:
    """Correct the relative links of a page that is shown in another folder than the one that it was written in.

    Args:
        text: Markdown.
        source: the folder of the file in the repository.
        target: the folder of the page, below docs/.
    """

    def address(path: str) -> str:
        page = page_of(path)
        return posixpath.relpath(f"docs/{page}" if page else path, f"docs/{target}")

    return with_links(text, source, address)


def with_links(text: str, folder: str, address: Callable[[str], str]) -> str:
    """Replace the relative links of a page to files of the repository.

    Args:
        text: Markdown.
        folder: the folder in the repository that links are relative to.
        address: returns the new address of the file at a path of the repository.
    """

    def corrected(match: re.Match[str]) -> str:
        link, heading = match.group(1), match.group(2) or ""
        path = posixpath.normpath(posixpath.join(folder, link))
        if "://" in link or link.startswith("mailto:") or not (ROOT / path).exists():
            return match.group(0)
        return f"]({address(path)}{heading})"

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", corrected, text)


def page_of(path: str) -> str | None:
    """Return the address below docs/ of the page that shows a file of the repository; None for a file that is no page."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("examples/") and path.endswith(".ipynb"):
        return f"tutorials/{posixpath.basename(path)[:-6]}.md"
    return ROOT_PAGES.get(path)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside of docs/ lead to the page that shows the file, or to the file in the repository."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def address(path: str) -> str:
        page = page_of(path)
        if page is not None:
            return posixpath.relpath(f"docs/{page}", folder)
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{config.extra['repository']}/{kind}/main/{path}"

    return with_links(markdown, folder, address)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    r"""Convert formulas, which arithmatex marks as \(…\) and \[…\], to MathML. Browsers show it without a script."""

    def converted(match: re.Match[str]) -> str:
        latex, display = unescape(match.group(3)), "block" if match.group(1) == "div" else "inline"
        return latex2mathml.converter.convert(latex, display=display)

    return re.sub(r'<(div|span) class="arithmatex">\\([\[(])(.*?)\\[\])]</\1>', converted, html, flags=re.DOTALL)
