"""Tests of damaged and hostile stroke files, of the cache of traced strokes, and of users without a folder for it."""

import io
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from RecurrentFF import streams
from RecurrentFF.data import cache, mnist, stroke_cache
from RecurrentFF.data.dataset import LabeledImages
from RecurrentFF.data.pen_strokes import PenStrokes
from RecurrentFF.data.stroke_cache import trace_cached
from RecurrentFF.data.stroke_files import read_file, read_folder
from RecurrentFF.errors import DataError, InputError

ROW = "0 0 0 0 0 1 0 0 0 0"
HOSTILE: dict[str, bytes] = {
    "one column": b"1\n0\n",
    "two columns": b"1 1\n0 1\n",
    "three columns": b"1 1 1\n",
    "five columns": b"1 5 5 0 1\n",
    "null characters": b"5 5 0 1\0\n",
    "digits of another script": "٥ 5 0 1\n".encode(),
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf5 5 0 1\n",
    "a byte order mark between lines": b"5 5 0 0\n\xef\xbb\xbf0 0 1 1\n",
    "text of 16 bits": "5 5 0 1\n".encode("utf-16"),
    "the end-of-file character of DOS": b"5 5 0 0\r\n0 0 1 1\r\n\x1a",
    "fractions": b"5.0 5.0 0 1\n",
    "an exponent": b"1e1 5 0 1\n",
    "an underscore": b"1_0 5 0 1\n",
    "a plus": b"+5 5 0 1\n",
    "a minus alone": b"- 5 0 1\n",
    "two minuses": b"--5 5 0 1\n",
    "a number of many digits": b"5 5 0 " + b"1" * 10_000 + b"\n",
    "a line of many numbers": b"1 " * 100_000 + b"\n",
    "the smallest byte": b"-128 5 0 1\n",
    "a form feed between lines": b"5 5 0 0\x0c0 0 1 1\n",
    "moves that come back": b"5 5 0 0\n99 0 0 0\n-99 0 0 0\n0 0 1 1\n",
}


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_file(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_stroke_files(case: str, tmp_path: Path) -> None:
    path = tmp_path / "trainimg-0-targetdata.txt"
    path.write_bytes(HOSTILE[case])
    assert "not a stroke sequence" in refusal(path)


def test_stroke_files_that_are_no_files(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.txt")
    assert "not a file" in refusal(tmp_path)
    with pytest.raises(DataError, match="File name too long"):
        read_file(tmp_path / ("x" * 5000))
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert "too large" in refusal(path)
    (tmp_path / "link.txt").symlink_to("link.txt")
    refusal(tmp_path / "link.txt")


FORMS = {
    "unix": "{}\n{}\n",
    "windows": "{}\r\n{}\r\n",
    "former macintosh": "{}\r{}\r",
    "windows, converted twice": "{}\r\r\n{}\r\r\n",
    "of several kinds": "{}\r\n{}\r",
    "without an end of the last line": "{}\n{}",
    "without an end of the last line of windows": "{}\r\n{}",
    "with empty lines": "\n{}\r\n\r\n \t\n{}\r\n\n",
    "with spaces around": "  {}  \n\t{} \t\n",
    "with a byte order mark": "\ufeff{}\n{}\n",
}


@pytest.mark.parametrize("separator", [" ", "\t", "   "], ids=["space", "tab", "spaces"])
@pytest.mark.parametrize("form", FORMS)
def test_stroke_files_with_other_line_ends_and_spaces_are_read(form: str, separator: str, tmp_path: Path) -> None:
    path = tmp_path / "trainimg-0-targetdata.txt"
    rows = [f"{ROW} {move}".replace(" ", separator) for move in ("5 5 0 0", "0 0 1 1")]
    path.write_bytes(FORMS[form].format(*rows).encode())
    label, moves = read_file(path)
    assert label == 5 and moves.tolist() == [[5, 5, 0, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_line_of_a_strange_character_is_named(line_end: str, tmp_path: Path) -> None:
    path = tmp_path / "trainimg-0-targetdata.txt"
    path.write_bytes(line_end.join([f"{ROW} 5 5 0 0", f"{ROW} 1 0 0 0", f"{ROW} x 0 1 1"]).encode())
    assert "line 3 has other characters" in refusal(path)


@pytest.mark.parametrize("kind", ["targetdata", "inputdata"])
@pytest.mark.parametrize(("present", "missing"), [((1, 2), 0), ((0, 2), 1), ((0, 1, 2, 4, 5), 3), ((0, 1, 11), 2)])
def test_a_gap_in_the_numbers_of_stroke_files_is_named(kind: str, present: tuple[int, ...], missing: int, tmp_path: Path) -> None:
    for number in present:
        (tmp_path / f"testimg-{number}-{kind}.txt").write_text("not read")
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path, "test", torch.zeros(20, dtype=torch.long))
    name = f"testimg-{missing}-{kind}.txt"
    assert str(caught.value) == f"{tmp_path / name}: missing, although later files exist; unpack the archive again"


def test_names_that_are_almost_those_of_stroke_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("trainimg-0-targetdata.txt", "trainimg-٠-targetdata.txt", "trainimg-00-targetdata.txt"):
        (tmp_path / name).write_text("x" if name != "trainimg-0-targetdata.txt" else f"{ROW} 5 5 0 1\n")
    assert read_folder(tmp_path, "train", torch.tensor([3])).labels.tolist() == [5]


def test_too_many_stroke_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"trainimg-{number}-targetdata.txt").write_text("not read")
    with pytest.raises(DataError, match="3 train sequences, but MNIST has 2 train images"):
        read_folder(tmp_path, "train", torch.tensor([0, 1]))


@pytest.fixture(scope="module")
def digits() -> LabeledImages:
    train, _ = mnist.read()
    return LabeledImages(train.images[:30].clone(), train.labels[:30])


@pytest.fixture
def cached(digits: LabeledImages, tmp_path: Path) -> Path:
    """Make a file of the cache."""
    trace_cached(digits, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    return file


def test_turned_bits_in_the_cache_change_nothing(digits: LabeledImages, cached: Path) -> None:
    images, content = digits.images.numpy(), cached.read_bytes()
    whole = stroke_cache.read_cache_file(cached, images)
    generator, refused = np.random.default_rng(0), 0
    headers = np.r_[0:60, len(content) - 150 : len(content)]
    for place in [*generator.choice(headers, 400), *generator.integers(0, len(content), 200)]:
        damaged = bytearray(content)
        damaged[int(place)] ^= 1 << int(generator.integers(8))
        cached.write_bytes(damaged)
        found = stroke_cache.read_cache_file(cached, images)
        refused += found is None
        assert whole is not None
        assert found is None or (np.array_equal(found[0], whole[0]) and np.array_equal(found[1], whole[1]))
    assert 300 < refused < 600  # some bits, such as those of the time of writing, change nothing


def saved(**arrays: object) -> bytes:
    """The content of an .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def huge(items: int) -> bytes:
    """An .npz file whose headers declare many items."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, shape, kind in (("lengths", (items,), "<i8"), ("moves", (items, 4), "|i1")):
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", header.getvalue())
    return buffer.getvalue()


def wrong_contents(file: Path) -> Iterator[bytes]:
    """Yield contents of a cache file that can be read, but are not the strokes of the digits."""
    with np.load(file) as content:
        moves, lengths = content["moves"], content["lengths"]
    changed = {name: moves.copy() for name in ("far", "elsewhere", "marks", "ends")}
    changed["far"][0, 0] = 100
    changed["elsewhere"][0, :2] = 1  # inside of the image, but not on the digit
    changed["marks"][0, 2] = 2
    changed["ends"][0, 3] = 1
    for other in changed.values():
        yield saved(moves=other, lengths=lengths)
    swapped = lengths.copy()
    swapped[:2] = -5, lengths[:2].sum() + 5
    yield saved(moves=moves, lengths=swapped)
    yield saved(moves=moves, lengths=np.full(30, 2**61))  # their sum is 0 after an overflow
    yield saved(moves=moves.astype(np.float64), lengths=lengths)
    yield saved(moves=np.asfortranarray(moves), lengths=lengths)
    yield saved(moves=moves, lengths=lengths.astype(object))
    yield saved(moves=moves[:-1], lengths=lengths)
    yield saved(moves=moves)
    yield from (huge(10**12), huge(30), b"", b"PK", b"\x93NUMPY")


def test_wrong_contents_of_the_cache_are_traced_again(digits: LabeledImages, cached: Path) -> None:
    whole = trace_cached(digits, cached.parent)
    for content in wrong_contents(cached):
        assert content != cached.read_bytes()
        cached.write_bytes(content)
        assert stroke_cache.read_cache_file(cached, digits.images.numpy()) is None
        again = trace_cached(digits, cached.parent)
        assert all(torch.equal(a, b) for a, b in zip(again, whole, strict=True))
        assert stroke_cache.read_cache_file(cached, digits.images.numpy()) is not None


def test_a_file_of_other_digits_is_not_used(digits: LabeledImages, cached: Path) -> None:
    assert stroke_cache.read_cache_file(cached, digits.images.flip(0).numpy()) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="files of POSIX")
@pytest.mark.parametrize("thing", ["folder", "pipe", "loop", "huge"])
def test_other_things_in_place_of_a_cache_file(
    thing: str, digits: LabeledImages, cached: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trace_cached(digits, cached.parent)
    cached.unlink()
    if thing == "folder":
        (cached / "inner").mkdir(parents=True)
    elif thing == "pipe":
        os.mkfifo(cached)
    elif thing == "loop":
        cached.symlink_to(cached)
    else:
        with cached.open("wb") as file:
            file.truncate(2**40)
    assert torch.equal(trace_cached(digits, cached.parent).moves, whole.moves)
    assert ("can't be cached" in capsys.readouterr().err) == (thing != "huge")


def test_an_unwritable_cache_is_said_once(digits: LabeledImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        assert len(trace_cached(digits, tmp_path / "file" / "cache").lengths) == 30
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: the strokes can't be cached (") and "Not a directory" in line


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a user without a home folder, and return the folder of temporary files."""

    def fail(name: str) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("platformdirs.user_cache_path", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(streams, "_noted", set[str]())
    cache._temporary_folder.cache_clear()
    yield tmp_path
    cache._temporary_folder.cache_clear()


def test_a_user_without_a_home_folder_has_a_temporary_cache(
    homeless: Path, digits: LabeledImages, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = trace_cached(digits), trace_cached(digits)
    assert torch.equal(first.moves, second.moves)
    (folder,) = homeless.iterdir()
    assert len(list((folder / "strokes").iterdir())) == 1
    assert os.name == "nt" or stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert capsys.readouterr().err == (
        f"note: this user has no home folder; what is traced, downloaded or measured is cached in {folder}\n"
    )


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users of POSIX")
def test_a_temporary_cache_of_somebody_else_is_not_used(homeless: Path, digits: LabeledImages) -> None:
    taken = homeless / f"RecurrentFF-{os.getuid()}"
    (homeless / "elsewhere").mkdir()
    taken.symlink_to(homeless / "elsewhere")
    folder = cache.cache_folder("strokes")
    assert folder is not None and folder.parent != taken and not list((homeless / "elsewhere").iterdir())
    cache._temporary_folder.cache_clear()
    taken.unlink()
    taken.mkdir()
    taken.chmod(0o777)
    folder = cache.cache_folder("strokes")
    assert folder is not None and folder.parent != taken


def test_no_folder_at_all_is_no_obstacle(
    homeless: Path, digits: LabeledImages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(homeless / "absent"))
    assert len(trace_cached(digits).lengths) == 30
    assert "nothing is cached" in capsys.readouterr().err


PROGRAM = """
from RecurrentFF.data import mnist, stroke_cache
train, _ = mnist.read()
digits = type(train)(train.images[:1500], train.labels[:1500])
print(len(stroke_cache.trace_cached(digits).lengths), "digits are traced")
"""


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_a_plain_program_traces_strokes_at_first_use(source: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, *(["program.py"] if source == "file" else ["-"])]
    result = subprocess.run(command, cwd=tmp_path, input=PROGRAM if source != "file" else "", capture_output=True, text=True,
                            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")})  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "1500 digits are traced\n")


def test_images_whose_moves_do_not_fit_a_byte_are_refused() -> None:
    with pytest.raises(InputError, match="at most 127 pixels a side"):
        PenStrokes().output_size((128, 28))
    image = torch.zeros(1, 127, 127, dtype=torch.uint8)
    image[0, 126, 126] = 255
    assert PenStrokes()(image).shape[1] == 1
