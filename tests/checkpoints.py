"""Checkpoints as tests look at them and forge them."""

from pathlib import Path
from typing import Any

from torch import Tensor

from RecurrentFF.training import checkpoint, container
from RecurrentFF.training.content import SavedTraining


def content_of(path: Path) -> dict[str, Any]:
    """The content of a checkpoint as nested dictionaries, unchecked."""
    return container.unpack(path)


def write_content(path: Path, content: dict[str, Any], version: str = str(checkpoint.FORMAT)) -> None:
    """Write content with the right checksum, as a careful forger would."""
    container.write(path, content, format=version)


def weights_in(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, or the best ones in the folder of a run."""
    return checkpoint.read(checkpoint.best_in(path)).network


def state_in(path: Path) -> SavedTraining:
    """The state of the training in a checkpoint, or the last one in the folder of a run."""
    last = checkpoint.last_in(path)
    return checkpoint.require_training(checkpoint.read(last), last)
