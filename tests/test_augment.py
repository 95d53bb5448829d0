"""Tests of image augmentation: each transform, its randomness, and its reproducibility."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.augment import ELASTIC_KNOTS, PURPOSE, Augmentation, AugmentedImages, augment
from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.random_bits import random_numbers

SAMPLES = torch.arange(200)


def dots(side: int = 12, samples: int = 200) -> Tensor:
    """Make images of one bright pixel beside the center, on a background of −1."""
    images = torch.full((samples, side, side), -1.0)
    images[:, 5, 7] = 3.0
    return images


def augmented(images: Tensor, config: Augmentation, seed: int = 1, epoch: int = 0, samples: Tensor = SAMPLES) -> Tensor:
    return augment(images, config, samples[: len(images)], seed=seed, epoch=epoch, background=-1.0)


def test_random_numbers_are_uniform_independent_and_a_function_of_the_arguments() -> None:
    drawn = random_numbers(3, "a", torch.arange(20_000), 0, 4)
    assert drawn.shape == (20_000, 4) and drawn.min() >= -1 and drawn.max() <= 1
    assert drawn.mean(0).abs().max() < 0.02 and (drawn.square().mean(0) - 1 / 3).abs().max() < 0.01
    correlation = torch.corrcoef(drawn.T) - torch.eye(4)
    assert correlation.abs().max() < 0.03
    assert torch.equal(drawn[50:60], random_numbers(3, "a", torch.arange(50, 60), 0, 4))
    for different in (
        random_numbers(4, "a", torch.arange(9), 0, 4),
        random_numbers(3, "b", torch.arange(9), 0, 4),
        random_numbers(3, "a", torch.arange(9), 1, 4),
    ):
        assert not torch.isclose(different, drawn[:9]).any()


def test_translations_are_whole_pixels_and_equally_likely() -> None:
    translated = augmented(dots(samples=200), Augmentation(translate=2))
    assert torch.allclose(translated.sum((1, 2)), dots()[0].sum(), atol=1e-3)
    offsets = torch.stack([(image > 2.9).nonzero()[0] for image in translated]) - torch.tensor([5, 7])
    assert set(offsets.flatten().tolist()) == {-2, -1, 0, 1, 2}
    histogram = offsets.flatten().add(2).bincount()
    assert histogram.min() > 50 and histogram.max() < 115  # 80 expected


def test_translation_fills_with_background() -> None:
    images = torch.full((50, 6, 6), 2.0)
    translated = augmented(images, Augmentation(translate=3))
    assert set(translated.round(decimals=3).flatten().tolist()) == {2.0, -1.0}


def test_half_of_the_images_are_flipped_left_to_right_anew_in_each_epoch() -> None:
    assert Augmentation(flip=True) and not Augmentation()
    flips = []
    for epoch in range(2):
        flipped = augmented(dots(), Augmentation(flip=True), epoch=epoch)
        mirrored = torch.tensor([torch.equal(image, dots()[0].flip(1)) for image in flipped])
        assert torch.equal(flipped[~mirrored], dots()[~mirrored])
        assert 80 < mirrored.sum() < 120  # 100 expected, with a standard deviation of 7
        flips.append(mirrored)
    assert 70 < (flips[0] == flips[1]).sum() < 130


def test_a_flip_leaves_the_other_distortions_as_they_are() -> None:
    symmetric = torch.full((50, 12, 12), -1.0)
    symmetric[:, 3:9, 5:7] = 1.0
    config = Augmentation(translate=2, rotation=10, elastic=1, cutout=3)
    assert torch.equal(augmented(symmetric, config), augmented(symmetric, config.model_copy(update={"flip": True})))


def test_rotation_is_about_the_center() -> None:
    image = torch.full((200, 21, 21), -1.0)
    image[:, 10, 16:19] = 1.0  # a bar to the right of the center
    rotated = augmented(image, Augmentation(rotation=90))
    ink = rotated + 1
    rows, columns = (torch.arange(21.0) - 10).view(1, 21, 1), (torch.arange(21.0) - 10).view(1, 1, 21)
    y, x = ((ink * position).sum((1, 2)) / ink.sum((1, 2)) for position in (rows, columns))
    assert torch.hypot(y, x).sub(7).abs().max() < 0.5
    angles = torch.atan2(y, x).mul(180 / math.pi)
    assert angles.abs().max() <= 91 and angles.min() < -70 and angles.max() > 70 and abs(angles.mean()) < 10


def test_scaling_stays_in_its_limits_and_elastic_distortion_is_small() -> None:
    square = torch.full((200, 21, 21), -1.0)
    square[:, 6:15, 6:15] = 1.0
    areas = (augmented(square, Augmentation(scale=0.3)) + 1).sum((1, 2)) / 2
    assert 81 * 0.7**2 * 0.97 < areas.min() < 81 * 0.75**2 and 81 * 1.25**2 < areas.max() < 81 * 1.3**2 * 1.03
    elastic = augmented(square, Augmentation(elastic=1))
    assert not torch.allclose(elastic, square) and (elastic[:, 8:13, 8:13] > 0.99).all() and (elastic[:, :4] < -0.99).all()


def test_elastic_distortion_interpolates_a_random_field_cubically() -> None:
    images = torch.rand(20, 12, 12, generator=torch.Generator().manual_seed(0))
    knots = random_numbers(1, PURPOSE, SAMPLES[:20], 0, 6 + 2 * ELASTIC_KNOTS**2)[:, 6:].view(20, 2, ELASTIC_KNOTS, ELASTIC_KNOTS)
    field = F.interpolate(knots * 1.5 * 2 / 12, (12, 12), mode="bicubic", align_corners=True)  # 1.5 pixels; an image is 2 wide
    grid = F.affine_grid(torch.eye(2, 3).expand(20, 2, 3), [20, 1, 12, 12], align_corners=False) + field.permute(0, 2, 3, 1)
    expected = F.grid_sample(images.unsqueeze(1) + 1, grid, align_corners=False).squeeze(1) - 1
    assert torch.allclose(augmented(images, Augmentation(elastic=1.5)), expected, atol=1e-4)


def test_cutout_covers_a_square_inside_the_image() -> None:
    covered = (augmented(torch.ones(200, 10, 10), Augmentation(cutout=4)) == -1).long()
    assert covered.sum((1, 2)).tolist() == [16] * 200
    assert all(c.amax(1).sum() == 4 and c.amax(0).sum() == 4 for c in covered)
    assert (covered.sum(0) > 0).all()


def test_augmentation_depends_on_sample_epoch_and_seed_and_is_reproducible() -> None:
    config = Augmentation(translate=2, rotation=10, scale=0.1, elastic=1, cutout=2)
    first = augmented(dots(), config)
    assert torch.equal(first, augmented(dots(), config)) and len({tuple(image) for image in first.flatten(1).tolist()}) > 190
    assert torch.equal(first[30:40], augmented(dots(samples=10), config, samples=SAMPLES[30:40]))
    assert not torch.allclose(first, augmented(dots(), config, epoch=1)) and not torch.allclose(
        first, augmented(dots(), config, seed=2)
    )
    assert torch.equal(augmented(dots(), Augmentation()), dots())


def test_batches_augment_each_image_by_its_sample_number() -> None:
    data = TensorDataset(dots(samples=20).flatten(1), torch.arange(20))
    images = AugmentedImages(data, Augmentation(translate=2), seed=1, background=-1.0)
    all_samples = next(images.batches(20, epoch=3))
    order = torch.tensor([7, 3, 11, 0, 19])
    batches = list(images.batches(3, order, epoch=3))
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), all_samples.inputs[order])
    assert torch.cat([batch.labels for batch in batches]).tolist() == order.tolist()
    assert len(images) == 20 and images.batch_count(3) == 7 and list(images.batches(3, order[:0])) == []


@pytest.mark.parametrize(
    "config",
    [
        Augmentation(translate=1),
        Augmentation(rotation=20),
        Augmentation(elastic=1.5),
        Augmentation(scale=0.2),
    ],
)
def test_augmentation_has_no_mean_displacement(config: Augmentation) -> None:
    images = torch.full((2000, 15, 15), -1.0)
    images[:, 5:10, 5:10] = 1.0
    ink = augmented(images, config, samples=torch.arange(2000)).mean(0) + 1
    position = torch.arange(15.0) - 7
    assert abs((ink.sum(0) * position).sum() / ink.sum()) < 0.1 and abs((ink.sum(1) * position).sum() / ink.sum()) < 0.1
