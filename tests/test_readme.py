"""What the README says is so: its example runs, its table of keys is complete."""

import re
from pathlib import Path

import pytest

from RecurrentFF.settings import Settings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_notebook_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    network, test = names["network"], names["test"]
    accuracy = (network.predict(test.inputs) == test.labels).float().mean().item()  # type: ignore[attr-defined]
    assert accuracy > 0.8
    assert (tmp_path / "digits.pt").exists()


def test_every_key_is_in_the_table_with_its_default() -> None:
    table = README[README.index("## Configuration") :]
    for section in (Settings.model_fields[name].annotation for name in Settings.model_fields):
        for key in section.model_fields:  # type: ignore[union-attr]
            base = re.sub(r"_(rmsprop|adam|adadelta)$", "_rmsprop", key)
            assert re.search(rf"`{base}`|\.{base}\]", table), key
