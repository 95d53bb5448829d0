"""Examples that once failed, which the fuzzer has found; and the fuzzer itself."""

import itertools
import json
import mmap
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from RecurrentFF.errors import DataError, RecurrentFFError
from tools.fuzz import __main__ as command
from tools.fuzz import contract
from tools.fuzz.contract import ContractError, answer
from tools.fuzz.target import Target
from tools.fuzz.targets import BY_NAME, TARGETS

FOLDER = Path(__file__).parent / "fuzz_cases"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
DEEP = 10_000

SETTINGS = {
    "a list with many levels": b"plugins = " + b"[" * DEEP,
    "a number of many digits": b"[network]\nhidden_sizes = [" + b"9" * 5000 + b"]",
}
ASSIGNMENTS = {
    "a list with many levels": ["network.hidden_sizes=" + "[" * DEEP],
    "a section that was made a number": ["data=0", "model.hidden_sizes=0"],
    "a transform that was made a number": ["transform=1", "data_config.deskew=0"],
    "a number of many digits": ["training.epochs=" + "9" * 5000],
    "bytes that are not UTF-8": ["data.name=mnist", "data.data_dir=~/\udcff"],
}


@pytest.mark.parametrize("case", SETTINGS)
def test_configuration_files_that_failed_once(case: str) -> None:
    BY_NAME["settings"].check(SETTINGS[case])


@pytest.mark.parametrize("case", ASSIGNMENTS)
def test_assignments_that_failed_once(case: str) -> None:
    BY_NAME["set"].check(json.dumps(ASSIGNMENTS[case]).encode())


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.name}" for path in FILES])
def test_files_that_failed_once(path: Path) -> None:
    BY_NAME[path.parent.name].check(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_every_target_passes_a_few_examples(target: Target) -> None:
    seen = []

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(target.examples())
    def passes(example: bytes) -> None:
        target.check(example)
        seen.append(example)

    passes()
    assert len(set(seen)) > 10


# ---------------------------------------------------------------- the contract


def raising(error: Exception) -> None:
    raise error


def test_the_contract_lets_named_errors_with_a_place_pass() -> None:
    assert answer(lambda: 3) == 3
    assert answer(lambda: raising(DataError("a.txt: damaged")), "b.txt", "a.txt") is None


class _Raw(DataError):
    """An error that does not make its message printable and short."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        return self.text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RecurrentFFError("a.txt: damaged"), "no particular class"),
        (DataError("damaged"), "names no place"),
        (_Raw("two\nlines of a.txt"), "not one printable line"),
        (_Raw("a.txt: " + 2000 * "x"), "too long"),
        (DataError("a.txt: [enforce fail] DefaultCPUAllocator: can't allocate memory"), "too much memory"),
    ],
)
def test_the_contract_refuses_errors_that_say_too_little(error: Exception, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        answer(lambda: raising(error), "a.txt")


def test_the_contract_passes_other_errors_on() -> None:
    with pytest.raises(ZeroDivisionError):
        answer(lambda: raising(ZeroDivisionError()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no such timer")
def test_the_contract_ends_a_reader_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def reader() -> None:
        try:
            for _ in itertools.count():
                pass
        except Exception:  # as readers of damaged files do
            raise DataError("a.txt: damaged") from None

    monkeypatch.setattr(contract, "MAX_SECONDS", 0.05)
    with pytest.raises(ContractError, match="no answer"):
        answer(reader, "a.txt")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not say how much memory was used")
def test_the_contract_notices_memory_that_was_used_for_a_moment() -> None:
    def reader() -> None:
        with mmap.mmap(-1, 600 * 2**20) as memory:  # new pages, whatever the process has kept of freed ones
            for page in range(0, len(memory), mmap.PAGESIZE):
                memory[page] = 1
        raise DataError("a.txt: damaged")

    with pytest.raises(ContractError, match="too much memory"):
        answer(reader, "a.txt")


# ---------------------------------------------------------------- the command


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, check: object, *flags: str) -> int:
    """Fuzz a single target of whole numbers."""
    numbers = st.integers(0, 10**6).map(lambda number: str(number).encode())
    monkeypatch.setattr(command, "BY_NAME", {"numbers": Target("numbers", lambda: numbers, check)})  # type: ignore[arg-type]
    return command.main(["--target", "numbers", "--examples", "300", "--finds", str(tmp_path), *flags])


def test_the_command_succeeds_where_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, lambda example: None) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("numbers ") and " 300 examples " in line and line.endswith(" 0 failed")
    assert not list(tmp_path.iterdir())


def test_the_command_finds_the_smallest_example_of_each_failure_and_repeats_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(example: bytes) -> None:
        if int(example) >= 1000:
            raise ValueError("too large")
        if int(example) % 7 == 6:
            raise KeyError("odd")

    assert run(monkeypatch, tmp_path, check) == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].endswith(" 2 failed") and "numbers: ValueError: too large" in printed
    files = [path for path in (tmp_path / "numbers").iterdir() if not path.suffix]
    assert {path.read_bytes() for path in files} == {b"1000", b"6"}
    assert "in check" in next(path.with_suffix(".txt").read_text() for path in files)
    with pytest.raises((ValueError, KeyError)):
        command.main(["--replay", str(files[0])])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no processes of this kind")
def test_the_command_survives_an_example_that_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(example: bytes) -> None:
        if int(example) > 5:
            os._exit(9)

    assert run(monkeypatch, tmp_path, check) == 1
    assert "the process ended (exit code 9)" in capsys.readouterr().out
    (file,) = [path for path in (tmp_path / "numbers").iterdir() if not path.suffix]
    assert int(file.read_bytes()) > 5


def test_the_same_seed_gives_the_same_examples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def examples(name: str, seed: str) -> list[str]:
        file = tmp_path / name

        def check(example: bytes) -> None:
            with file.open("ab") as target:
                target.write(example + b"\n")

        run(monkeypatch, tmp_path, check, "--seed", seed)
        return file.read_text().splitlines()

    assert examples("one", "1") == examples("two", "1") != examples("other", "2")


def test_a_mistake_in_a_strategy_is_no_find(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = st.integers().map(lambda number: bytes(number // 0))
    monkeypatch.setattr(command, "BY_NAME", {"numbers": Target("numbers", lambda: broken, lambda example: None)})
    with pytest.raises(RuntimeError, match="can't be made"):
        command.main(["--target", "numbers", "--examples", "300", "--finds", str(tmp_path)])
