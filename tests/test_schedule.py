"""The learning rate over a run, and the order of the samples."""

from dataclasses import dataclass

import pytest

from RecurrentFF.errors import SettingsError
from RecurrentFF.registry import tree_of
from RecurrentFF.settings import Settings
from RecurrentFF.training.randomness import epoch_order
from RecurrentFF.training.schedules import Cosine, Schedule, Step


def test_warmup_rises_to_the_schedule() -> None:
    warm, cold = Cosine(warmup_epochs=1.5), Cosine()
    for epoch, batch, fraction in ((0, 0, 1 / 6), (0, 3, 4 / 6), (1, 0, 5 / 6), (1, 1, 1.0), (3, 3, 1.0)):
        expected = fraction * cold.factor(epoch, batch, 4, 4)
        assert warm.factor(epoch, batch, 4, 4) == pytest.approx(expected)
    assert Step(warmup_epochs=1.5).factor(0, 0, 4, 4) == pytest.approx(1 / 6)


def test_step_schedule() -> None:
    schedule = Step(step_size=2, gamma=0.1)
    factors = [schedule.factor(epoch, 3, 4, 5) for epoch in range(5)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert [Step().factor(epoch, 0, 4, 5) for epoch in range(5)] == [1.0] * 5


def test_cosine_schedule_falls_from_one_towards_zero() -> None:
    factors = [Cosine().factor(epoch, batch, 10, 4) for epoch in range(4) for batch in range(10)]
    assert factors[0] == 1 and factors[20] == pytest.approx(0.5) and 0 < factors[-1] < 0.002
    assert factors == sorted(factors, reverse=True)


def test_a_configuration_names_the_schedule() -> None:
    settings = Settings.from_dict({"schedule": {"name": "step", "step_size": 3, "gamma": 0.5, "warmup_epochs": 1}})
    assert settings.schedule == Step(warmup_epochs=1.0, step_size=3, gamma=0.5)
    assert Settings.from_arguments(schedule="cosine").schedule == Cosine()
    assert tree_of(Cosine(warmup_epochs=0.5)) == {"name": "cosine", "warmup_epochs": 0.5, "readout_epochs": 0}
    with pytest.raises(SettingsError, match="gamma"):
        Step(gamma=2.0)


def test_a_schedule_of_ones_own_defines_its_decay() -> None:
    @dataclass(frozen=True)
    class Linear(Schedule):
        def decay(self, epoch: int, fraction: float, epochs: int) -> float:
            return 1 - (epoch + fraction) / epochs

    assert Linear(warmup_epochs=2.0).factor(1, 1, 2, 4) == pytest.approx((1 - 1.5 / 4) * 1.0)
    assert Linear().depends_on_epochs and Cosine().depends_on_epochs and not Step().depends_on_epochs


def test_every_epoch_has_an_order_of_its_own() -> None:
    orders = [epoch_order(seed, epoch, 100).tolist() for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9
    assert epoch_order(1, 1, 100).tolist() == orders[4]
