"""A tiny search that many tests share: a learning rate on clusters of points."""

from pathlib import Path
from typing import Any

import optuna
import torch

from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.transforms import Identity
from RecurrentFF.search import Float, Space, search
from RecurrentFF.search.results import SearchResult
from RecurrentFF.settings import Settings
from tests.helpers import clusters

RATE = "optimizer.learning_rate"
SPACE = Space({RATE: Float(low=1e-4, high=1e-1, log=True)})


def settings(**arguments: Any) -> Settings:
    """The configuration of a tiny network for two epochs of two batches."""
    defaults = {"hidden_sizes": [6], "prelabel_timesteps": 1, "label_timesteps": 2, "prediction_window": [1, 1], "epochs": 2,
                "batch_size": 20, "device": "cpu", "precision": "float32", "optimizer": "adam"}  # fmt: skip
    return Settings.from_arguments(**(defaults | arguments))


def task(**arguments: Any) -> TensorTask:
    """Forty training, thirty validation and ten test samples."""
    defaults: dict[str, Any] = {"validation": clusters(30, seed=3), "test": clusters(10, seed=4), "transform": Identity()}
    return TensorTask(*clusters(40), **(defaults | arguments))


def tiny_search(given: Settings | None = None, space: Any = SPACE, **arguments: Any) -> SearchResult:
    """A search of four trials on `task`."""
    defaults: dict[str, Any] = {"trials": 4, "task": task(), "quiet": True, "study": "tiny"}
    return search(given or settings(), space, **(defaults | arguments))


def url_of(folder: Path) -> str:
    """A database in a folder."""
    return f"sqlite:///{folder / 'study.db'}"


def load(url: str) -> optuna.Study:
    """The study in a database."""
    return optuna.load_study(study_name="tiny", storage=url)


def facts(study: optuna.Study) -> list[tuple[Any, ...]]:
    """The state, the parameters and the accuracies of all trials."""
    return [(t.number, t.state.name, t.params, t.intermediate_values) for t in study.trials]


torch.set_num_threads(1)
