"""Tests of damaged, hostile and unusual image files: each is read, or an error of one line that names the file."""

import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from RecurrentFF.data.image_files import image_files, read_image
from RecurrentFF.data.image_folder import ImageFolderTask
from RecurrentFF.errors import DataError
from tests.permissions import without_privileges


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Turn every warning into an error: the user would see it as lines of code."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make four images of 8 × 10 pixels, of two classes."""
    for name, value in (("cat", 200), ("dog", 50)):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("L", (10, 8), value + number).save(tmp_path / name / f"{number}.png")
    return tmp_path


def refusal(folder: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolderTask(folder, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    return str(caught.value)


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """Make a PNG file with any sizes in its header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda whole: b"", "its format is unknown"),
    "text": (lambda whole: b"no image", "its format is unknown"),
    "cut off": (lambda whole: whole[:50], "can be read ("),
    "another checksum": (lambda whole: whole[:-20] + bytes(8) + whole[-12:], "can be read ("),
    "no pixels": (lambda whole: png(10, 8), "can be read ("),
    "no width": (lambda whole: png(0, 8), "can be read ("),
    "a bomb": (lambda whole: png(100_000, 100_000), "declares more than 178,956,970 pixels"),
    "a smaller bomb": (lambda whole: png(20_000, 9_000), "declares more than 178,956,970 pixels"),
    "more pixels than a number has": (lambda whole: png(2**31 - 1, 2**31 - 1), "can be read ("),
    "a huge picture map": (lambda whole: b"P5 99999999 99999999 255\n", "declares more than"),
    "a map of text": (lambda whole: b"P2 2 2 255\n1 2 x 4\n", "can be read ("),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_images_are_named(case: str, folder: Path) -> None:
    damage, message = DAMAGE[case]
    path = folder / "dog" / "1.png"
    path.write_bytes(damage(path.read_bytes()))
    text = refusal(folder)
    assert text.startswith(f"{path}: not an image that can be read (") and message in text and "remove or replace it" in text


def test_turned_bits_in_images_are_no_traces(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for ending in ("png", "bmp", "tif", "webp", "jpg", "ppm"):
        path = folder / f"1.{ending}"
        Image.fromarray(generator.integers(0, 256, (8, 10, 3), dtype=np.uint8)).save(path)
        content = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(content)
            damaged[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
            path.write_bytes(damaged)
            try:
                assert read_image(path, (8, 10), grayscale=False).shape == (8, 10, 3)
            except DataError as error:
                assert str(error).startswith(str(path))


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257], [65535, 1, 129]], dtype=np.uint16)
    for path in (tmp_path / "1.png", tmp_path / "1.tif"):
        Image.fromarray(values).save(path)
        assert read_image(path, None, grayscale=True).tolist() == [[0, 1, 128], [255, 0, 1]]
        assert read_image(path, None, grayscale=False)[1, 0].tolist() == [255, 255, 255]


def test_sixteen_bits_of_a_picture_map_are_scaled_to_eight(tmp_path: Path) -> None:
    path = tmp_path / "1.pgm"
    path.write_bytes(b"P5 3 1 65535\n" + np.array([0, 100, 65535], dtype=">u2").tobytes())
    with Image.open(path) as image:
        assert image.mode == "I"  # as an image of 32 bits has
    assert read_image(path, None, grayscale=True).tolist() == [[0, 0, 255]]
    path.write_bytes(b"P2 2 1 1000\n1000 500\n")
    assert read_image(path, None, grayscale=True).tolist() == [[255, 128]]


@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.int16, np.float32])
def test_other_numbers_from_0_to_255_are_taken_as_they_are(kind: type[np.number], tmp_path: Path) -> None:
    for values in ([[0, 100, 255]], [[0, 0, 0]], [[0, 1, 1]]):
        Image.fromarray(np.array(values, dtype=kind)).save(tmp_path / "1.tif")
        assert read_image(tmp_path / "1.tif", None, grayscale=True).tolist() == values
        assert read_image(tmp_path / "1.tif", None, grayscale=False)[..., 1].tolist() == values


def test_fractions_are_rounded_down_and_limited(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.9, 254.5, 300, -5]], dtype=np.float32)).save(tmp_path / "1.tif")
    assert read_image(tmp_path / "1.tif", None, grayscale=True).tolist() == [[0, 254, 255, 0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 70_000]], dtype=np.int32), "run from 0 to 70000, expected 0 to 255; save it with 8 or 16 bits"),
        (np.array([[0, 256]], dtype=np.int32), "run from 0 to 256, expected 0 to 255"),
        (np.array([[-1, 5]], dtype=np.int16), "run from -1 to 5, expected 0 to 255"),
        (np.array([[0, 0.5, 1]], dtype=np.float32), "fractions of at most 1, which would all be black; multiply them by 255"),
        (np.array([[0, np.nan]], dtype=np.float32), "not all finite"),
    ],
)
def test_pixels_whose_range_is_not_known_are_refused(values: Any, message: str, tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "1.tif")
    with pytest.raises(DataError, match=rf"1\.tif: not an image that can be read \(.*{message}"):
        read_image(tmp_path / "1.tif", None, grayscale=True)


def test_an_image_of_which_pillow_only_warns_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    Image.new("L", (10, 8), 200).save(tmp_path / "1.png")
    with pytest.warns(Image.DecompressionBombWarning), Image.open(tmp_path / "1.png"):
        pass
    assert read_image(tmp_path / "1.png", (4, 4), grayscale=True).tolist() == [[200] * 4] * 4
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 39)
    with pytest.raises(DataError, match="declares more than 78 pixels"):
        read_image(tmp_path / "1.png", (4, 4), grayscale=True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("grayscale", [True, False])
def test_images_of_any_mode_are_read(mode: str, grayscale: bool, folder: Path) -> None:
    path = folder / "cat" / f"2.{ {'CMYK': 'tif', 'YCbCr': 'jpg'}.get(mode, 'png') }"
    Image.new("RGB", (10, 8), (255, 255, 255)).convert(mode).save(path)
    assert ImageFolderTask(folder, grayscale=grayscale).input_shape == ((8, 10) if grayscale else (3, 8, 10))
    assert read_image(path, None, grayscale).min() >= 254


def test_a_mode_without_a_conversion_is_named(folder: Path) -> None:
    Image.new("LAB", (10, 8)).save(folder / "cat" / "2.tif")
    assert f"{folder / 'cat' / '2.tif'}: not an image that can be read (ValueError" in refusal(folder)


def test_transparent_palettes_warn_of_nothing(folder: Path) -> None:
    image = Image.new("P", (10, 8))
    image.putpalette([200, 100, 50] * 256)
    image.save(folder / "cat" / "2.png", transparency=bytes([0, 128]))
    assert read_image(folder / "cat" / "2.png", None, grayscale=False)[0, 0].tolist() == [200, 100, 50]


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("L", (10, 8), value) for value in (10, 200)]
    for ending in ("png", "webp", "tif"):
        frames[0].save(tmp_path / f"1.{ending}", save_all=True, append_images=frames[1:])
        assert read_image(tmp_path / f"1.{ending}", None, grayscale=True).max() < 20


def test_a_broken_link_and_a_pipe_are_named(folder: Path) -> None:
    link = folder / "cat" / "2.png"
    link.symlink_to("absent.png")
    assert refusal(folder) == f"{link}: can't be read (no such file)"
    link.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(link)
        assert refusal(folder) == f"{link}: can't be read (not a file)"


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("locked", ["cat", "cat/0.png", "cat/inner"])
def test_images_without_permission_are_named(locked: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cat" / "inner").mkdir()
    monkeypatch.chdir(folder)  # the folders above may be closed to others
    folder.chmod(0o755)
    (folder / locked).chmod(0)
    try:
        with without_privileges():
            assert "Permission denied" in refusal(Path())
    finally:
        (folder / locked).chmod(0o755)


def test_links_that_lead_back_are_followed_once(folder: Path) -> None:
    for name in ("again", "and again"):
        (folder / "cat" / name).symlink_to(folder / "cat")
    assert [path.name for path in image_files(folder / "cat")] == ["0.png", "1.png"]


def test_images_are_in_the_order_of_torchvision(folder: Path) -> None:
    from torchvision.datasets import ImageFolder

    (folder / "cat" / "b").mkdir()
    (folder / "cat" / "a").mkdir()
    for name in ("b/1.PNG", "a/9.jpg", "a.b.jpeg", "Z.bmp", "10.png", "2.png"):
        Image.new("L", (10, 8)).save(folder / "cat" / name)
    (folder / "cat" / "notes.txt").write_text("no image")
    (folder / "elsewhere").mkdir()
    Image.new("L", (10, 8)).save(folder / "elsewhere" / "3.png")
    (folder / "cat" / "linked").symlink_to(folder / "elsewhere")
    expected = [path for path, number in ImageFolder(str(folder)).samples if number == 0]
    assert [str(path) for path in image_files(folder / "cat")] == expected


def test_folders_without_images(folder: Path) -> None:
    assert "no such folder" in refusal(folder / "absent")
    assert "not a folder" in refusal(folder / "cat" / "0.png")
    assert "no class folder in it" in refusal(folder / "cat")
    (folder / "empty").mkdir()
    assert f"{folder / 'empty'}: expected one folder of images for each class (no images in this one" in refusal(folder)
    for name in ("x" * 5000, "nul\0", "\ud800", "line\nend"):
        refusal(folder / name)


def test_a_data_set_that_does_not_fit_into_memory(folder: Path) -> None:
    for size in ((10**5, 10**9), (10**15, 10**15)):
        assert "pixels do not fit into the memory; set a smaller size" in refusal(folder, size=size)


def test_a_name_that_can_not_be_printed(folder: Path) -> None:
    (folder / "cat" / "3\n\x1b[31m.png").write_bytes(b"no image")
    assert "3\\n\\x1b[31m.png: not an image" in refusal(folder)
