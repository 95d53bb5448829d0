"""RecurrentFF: the Recurrent Forward-Forward network, learning without backpropagation.

    import RecurrentFF as rff

    task = rff.TensorTask(images, labels)  # (samples, height, width) uint8, and numbers or texts
    network = rff.build(task=task, hidden_sizes=[200, 200], objective="pairwise", optimizer="adam", epochs=3)
    rff.fit(network, task)
    network.predict(images), network.badness(images)
    rff.save(network, "network.safetensors"); network = rff.load("network.safetensors")

Names are imported when first used, because torch takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from RecurrentFF.errors import RecurrentFFError
from RecurrentFF.registry import register
from RecurrentFF.settings import Settings

if TYPE_CHECKING:
    from RecurrentFF.data.image_folder import ImageFolderTask
    from RecurrentFF.data.loader_task import LoaderTask
    from RecurrentFF.data.sequence_task import SequenceTask
    from RecurrentFF.data.sequences import pad_sequences
    from RecurrentFF.data.task import Task
    from RecurrentFF.data.tensor_task import TensorTask
    from RecurrentFF.data.transforms import Transform
    from RecurrentFF.estimator import RecurrentFFClassifier
    from RecurrentFF.model.activations import Activation
    from RecurrentFF.model.connection_kinds import ConnectionKind
    from RecurrentFF.model.connections import Connection
    from RecurrentFF.model.generative import GenerativeCircuit
    from RecurrentFF.model.learner import Learner, Observer
    from RecurrentFF.model.negatives import Negatives, NegativeSource
    from RecurrentFF.model.network import Network
    from RecurrentFF.model.objectives import Objective
    from RecurrentFF.model.optimizers import Optimizer
    from RecurrentFF.model.recording import Recorded, record
    from RecurrentFF.training.build import build
    from RecurrentFF.training.callbacks import Callback
    from RecurrentFF.training.checkpoint import load, save
    from RecurrentFF.training.evaluation import Evaluation, evaluate
    from RecurrentFF.training.fit import fit
    from RecurrentFF.training.schedules import Schedule
    from RecurrentFF.training.trainer import Trainer

try:
    __version__ = version("RecurrentFF")
except PackageNotFoundError:  # used from a source folder, not installed
    __version__ = "0.0.0"

_HOMES = {
    "Activation": "RecurrentFF.model.activations",
    "Callback": "RecurrentFF.training.callbacks",
    "Connection": "RecurrentFF.model.connections",
    "ConnectionKind": "RecurrentFF.model.connection_kinds",
    "Evaluation": "RecurrentFF.training.evaluation",
    "GenerativeCircuit": "RecurrentFF.model.generative",
    "ImageFolderTask": "RecurrentFF.data.image_folder",
    "Learner": "RecurrentFF.model.learner",
    "LoaderTask": "RecurrentFF.data.loader_task",
    "NegativeSource": "RecurrentFF.model.negatives",
    "Negatives": "RecurrentFF.model.negatives",
    "Network": "RecurrentFF.model.network",
    "Objective": "RecurrentFF.model.objectives",
    "Observer": "RecurrentFF.model.learner",
    "Optimizer": "RecurrentFF.model.optimizers",
    "Recorded": "RecurrentFF.model.recording",
    "RecurrentFFClassifier": "RecurrentFF.estimator",
    "Schedule": "RecurrentFF.training.schedules",
    "SequenceTask": "RecurrentFF.data.sequence_task",
    "Task": "RecurrentFF.data.task",
    "TensorTask": "RecurrentFF.data.tensor_task",
    "Trainer": "RecurrentFF.training.trainer",
    "Transform": "RecurrentFF.data.transforms",
    "build": "RecurrentFF.training.build",
    "evaluate": "RecurrentFF.training.evaluation",
    "fit": "RecurrentFF.training.fit",
    "load": "RecurrentFF.training.checkpoint",
    "pad_sequences": "RecurrentFF.data.sequences",
    "record": "RecurrentFF.model.recording",
    "save": "RecurrentFF.training.checkpoint",
}

__all__ = [
    "Activation",
    "Callback",
    "Connection",
    "ConnectionKind",
    "Evaluation",
    "GenerativeCircuit",
    "ImageFolderTask",
    "Learner",
    "LoaderTask",
    "NegativeSource",
    "Negatives",
    "Network",
    "Objective",
    "Observer",
    "Optimizer",
    "Recorded",
    "RecurrentFFClassifier",
    "RecurrentFFError",
    "Schedule",
    "SequenceTask",
    "Settings",
    "Task",
    "TensorTask",
    "Trainer",
    "Transform",
    "build",
    "evaluate",
    "fit",
    "load",
    "pad_sequences",
    "record",
    "register",
    "save",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'RecurrentFF' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
