"""Paths that a user names in Python and on the command line: ~, the empty path, paths that can't be one, and what is no file."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF import cli, errors, paths, streams
from RecurrentFF.errors import DataError, OutputError, RecurrentFFError, SettingsError, described, first_line
from RecurrentFF.settings import Settings, recipes
from tests.helpers import small_settings

DATA = (torch.randn(40, 7), torch.arange(40) % 5)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of the user, and the present folder beside it."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def refusal(call: Callable[[], object], error: type[RecurrentFFError]) -> str:
    with pytest.raises(error) as caught:
        call()
    assert not list(Path.cwd().iterdir())
    return str(caught.value)


def test_the_home_folder_is_understood_in_python(home: Path) -> None:
    network = rff.build(small_settings(epochs=1))
    rff.fit(network, DATA, output_dir="~/runs", quiet=True)
    rff.evaluate(network, DATA, predictions="~/all.csv")
    rff.evaluate(network, DATA).write_predictions("~/again.csv")
    assert (home / "all.csv").read_bytes() == (home / "again.csv").read_bytes()
    assert len(list((home / "runs").iterdir())) == 1 and not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "an empty path, which would be the present folder; write . for that"),
        ("~nosuchuser/x", "'~nosuchuser/x': this user has no home folder; write the whole path"),
        ("a\0b", "(a path has no null characters)"),
        ("\ud800", "(the file system has no such characters)"),
    ],
)
def test_a_path_that_cannot_be_one_is_refused_before_the_work(path: str, words: str) -> None:
    network = rff.build(small_settings(epochs=1))
    weights = [parameter.clone() for parameter in network.parameters()]
    fitting = refusal(lambda: rff.fit(network, DATA, output_dir=path, quiet=True), SettingsError)
    assert fitting.endswith(words) and ("(" not in words or ": the run folder can't be created (" in fitting)
    assert all(map(torch.equal, weights, network.parameters()))
    messages = [
        refusal(lambda: rff.evaluate(network, SimpleNamespace(), predictions=path), OutputError),
        refusal(lambda: rff.evaluate(network, DATA).write_predictions(path), OutputError),
    ]
    for message in messages:
        assert message.endswith(words) and ("(" not in words or ": can't be written (" in message)


def test_a_file_that_cannot_be_looked_at_is_one_that_cannot_be_written() -> None:
    network = rff.build(small_settings(epochs=1))
    for path in ("a" * 5000, "b/" * 3000):
        message = refusal(lambda path=path: rff.evaluate(network, DATA, predictions=path), OutputError)  # type: ignore[misc]
        assert "can't be written (File name too long)" in message


def test_a_result_is_shown_also_if_its_predictions_cannot_be_written(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    images = torch.randint(0, 255, (40, 8, 8), dtype=torch.uint8)
    network = rff.build(task=rff.TensorTask(images, torch.arange(40) % 2), hidden_sizes=[6], device="cpu")
    rff.save(network, home / "network.safetensors")
    from PIL import Image

    for name in ("0", "1"):
        (home / "images" / name).mkdir(parents=True)
        Image.fromarray(images[int(name)].numpy()).save(home / "images" / name / "a.png")
    command = ["evaluate", str(home / "network.safetensors"), f"--data-dir={home / 'images'}", "--predictions"]
    for path in ("absent/all.csv", "."):
        assert cli.main([*command, path]) == 2
        shown = capsys.readouterr()
        assert "accuracy" in shown.out and "true class" in shown.out
        assert shown.err.startswith(f"error: {path}: can't be written (") and shown.err.count("\n") == 1
    assert cli.main([*command, "~/all.csv"]) == 0 and (home / "all.csv").read_text().count("\n") == 3


def test_a_folder_does_not_hide_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tutorial").mkdir()
    Path("other").mkdir()
    assert recipes.read("tutorial") == recipes.path_of("tutorial").read_text(encoding="utf-8")
    assert Settings.from_file("tutorial") == Settings.from_file(recipes.path_of("tutorial"))
    assert cli.main(["train", "mnist", "--config-file", "other"]) == 2
    assert capsys.readouterr().err == "error: other: can't be read (a folder, not a file)\n"


def test_files_are_read_in_bounds(home: Path) -> None:
    file = home / "file"
    file.write_bytes("\ufeffä".encode())
    assert paths.read_bytes(file, DataError, 5) == paths.read_bytes(file, DataError)
    assert paths.read_text(file, DataError, 5) == "ä"
    for call, words in (
        (lambda: paths.read_bytes(file, DataError, 4), "can't be read (too large: 5 bytes, at most 4 are expected)"),
        (lambda: paths.read_bytes(home, DataError, 4), "can't be read (a folder, not a file)"),
        (lambda: paths.read_bytes(home / "absent", DataError), "can't be read (no such file)"),
        (lambda: paths.read_bytes("/dev/null", DataError), "can't be read (not a file)"),
    ):
        if os.name != "nt" or "not a file" not in words:
            assert refusal(call, DataError).endswith(f": {words}")
    file.write_bytes(b"\xff")
    assert refusal(lambda: paths.read_text(file, DataError), DataError) == f"{file}: not a text file in UTF-8"


def test_the_first_line_of_any_error_is_printable_and_bounded() -> None:
    assert first_line(ValueError("\n one\x1b \ntwo")) == "one\\x1b" and first_line(ValueError("\n")) == "ValueError"
    assert described(ValueError("one\ntwo")) == "ValueError: one" and described(KeyError()) == "KeyError"
    assert described(ValueError("ValueError")) == "ValueError"
    assert len(first_line(ValueError("a" * 10**6))) < 2 * errors.MAX_REASON and len(described(ValueError("a" * 999), 50)) == 63


def test_a_note_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(streams, "_noted", set[str]())
    for text, topic in (("one\n", ""), ("one\n", ""), ("two", "a topic"), ("three", "a topic")):
        streams.note_once(text, topic)
    assert capsys.readouterr().err == "note: one\\n\nnote: two\n"
