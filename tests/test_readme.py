"""The README is correct: its example runs, and its table of keys is complete."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from RecurrentFF.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_notebook_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    module = ModuleType("readme")  # dataclasses look up the module that they are defined in
    monkeypatch.setitem(sys.modules, "readme", module)
    torch.manual_seed(0)
    for example, least in ((first, 0.75), (second, 0.4)):
        exec(compile(example, "README.md", "exec"), module.__dict__)
        accuracy = (module.network.predict(module.test.inputs[:2000]) == module.test.labels[:2000]).float().mean().item()
        assert accuracy > least
    assert (tmp_path / "digits.pt").exists()


def table() -> dict[str, str]:
    """Return the defaults in the table of keys, by key, both without backticks."""
    rows = re.findall(r"^\| (.*?) \| (.*?) \|", README[README.index("## Configuration") :], flags=re.MULTILINE)
    defaults: dict[str, str] = {}
    for keys, values in rows[2:]:
        names = re.findall(r"`(\w+)`", keys)
        defaults |= dict(
            zip(names, (values.replace("`", "").split(", ") if len(names) > 1 else [values.strip("`")]), strict=False)
        )
    return defaults


def test_every_key_is_in_the_table_with_its_default() -> None:
    described = table()
    for section in Settings().model_dump(mode="json").values():
        for key, default in section.items():
            if isinstance(default, dict):
                assert f"[model.{key}]" in README or "and so on" in README, key
            elif default is not None:
                expected = json.dumps(default)
                assert json.loads(described[key]) == json.loads(expected) if key in described else False, key
            else:
                assert f"`{key}`" in README, key


def test_no_placeholder_is_left_and_linked_files_exist() -> None:
    assert not re.findall(r"@[A-Z]+@", README)
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
