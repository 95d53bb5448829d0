"""Checkpoints as tests look at them and forge them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from RecurrentFF.errors import CheckpointError
from RecurrentFF.training import checkpoint, container
from RecurrentFF.training.content import SavedTraining


def content_of(path: Path) -> dict[str, Any]:
    """The content of a checkpoint as nested dictionaries, unchecked."""
    return container.unpack(path)


def write_content(path: Path, content: dict[str, Any], version: str = str(checkpoint.FORMAT)) -> None:
    """Write content with the right checksum, as a careful forger would."""
    path.write_bytes(container.pack(content, format=version))


def weights_in(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, or the best ones in the folder of a run."""
    return checkpoint.read(checkpoint.best_in(path)).network


def state_in(path: Path) -> SavedTraining:
    """The state of the training in a checkpoint, or the last one in the folder of a run."""
    last = checkpoint.last_in(path)
    return checkpoint.require_training(checkpoint.read(last), last)


def refusal(work: Callable[[], object], path: Path) -> str:
    """The message of the CheckpointError that the work ends in, which is one line about the path; without the path."""
    with pytest.raises(CheckpointError) as caught:
        work()
    words = str(caught.value)
    assert words.startswith(f"{path}: ") and words.isprintable() and len(words) < 1000
    return words.removeprefix(f"{path}: ")


def nested(depth: int) -> Any:
    """A list in a list, and so on."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    """A list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value
