"""Image files in one folder for each class: finding them, and reading one with all that can be wrong with it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from RecurrentFF.data.files import require_data_file
from RecurrentFF.errors import DataError, described
from RecurrentFF.paths import kind_of, names_in, reason_of, reported

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""The endings of the names of image files, in capital letters or not."""

_SIXTEEN_BITS_AS_I = ("PNG", "PPM")
"""The formats whose pixels of 16 bits some versions of Pillow give as numbers of 32 bits, of mode "I"."""


def class_folders(folder: Path) -> list[str]:
    """Return the names of the class folders in a folder, sorted. Hidden ones, such as .git, are left out.

    Raises:
        DataError: the folder can't be read or has none.
    """
    kind = kind_of(folder, DataError)
    entries = names_in(folder, DataError) if kind == "folder" else []
    names = [name for name in entries if name[0] != "." and kind_of(folder / name, DataError) == "folder"]
    if not names:
        reason = {"folder": "no class folder in it", None: "no such folder"}.get(kind, "not a folder")
        raise DataError(f"{folder}: expected one folder of images for each class ({reason})")
    return names


def image_files(folder: Path) -> list[Path]:
    """Return the image files in a class folder and the folders below it, sorted by folder, then by name.

    Raises:
        DataError: the folder has none, or a folder can't be read.
    """
    found, visited = [], set()
    with reported(folder, DataError):
        for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
            status = Path(place).stat()
            if (status.st_dev, status.st_ino) in visited:  # a link to a folder above it, which would never end
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            found.append((place, sorted(name for name in names if name.lower().endswith(ENDINGS))))
    files = [Path(place, name) for place, names in sorted(found) for name in names]
    if not files:
        raise DataError(
            f"{folder}: expected one folder of images for each class (no images in this one; their names end in "
            f"{', '.join(ENDINGS)})"
        )
    return files


def _raise(error: OSError) -> None:
    raise error


def read_image(path: Path, size: tuple[int, int] | None, grayscale: bool) -> npt.NDArray[np.uint8]:
    """Read an image file. Of several frames, the first is taken.

    Pixels of 16 bits are scaled to 8. Those of 32 bits are unchanged, 0 to 255; fractions are rounded down and limited
    to that range.

    Args:
        path: the file.
        size: (height, width) to which the image is scaled, in pixels; None for its own.
        grayscale: whether the image is converted to one channel. If not, it has three.

    Returns:
        (height, width), or (height, width, 3).

    Raises:
        DataError: the file can't be read, is no image, declares more than twice as many pixels as `Image.MAX_IMAGE_PIXELS` of
            Pillow, or has numbers of 32 bits that are not in the range of an image of 8 bits.
    """
    from PIL import Image, UnidentifiedImageError  # imported late: only data sets of image files need it

    require_data_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that nothing here needs, and about images of a large, legal size
            with Image.open(path) as image:
                converted = _with_bytes(image).convert("L" if grayscale else "RGB")
        if size is not None and (converted.height, converted.width) != size:
            converted = converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.array(converted)
    except Image.DecompressionBombError:
        reason = f"it declares more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    except UnidentifiedImageError:
        reason = "its format is unknown"
    except Exception as error:  # a damaged file makes Pillow raise any exception
        reason = reason_of(error) if isinstance(error, OSError) else described(error)
    raise DataError(f"{path}: not an image that can be read ({reason}); remove or replace it")


def _with_bytes(image: Image.Image) -> Image.Image:
    """Return an image whose channels have at most 8 bits. Pillow would cut off larger values, not scale them.

    Raises:
        ValueError: the pixels have 32 bits and are not 0 to 255, or their range is unclear.
    """
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image)
    if image.mode == "F":
        if not np.isfinite(pixels).all():
            raise ValueError("its pixels are not all finite")
        if pixels.max() <= 1 and (pixels != np.floor(pixels)).any():
            raise ValueError("its pixels are fractions of at most 1, which would all be black; multiply them by 255")
        return image.convert("L")
    if image.mode != "I" or image.format in _SIXTEEN_BITS_AS_I:
        return Image.fromarray(((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if pixels.min() < 0 or pixels.max() > 255:
        raise ValueError(
            f"its pixels of 32 bits run from {pixels.min()} to {pixels.max()}, expected 0 to 255; save it with 8 or 16 bits"
        )
    return Image.fromarray(pixels.astype(np.uint8))
