"""The files around the package agree: versions, workflows, hooks, issue forms and the commands that they name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from RecurrentFF import toml

yaml: Any = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
PROJECT = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


def read(path: Path) -> Any:
    """Read a file of YAML."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_version_is_that_of_the_changelog_and_of_the_citation() -> None:
    released = re.findall(
        r"^## \[(\d\S*)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    citation = read(ROOT / "CITATION.cff")
    assert released[0] == (PROJECT["version"], str(citation["date-released"]))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_versions_of_the_changelog_have_links() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in re.findall(r"^## \[(\S+)\]", text, re.MULTILINE):
        assert f"\n[{name}]: https://" in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_few_permissions_and_use_targets_that_exist(path: Path) -> None:
    workflow = read(path)
    assert set(workflow["permissions"].items()) <= {("contents", "read")}
    targets = set(re.findall(r"^([a-z_-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert set(re.findall(r"\bmake ([a-z_-]+)", step.get("run", ""))) <= targets


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_have_names_and_questions(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    for element in form["body"]:
        assert element["type"] in {"markdown", "textarea", "input"}
        assert element["attributes"].get("label" if element["type"] != "markdown" else "value")


def test_hooks_call_installed_tools_only() -> None:
    repositories = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    assert {hook["language"] for hook in repositories[0]["hooks"]} == {"system", "pygrep"}


def test_the_development_container_is_valid_json() -> None:
    assert "image" in json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
