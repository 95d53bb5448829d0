"""Tests of the .ts format, and of Japanese Vowels: from a folder, from an installed package, and in a run of the command line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from RecurrentFF.cli import main
from RecurrentFF.data import japanese_vowels
from RecurrentFF.data.japanese_vowels import JapaneseVowels, data_folder
from RecurrentFF.data.ts_files import parse, read_ts_file
from RecurrentFF.errors import DataError, InputError

SMALL = """# A comment with a colon: and @data.
@problemName Small
@timeStamps false
@classLabel true up down
@data
1,2.5,-3e-1:4,5,6:up
7:8: down
"""


def ts_text(utterances: int, seed: int) -> str:
    """A file of Japanese Vowels with a number of utterances of each speaker, sorted by speaker, of 7 to 12 frames."""
    generator = torch.Generator().manual_seed(seed)
    lines = ["@problemName JapaneseVowels", "@dimensions 12", "@classLabel true 1 2 3 4 5 6 7 8 9", "@data"]
    for speaker in range(1, 10):
        for utterance in range(utterances):
            frames = torch.randn(12, 7 + (speaker + utterance) % 6, generator=generator)
            frames[0, 0] = speaker + utterance / 100  # which one it is
            lines.append(":".join([*(",".join(f"{value:.6f}" for value in row) for row in frames.tolist()), str(speaker)]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "data"
    home.mkdir()
    for part, utterances in (("TRAIN", 5), ("TEST", 2)):
        (home / f"JapaneseVowels_{part}.ts").write_text(ts_text(utterances, len(part)))
    return home


def refusal(call: Callable[[], object], error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- the format


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n  \n"])
def test_a_file_is_read_with_any_line_ends(line_end: str, last: str, tmp_path: Path) -> None:
    file = tmp_path / "small.ts"
    file.write_bytes(b"\xef\xbb\xbf" + (SMALL.rstrip() + last).replace("\n", line_end).encode())
    sequences, labels, classes = read_ts_file(file)
    assert [sequence.tolist() for sequence in sequences] == [[[1, 4], [2.5, 5], [-0.3, 6]], [[7, 8]]]
    assert labels == ["up", "down"] and classes == ("up", "down")


WRONG: dict[str, tuple[str, str]] = {
    "nothing": ("", "no sequences; expected lines of them after a line @data"),
    "no data": (SMALL.partition("1,2.5")[0], "no sequences"),
    "no header": ("1,2:up\n", "line 1: expected a line that begins with # or @"),
    "time stamps": (SMALL.replace("timeStamps false", "timeStamps true"), "line 5: the sequences have time stamps"),
    "no classes": (SMALL.replace("true up down", "false"), "line 5: no line @classLabel true"),
    "no list of classes": (SMALL.replace("true up down", ""), "line 5: no line @classLabel true"),
    "an unknown class": (
        SMALL.replace(":up", ":left"),
        "line 6: its class 'left' is none of those in @classLabel, or the line is incomplete",
    ),
    "a line that is cut off": (
        SMALL.partition(": down")[0],
        "line 7: its class '8' is none of those in @classLabel, or the line",
    ),
    "fewer dimensions than stated": (
        SMALL.replace("@data\n", "@dimensions 3\n@data\n"),
        "line 7: 2 dimensions, but the line @dimensions says 3",
    ),
    "more dimensions than stated": (SMALL.replace("@data\n", "@dimension 1\n@data\n"), "line 7: 2 dimensions, but the line"),
    "a missing value": (SMALL.replace("2.5", "?"), "line 6: a value has '?', which is in no number; missing values"),
    "not a number": (SMALL.replace("2.5", "NaN"), "line 6: a value has 'N'"),
    "digits of another script": (SMALL.replace("2.5", "٥"), "line 6: a value has '٥'"),
    "an underscore": (SMALL.replace("2.5", "2_5"), "line 6: a value has '_'"),
    "an empty value": (SMALL.replace("2.5", ""), "line 6: could not convert"),
    "two points": (SMALL.replace("2.5", "2.5.1"), "line 6: could not convert"),
    "too large a number": (SMALL.replace("2.5", "1e999"), "line 6: a value is too large"),
    "dimensions of two lengths": (
        SMALL.replace("4,5,6", "4,5"),
        "line 6: its dimensions have different numbers of values (2, 3)",
    ),
    "no dimension": (SMALL.replace("7:8: down", "down"), "line 7: its dimensions have different numbers of values (none)"),
    "another number of dimensions": (SMALL.replace("7:8:", "7:"), "line 7: 1 dimensions, but the sequences before have 2"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_with_the_line(case: str, tmp_path: Path) -> None:
    text, words = WRONG[case]
    file = tmp_path / "wrong.ts"
    file.write_text(text, encoding="utf-8")
    message = refusal(lambda: read_ts_file(file))
    assert message.startswith(f"{file}: ") and words in message


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "bytes.ts").write_bytes(b"\xff\xfe\0")
    assert "not a text file in UTF-8" in refusal(lambda: read_ts_file(tmp_path / "bytes.ts"))
    assert "no such file" in refusal(lambda: read_ts_file(tmp_path / "absent.ts"))


# ---------------------------------------------------------------- the data set


def test_splits_are_balanced_over_the_speakers(folder: Path) -> None:
    task = JapaneseVowels(data_dir=str(folder), validation_samples=18).task()
    train, validation, test, _ = task.splits(timesteps=12)
    assert validation is not None and test is not None and task.classes == tuple(range(1, 10)) and task.input_size == 12
    for dataset, utterances in ((train, [0, 1, 2]), (validation, [3, 4]), (test, [0, 1])):
        (batch,) = dataset.batches(100)
        first = task.transform.inverse(batch.inputs)[0, :, 0]  # type: ignore[index]
        expected = [speaker + utterance / 100 for utterance in utterances for speaker in range(1, 10)]
        torch.testing.assert_close(first, torch.tensor(expected), atol=1e-4, rtol=0)
        assert batch.labels.tolist() == [*range(9)] * len(utterances)
        lengths = [7 + (speaker + utterance) % 6 for utterance in utterances for speaker in range(1, 10)]
        assert batch.mask is not None and batch.mask.sum(0).tolist() == lengths


def test_numbers_of_samples(folder: Path) -> None:
    def sizes(**options: int) -> list[int]:
        splits = JapaneseVowels(data_dir=str(folder), **options).task().splits(timesteps=12)
        return [0 if part is None else len(part) for part in splits[:3]]

    assert sizes(validation_samples=0) == [45, 0, 18]
    assert sizes(validation_samples=9, train_samples=10, test_samples=9) == [10, 9, 9]
    assert "data.validation_samples = 54, but there are 45 training utterances" in refusal(
        lambda: JapaneseVowels(data_dir=str(folder)).task()
    )


def test_the_statistics_are_those_of_the_training_utterances(folder: Path) -> None:
    task = JapaneseVowels(data_dir=str(folder), validation_samples=18).task()
    train = parse((folder / "JapaneseVowels_TRAIN.ts").read_text())
    kept = [sequence for number, sequence in enumerate(train.sequences) if number % 5 < 3]
    frames = torch.cat([torch.from_numpy(sequence) for sequence in kept])
    torch.testing.assert_close(torch.tensor(task.transform.mean, dtype=torch.float64), frames.mean(0))  # type: ignore[attr-defined]


def test_other_files_in_their_place_are_refused(folder: Path) -> None:
    file = folder / "JapaneseVowels_TEST.ts"
    file.write_text(SMALL)
    assert f"{file}: not the utterances of Japanese Vowels" in refusal(lambda: JapaneseVowels(data_dir=str(folder)).task())
    file.unlink()
    assert f"{file}: can't be read (no such file)" in refusal(lambda: JapaneseVowels(data_dir=str(folder)).task())
    assert "no such folder; install the package" in refusal(lambda: data_folder(folder / "absent"))


def test_the_files_of_an_installed_package_are_found_without_an_import(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "series_of_a_test"
    home = package / "datasets" / "data" / "JapaneseVowels"
    home.parent.mkdir(parents=True)
    folder.rename(home)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.setattr(japanese_vowels, "PACKAGES", ("series_that_is_not_there", "series_of_a_test"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert data_folder() == home
    assert len(JapaneseVowels(validation_samples=9).task().splits(timesteps=12).train) == 36
    assert "series_of_a_test" not in sys.modules


def test_without_a_package_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(japanese_vowels, "PACKAGES", ("series_that_is_not_there",))
    assert main(["train", "japanese_vowels"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no Japanese Vowels; install the package that has its files, by pip install --no-deps sktime, ")
    assert 'pip install -e ".[sequences]"' in line and "--data-dir" in line


@pytest.mark.parametrize("baseline", [None, "gru"])
def test_a_run_of_the_command_line(baseline: str | None, folder: Path, tmp_path: Path) -> None:
    flags = ["--data-dir", str(folder), "--epochs", "1", "--device", "cpu", "--output-dir", str(tmp_path / "runs")]
    small = ["--set", "network.hidden_sizes=[8]", "--set", "data.validation_samples=9"]
    assert main(["train", "japanese_vowels", *flags, *small, *(["--baseline", baseline] if baseline else [])]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert 0 <= summary["test_accuracy"] <= 1
    if baseline is None:
        assert main(["evaluate", str(run)]) == 0


def test_a_transform_that_takes_no_sequences_is_refused(folder: Path) -> None:
    from RecurrentFF.data.image_transforms import Pixels

    source = JapaneseVowels(data_dir=str(folder), validation_samples=9)
    assert "it takes no sequences" in refusal(lambda: source.task(Pixels()), InputError)


def installed() -> bool:
    try:
        return bool(data_folder())
    except DataError:
        return False


@pytest.mark.skipif(not installed(), reason="no installed package has the files of Japanese Vowels")
def test_the_real_files() -> None:
    task = JapaneseVowels().task()
    train, validation, test, _ = task.splits(timesteps=29)
    assert validation is not None and test is not None
    (train_batch,), (batch,), (test_batch,) = (dataset.batches(400) for dataset in (train, validation, test))
    assert train_batch.labels.bincount().tolist() == [24] * 9 and batch.labels.bincount().tolist() == [6] * 9
    assert test_batch.labels.bincount().tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert train_batch.mask is not None and train_batch.mask.sum(0).min() == 7 and train_batch.mask.sum(0).max() == 26
    assert test_batch.mask is not None and test_batch.mask.sum(0).min() == 7 and test_batch.mask.sum(0).max() == 29
