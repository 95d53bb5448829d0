"""RecurrentFF: the Recurrent Forward-Forward network, learning without backpropagation.

    import RecurrentFF as rff

    network = rff.build(data_size=784, num_classes=10, hidden_sizes=[200, 200], epochs=3)
    rff.fit(network, (images, labels))
    network.predict(images), network.badness(images)
    rff.save(network, "network.pt"); network = rff.load("network.pt")

Names are imported when first used, because torch takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from RecurrentFF.errors import RecurrentFFError
from RecurrentFF.settings import Settings

if TYPE_CHECKING:
    from RecurrentFF.model.learner import Learner
    from RecurrentFF.model.network import Network
    from RecurrentFF.training.build import build
    from RecurrentFF.training.checkpoint import load, save
    from RecurrentFF.training.fit import fit

try:
    __version__ = version("RecurrentFF")
except PackageNotFoundError:  # used from a source folder, not installed
    __version__ = "0.0.0"

_HOMES = {
    "Learner": "RecurrentFF.model.learner",
    "Network": "RecurrentFF.model.network",
    "build": "RecurrentFF.training.build",
    "fit": "RecurrentFF.training.fit",
    "load": "RecurrentFF.training.checkpoint",
    "save": "RecurrentFF.training.checkpoint",
}

__all__ = ["Learner", "Network", "RecurrentFFError", "Settings", "build", "fit", "load", "save"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'RecurrentFF' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
