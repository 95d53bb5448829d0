"""Tests of damaged, hostile and oddly placed files of MNIST and Fashion-MNIST: each is read, or an error of one line."""

import gzip
import hashlib
import os
import re
import shutil
import struct
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from RecurrentFF.data import fashion_mnist, mnist
from RecurrentFF.data.idx import MAX_SAMPLES, read_idx
from RecurrentFF.data.mnist_files import NAMES
from RecurrentFF.errors import DataError
from tests.permissions import without_privileges

PIXELS = (None, 28, 28)


def header(*sizes: int) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def small_files() -> dict[str, bytes]:
    """Make the contents of a data set of three training and two test images."""
    contents = {}
    for part, count in (("train", 3), ("t10k", 2)):
        contents[f"{part}-images-idx3-ubyte"] = header(count, 28, 28) + bytes(range(196)) * 4 * count
        contents[f"{part}-labels-idx1-ubyte"] = header(count) + bytes(range(count))
    return contents


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def refusal(load: Callable[[], object]) -> str:
    """Return the message of a DataError, which must be one line."""
    with pytest.raises(DataError) as caught:
        load()
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    return str(caught.value)


def test_the_digits_of_the_package_equal_those_that_torchvision_reads(tmp_path: Path) -> None:
    from torchvision.datasets import MNIST

    packed = resources.files("RecurrentFF.data") / "mnist_idx"
    write(tmp_path / "MNIST/raw", {name: gzip.decompress((packed / f"{name}.gz").read_bytes()) for name in NAMES})
    for found, train in zip(mnist.read(), (True, False), strict=True):
        expected = MNIST(str(tmp_path), train=train)
        assert torch.equal(found.images, expected.data) and torch.equal(found.labels, expected.targets)
        assert (found.images.dtype, found.labels.dtype) == (torch.uint8, torch.int64)


def test_reading_the_package_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "full"))  # making a file there fails, as on a full disk
    assert len(mnist.read()[0].labels) == 60_000


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dots", [False, True])
@pytest.mark.parametrize("place", [".", "NAME", "NAME/raw", "raw"])
def test_the_four_files_are_found(place: str, dots: bool, packed: bool, name: str, tmp_path: Path) -> None:
    contents = {}
    for each, content in small_files().items():
        spelling = each.replace("-idx", ".idx") if dots else each
        contents[spelling + packed * ".gz"] = gzip.compress(content) if packed else content
    write(tmp_path / place.replace("NAME", name), contents)
    module = mnist if name == "MNIST" else fashion_mnist
    train, test = module.read(tmp_path)
    assert train.labels.tolist() == [0, 1, 2] and test.labels.tolist() == [0, 1]
    assert train.images.shape == (3, 28, 28) and train.images[2, 27, 27] == 195


def test_a_folder_of_the_name_of_a_file_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, small_files())
    (tmp_path / "train-images-idx3-ubyte").rename(tmp_path / "inner")
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    (tmp_path / "inner").rename(tmp_path / "train-images.idx3-ubyte")  # Kaggle's archive has both
    assert len(mnist.read(tmp_path)[0].labels) == 3


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "digits", small_files())
    assert len(mnist.read(Path("~/digits"))[0].labels) == 3
    assert "no home folder" in refusal(lambda: mnist.read(Path("~nobody-has-this-name/digits")))


def test_processed_files_of_former_torchvision_versions_are_not_read(tmp_path: Path) -> None:
    processed = tmp_path / "MNIST/processed"
    processed.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save(([1, "text"], {"labels": torch.tensor([float("nan")])}), processed / name)
    message = refusal(lambda: mnist.read(tmp_path))
    assert "no files of MNIST here" in message and ", and the folder processed of a former torchvision is not read; " in message
    assert "the folder processed" in refusal(lambda: mnist.read(tmp_path / "MNIST"))
    assert "the folder processed" not in refusal(lambda: mnist.read(processed))
    write(tmp_path / "MNIST/raw", small_files())
    assert len(mnist.read(tmp_path)[0].labels) == 3


def test_missing_files_are_named(tmp_path: Path) -> None:
    contents = small_files()
    del contents["t10k-labels-idx1-ubyte"]
    write(tmp_path / "MNIST/raw", contents)
    message = refusal(lambda: mnist.read(tmp_path))
    assert "MNIST/raw: incomplete, t10k-labels-idx1-ubyte is missing" in message and "leave out --data-dir" in message
    assert "no such folder" in refusal(lambda: mnist.read(tmp_path / "absent"))
    assert "not a folder" in refusal(lambda: fashion_mnist.read(tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"))


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0", "\ud800", "line\nend", "\x1b[31m"])
@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_paths_that_no_file_system_has(module: ModuleType, name: str, tmp_path: Path) -> None:
    refusal(lambda: module.read(tmp_path / name))


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("module", [mnist, fashion_mnist])
@pytest.mark.parametrize("locked", [".", "raw", "raw/train-labels-idx1-ubyte"])
def test_files_without_permission(locked: str, module: ModuleType, tmp_path: Path) -> None:
    write(tmp_path / "data/raw", small_files())
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):  # pytest's folders are this user's own
        folder.chmod(0o755)
    (tmp_path / "data" / locked).chmod(0)
    try:
        with without_privileges():
            assert "Permission denied" in refusal(lambda: module.read(tmp_path / "data"))
    finally:
        (tmp_path / "data" / locked).chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, small_files())
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    os.mkfifo(tmp_path / "train-labels-idx1-ubyte")
    assert "train-labels-idx1-ubyte is missing" in refusal(lambda: mnist.read(tmp_path))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, small_files())
    with (tmp_path / "t10k-images-idx3-ubyte").open("r+b") as file:
        file.truncate(2**40)  # a file of zeros that takes no space on the disk
    assert "t10k-images-idx3-ubyte: can't be read (too large" in refusal(lambda: mnist.read(tmp_path))


def bomb(kilobytes: int) -> bytes:
    """Make a small file that unpacks to a header of one image, then to many zeros."""
    return gzip.compress(header(1, 28, 28) + bytes(kilobytes * 1024))


CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no IDX file"),
    "text": (b"not numbers at all", "no IDX file"),
    "one dimension": (header(3) + b"abc", "no IDX file"),
    "signed bytes": (b"\0\0\x09\x03" + header(1, 28, 28)[4:] + bytes(784), "no IDX file"),
    "half a header": (header(1, 28, 28)[:9], "ends within its header"),
    "other sizes": (header(1, 14, 56) + bytes(784), "1 × 14 × 56 bytes; expected 1 to 1,000,000 × 28 × 28"),
    "no images": (header(0, 28, 28), "expected 1 to"),
    "too many images": (header(2**32 - 1, 28, 28), "expected 1 to"),
    "a byte too few": (header(1, 28, 28) + bytes(783), "it has fewer"),
    "a byte too many": (header(1, 28, 28) + bytes(785), "it has more"),
    "packed: a byte too few": (gzip.compress(header(1, 28, 28) + bytes(783)), "it has fewer"),
    "packed: a bomb": (bomb(20_000), "it has more"),
    "packed: more images than it can have": (gzip.compress(header(MAX_SAMPLES, 28, 28)), "it has fewer"),
    "packed: cut off": (gzip.compress(header(1, 28, 28) + bytes(784))[:-9], "can't be unpacked"),
    "packed: another checksum": (gzip.compress(header(1, 28, 28) + bytes(784))[:-8] + bytes(8), "can't be unpacked"),
    "packed twice": (gzip.compress(gzip.compress(header(1, 28, 28) + bytes(784))), "no IDX file"),
    "only the mark of gzip": (b"\x1f\x8b", "can't be unpacked"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_contents_that_are_no_images(case: str) -> None:
    content, message = CONTENTS[case]
    assert message in refusal(lambda: read_idx(content, "the file", PIXELS))


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = gzip.GzipFile.read

    def read(stream: gzip.GzipFile, size: int | None = -1) -> bytes:
        asked.append(size if size is not None else -1)
        return original(stream, size)

    monkeypatch.setattr(gzip.GzipFile, "read", read)
    refusal(lambda: read_idx(bomb(20_000), "the file", PIXELS))
    refusal(lambda: read_idx(gzip.compress(header(MAX_SAMPLES, 28, 28)), "the file", PIXELS))
    assert asked == [16, 785, 16]  # the headers, and a byte more than the one image


def test_several_parts_of_gzip_are_one_file() -> None:
    parts = gzip.compress(header(2, 28, 28)) + gzip.compress(bytes([1]) * 1568)
    assert read_idx(parts, "the file", PIXELS).sum() == 1568


WHOLE = gzip.compress(header(1, 28, 28) + bytes(range(196)) * 4, mtime=0)


@given(st.one_of(
    st.binary(max_size=100),
    st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(1, 255)).map(
        lambda change: WHOLE[: change[0]] + bytes([WHOLE[change[0]] ^ change[1]]) + WHOLE[change[0] + 1 :]
    ),
    st.binary(max_size=40).map(lambda rest: header(1, 28, 28)[:8] + rest),
))  # fmt: skip
def test_any_bytes_are_an_array_or_an_error(content: bytes) -> None:
    try:
        assert read_idx(content, "the file", PIXELS).shape[1:] == (28, 28)
    except DataError as error:
        assert str(error).startswith("the file: ")


def test_labels_out_of_range_and_of_another_number(tmp_path: Path) -> None:
    contents = small_files()
    write(tmp_path, contents | {"t10k-labels-idx1-ubyte": header(2) + b"\x00\x0a"})
    assert "t10k-labels-idx1-ubyte: labels run from 0 to 10; expected 0 to 9" in refusal(lambda: mnist.read(tmp_path))
    write(tmp_path, contents | {"t10k-labels-idx1-ubyte": header(3) + b"\x00\x01\x02"})
    message = refusal(lambda: mnist.read(tmp_path))
    assert "(for 3 labels): its header says 2 × 28 × 28 bytes; expected 3 × 28 × 28" in message


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder from which Fashion-MNIST is downloaded, with three training and two test images."""
    contents = {f"{name}.gz": gzip.compress(content) for name, content in small_files().items()}
    source = write(tmp_path / "source", contents)
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in contents.items()]
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.resources", sums)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["file:///nowhere/", f"{source.as_uri()}/"])
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr("RecurrentFF.streams._noted", set())
    return source


def test_a_download_takes_the_first_address_that_has_the_file(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(fashion_mnist.read()[0].labels) == 3
    (source / "t10k-labels-idx1-ubyte.gz").unlink()
    assert len(fashion_mnist.read()[0].labels) == 3  # from the cache
    assert capsys.readouterr().err == "note: downloading Fashion-MNIST, 30 MB\n"


@pytest.mark.parametrize("damage", [b"", b"x" * 1000, gzip.compress(header(2) + b"\x00\x0b")], ids=["empty", "text", "other"])
def test_a_download_of_other_files_is_refused_and_not_kept(damage: bytes, source: Path, tmp_path: Path) -> None:
    (source / "t10k-labels-idx1-ubyte.gz").write_bytes(damage)
    message = refusal(lambda: fashion_mnist.read())
    assert "can't be downloaded (t10k-labels-idx1-ubyte.gz: its checksum differs)" in message and "--data-dir" in message
    assert not (tmp_path / "cache").exists()


def test_a_download_without_an_end_is_cut_off(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "_MAX_BYTES", 10_000)
    with (source / "train-images-idx3-ubyte.gz").open("r+b") as file:
        file.truncate(2**40)
    assert "its checksum differs" in refusal(lambda: fashion_mnist.read())


def test_a_download_that_can_not_be_cached_is_read(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cache").write_text("no folder")
    for _ in range(2):
        assert len(fashion_mnist.read()[0].labels) == 3
    download, unwritable = capsys.readouterr().err.splitlines()
    assert download.startswith("note: downloading") and "can't be cached" in unwritable and "Not a directory" in unwritable


def test_a_download_needs_no_standard_error(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert len(fashion_mnist.read()[0].labels) == 3


def lose_a_file(folder: Path) -> None:
    (folder / "raw/t10k-labels-idx1-ubyte.gz").unlink()


def cut_off_a_file(folder: Path) -> None:
    file = folder / "raw/train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:50])


def replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


@pytest.mark.parametrize("damage", [lose_a_file, cut_off_a_file, replace_by_a_file])
def test_a_damaged_cache_is_made_anew(
    damage: Callable[[Path], None], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fashion_mnist.read()
    folder = next((tmp_path / "cache").rglob("FashionMNIST"))
    expected = {file.name: file.read_bytes() for file in (folder / "raw").iterdir()}
    damage(folder)
    capsys.readouterr()
    for _ in range(2):  # the second time from the cache
        assert len(fashion_mnist.read()[0].labels) == 3
    assert {file.name: file.read_bytes() for file in (folder / "raw").iterdir()} == expected
    assert [path.name for path in folder.parent.iterdir()] == ["FashionMNIST"]
    assert re.fullmatch(r"note: downloading Fashion-MNIST, 30 MB, in place of a damaged one \(.*\)\n", capsys.readouterr().err)


@pytest.mark.parametrize("damage", [lose_a_file, cut_off_a_file])
def test_a_damaged_cache_without_a_download_is_left_and_both_are_named(
    damage: Callable[[Path], None], source: Path, tmp_path: Path
) -> None:
    fashion_mnist.read()
    folder = next((tmp_path / "cache").rglob("FashionMNIST"))
    damage(folder)
    left = sorted(folder.rglob("*"))
    shutil.rmtree(source)
    message = refusal(lambda: fashion_mnist.read())
    assert message.startswith(f"Fashion-MNIST is damaged ({folder}") and "it can't be downloaded (" in message
    assert "--data-dir" in message and "files are missing" not in message and sorted(folder.rglob("*")) == left


def test_a_damaged_folder_of_the_user_is_not_replaced(source: Path, tmp_path: Path) -> None:
    fashion_mnist.read()
    shutil.copytree(next((tmp_path / "cache").rglob("FashionMNIST")), tmp_path / "own")
    lose_a_file(tmp_path / "own")
    assert "t10k-labels-idx1-ubyte is missing" in refusal(lambda: fashion_mnist.read(tmp_path / "own"))
    assert len(list((tmp_path / "own/raw").iterdir())) == 3
