"""Standard output and standard error in any state: no line ever ends a run, and a command says that its result is lost."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from RecurrentFF import streams
from RecurrentFF.benchmarks.flags import INTERRUPTED, exit_code
from RecurrentFF.errors import DataError, OutputError
from RecurrentFF.streams import QuietStream, is_terminal, write_line, write_output
from RecurrentFF.training.console import Console
from RecurrentFF.training.metrics import EpochMetrics


class Failing:
    """A stream of another program that fails in its own way, and that calls itself a terminal."""

    encoding: Any = "utf-8"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error

    def isatty(self) -> bool:
        return True


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


class Bare:
    """A stream that can only be written to."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        text.encode("ascii")
        self.text += text


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


FULL = OSError(errno.ENOSPC, "No space left on device")
LOST: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "closed": closed,
    "no reader": lambda: Failing(BrokenPipeError()),
}
"""Streams that nobody reads."""
BROKEN: dict[str, Callable[[], Any]] = {
    "full": lambda: Failing(FULL),
    "terminal gone": lambda: Failing(OSError(errno.EIO, "Input/output error")),
    "notebook": lambda: Failing(KeyError("parent_header")),
    "no stream": object,
}


@pytest.fixture(autouse=True)
def _nothing_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_noted", set[str]())


@pytest.mark.parametrize("name", [*LOST, *BROKEN])
def test_no_line_and_no_progress_bar_ever_raises(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = (LOST | BROKEN)[name]()
    for target in ("stdout", "stderr"):
        monkeypatch.setattr(sys, target, stream)
    assert not write_line("a line") and not write_line("a line", "stderr")
    assert is_terminal("stderr") == isinstance(stream, Failing)
    for leave in (False, True):
        with tqdm(total=3, file=QuietStream("stderr"), disable=False, dynamic_ncols=True, leave=leave) as bar:
            bar.update(2)
    console = Console()
    console.start("epoch 1/1", 10)
    console.evaluating()
    console.log("a line")
    console.stop()
    streams.discard_unwritten()


def test_a_stream_that_was_deleted_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "stdout")
    assert not write_line("a line") and not is_terminal("stdout")


def test_a_failure_of_standard_output_is_said_once_for_each_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", errors := io.StringIO())
    for name in (*LOST, "full", "full", "terminal gone", "full"):
        monkeypatch.setattr(sys, "stdout", (LOST | BROKEN)[name]())
        write_line("a line")
    ending = "; the program continues without its lines"
    assert errors.getvalue().splitlines() == [
        f"note: standard output can't be written (No space left on device){ending}",
        f"note: standard output can't be written (Input/output error){ending}",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_the_encoding_lacks_become_escapes(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding))
    assert write_line("é 東 \udcff")
    write_output("é", end="|")
    written = content.getvalue().decode(encoding)
    expected = {"ascii": "\\xe9 \\u6771 \\udcff\n\\xe9|", "latin-1": "é \\u6771 \\udcff\né|", "utf-8": "é 東 \\udcff\né|"}
    assert written == expected[encoding]


@pytest.mark.parametrize("encoding", [None, 3, "no such encoding"])
def test_a_stream_with_a_strange_encoding_or_without_one_is_written_in_ascii(
    encoding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Bare()
    if encoding is not None:
        bare.encoding = encoding  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", bare)
    assert write_line("é") and bare.text == "\\xe9\n" and QuietStream("stdout").encoding == "ascii"


def test_the_result_of_a_command_is_lost_only_if_somebody_could_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in LOST.values():
        monkeypatch.setattr(sys, "stdout", make())
        write_output("the result")
    for name, reason in (("full", "No space left on device"), ("terminal gone", "Input/output error"), ("notebook", "KeyError")):
        monkeypatch.setattr(sys, "stdout", BROKEN[name]())
        with pytest.raises(OutputError, match=rf"^standard output can't be written \({reason}\)$"):
            write_output("the result")


@pytest.mark.parametrize("own", [True, False])
def test_a_line_removes_the_progress_bars_and_shows_them_again(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console()
    if own:
        console.start("a bar", 10)
    with tqdm(total=3, desc="a bar", file=terminal, disable=own):  # of another program
        console.log("a line")
    console.stop()
    before, after = terminal.getvalue().split("a line\n")
    assert before.startswith("\ra bar") and "\r" + " " * len("a bar") in before and after.startswith("\ra bar")


def test_a_program_that_replaces_a_stream_later_gets_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = QuietStream("stdout")
    for _ in range(2):
        monkeypatch.setattr(sys, "stdout", stream := io.StringIO())
        assert quiet.write("text") == 4 and stream.getvalue() == "text"
    with pytest.raises(OSError, match="standard output has no file number"):
        quiet.fileno()


# ---------------------------------------------------------------- exit codes


def raising(error: BaseException) -> Callable[[], bool]:
    def work() -> bool:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("two\nlines"), "error: two\\nlines"),
        (PermissionError(errno.EACCES, "Permission denied", "a\nfile"), "error: a\\nfile: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", b"\xff"), "error: \\udcff: No such file or directory"),
        (FULL, "error: No space left on device (OSError in test_streams.py, line "),
        (OSError(), "error: OSError (OSError in test_streams.py, line "),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "error: Broken pipe (BrokenPipeError in test_streams.py, line "),
        (MemoryError(), "error: not enough memory; use a smaller training.batch_size or network, or fewer samples"),
        (RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: 9 bytes\n"), "error: not enough memory; use"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "error: not enough memory; use a smaller"),
    ],
)
def test_errors_of_the_system_are_one_line(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raising(error)) == 2
    written = capsys.readouterr().err
    assert written.startswith(line) and written.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("name"), RecursionError("maximum recursion depth exceeded"), RuntimeError("shapes")])
def test_a_mistake_in_the_code_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        exit_code(raising(error))


@pytest.mark.parametrize("name", [*LOST, *BROKEN])
def test_exit_codes_do_not_depend_on_standard_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", (LOST | BROKEN)[name]())
    assert exit_code(raising(DataError("wrong"))) == 2
    assert exit_code(raising(KeyboardInterrupt())) == INTERRUPTED
    assert exit_code(lambda: True) == 0


def test_a_present_folder_that_was_removed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def gone() -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    assert exit_code(raising(FileNotFoundError(errno.ENOENT, "No such file or directory", "runs"))) == 2
    assert capsys.readouterr().err == "error: the present folder does not exist any more; change to another one\n"


# ---------------------------------------------------------------- processes

COMMAND = f"{sys.executable} -m RecurrentFF"
LIMITED = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")


def shell(command: str, **environment: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of a shell command, with buffers as usual."""
    environment = os.environ | {"PYTHONUNBUFFERED": ""} | environment
    command = f"set -o pipefail; {command}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment)
    return result.returncode, result.stdout, result.stderr


@LIMITED
def test_a_command_says_that_its_result_does_not_fit_the_disk() -> None:
    error = "error: standard output can't be written (No space left on device)\n"
    assert shell(f"{COMMAND} config > /dev/full") == (2, "", error)
    assert shell(f"{COMMAND} train --help > /dev/full") == (2, "", error)
    assert shell(f"{COMMAND} config > /dev/full 2> /dev/full") == (2, "", "")


def test_a_command_without_a_reader_ends_quietly() -> None:
    assert shell(f"{{ sleep 1; {COMMAND} config; }} | true") == (0, "", "")  # the reader has ended before
    code = "from RecurrentFF.streams import write_line; import sys; sys.exit(write_line('lost'))"
    assert shell(f'{{ sleep 1; {sys.executable} -c "{code}"; }} | true') == (0, "", "")
    assert shell(f"{COMMAND} config >&- 2>&- <&-") == (0, "", "")
    assert shell(f"{COMMAND} config --former missing 2>&-") == (2, "", "")


def test_closed_descriptors_are_not_given_to_files(tmp_path: Path) -> None:
    code = (
        "import os; from RecurrentFF import streams; streams.replace_closed(); file = open('written.txt', 'w'); "
        "os.write(2, b'a message of a library'); os.write(1, b'one more'); print('text'); "
        "closed = os.system('echo text >&2 && echo text && cat'); os._exit(file.fileno() < 3 or closed != 0)"
    )
    assert shell(f'cd {tmp_path} && {sys.executable} -c "{code}" <&- >&- 2>&-') == (0, "", "")
    assert (tmp_path / "written.txt").read_text() == ""


@pytest.mark.parametrize("validation", [0.5, None])
def test_an_accuracy_that_is_not_measured_has_no_column(validation: float | None, capsys: pytest.CaptureFixture[str]) -> None:
    rest: dict[str, Any] = {"train_accuracy": None, "test_accuracy": None, "pairwise_accuracy": None, "readout_loss": None}
    lists: dict[str, Any] = {"layer_loss": [0.1], "badness_pos": [1.0], "badness_neg": [2.0]}
    Console().epoch(EpochMetrics(1, 1.0, 1.0, 0.1, 0.7, validation_accuracy=validation, **rest, **lists), 1, best=True)
    header, line = capsys.readouterr().out.splitlines()
    assert header.partition("badness")[0].split() == ["epoch", "loss", *["validation"] * (validation is not None), "samples/s"]
    assert "-" not in line
