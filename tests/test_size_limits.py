"""Large configurations: what is needed is accepted, and the time to read or refuse a text does not grow with its square."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF import toml, values
from RecurrentFF.data.transforms import Standardize
from RecurrentFF.errors import SettingsError
from RecurrentFF.settings import Settings, recipes
from RecurrentFF.values import require_values
from tests import refusals

refusal = partial(refusals.refusal, kind=SettingsError)


def test_a_task_of_many_features_is_built_saved_and_loaded(tmp_path: Path) -> None:
    samples = torch.randn(6, 25_000)
    network = rff.build(task=rff.TensorTask(samples, torch.arange(6) % 2), hidden_sizes=[4], device="cpu")
    assert isinstance(network.settings.transform, Standardize)
    rff.save(network, tmp_path / "large.safetensors")
    loaded = rff.load(tmp_path / "large.safetensors", device="cpu")
    assert loaded.settings == network.settings and torch.equal(loaded.badness(samples), network.badness(samples))
    (tmp_path / "large.toml").write_text(network.settings.to_toml(), encoding="utf-8")
    assert Settings.from_file(tmp_path / "large.toml") == network.settings


def filled(unit: str) -> str:
    """A unit of text, as often as it can be read."""
    counts = [most // unit.count(mark) for mark, most in toml.MAX_COUNTS.items() if mark in unit]
    return unit * (min([2 * 10**5, *counts]) - 300)


READ: dict[str, str] = {
    "numbers": "[network]\nhidden_sizes = [" + filled("1,") + "]",
    "fractions": "[network]\nhidden_sizes = [" + filled("0.5,") + "]",
    "numbers and a text": "[network]\nhidden_sizes = [" + filled("1,") + "'a']",
    "lists": "a = [" + filled("[],") + "]",
    "sections": filled("[[a]]\n"),
    "sections in sections": filled("[[a]]\n[[a.b]]\n"),
    "keys of 99 parts": "\n".join("a." * 98 + f"b{number} = 1" for number in range(1000)),
    "keys": "\n".join(f"b{number} = 1" for number in range(50_000)),
    "escapes": 'a = "' + r"\n" * 500_000 + '"',
    "lines of a text": "a = '''" + filled("\n") + "'''",
    "comment": "a = 1 # " + "a" * 4_000_000,
    "digits": "a = " + "1" * 4_000_000,
    "digits of a fraction": "a = 1." + "1" * 1_000_000,
    "dots and spaces": "a" + " " * 4_000_000 + "." * 200,
    "almost a long key": ("a." * 99 + "\n") * 5000,
    "quotes": filled("'\"") + "." * 200,
}


@pytest.mark.parametrize("case", READ)
def test_a_large_text_is_refused_without_a_hang(case: str) -> None:
    refusal(lambda: Settings.from_toml(READ[case]))


@pytest.mark.parametrize("mark", toml.MAX_COUNTS)
def test_a_text_with_too_many_separators_is_not_read(mark: str) -> None:
    message = refusal(lambda: Settings.from_toml("#" + mark * (toml.MAX_COUNTS[mark] + 1)))
    assert message.startswith(f"settings: can't be read as a configuration (a text with {toml.MAX_COUNTS[mark] + 1:,} times ")


def test_what_could_not_be_read_again_is_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((toml, "MAX_TEXT"), (values, "MAX_SIZE"), (recipes, "MAX_TEXT")):
        monkeypatch.setattr(module, name, 2**20)
    for text in ("[" * (2**19 + 1), "\x01" * (2**20 // 6 + 1)):
        assert "could not be read again" in refusal(lambda text=text: Settings.from_arguments(weights=text))  # type: ignore[misc]
    message = refusal(lambda: Settings.from_toml("#" * (2**20 + 1)))
    assert message.endswith("(a text of 1,048,577 characters; expected at most 1,048,576)")
    with (tmp_path / "mine.toml").open("wb") as file:
        file.truncate(4 * 2**20 + 1)  # a file of holes, which is on no disk
    assert "can't be read (too large: 4,194,305 bytes, at most" in refusal(lambda: Settings.from_file(tmp_path / "mine.toml"))


def test_the_values_of_a_configuration_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MAX_VALUES", 2**14)
    doubled: Any = []
    for _ in range(20):
        doubled = [doubled, doubled]
    assert f"at most {values.MAX_VALUES:,} values besides lists of numbers" in refusal(lambda: require_values(doubled))
    require_values([0.5] * (values.MAX_VALUES + 1))
    require_values([0.5, 1, -(2**63)])
    for wrong in ([0.5, 2**63], [0.5, True, 2**63], [0.5, "\ud800"]):
        refusal(lambda wrong=wrong: require_values(wrong))  # type: ignore[misc]


def test_a_list_ends_at_its_first_mistake() -> None:
    text = f"[network]\nhidden_sizes = {[0.5] * 1000}\nprediction_layers = {[0] * 1000}\n[training]\nepochs = 0"
    assert refusal(lambda: Settings.from_toml(text)).endswith("expected a whole number (and 2 more)")
    assert "more" not in refusal(lambda: Standardize(mean=[float("nan")] * 1000, std=[1.0] * 1000))  # type: ignore[arg-type]
