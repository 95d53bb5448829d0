"""Files on disks that are full, that can't do everything, and under names of all kinds."""

import errno
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

import RecurrentFF as rff
from RecurrentFF import streams
from RecurrentFF.atomic_files import write_atomically, write_bytes, write_text
from RecurrentFF.benchmarks import run
from RecurrentFF.errors import OutputError
from tests.helpers import small_settings
from tests.test_survival import tiny_mnist

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests use links and pipes")


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_noted", set[str]())


def failing_with(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> None:
        raise error

    return call


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EROFS, errno.ENOSYS])
def test_a_file_system_that_refuses_to_sync_is_named_once_and_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "fsync", failing_with(OSError(number, os.strerror(number))))
    for name in ("one.txt", "other.txt"):
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"
    failure = f"this file system can't write to the disk at once ({os.strerror(number)})"
    assert capsys.readouterr().err == f"note: {tmp_path}: {failure}; after a power failure, the last files may be missing\n"


def test_a_folder_whose_entries_cannot_be_synced_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synced, sync = list[str](), os.fsync

    def only_files(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append("folder" if is_folder else "file")
        if is_folder:
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    write_text(tmp_path / "a.txt", "text")
    assert synced == ["file", "folder"] and (tmp_path / "a.txt").read_text() == "text" and capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_content_that_does_not_reach_the_disk_is_not_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "former")
    monkeypatch.setattr(os, "fsync", failing_with(OSError(number, os.strerror(number))))
    with pytest.raises(OutputError) as caught:
        write_text(file, "new")
    assert str(caught.value) == f"{file}: can't be written ({os.strerror(number)})"
    assert file.read_text() == "former" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "No space left on device"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . No space left on device\nmore"), "No space left on device"),
        (SafetensorError("IO error: No space left on device (os error 28)"), "No space left on device"),
        (SafetensorError("Parent directory absent does not exist."), "Parent directory absent does not exist."),
        (RuntimeError("unexpected pos 64 vs 0\nframe #0"), "unexpected pos 64 vs 0"),
        (OSError("encoder error -2"), "encoder error -2"),
    ],
)
def test_errors_of_the_writers_of_other_libraries_are_one_line(error: Exception, reason: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        write_atomically(tmp_path / "a.bin", failing_with(error))
    assert str(caught.value) == f"{tmp_path / 'a.bin'}: can't be written ({reason})" and not names(tmp_path)


@pytest.mark.parametrize("error", [KeyError("name"), ValueError("shape"), OutputError("elsewhere: wrong")])
def test_other_errors_of_a_writer_stay_as_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught:
        write_atomically(tmp_path / "a.bin", failing_with(error))
    assert caught.value is error and not names(tmp_path)


@pytest.mark.parametrize(
    "name", ["n" * 251 + ".txt", "é" * 125 + ".csv", "n." + "s" * 253, "." + "s" * 254, ".txt", "a\nb\x1b[31m"]
)
def test_every_name_that_the_file_system_accepts_is_written(name: str, tmp_path: Path) -> None:
    write_text(tmp_path / name, "text")
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == "text"


def test_a_name_keeps_its_ending_while_the_file_is_written(tmp_path: Path) -> None:
    written: list[Path] = []

    def write(file: Path) -> None:
        file.write_text("text")
        written.append(file)

    write_atomically(tmp_path / "a.npz", write)
    assert written[0].suffix == ".npz" and names(tmp_path) == ["a.npz"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("n" * 256, r"\(File name too long\)"),
        ("absent/a.txt", r"\(No such file or directory\)"),
        ("file/a.txt", r"\(Not a directory\)"),
        ("folder", r"\(it is a folder; name a file\)"),
        ("folder/..", r"\(it is a folder; name a file\)"),
        ("a\0b", r"\(a path has no null characters\)"),
        ("\ud800", r"\(the file system has no such characters\)"),
        ("link to itself", r"\(Too many levels of symbolic links\)"),
        ("link to absent", r"\(No such file or directory\)"),
    ],
)
def test_a_path_that_cannot_be_a_file_is_one_line(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link to itself").symlink_to("link to itself")
    (tmp_path / "link to absent").symlink_to("absent/a.txt")
    before = names(tmp_path)
    with pytest.raises(OutputError, match=reason) as caught:
        write_text(tmp_path / name, "text")
    assert "\n" not in str(caught.value) and names(tmp_path) == before


def test_a_network_is_not_saved_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = rff.build(small_settings())
    monkeypatch.chdir(tmp_path)
    for path in (".", "/", tmp_path, "absent/network"):
        with pytest.raises(OutputError, match="can't be written"):
            rff.save(network, path)
    assert names(tmp_path) == []


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage/old.txt").write_text("former")
    for name in ("old", "new"):
        link = tmp_path / f"{name}.txt"
        link.symlink_to(f"storage/{name}.txt")
        write_text(link, "text")
        assert link.is_symlink() and (tmp_path / f"storage/{name}.txt").read_text() == "text"


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "text")
    reader.join(10)
    assert received == ["text"] and stat.S_ISFIFO(pipe.stat().st_mode) and names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_device_that_is_full_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"full: can't be written \(No space left on device\)"):
        write_bytes(tmp_path / "full", b"content")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_text_that_is_not_unicode_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.txt: can't be written \(UTF-8 has no character '\\udcff'\)"):
        write_text(tmp_path / "a.txt", "a \udcff")


def test_the_result_of_a_baseline_is_shown_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == "config.toml":
            return replace(self, target)
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"best\.\w+: can't be written \(No space left on device\)"):
        run.start(tiny_mnist(epochs=1), tmp_path, baseline="logistic")
    output = capsys.readouterr().out
    assert "% right" in output and "summary.json: can't be written (No space left on device)" in output
