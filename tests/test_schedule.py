"""The learning rate over a run, and the order of the samples."""

import pytest

from RecurrentFF.settings import Settings
from RecurrentFF.training.schedule import learning_rate_factor
from RecurrentFF.training.trainer import epoch_order


def test_warm_up_rises_to_the_schedule() -> None:
    model = Settings.from_arguments(lr_warmup_epochs=1.5, lr_schedule="cosine", epochs=4).model
    cold = Settings.from_arguments(lr_schedule="cosine", epochs=4).model
    for epoch, batch, share in ((0, 0, 1 / 6), (0, 3, 4 / 6), (1, 0, 5 / 6), (1, 1, 1.0), (3, 3, 1.0)):
        expected = share * learning_rate_factor(cold, epoch, batch, batches=4)
        assert learning_rate_factor(model, epoch, batch, batches=4) == pytest.approx(expected)


def test_step_schedule() -> None:
    model = Settings.from_arguments(lr_step_size=2, lr_gamma=0.1, epochs=5).model
    factors = [learning_rate_factor(model, epoch, batch=3, batches=4) for epoch in range(5)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_schedule_falls_from_one_towards_zero() -> None:
    model = Settings.from_arguments(lr_schedule="cosine", epochs=4).model
    factors = [learning_rate_factor(model, epoch, batch, batches=10) for epoch in range(4) for batch in range(10)]
    assert factors[0] == 1 and factors[20] == pytest.approx(0.5) and 0 < factors[-1] < 0.002
    assert factors == sorted(factors, reverse=True)


def test_every_epoch_has_an_order_of_its_own() -> None:
    orders = [epoch_order(seed, epoch, 100).tolist() for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9
    assert epoch_order(1, 1, 100).tolist() == orders[4]
