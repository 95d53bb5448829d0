"""Several processes that have different data, stop at different moments, or predict in the middle of an epoch."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from RecurrentFF.data.dataset import LoaderDataset, Splits, TensorDataset
from RecurrentFF.distributed.exchange import Routes
from RecurrentFF.errors import RecurrentFFError
from RecurrentFF.launch import Launch, _Ending, error_line
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training.callbacks import Callback
from RecurrentFF.training.callbacks.default import core_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.trainer import Trainer
from tests.several_processes import environment, in_processes
from tests.test_processes import BASE, FEATURES

pytestmark = pytest.mark.faults


def rank() -> int:
    launch = Launch.from_environment()
    return 0 if launch is None else launch.rank


def samples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return torch.rand(count, FEATURES, generator=torch.Generator().manual_seed(seed)), torch.arange(count) % 3


def trainer_of(splits: Splits, callbacks: list[Callback], **options: Any) -> Trainer:
    settings = Settings.from_arguments(**BASE | {"distributed": {"mode": "layer", "timeout": 20.0}} | options)
    return Trainer(Network(settings), splits, [*core_callbacks(settings), *callbacks], console=Console(quiet=True))


def error_of(kind: str, mode: str) -> str:
    """The error that a training with this mistake ends with; empty if there is none."""
    own = rank()
    options: dict[str, Any] = {"distributed": {"mode": mode, "timeout": 20.0}}
    x, y = samples(23)
    train: Any = TensorDataset(x, y)
    validation: Any = TensorDataset(x[:6], y[:6])
    if kind == "labels":
        train = TensorDataset(x, (y + own) % 3)
    elif kind == "inputs":
        train = TensorDataset(x + own, y)
    elif kind == "loader":
        batches = [(x[:8], y[:8]), (x[8:16], y[8:16]), (x[16:], y[16:])]
        random.Random(own).shuffle(batches)
        train = LoaderDataset(batches)
    elif kind == "validation":
        validation = TensorDataset(x[: 6 + own], y[: 6 + own])
    elif kind == "no validation":
        validation = validation if own == 0 else None
    elif kind == "retry":
        options["on_divergence"] = "retry"
    try:
        trainer_of(Splits(train, validation), [], **options).fit()
    except RecurrentFFError as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize(
    ("kind", "mode", "words"),
    [
        (
            "labels",
            "layer",
            "SettingsError: process 1 has other training labels than process 0; give all processes the",
        ),
        ("inputs", "layer", "InputError: process 1 has read another batch than process 0"),
        ("loader", "data", "InputError: process 1 has read another batch than process 0"),
        ("validation", "data", "SettingsError: process 1 has 7 validation samples, but process 0 has 6"),
        ("no validation", "layer", "SettingsError: process 1 has 0 validation samples, but process 0 has 6"),
        ("retry", "data", 'SettingsError: training.on_divergence = "retry": several processes might return to different epochs'),
        ("none", "data", ""),
    ],
)
def test_processes_with_other_data_are_refused_alike(kind: str, mode: str, words: str) -> None:
    found = in_processes(2, error_of, kind, mode)
    assert all(text.startswith(words) if words else not text for text in found), found


class StopOne(Callback):
    """Ends the training after the first epoch, in one process."""

    def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        if rank() == 1:
            trainer.stop("an hour is over")


class Predict(Callback):
    """Predicts after every batch, in all processes."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        x = torch.rand(4, FEATURES, generator=torch.Generator().manual_seed(5))
        self.found += [trainer.network.predict_inputs(x, method=each) for each in ("readout", "badness", "propose_and_verify")]


def stopped() -> tuple[int, str]:
    trainer = trainer_of(Splits(TensorDataset(*samples(23))), [StopOne()], epochs=3)
    trainer.fit()
    return trainer.progress.epoch, trainer.progress.stopped


def predicted() -> list[Tensor]:
    predict = Predict()
    trainer_of(Splits(TensorDataset(*samples(23))), [predict], negatives="readout").fit()
    return predict.found


def test_a_stop_of_one_process_at_the_end_of_an_epoch_is_that_of_all() -> None:
    assert in_processes(2, stopped) == [(1, "in another process"), (1, "an hour is over")]


def test_all_processes_together_predict_within_an_epoch_as_one_does() -> None:
    (expected,), found = in_processes(1, predicted), in_processes(2, predicted)
    assert len(expected) == 9
    for each in found:
        assert all(map(torch.equal, each, expected))


def test_each_process_trains_by_itself_where_nothing_is_divided() -> None:
    assert in_processes(2, alone) == [(True, 23), (True, 23 + 1)]


def alone() -> tuple[bool, int]:
    train = TensorDataset(*samples(23 + rank()))
    trainer = trainer_of(Splits(train), [], distributed={"mode": "none"})
    return trainer.fit() and trainer.group.is_first, trainer.totals.samples or len(train)


def twice() -> list[str]:
    """The errors of a training that fails in one process, and of a second one in the same program."""
    found = []
    for bad in (True, False):
        x, y = samples(23)
        if bad and rank() == 0:
            x[0, 0] = torch.nan
        try:
            trainer_of(Splits(TensorDataset(x, y)), [], distributed={"mode": "data", "timeout": 20.0}).fit()
            found.append("")
        except RecurrentFFError as error:
            found.append(type(error).__name__)
    return found


def test_a_program_whose_training_has_failed_trains_no_more() -> None:
    assert in_processes(2, twice) == [["InputError", "ProcessError"], ["ProcessError", "ProcessError"]]


def test_patterns_are_received_in_the_order_in_which_they_are_sent() -> None:
    residual = [[5, 1], [1, 4], [1, 3], [2, 4], [4, 2]]
    options = BASE | {"hidden_sizes": [4, 4, 4, 4], "residual_connections": residual}
    modules = Network(Settings.from_arguments(**options)).local_modules
    owners = {"h1": 0, "h2": 0, "h3": 1, "h4": 1}
    lower, upper = (Routes.of(modules, owners, index) for index in (0, 1))
    assert list(lower.incoming) == [module.name for module in modules if module.name in upper.outgoing]
    assert list(upper.incoming) == [module.name for module in modules if module.name in lower.outgoing]


def test_a_loader_continues_where_an_interrupted_epoch_stood() -> None:
    x, y = samples(12)
    loader = LoaderDataset([(x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)])
    trainer = trainer_of(Splits(loader), [])
    ((place, batch),) = trainer.group.batches(loader, 4, torch.arange(4), 0, batches=2, samples=8)
    assert torch.equal(batch.inputs, x[8:]) and place.first == 8


def test_only_one_thread_of_a_process_prints_the_line_about_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Ending, "has_printed", False)
    monkeypatch.setattr(_Ending, "speaks", True)
    for name, value in environment(0, 2, 1).items():
        monkeypatch.setenv(name, value)
    found = []
    for _ in range(2):
        with error_line() as is_own:
            found.append(is_own)
    assert found == [True, False]
    for name in environment(0, 2, 1):
        monkeypatch.delenv(name)
    for _ in range(2):  # a single process may run several commands
        with error_line() as is_own:
            assert is_own
