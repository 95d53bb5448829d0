"""`rff runs`, `rff report` and `rff evaluate` on folders whose files are damaged or hostile: one line, or a line of the table."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from RecurrentFF import cli
from RecurrentFF.benchmarks import run_files
from RecurrentFF.benchmarks.report import as_csv, read_groups
from RecurrentFF.settings import Settings

EPOCH = {"epoch": 1, "loss": 0.5, "train_accuracy": None, "validation_accuracy": 0.9, "seconds": 1.0, "samples_per_second": 10.0}
SUMMARY = {"test_accuracy": 0.8, "validation_accuracy": 0.9, "seconds": 1.0, "epochs": 1}


def write_run(folder: Path, seed: int = 0, epochs: int = 1) -> Path:
    """The files of a complete run."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(Settings.from_arguments(seed=seed, epochs=4).to_toml())
    (folder / "summary.json").write_text(json.dumps(SUMMARY | {"epochs": epochs}))
    lines = [json.dumps(EPOCH | {"epoch": number}) + "\n" for number in range(1, epochs + 1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    return folder


def changed(content: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(content | changes).encode()


DEEP = b'{"epoch": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HUGE = b'{"epoch": 1' + b"0" * 5000 + b"}"
DAMAGED: dict[str, list[tuple[bytes, str]]] = {
    "metrics.jsonl": [
        (b"", "has no metrics of an epoch"),
        (b"\n", "metrics.jsonl, line 1: not valid JSON"),
        (json.dumps(EPOCH).encode() + b"\n{", "metrics.jsonl, line 2: not valid JSON"),
        (b"\xff\xfe", "not a text file in UTF-8"),
        (b"[1]", "expected a JSON object"),
        (DEEP, "not valid JSON (nested too deeply)"),
        (HUGE, "not valid JSON (Exceeds the limit (4300 digits)"),
        (changed(EPOCH, epoch=0), "'epoch' is of type int, not a number"),
        (changed(EPOCH, epoch=10**400), "'epoch' is of type int, not a number"),
        (changed(EPOCH, epoch=True), "'epoch' is of type bool, not a number"),
        (changed(EPOCH, loss=float("nan")), "'loss' is nan, not a number"),
        (changed(EPOCH, loss=None), "'loss' is None, not a number"),
        (changed(EPOCH, train_accuracy="all\n"), "'train_accuracy' is 'all\\n', not a number from 0 to 1"),
        (changed(EPOCH, validation_accuracy=1e9), "'validation_accuracy' is 1000000000.0, not a number from 0 to 1"),
        (changed(EPOCH, validation_accuracy=None), "only a part of metrics.jsonl and summary.json has a validation accuracy"),
        (changed(EPOCH, samples_per_second=[1]), "'samples_per_second' is of type list"),
        (b'{"epoch": 1}', "has no 'loss'"),
    ],
    "summary.json": [
        (b"", "summary.json: not valid JSON"),
        (b"null", "expected a JSON object"),
        (DEEP, "nested too deeply"),
        (changed(SUMMARY, test_accuracy=-1), "'test_accuracy' is of type int, not a number from 0 to 1"),
        (changed(SUMMARY, seconds=float("inf")), "'seconds' is inf, not a number"),
        (changed(SUMMARY, seconds={}), "'seconds' is of type dict"),
        (changed(SUMMARY, baseline=[1]), "'baseline' is not a name"),
        (b"{}", "has no 'test_accuracy'"),
    ],
    "config.toml": [
        (b"\xff\xfe", "config.toml"),
        (b"a = " + b"[" * 100_000, "config.toml"),
        (b"[network]\nhidden_sizes = 'many'", "config.toml"),
    ],
}
CASES = [(name, content, words) for name, contents in DAMAGED.items() for content, words in contents]


def one_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line of an error of the command line."""
    assert cli.main(arguments) == 2
    written = capsys.readouterr()
    assert written.out == "" and written.err.startswith("error: ") and written.err.count("\n") == 1 and len(written.err) < 1200
    return written.err


@pytest.mark.parametrize(("name", "content", "words"), CASES, ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(CASES)])
def test_a_damaged_file_of_a_run_is_one_line(
    name: str, content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (write_run(tmp_path / "runs/damaged") / name).write_bytes(content)
    write_run(tmp_path / "runs/whole", seed=1)
    assert words in one_error(["report", str(tmp_path / "runs")], capsys)
    assert cli.main(["runs", str(tmp_path / "runs")]) == 0
    _, damaged, whole = capsys.readouterr().out.splitlines()
    assert damaged.startswith("damaged") and whole.startswith("whole") and whole.endswith("complete")


def test_what_is_no_file_or_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "runs/one")
    (run / "summary.json").rename(run / "kept")
    (run / "summary.json").mkdir()
    assert "the run is not complete" in one_error(["report", str(run)], capsys)
    (run / "summary.json").rmdir()
    os.mkfifo(run / "summary.json")
    assert "the run is not complete" in one_error(["report", str(run)], capsys)  # reading it would wait for a writer
    assert cli.main(["runs", str(tmp_path)]) == 0 and capsys.readouterr().out.splitlines()[1].endswith("unreadable")
    (run / "kept").replace(run / "summary.json")
    assert cli.main(["report", str(run)]) == 0
    capsys.readouterr()
    monkeypatch.setattr(run_files, "MAX_BYTES", 100)
    assert "metrics.jsonl: can't be read (too large: " in one_error(["report", str(run)], capsys)


@pytest.mark.parametrize("command", ["runs", "report"])
@pytest.mark.parametrize("name", ["n" * 300, "a" * 5000, "absent", "file", "file/below", "link"])
def test_a_folder_that_is_none_is_one_line(command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("link")
    one_error([command, str(tmp_path / name)], capsys)


def test_a_link_to_a_folder_above_and_a_name_with_escapes_are_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "a\x1b[31m\nb")
    (run / "above").symlink_to(tmp_path)
    assert cli.main(["runs", str(tmp_path)]) == 0 and cli.main(["report", str(run)]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output and len(output.splitlines()) == 2 + 3 and "a\\x1b[31m\\nb" in output


@pytest.mark.usefixtures("rendered_pictures")
def test_runs_that_ended_after_different_epochs_can_be_plotted(tmp_path: Path) -> None:
    for seed, epochs in ((0, 2), (1, 4)):
        write_run(tmp_path / f"stopped/{seed}", seed, epochs)
    assert cli.main(["report", str(tmp_path / "stopped"), f"--plot={tmp_path / 'a.png'}", f"--csv={tmp_path / 'a.csv'}"]) == 0
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert len(as_csv(read_groups([tmp_path / "stopped"])).splitlines()) == 1 + 6


def test_a_report_whose_table_is_lost_still_writes_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(text: str) -> int:
        raise OSError(28, "No space left on device")

    run = write_run(tmp_path / "one")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout.write", full)
        assert cli.main(["report", str(run), f"--csv={tmp_path / 'a.csv'}"]) == 2
    assert capsys.readouterr().err == "error: standard output can't be written (No space left on device)\n"
    assert (tmp_path / "a.csv").read_text().count("\n") == 2


def test_a_damaged_summary_does_not_hide_what_is_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "one")
    for content in (b"{", DEEP, b'{"baseline": 3}'):
        (run / "summary.json").write_bytes(content)
        assert "best." in one_error(["evaluate", str(run)], capsys)  # the run has no such checkpoint
    (run / "summary.json").write_bytes(changed(SUMMARY, baseline="gru"))
    assert "the run of a baseline (gru), which can't be evaluated" in one_error(["evaluate", str(run)], capsys)
