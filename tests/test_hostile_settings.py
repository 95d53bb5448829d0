"""Configurations that nobody should write: each is refused in one line, in time, and without a stack trace."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import RecurrentFF as rff
from RecurrentFF import toml
from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest, shown
from RecurrentFF.model.objectives import Objective, Sum, Threshold
from RecurrentFF.settings import NetworkSettings, Settings, TrainingSettings
from RecurrentFF.values import plain
from tests import refusals

refusal = partial(refusals.refusal, kind=SettingsError)

LARGE = 20_000_000
DEEP = 900
DIGITS = "1" * 5000


TEXTS: dict[str, tuple[str, str]] = {
    "deep list": ("[network]\nhidden_sizes = " + "[" * DEEP + "]" * DEEP, "lists or tables nested too deeply"),
    "deep table": ("training = " + "{a = " * DEEP + "1" + "}" * DEEP, "lists or tables nested too deeply"),
    "deeper than is useful": ("[network]\nhidden_sizes = " + "[" * 40 + "]" * 40, "nested more than 32 levels deep"),
    "sections in sections": ("[training." + ".".join(["a"] * 40) + "]", r"training\.a\.a.*: nested more than 32 levels deep"),
    "long key": ("a" + ".a" * 200_000 + " = 1", "a key of more than 100 parts"),
    "long quoted key": ('"a"' + '."a"' * 100_000 + " = 1", "a key of more than 100 parts"),
    "long section": ("[a" + " . a" * 200 + "]", "a key of more than 100 parts"),
    "long inline key": ("a = { b" + ".b" * 200 + " = 1 }", "a key of more than 100 parts"),
    "5,000 digits": (f"[training]\nepochs = {DIGITS}", "a number of too many digits"),
    "5,000 digits in a list": (f"[network]\nhidden_sizes = [{DIGITS}]", "a number of too many digits"),
    "10^400": (f"[network]\nhidden_sizes = [1{'0' * 400}]", r"hidden_sizes\[0\] = a number of 1,329 bits: .* 64 bits"),
    "hexadecimal": (f"[training]\nseed = 0x{'f' * 5000}", r"training\.seed = a number of 20,000 bits: .* 64 bits"),
    "65 bits": ("[training]\nepochs = 9223372036854775808", r"training\.epochs = 9223372036854775808: .* 64 bits"),
    "65 bits below": ("[training]\nepochs = -9223372036854775809", r"training\.epochs = -9223372036854775809: .* 64 bits"),
    "former 10^400": (f"[model]\nepochs = 1{'0' * 400}", r"model\.epochs = a number of 1,329 bits"),
    "20 MB": (f"[training]\nepochs = '{'a' * LARGE}'", r"training\.epochs = 'a*\.*a*…: expected a whole number"),
    "20 MB key": ("a" * LARGE + " = 1", "unknown key 'a*…'; known: data"),
    "1 MB": (f"[training]\nepochs = '{'a' * 1_000_000}'", r"training\.epochs = 'a*\.*a*…: expected a whole number"),
    "1 MB key": (f"[training]\n{'a' * 1_000_000} = 1", "unknown key 'training.a*…'; known: batch_size"),
    "many layers": (f"[network]\nhidden_sizes = [{'1, ' * 100_000}]", r"hidden_sizes = \[1, 1, .*: expected a shorter list"),
    "key with escapes": ('[training]\n"\\u001b[31m\\nx" = 1', r"unknown key 'training\.\\x1b\[31m\\nx'"),
    "section with escapes": ('["\\u009b\\r\\u2028"]', r"unknown key '\\x9b\\r\\u2028'"),
    "value with escapes": ('[objective]\nname = "\\u001b]0;x\\u0007"', r"objective\.name = '\\x1b\]0;x\\x07'"),
    "surrogate": ('[training]\nweights = "\\ud800"', "not valid TOML"),
    "empty key": ('"" = 1', "unknown key ''; known: data, device"),
    "empty key in a section": ('[training]\n"" = 1', r"unknown key 'training\.'; known: batch_size"),
    "list of sections": ("[[training]]\nepochs = 3", r"training = \[\{'epochs': 3\}\]: expected a section"),
    "list of components": ("[[data]]\nname = 'mnist'", r"data = \[\{'name': 'mnist'\}\]: expected a name, a section"),
    "date": ("[training]\nepochs = 2020-01-02", r"training\.epochs = 2020-01-02: expected a whole number"),
    "date and time": ("[training]\nepochs = 2020-01-02T03:04:05Z", r"= 2020-01-02T03:04:05\+00:00: expected a whole number"),
    "time": ("[training]\nweights = 03:04:05", r"training\.weights = 03:04:05: expected text"),
    "the same section twice": ("[training]\n[training]", "not valid TOML"),
    "dotted and plain key": ("training.epochs = 1\n[training]\nepochs = 1", "not valid TOML"),
    "former key and a list": (
        "[data_config]\ndeskew = 1\n[[data]]\nname = 'own'",
        r"data = \[\{'name': 'own'\}\]: expected a section",
    ),
    "former key and a number": (
        "network = 3\n[model]\nhidden_sizes = [4]",
        "model.hidden_sizes and network are two names of one key",
    ),
    "former key and a text": ("training = 'x'\n[model]\nshould_load_weights = true", "training = 'x': expected a section"),
    "null character": ("\0", "not valid TOML"),
    "nothing but a quote": ('"""', "not valid TOML"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_hostile_text_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, words = TEXTS[case]
    assert re.search(words, message := refusal(lambda: Settings.from_toml(text))), message
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert refusal(lambda: rff.build(tmp_path / "mine.toml", input_size=4, num_classes=2)).startswith(f"{tmp_path}")


def test_what_is_unusual_and_valid_is_read() -> None:
    for text in ("training = { epochs = 3 }", '"training"."epochs" = 3', "['training']\n\"epochs\" = 3", "training.epochs = 0x3",
                 "[training]\r\nepochs = 3\r\n", "training.epochs = +3 # a.b.c"):  # fmt: skip
        assert Settings.from_toml(text).training.epochs == 3
    dotted = ".".join("a" * 5000)
    assert Settings.from_toml(f"# {dotted}\n[training]\nweights = '{dotted}'").training.weights == dotted
    assert Settings.from_toml(f'[training]\nweights = """\n{dotted}"""').training.weights == dotted


SLOW: dict[str, str] = {
    "words": "a" * 1_000_000 + "\n" + "." * 101,
    "escaped quotes": '"""' + '\\"""' * 200_000 + "." * 101 + "\\",
    "single quotes": "'''" + "''\n" * 200_000 + "." * 101,
    "strings that do not end": '"a\n' * 200_000 + "." * 101,
    "spaces": "a" + " " * 1_000_000 + "." * 101,
    "keys of 99 parts": "\n".join(f"b{number}" + ".a" * 98 + " = 1" for number in range(1000)),
    "tables in tables": "\n".join("[" + ".".join("a" * 90) + f".b{number}]" for number in range(1000)),
}


@pytest.mark.parametrize("case", SLOW)
def test_a_text_that_is_slow_to_read_is_refused(case: str) -> None:
    """A test that hangs if the time to read a text of 1 MB grows with the square of its size."""
    refusal(lambda: Settings.from_toml(SLOW[case]))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("ab01.-_=[]{}\"'\\\n #,:TZ+e\0é")) | st.text())
def test_any_text_is_read_or_refused_and_as_the_library_does(text: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="the standard library of Python 3.10 has no TOML")
    try:
        expected: Any = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError:
        expected = None
    try:
        found: Any = toml.loads(text)
    except toml.TOMLDecodeError:
        found = None
    assert repr(found) == repr(expected)  # NaN is not equal to itself


OVERRIDES: dict[str, tuple[str, str]] = {
    "deep list": ("network.hidden_sizes=" + "[" * DEEP + "]" * DEEP, r"the value can't be read \(lists or tables nested too"),
    "deep key": ("network.hidden_sizes" + ".a" * 5000 + "=1", "nested more than 32 levels deep"),
    "four parts": ("a.b.c.d=1", "there is no section 'a'; known: data"),
    "parts of a number": ("training.epochs.c.d=1", r"training\.epochs = \{'c': \{'d': 1\}\}: expected a whole number"),
    "5,000 digits": (f"training.epochs={DIGITS}", "a number of too many digits"),
    "10^400": (f"network.hidden_sizes=[1{'0' * 400}]", "a number of 1,329 bits"),
    "20 MB": ("training.epochs=" + "a" * LARGE, r"training\.epochs = 'aaa.*…: expected a whole number"),
    "20 MB key": ("training." + "a" * LARGE + "=1", "unknown key 'training.aaa.*…'; known: batch_size"),
    "20 MB section": ("a" * LARGE + ".a=1", "there is no section 'aaa"),
    "more keys on further lines": ("training.epochs=3\nx = 4", r"training\.epochs = '3\\nx = 4': expected a whole number"),
    "bytes that are not UTF-8": ("training.weights=\udcff", r"training\.weights: '\\udcff' has characters that UTF-8 does not"),
    "nothing": ("", "write it as section.key=value"),
    "no key": ("=1", "write it as section.key=value"),
    "empty section": (".=1", "there is no section ''"),
    "empty key": ("training.=1", r"unknown key 'training\.'"),
    "quoted key": ('training."epochs"=3', "unknown key 'training.\"epochs\"'; did you mean 'epochs'"),
    "quotes around what is not TOML": ('training.weights="\\ud83d"', r"the value is not valid TOML \("),
    "one quote": ("training.epochs='", "expected a whole number"),
    "date": ("training.epochs=2020-01-01", r"training\.epochs = 2020-01-01: expected a whole number"),
    "escapes": ("training.\x1b[31m=1", r"^--set training\.\\x1b\[31m=1: unknown key"),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_hostile_override_is_refused_in_one_line(case: str) -> None:
    override, words = OVERRIDES[case]
    message = refusal(lambda: Settings().override([override]))
    assert message.startswith("--set ") and re.search(words, message), message


@pytest.mark.parametrize(
    "first",
    ["data=3", "transform=[1]", "network=3", "network.connections=3", "network.connections=[3]", "objective.objectives=[[1]]",
     "network.connections=[{name=[1]}]", "objective=[1]", "negatives.optimizer=3", "optimizer=3", "schedule=x", "data.name=[]"],
)  # fmt: skip
@pytest.mark.parametrize(
    "second",
    ["model.receptive_field=3", "model.pairwise_alpha=2", "model.negatives=2", "model.classifier_optimizer='adam'",
     "model.lr_gamma=0.5", "model.ff_optimizer='adam'", "data_config.deskew=1", "model.epochs=3"],
)  # fmt: skip
def test_a_former_override_after_a_mistaken_one_is_read_or_refused(first: str, second: str) -> None:
    base = Settings.from_arguments(data="mnist", negatives="readout", objective={"name": "sum", "objectives": ["pairwise"]})
    try:
        base.override([first, second])
    except SettingsError as error:
        assert str(error).startswith("--set ")


def test_a_deep_override_before_a_former_one_is_refused() -> None:
    assert "nested more than 32" in refusal(lambda: Settings().override(["data" + ".a" * 5000 + "=1", "model.epochs=3"]))


def test_overrides_may_be_one_text() -> None:
    assert Settings().override("training.epochs=3") == Settings.from_arguments(epochs=3)
    assert "section.key=value" in refusal(lambda: Settings().override([3]))  # type: ignore[list-item]


def within_itself(copies: int = 1) -> list[Any]:
    """A list that contains itself, once or several times."""
    entries: list[Any] = []
    entries += [entries] * copies
    return entries


def deep_objective() -> Objective:
    objective: Objective = Threshold()
    for _ in range(2000):
        objective = Sum((objective, Threshold()))
    return objective


PYTHON: dict[str, tuple[Callable[[], object], str]] = {
    "10^400": (
        lambda: Settings.from_arguments(hidden_sizes=[10**400]),
        r"^arguments: hidden_sizes\[0\] = a number of 1,329 bits",
    ),
    "10^5000": (lambda: rff.build(batch_size=10**5000), r"^arguments: batch_size = a number of 16,610 bits"),
    "number in a component": (lambda: Threshold(theta=10**400), r"^Threshold\.theta = a number of 1,329 bits"),
    "20 MB": (lambda: Settings.from_arguments(epochs="a" * LARGE), r"^arguments: training\.epochs = 'aaa.*…: expected a whole"),
    "20 MB name": (
        lambda: Settings.from_arguments(objective="a" * LARGE),
        r"^arguments: objective\.name = 'aaa.*…: there is no such objective",
    ),
    "20 MB argument": (lambda: Settings.from_arguments(**{"a" * LARGE: 1}), "unknown key 'aaa.*…'; known: activation"),
    "long argument": (lambda: Settings.from_arguments(**{"a" * 100_000: 1}), "unknown key 'aaa.*…'; known: activation"),
    "many numbers": (
        lambda: Settings.from_arguments(epochs=list(range(3_000_000))),
        r"training\.epochs = \[0, 1, .*…: expected a whole number",
    ),
    "list in itself": (lambda: Settings.from_arguments(hidden_sizes=within_itself()), "nested more than 32 levels deep"),
    "list twice in itself": (lambda: Settings(network={"hidden_sizes": within_itself(2)}), "nested more than 32 levels|at most"),
    "surrogate": (
        lambda: Settings.from_arguments(weights="\ud800"),
        r"weights: '\\ud800' has characters that UTF-8 does not have",
    ),
    "surrogate in a component": (lambda: rff.build(data={"name": "mnist", "data_dir": "\udcff"}), r"data\.data_dir: '\\udcff'"),
    "surrogate as a key": (lambda: Settings.from_dict({"\ud800": 1}), r"the key '\\ud800' has characters"),
    "number as a key": (lambda: Settings.from_dict({"training": {3: 1}}), "training: the key 3 is a int; expected text"),
    "no dictionary": (lambda: Settings.from_dict([1]), "expected sections and their keys, not a list"),  # type: ignore[arg-type]
    "bytes": (lambda: Settings.from_toml(b"a = 1"), "expected text, not bytes"),  # type: ignore[arg-type]
    "number as a file": (lambda: Settings.from_file(3), "expected the path of a TOML file, not a int"),  # type: ignore[arg-type]
    "deep components": (deep_objective, r"^Sum\.objectives\[0\].*: nested more than 32 levels deep"),
    "number in a section": (lambda: Settings(training={"epochs": 10**400}), r"^training\.epochs = a number of 1,329 bits"),
    "a section by itself": (lambda: TrainingSettings(seed=-1), r"^seed = -1: expected at least 0$"),
    "too long to be read again": (
        lambda: Settings.from_arguments(weights="=" * 600_000),
        r"^arguments: the configuration could not be read again \(a text with 600,\d+ times '='; expected at most 524,288\)",
    ),
}


@pytest.mark.parametrize("case", PYTHON)
def test_a_hostile_value_in_python_is_refused_in_one_line(case: str) -> None:
    call, words = PYTHON[case]
    assert re.search(words, message := refusal(call)), message


def test_mistakes_in_two_sections_are_counted_and_named_with_their_section() -> None:
    tree = {"training": {"epochs": 0}, "network": {"epsilon": -1, "dropout": 2}}
    assert refusal(lambda: Settings.from_dict(tree)).startswith("settings: network.epsilon = -1: ")
    assert refusal(lambda: Settings(**tree)).endswith(" (and 2 more)")
    assert refusal(lambda: NetworkSettings(epsilon=-1)).startswith("epsilon = -1: ")


def test_a_message_shows_any_value_and_key() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    values = ["a" * LARGE, list(range(LARGE // 100)), within_itself(2), 10**10_000, {"a" * LARGE: 1}, Broken(), (True, [False])]
    assert all(len(shown(value)) < 200 for value in values)
    assert shown((True, [False, 1.5])) == "[true, [false, 1.5]]"
    assert nearest("a" * LARGE, ["b", "a"]) == "; known: a, b"
    assert nearest("a" * 101, ["a" * 100]) == f"; known: {'a' * 100}" and "did you mean" in nearest("a" * 100, ["a" * 99])


@dataclass(frozen=True)
class Named(Threshold):
    """An objective whose option is a path of its own type."""

    file: Path = Path("x")


def test_a_path_is_converted_only_if_the_option_is_a_text() -> None:
    assert Named(file=Path("a")).file == Path("a")
    assert Settings.from_arguments(weights=Path("a/b")).training.weights == str(Path("a/b"))
    assert plain({"a": (Path("x"), [True, None, 1.5])}) == {"a": ("x", [True, None, 1.5])}


@pytest.mark.parametrize("modules", ['"os"', "3", "{ a = 1 }", "[['os']]", "[3]"])
def test_plugins_that_are_no_list_of_names_are_not_imported(modules: str) -> None:
    read = functools.partial(Settings.from_toml, f"plugins = {modules}", import_plugins=True)
    assert re.search("plugins.* = .*: expected a list of names", refusal(read))


@pytest.mark.parametrize("module", ["", ".a", "a b", "a\n", "a..b", "../a", "-", "1"])
def test_a_plugin_without_a_name_of_a_module_is_refused(module: str) -> None:
    settings = Settings.from_arguments(plugins=[module])
    assert "can't be imported (not the name of a module)" in refusal(
        lambda: Settings.from_toml(settings.to_toml(), import_plugins=True)
    )


def test_a_plugin_that_ends_the_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rff_a_script.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    text = "plugins = ['rff_a_script']"
    assert "rff_a_script can't be imported (it ends the program)" in refusal(
        lambda: Settings.from_toml(text, import_plugins=True)
    )
