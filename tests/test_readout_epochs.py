"""The last epochs of a run, in which the readout alone learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.learner import Learner, Observer
from RecurrentFF.model.network import Network
from RecurrentFF.training.callbacks import Callback
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.schedules import Cosine, Schedule, Step
from RecurrentFF.training.trainer import Trainer
from tests.helpers import class_numbers, float64_network, small_settings, video
from tests.oracle import Oracle
from tests.refusals import refusal
from tests.test_survival import make_trainer

SCHEDULE = {"name": "cosine", "readout_epochs": 2}


class Weights(Callback):
    """Notes the weights of the layers and of the readout after each epoch."""

    def __init__(self) -> None:
        self.layers: list[torch.Tensor] = []
        self.readout: list[torch.Tensor] = []

    def on_epoch_end(self, trainer: Trainer, metrics: Any) -> None:
        self.layers.append(torch.cat([layer.weight_vector() for layer in trainer.network.hidden_layers()]))
        self.readout.append(trainer.network.readout.weight.clone())


@given(epochs=st.integers(2, 9), readout=st.integers(0, 8), batch=st.integers(0, 3), warmup=st.sampled_from([0.0, 0.5]))
@pytest.mark.parametrize("make", [Cosine, lambda **options: Step(gamma=0.5, **options)])
def test_the_schedule_of_the_layers_ends_before_the_epochs_of_the_readout(
    make: Any, epochs: int, readout: int, batch: int, warmup: float
) -> None:
    schedule: Schedule = make(warmup_epochs=warmup, readout_epochs=readout)
    alone: Schedule = make(warmup_epochs=warmup)
    for epoch in range(epochs):
        expected = alone.factor(epoch, batch, 4, epochs - readout) if epoch < epochs - readout else 0.0
        assert schedule.factor(epoch, batch, 4, epochs) == expected
    assert schedule.needs_fixed_epochs == (readout > 0 or isinstance(schedule, Cosine))


@pytest.mark.parametrize("negatives", ["readout", {"name": "hybrid", "mask": "features"}], ids=str)
def test_only_the_readout_learns_in_its_epochs(negatives: Any, tmp_path: Path) -> None:
    trainer, weights = make_trainer(tmp_path, negatives=negatives, epochs=5, schedule=SCHEDULE), Weights()
    trainer.callbacks.append(weights)
    assert trainer.fit()
    moved = [not torch.equal(a, b) for a, b in zip(weights.layers, weights.layers[1:], strict=False)]
    assert moved == [True, True, False, False]
    assert all(not torch.equal(a, b) for a, b in zip(weights.readout, weights.readout[1:], strict=False))
    last = trainer.history[-1]
    assert last.learning_rate == 0 and last.loss > 0 and min(last.badness_pos) > 0 and max(last.update_norm) == 0


def test_a_run_is_resumed_in_the_epochs_of_the_readout(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 4, "schedule": SCHEDULE}
    whole = make_trainer(tmp_path / "whole", **options)
    assert whole.fit()
    first = make_trainer(tmp_path / "resumed", **options)

    class Killed(Exception):
        """The end of the process."""

    def train_batch(*batch: Any, train: Any = first.learner.train_batch) -> Any:
        if first.progress.epoch == 3:
            raise Killed
        return train(*batch)

    first.learner.train_batch = train_batch  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        first.fit()
    resumed = make_trainer(tmp_path / "resumed", **options)
    resumed.resume(RunFolder(tmp_path / "resumed").last)
    assert resumed.progress.epoch == 3 and resumed.fit()
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name]), name


@pytest.mark.parametrize("fused", [True, False])
def test_at_a_rate_of_zero_layers_compute_the_same_and_learn_nothing(fused: bool) -> None:
    """Loss and badness are those of the reference with a learning rate so small that it changes nothing."""

    class Gradients(Observer):
        found = 0

        def on_local_gradients(self, timestep: int, module: Any, result: Any) -> None:
            self.found += len(result.gradients)

    tiny = {"name": "torch", "optimizer": "SGD", "learning_rate": 1e-30}
    network, counter = float64_network(fused=fused, negatives="readout", optimizer=tiny), Gradients()
    oracle = Oracle(network, 7)
    learner = Learner(network, 7, observers=[counter])
    learner.scale_learning_rates(0)
    inputs, labels = video(5), class_numbers(6)
    metrics = learner.train_batch(inputs, labels)
    expected = oracle.train_traced(inputs, labels.expand(3, -1), True, torch.ones(5, 6, dtype=torch.bool))
    torch.testing.assert_close(metrics.loss, torch.stack([torch.stack(row) for row in expected.losses]))
    assert counter.found == 0 and network.readout.weight.any()
    learner.scale_learning_rates(1)
    learner.train_batch(inputs, labels)
    assert counter.found > 0


def test_the_epochs_of_the_readout_are_checked() -> None:
    message = refusal(lambda: small_settings(schedule=SCHEDULE, epochs=2, negatives="readout"), SettingsError)
    assert "schedule.readout_epochs = 2: must be below training.epochs = 2" in message
    message = refusal(lambda: small_settings(schedule=SCHEDULE, epochs=5), SettingsError)
    assert "schedule.readout_epochs = 2: these negatives do not train the readout" in message
    Network(small_settings(schedule=SCHEDULE, epochs=3, negatives="readout"))
