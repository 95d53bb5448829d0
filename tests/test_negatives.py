"""Wrong labels for the negative candidates."""

import math

import pytest
import torch

from RecurrentFF.model.negatives import sample_wrong_labels
from tests.helpers import batch_draws


def test_random_negatives_are_uniform_over_the_wrong_classes() -> None:
    labels = torch.arange(5).repeat(20_000)
    (drawn,) = sample_wrong_labels(torch.zeros(5), labels, batch_draws(len(labels)))
    counts = torch.zeros(5, 5).index_put_((labels, drawn), torch.ones(len(labels)), accumulate=True)
    assert counts.diagonal().sum() == 0
    wrong = counts[~torch.eye(5, dtype=torch.bool)]
    assert wrong.min() > 4750 and wrong.max() < 5250  # 5000 expected, standard deviation 61


def test_dynamic_negatives_follow_the_classifier_without_the_true_class() -> None:
    probabilities = torch.tensor([0.6, 0.3, 0.08, 0.02])
    labels = torch.zeros(100_000, dtype=torch.long)
    (drawn,) = sample_wrong_labels(probabilities.log().expand(100_000, 4), labels, batch_draws(100_000))
    shares = drawn.bincount(minlength=4) / 100_000
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.75, 0.2, 0.05]), rtol=0, atol=0.006)


def test_temperature_sharpens_and_flattens_the_choice_of_negatives() -> None:
    probabilities, labels = torch.tensor([0.6, 0.3, 0.1]), torch.zeros(100_000, dtype=torch.long)
    for temperature in (0.5, 2.0):
        logits = probabilities.log().expand(100_000, 3)
        shares = sample_wrong_labels(logits, labels, batch_draws(100_000), temperature)[0].bincount(minlength=3) / 100_000
        expected = torch.tensor([0.0, 0.3 ** (1 / temperature), 0.1 ** (1 / temperature)])
        torch.testing.assert_close(shares, expected / expected.sum(), rtol=0, atol=0.006)


@pytest.mark.parametrize("logit", [0.0, -1e38, -math.inf, math.inf, math.nan])
@pytest.mark.parametrize("true_logit", [0.0, 1e38, math.inf, math.nan])
def test_a_negative_is_never_the_true_class(logit: float, true_logit: float) -> None:
    """Also where the classifier gives all wrong classes no probability at all."""
    labels = torch.arange(3).repeat(2_000)
    logits = torch.full((6_000, 3), logit).scatter(1, labels.unsqueeze(1), true_logit)
    (drawn,) = sample_wrong_labels(logits, labels, batch_draws(6_000))
    assert not (drawn == labels).any()
    assert drawn.min() >= 0 and drawn.max() < 3


def test_several_negatives_are_all_different_and_the_first_follows_the_classifier() -> None:
    probabilities, labels = torch.tensor([0.1, 0.5, 0.3, 0.1]), torch.zeros(100_000, dtype=torch.long)
    drawn = sample_wrong_labels(probabilities.log().expand(100_000, 4), labels, batch_draws(100_000), count=3)
    assert torch.equal(drawn.sort(0).values, torch.tensor([[1], [2], [3]]).expand(3, 100_000))
    torch.testing.assert_close(drawn[0].bincount() / 100_000, torch.tensor([0, 5, 3, 1]) / 9, rtol=0, atol=0.006)
    after_two = drawn[1, drawn[0] == 2]
    torch.testing.assert_close(after_two.bincount() / len(after_two), torch.tensor([0, 5, 0, 1]) / 6, rtol=0, atol=0.01)


def test_negatives_for_labels_that_change_over_time() -> None:
    labels = torch.arange(4).repeat(7, 3)
    (drawn,) = sample_wrong_labels(torch.zeros(12, 4), labels, batch_draws(12))
    assert drawn.shape == labels.shape and not (drawn == labels).any()
    assert not (drawn == drawn[0]).all()
