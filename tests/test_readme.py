"""The README and the pages in docs/ are correct: their examples run, their links exist, and their tables are complete."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.registry import HOMES
from RecurrentFF.settings import Settings
from RecurrentFF.settings.legacy import translate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guides" / "components.md").read_text(encoding="utf-8")
FORMER = (ROOT / "docs" / "reference" / "former_configurations.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


SHORTER = {
    'data="mnist", epochs=2': 'data={"name": "mnist", "train_samples": 5000}, hidden_sizes=[100, 50], batch_size=100, epochs=1',
    "(test.images, test.labels))": "(test.images[:500], test.labels[:500]))",
    "images[:10000], train.labels[:10000], validation=1000": "images[:6000], train.labels[:6000], validation=500",
    "hidden_sizes=[200, 200]": "hidden_sizes=[100, 100], train_accuracy_samples=500",
    "RecurrentFFClassifier(random_state=0)": "RecurrentFFClassifier(random_state=0, epochs=10)",
    'objective="pairwise", epochs=1': 'objective="pairwise", train_accuracy_samples=100, epochs=1',
}
"""Texts of the programs in the README and in docs/, and those that replace them here, with which a training takes less time."""


def shorter(text: str, *written: str) -> str:
    """A page with shorter trainings. Each of the texts must be in it."""
    for old in written:
        assert text.count(old) == 1, f"the page has changed; correct SHORTER: {old}"
        text = text.replace(old, SHORTER[old])
    return text


def run_blocks(text: str, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run all blocks of Python code in a text, one after the other, as one module. Returns the module."""
    module = ModuleType(name)  # dataclasses look up the module that they are defined in
    monkeypatch.setitem(sys.modules, name, module)
    torch.manual_seed(0)
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, name, "exec"), module.__dict__)
    return module


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 130
    assert len(README.split()) <= 900


def test_the_examples_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = shorter(README, 'data="mnist", epochs=2', "(test.images, test.labels))")
    module = run_blocks(text, "readme", monkeypatch)
    digits = rff.load(tmp_path / "digits.safetensors")
    assert rff.evaluate(digits, (module.test.images[:500], module.test.labels[:500])).accuracy > 0.75
    objective = rff.build("mnist_fast", data="mnist", hidden_sizes=[10], objective="margin").settings.objective
    assert objective == module.Margin(size=0.5)


def test_the_examples_of_the_page_for_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    text = shorter((ROOT / "docs/getting_started/python.md").read_text(encoding="utf-8"), *list(SHORTER)[2:])
    module = run_blocks(text, "page_for_python", monkeypatch)
    images, labels = module.test.images[:500], module.test.labels[:500]
    for network, least in ((module.digits, 0.75), (module.network, 0.4)):
        assert (network.predict(images) == labels).float().mean() > least
    assert module.classifier.score(module.X_test, module.y_test) > 0.95
    assert (tmp_path / "digits.safetensors").exists()


def test_the_examples_of_the_page_on_data_run(monkeypatch: pytest.MonkeyPatch) -> None:
    module = run_blocks((ROOT / "docs/data_sets/your_own.md").read_text(encoding="utf-8"), "page_on_data", monkeypatch)
    assert module.history[-1].validation_accuracy > 0.8
    assert set(module.network.predict(module.samples)) == {"low", "high"}


def test_the_guide_has_every_kind_of_component_and_its_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in HOMES:
        assert f"\n| {kind} | " in GUIDE
        assert f'@rff.register("{kind}", ' in GUIDE
    module = run_blocks(GUIDE, "guide", monkeypatch)
    assert module.history[-1].validation_accuracy > 0.9
    assert len(module.history) <= 5


def test_the_page_of_former_keys_is_what_the_tool_prints() -> None:
    command = [sys.executable, str(ROOT / "tools" / "former_configurations.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == FORMER, "run: python tools/former_configurations.py > docs/reference/former_configurations.md"


def former_rows() -> list[tuple[str, list[str]]]:
    """Return the former keys in the page, and the present keys that each row names."""
    rows = re.findall(r"^\| `(.*?)` \| (.*?) \|$", FORMER, flags=re.MULTILINE)
    return [(former, re.findall(r"`((?:\w+\.)+\w+)`", present)) for former, present in rows]


VALUES: dict[str, Any] = {
    "model.hidden_sizes": [3, 4],
    "model.residual_connections": [[0, 2]],
    "model.ff_activation": "gelu",
    "model.badness": "sum",
    "model.prediction_window": [1, 1],
    "model.prediction_layers": [1],
    "model.objective": "pairwise",
    "model.ff_optimizer": "adam",
    "model.ff_rmsprop": {},
    "model.ff_adam": {},
    "model.ff_adadelta": {},
    "model.classifier_optimizer": "adam",
    "model.classifier_rmsprop": {},
    "model.classifier_adam": {},
    "model.classifier_adadelta": {},
    "model.negatives_from": "badness",
    "model.lr_schedule": "cosine",
    "model.convolution": {"channels": 4},
    "data_config.data_dir": "folder",
    "data_config.dataset": "MNIST",
    "data_config.edge_directions": 8,
}
"""Values of the former keys for which 1 is none."""

OTHERS: dict[str, dict[str, Any]] = {
    "model.ff_adam": {"ff_optimizer": "adam"},
    "model.ff_adadelta": {"ff_optimizer": "adadelta"},
    "model.pairwise_alpha": {"objective": "pairwise"},
    "model.negatives_from": {"should_replace_neg_data": True},
    "model.negative_temperature": {"should_replace_neg_data": True},
    "model.classifier_optimizer": {"should_replace_neg_data": True},
    "model.classifier_rmsprop": {"should_replace_neg_data": True},
    "model.classifier_adam": {"should_replace_neg_data": True, "classifier_optimizer": "adam"},
    "model.classifier_adadelta": {"should_replace_neg_data": True, "classifier_optimizer": "adadelta"},
    "model.lateral_field": {"receptive_field": 5},
    "data_config.edge_places": {"edge_directions": 8},
    "data_config.fresh_velocities": {"dataset": "Moving MNIST"},
    "data_config.moves_per_timestep": {"dataset": "Seq MNIST"},
    "data_config.delay_line": {"dataset": "Seq MNIST"},
    "data_config.repeat_strokes": {"dataset": "Seq MNIST"},
}
"""The keys of the same section without which a former key has no effect."""


def paths(tree: dict[str, Any], above: str = "") -> list[str]:
    """Return the paths of all values in nested dictionaries."""
    found = []
    for key, value in tree.items():
        path = f"{above}{key}"
        found += paths(value, f"{path}.") if isinstance(value, dict) else [path]
    return found


@pytest.mark.parametrize(("former", "present"), former_rows(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_row_of_former_keys_names_the_present_keys(former: str, present: list[str]) -> None:
    section, _, key = former.partition(".")
    tree = {section: OTHERS.get(former, {}) | {key: VALUES.get(former, 1)}}
    found = paths(translate(tree, {"data": {"name": "mnist"}}, strict=False).tree)
    for path in present:
        if path not in ("training.weights", "objective.objectives"):  # a file to be named, and the form of another value
            assert path in found


def test_no_placeholder_is_left() -> None:
    assert not re.findall(r"@[A-Z]+@", README)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_files_and_headings_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link, heading in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", text):
        if link.startswith("http"):
            continue
        target = page.parent / link if link else page
        assert target.exists(), link
        if heading and target.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading[1:] in slugs, heading


def test_the_configurations_in_the_text_are_valid() -> None:
    for page in PAGES:
        for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            if "plugins" in block:
                import examples.own_objective  # noqa: F401
            Settings.from_toml(block)
