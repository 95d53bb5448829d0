"""The random numbers of a training batch: their distributions, and that they depend on seed, purpose, epoch and sample alone."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from RecurrentFF.errors import InputError
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext, UniformNegatives
from RecurrentFF.model.network import Network
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.random_bits import mix, random_bits
from tests.helpers import batch_draws, class_numbers, small_settings, video

Draw = Callable[..., Tensor]
KINDS: dict[str, Draw] = {
    "uniform": BatchDraws.uniform,
    "normal": BatchDraws.normal,
    "chosen": lambda draws, purpose, *shape: draws.chosen(purpose, 0.5, *shape),
    "rarely chosen": lambda draws, purpose, *shape: draws.chosen(purpose, 0.1, *shape),
    "dropout": lambda draws, purpose, *shape: draws.dropout(purpose, 0.3, *shape),
}
"""What can be drawn, of a purpose and a shape."""

BATCH = 3000
"""The number of samples in a test of a distribution, each with ten numbers or more."""

LOWEST, HIGHEST = -(2**31), 2**31 - 1


def of_lanes(lanes: Tensor, monkeypatch: pytest.MonkeyPatch) -> BatchDraws:
    """Draws of samples for which the random integers are the given ones, (count, batch)."""
    monkeypatch.setattr(BatchDraws, "_lanes", lambda *_: lanes.clone())
    return batch_draws(lanes.shape[1])


# ---------------------------------------------------------------- distributions


@pytest.mark.parametrize("purpose", ["dropout h1", "wrong labels"])
def test_uniform_numbers_are_uniform(purpose: str) -> None:
    drawn = batch_draws(BATCH).uniform(purpose, 5, 6)
    assert drawn.shape == (5, 6, BATCH) and drawn.dtype == torch.float32 and drawn.min() > 0 and drawn.max() < 1
    counts = (64 * drawn).long().flatten().bincount(minlength=64).float()
    expected = drawn.numel() / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 4 * 126**0.5  # χ², whose variance is 126
    finer = (2**23 * drawn.double()).long().flatten().bitwise_and(63).bincount(minlength=64).float()  # the last bits
    assert ((finer - expected) ** 2 / expected).sum() < 63 + 4 * 126**0.5
    assert drawn.mean((1, 2)).sub(0.5).abs().max() < 0.01 and drawn.var((1, 2)).sub(1 / 12).abs().max() < 0.003


def test_normal_numbers_are_normal() -> None:
    drawn = batch_draws(BATCH).normal("noise", 5, 8)
    assert drawn.shape == (5, 8, BATCH) and drawn.dtype == torch.float32
    moments = torch.stack([(drawn.double() ** power).mean() for power in (1, 2, 3, 4)])
    torch.testing.assert_close(moments, torch.tensor([0, 1, 0, 3]).double(), rtol=0, atol=0.12)
    assert moments[:2].sub(torch.tensor([0, 1])).abs().max() < 0.015
    counts = (64 * torch.special.ndtr(drawn.double())).long().flatten().bincount(minlength=64)
    expected = drawn.numel() / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 4 * 126**0.5


def test_the_extreme_integers_give_numbers_inside_of_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = torch.tensor([[LOWEST, HIGHEST, -1, 0], [LOWEST, HIGHEST, LOWEST, HIGHEST]], dtype=torch.int32)
    drawn = of_lanes(lanes, monkeypatch).uniform("extremes", 2)
    torch.testing.assert_close(drawn[0], torch.tensor([2**-24, 1 - 2**-24, 0.5, 0.5]), rtol=0, atol=2**-24)
    assert drawn.min() == 2**-24 and drawn.max() == 1 - 2**-24 and drawn[0, 2] < 0.5 < drawn[0, 3]
    assert of_lanes(lanes, monkeypatch).normal("extremes").abs().max().sub((48 * torch.tensor(2.0).log()).sqrt()).abs() < 1e-5


@pytest.mark.parametrize("probability", [0.0, 2**-16, 0.1, 0.5, 0.75, 1 - 2**-16, 1.0, 1e-9, 1 - 1e-9])
def test_chosen_is_true_for_that_fraction_of_all_integers_of_16_bits(probability: float, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = torch.arange(-(2**15), 2**15, dtype=torch.int16).unsqueeze(0)
    chosen = of_lanes(lanes, monkeypatch).chosen("all integers", probability)
    assert chosen.shape == (2**16,) and chosen.dtype == torch.bool
    assert int(chosen.sum()) == round(probability * 2**16)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.75])
def test_chosen_is_true_with_its_probability_for_every_element(probability: float) -> None:
    chosen = batch_draws(BATCH).chosen("chosen", probability, 9, 3)
    assert chosen.shape == (9, 3, BATCH)
    assert abs(float(chosen.float().mean()) - probability) < 0.007
    assert chosen.float().mean(2).sub(probability).abs().max() < 0.04  # four standard deviations


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout_keeps_the_mean(dtype: torch.dtype) -> None:
    factors = batch_draws(BATCH).dropout("dropout h1", 0.75, 9, 2, dtype=dtype)
    assert factors.shape == (9, 2, BATCH) and factors.dtype == dtype and set(factors.flatten().tolist()) == {0.0, 4.0}
    assert abs(float(factors.double().mean()) - 1) < 0.03
    assert torch.equal(batch_draws(5).dropout("none", 0.0, 3), torch.ones(3, 5))


# ---------------------------------------------------------------- independence


def correlation(one: Tensor, other: Tensor) -> float:
    """The absolute value of the correlation of two tensors of one shape."""
    return abs(float(torch.corrcoef(torch.stack([one.double().flatten(), other.double().flatten()]))[0, 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_for_other_purposes_calls_epochs_seeds_and_samples_are_independent(kind: str) -> None:
    def drawn(seed: int = 0, purpose: str = "dropout h1", epoch: int = 0, first: int = 0, calls: int = 1) -> Tensor:
        draws = BatchDraws(seed, epoch, torch.arange(first, first + BATCH))
        return [KINDS[kind](draws, purpose, 4, 3) for _ in range(calls)][-1]

    others = [{"seed": 1}, {"seed": -1}, {"seed": 2**63 - 1}, {"purpose": "dropout h2"}, {"purpose": "dropout h1 "}]
    others += [{"epoch": 1}, {"epoch": 2}, {"seed": 1, "epoch": 1}, {"calls": 2}, {"calls": 12}]
    others += [{"first": 1}, {"first": 2}, {"first": 4096}, {"first": BATCH}, {"first": 2**40}]
    found = [drawn(), *(drawn(**arguments) for arguments in others)]  # type: ignore[arg-type]
    limit = 5 / found[0].numel() ** 0.5  # five standard deviations
    for (i, one), (j, other) in combinations(enumerate(found), 2):
        assert correlation(one, other) < limit, (i, j)


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_of_a_sample_are_independent_of_each_other(kind: str) -> None:
    drawn = KINDS[kind](batch_draws(BATCH), "elements", 16).double()
    correlations = torch.corrcoef(drawn) - torch.eye(16)
    assert correlations.abs().max() < 5 / BATCH**0.5
    rows = torch.corrcoef(KINDS[kind](batch_draws(16), "elements", BATCH).double().T) - torch.eye(16)
    assert rows.abs().max() < 5 / BATCH**0.5


# ---------------------------------------------------------------- what the numbers depend on


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (4, 1, 2)], ids=str)
def test_a_part_of_a_batch_has_the_numbers_of_the_whole(shape: tuple[int, ...], kind: str) -> None:
    samples, draw = torch.arange(40, 53), KINDS[kind]
    whole = BatchDraws(3, 2, samples)
    assert whole.whole is whole and whole.part == slice(None)
    parts = [BatchDraws(3, 2, samples, slice(*edges)) for edges in ((0, 6), (6, 7), (7, 7), (7, 13))]
    for _ in range(3):  # calls
        expected = draw(whole, "purpose", *shape)
        assert expected.shape == (*shape, 13)
        assert torch.equal(torch.cat([draw(part, "purpose", *shape) for part in parts], -1), expected)
        assert all(torch.equal(draw(part.whole, "purpose", *shape), expected) for part in parts)
    assert [part.samples.tolist() for part in parts] == [samples[part.part].tolist() for part in parts]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_has_its_numbers_in_any_order_and_any_company(kind: str) -> None:
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    whole, mixed, few = (BatchDraws(1, 4, samples) for samples in (torch.arange(60), order, order[:7]))
    for _ in range(2):
        expected = KINDS[kind](whole, "purpose", 3, 2)
        assert torch.equal(KINDS[kind](mixed, "purpose", 3, 2), expected[..., order])
        assert torch.equal(KINDS[kind](few, "purpose", 3, 2), expected[..., order[:7]])


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_do_not_depend_on_what_was_drawn_for_other_purposes(kind: str) -> None:
    first, second = batch_draws(8), batch_draws(8)
    expected = [KINDS[kind](first, "mine", 5) for _ in range(2)]
    second.normal("other", 100)
    found = [KINDS[kind](second, "mine", 5)]
    second.generator("another")
    second.uniform("other")
    found.append(KINDS[kind](second, "mine", 5))
    assert all(map(torch.equal, found, expected)) and not torch.equal(*expected)


@pytest.mark.parametrize("kind", KINDS)
def test_there_may_be_no_samples_and_no_numbers(kind: str) -> None:
    assert KINDS[kind](batch_draws(0), "nothing").shape == (0,)
    assert KINDS[kind](batch_draws(0), "nothing", 3, 2).shape == (3, 2, 0)
    assert KINDS[kind](batch_draws(4), "nothing", 3, 0).shape == (3, 0, 4)
    assert KINDS[kind](batch_draws(0), "nothing", 0).shape == (0, 0)


def test_a_generator_is_seeded_by_its_purpose_and_call_and_by_the_part_of_the_batch() -> None:
    def drawn(purpose: str = "negatives", seed: int = 0, part: slice | None = None) -> list[float]:
        draws = BatchDraws(seed, 0, torch.arange(6), part)
        return [float(torch.rand((), generator=draws.generator(purpose))) for _ in range(2)]

    found = [drawn(), drawn("others"), drawn(seed=1), drawn(part=slice(3, 6))]
    assert drawn() == found[0] and drawn(part=slice(0, 3)) == found[0]
    assert len({number for numbers in found for number in numbers}) == 8
    assert isinstance(batch_draws(0).generator("negatives"), torch.Generator)


def test_the_bits_are_those_of_splitmix64() -> None:
    """Its first two numbers for the seed 0 (Vigna, splitmix64.c), and the key of samples by the same function."""
    step = 0x9E3779B97F4A7C15 - 2**64
    assert [number % 2**64 for number in mix(torch.tensor([0, step])).tolist()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    checksum, samples = 0xCBF43926, torch.tensor([0, 5, 2**62])  # the CRC-32 of "123456789"
    for seed, epoch in ((0, 0), (7, 3), (-1, 0), (2**63 - 1, 2**40)):
        key = mix(mix(mix(torch.tensor(seed)) ^ checksum) ^ epoch)
        assert torch.equal(random_bits(seed, "123456789", samples, epoch), mix(samples ^ key))
    assert torch.equal(random_bits(2**64 + 5, "p", samples), random_bits(5, "p", samples))


# ---------------------------------------------------------------- trainings


class Greedy(NegativeSource):
    """Random wrong labels, for which a number of random numbers of a purpose of its own are drawn before."""

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers

    def sample(self, context: SamplingContext) -> Negatives:
        for _ in range(self.numbers):
            context.draws.uniform("greed", 3)
            torch.rand(2, generator=context.generator)
        return UniformNegatives().sample(context)


OPTIONS: dict[str, Any] = {"dropout": 0.2, "activity_dropout": 0.2, "input_dropout": 0.2, "adversarial_noise": 0.3}


def trained(seed: int = 0, numbers: int = 0, **options: Any) -> list[Tensor]:
    """The weights after a training of two batches."""
    network = Network(small_settings(**(OPTIONS | options)))
    learner = Learner(network, seed, negatives=Greedy(numbers))
    for batch in range(2):
        learner.train_batch(video(1, seed=batch)[0].float(), class_numbers(6))
    return [module.weight_vector() for module in network.hidden_layers()]


def test_a_training_depends_on_its_seed_and_not_on_numbers_drawn_for_other_purposes() -> None:
    expected = trained()
    torch.manual_seed(5)
    for numbers in (0, 1, 4):
        assert all(map(torch.equal, trained(numbers=numbers), expected))
    assert not any(map(torch.equal, trained(seed=1), expected))


def test_a_seed_is_any_whole_number_and_nothing_else() -> None:
    network = Network(small_settings(seed=7))
    seeds: list[Any] = [None, 3, np.int64(4), torch.tensor(5), -1, 2**70]
    assert [Learner(network, seed).seed for seed in seeds] == [7, 3, 4, 5, -1, 2**70]
    for wrong in (1.5, True, "1", torch.Generator(), torch.tensor([1, 2])):
        with pytest.raises(InputError, match=r"^Learner: seed = .*: expected a whole number$"):
            Learner(network, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_kind_of_dropout_and_noise_depends_on_the_seed(option: str) -> None:
    """The negatives are the other class, of which there is only one, and not random."""
    options: dict[str, Any] = {key: 0.0 for key in OPTIONS if key != option} | {"num_classes": 2}

    def weights(seed: int) -> Tensor:
        network = Network(small_settings(**(OPTIONS | options)))
        Learner(network, seed).train_batch(video(1)[0].float(), class_numbers(6, classes=2))
        return torch.cat([module.weight_vector() for module in network.hidden_layers()])

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


def test_the_numbers_of_a_batch_depend_on_its_place_and_not_on_the_batches_before_it() -> None:
    def losses(start: BatchPlace, *sizes: int) -> list[Tensor]:
        learner = Learner(Network(small_settings(**OPTIONS)))
        learner.scale_learning_rates(0)
        learner.place = start
        return [learner.train_batch(video(1, size)[0].float(), class_numbers(size)).loss for size in sizes]

    *_, expected = losses(BatchPlace(), 4, 3, 5)
    (found,) = losses(BatchPlace(first=7), 5)
    assert torch.equal(found, expected)
    for place in (BatchPlace(first=6), BatchPlace(epoch=1, first=7)):
        assert not torch.equal(losses(place, 5)[0], expected)
