"""The four files of MNIST, and of data sets in its format: finding them in a folder, and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from RecurrentFF.data.dataset import LabeledImages
from RecurrentFF.data.files import read_data_file, require_folder
from RecurrentFF.data.idx import MAX_SAMPLES, read_idx
from RecurrentFF.errors import DataError
from RecurrentFF.paths import expanded, kind_of

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""The names of the files: images and labels for training, images and labels for testing."""

SIDE = 28
"""Height and width of an image, in pixels."""
CLASSES = 10
"""Number of classes."""

_MAX_BYTES = 16 + MAX_SAMPLES * SIDE**2


def read_folder(
    data_dir: Path | str, torchvision_name: str, remedy: str, device: torch.device | None = None
) -> tuple[LabeledImages, LabeledImages]:
    """Read the training and test images of a folder.

    Args:
        data_dir: the folder, as for `find_files`.
        torchvision_name: as for `find_files`.
        remedy: what to do if the files are not there, for the message.
        device: device of the tensors; None for the CPU.

    Returns:
        Training and test images.

    Raises:
        DataError: the files are not there, can't be read, or are not those of such a data set.
    """
    files = find_files(expanded(data_dir, DataError), torchvision_name, remedy)
    return read_images([(read_data_file(path, _MAX_BYTES), str(path)) for path in files], device)


def find_files(folder: Path, torchvision_name: str, remedy: str) -> list[Path]:
    """Find the four files, compressed (.gz) or not, and with a dot for a hyphen as in "train-images.idx3-ubyte".

    Args:
        folder: the folder that has the files, or in which torchvision has put them.
        torchvision_name: the name of torchvision's folder in it, such as "MNIST".
        remedy: what to do if the files are not there, for the message.

    Returns:
        The paths of the files, in the order of `NAMES`.

    Raises:
        DataError: there is no such folder, or none of its folders has all files.
    """
    require_folder(folder, remedy)
    inner = (Path(torchvision_name, "raw"), Path("raw"), Path(torchvision_name), Path())
    incomplete = None
    for place in (folder / each for each in inner):
        found = [_find_file(place, name) for name in NAMES]
        files = [path for path in found if path is not None]
        if len(files) == len(NAMES):
            return files
        if files and incomplete is None:
            incomplete = place, ", ".join(name for name, path in zip(NAMES, found, strict=True) if path is None)
    if incomplete is not None:
        raise DataError(f"{incomplete[0]}: incomplete, {incomplete[1]} is missing (packed as .gz or not); {remedy}")
    processed = [kind_of(folder / place / "processed", DataError) for place in (torchvision_name, "")]
    former = ", and the folder processed of a former torchvision is not read" if "folder" in processed else ""
    raise DataError(
        f"{folder}: no files of {torchvision_name} here or in {inner[0]}, {inner[1]} or {inner[2]} ({', '.join(NAMES)}, "
        f"packed as .gz or not){former}; {remedy}"
    )


def _find_file(folder: Path, name: str) -> Path | None:
    spellings = (name, name.replace("-idx", ".idx"))
    paths = (folder / f"{spelling}{ending}" for ending in ("", ".gz") for spelling in spellings)
    return next((path for path in paths if kind_of(path, DataError) == "file"), None)


def read_images(contents: Sequence[tuple[bytes, str]], device: torch.device | None = None) -> tuple[LabeledImages, LabeledImages]:
    """Read images and their labels.

    Args:
        contents: the content of each file, and its name for messages, in the order of `NAMES`.
        device: device of the tensors; None for the CPU.

    Returns:
        Training and test images.

    Raises:
        DataError: the files are damaged, have another format, or do not belong together; a label is not 0 to 9.
    """
    train_images, train_labels, test_images, test_labels = contents
    return _read_split(train_images, train_labels, device), _read_split(test_images, test_labels, device)


def _read_split(images: tuple[bytes, str], labels: tuple[bytes, str], device: torch.device | None) -> LabeledImages:
    classes = read_idx(*labels, (None,))
    pixels = read_idx(images[0], f"{images[1]} (for {len(classes):,} labels)", (len(classes), SIDE, SIDE))
    if int(classes.max()) >= CLASSES:
        raise DataError(f"{labels[1]}: labels run from {classes.min()} to {classes.max()}; expected 0 to {CLASSES - 1}")
    return LabeledImages(pixels.to(device), classes.long().to(device))
