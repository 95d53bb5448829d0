"""Runs with optimizers, buffers and callbacks of the user's own, whose states a checkpoint must give back."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import RecurrentFF as rff
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.model.connections import Dense
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.optimizers import Optimizer
from RecurrentFF.registry import register
from RecurrentFF.training.callbacks import Callback, default_callbacks
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.helpers import CLASSES, clusters, small_settings


class Slow(torch.optim.SGD):
    """An optimizer whose state begins at its third step, and has a flat shape."""

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["count"] = state.get("count", 0) + 1
                if state["count"] > 2:
                    state["slow"] = parameter.detach().flatten().clone()
        return result


@register("optimizer", "a_slow_one")
@dataclass(frozen=True)
class SlowKind(Optimizer):
    learning_rate: float = 1e-3

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return Slow(list(parameters), lr=self.learning_rate)


class Counts(Callback):
    """A callback whose state has numbers as keys."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def on_epoch_end(self, trainer: Trainer, metrics: Any) -> None:
        self.counts[metrics.epoch] = trainer.progress.epoch

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = state["counts"]


class Masked(Layer):
    """A layer with buffers that are neither finite nor of the type of the weights."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("attention", torch.full((3, 3), -math.inf))
        self.register_buffer("low_precision", torch.ones(2, dtype=torch.float16))


def with_own_buffers(settings: rff.Settings) -> rff.Network:
    sources = {"x": 7, "h1": 9, "y": CLASSES}
    weight = torch.zeros(9, sum(sources.values()))
    connection = Dense(sources, 9, top_down=("y",), weight=weight)
    return rff.Network(settings, modules=[Masked("h1", 9, [connection])])


def trainer(network: rff.Network, folder: RunFolder | None, *callbacks: Callback) -> Trainer:
    splits = Splits(TensorDataset(*clusters(60)), TensorDataset(*clusters(30, seed=5)))
    return Trainer(network, splits, [*default_callbacks(network.settings, folder), *callbacks])


MAKE: dict[str, Callable[[rff.Settings], rff.Network]] = {"layers": lambda settings: rff.build(settings), "own": with_own_buffers}


@pytest.mark.parametrize("kind", MAKE)
def test_a_run_with_parts_of_ones_own_is_resumed(kind: str, tmp_path: Path) -> None:
    settings = small_settings(hidden_sizes=[9], epochs=2, batch_size=20, schedule="step", optimizer=SlowKind())
    folder, first = RunFolder(tmp_path), Counts()
    assert trainer(MAKE[kind](settings), folder, first).fit()
    counts = Counts()
    resumed = trainer(MAKE[kind](settings.with_arguments(epochs=3)), folder, counts)
    resumed.resume(folder.last)
    assert counts.counts == first.counts == {1: 1, 2: 2}
    assert resumed.fit() and counts.counts == {1: 1, 2: 2, 3: 3}
    loaded = rff.load(folder.best, network=MAKE[kind](settings), optimizer=SlowKind())
    assert isinstance(loaded.predict(clusters(3)[0]), Tensor)


def test_a_retry_in_memory_takes_parts_of_ones_own() -> None:
    from RecurrentFF.errors import DivergenceError

    class Once(Callback):
        raised = False

        def on_batch_end(self, trainer: Trainer, metrics: Any, samples: int) -> None:
            if trainer.progress.epoch == 1 and not self.raised:
                self.raised = True
                raise DivergenceError("epoch 2: once")

    settings = small_settings(hidden_sizes=[9], epochs=2, schedule="step", optimizer=SlowKind(), on_divergence="retry")
    retried = trainer(with_own_buffers(settings), None, Once())
    assert retried.fit() and retried.progress.retries == 1
