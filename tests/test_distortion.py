"""Distorted images: each in its own way, the same again, and exactly what the name says."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.data.distortion import FIELD, DistortedImages, Distortion, distort
from RecurrentFF.data.randomness import random_numbers

NUMBERS = torch.arange(200)


def dots(side: int = 12, samples: int = 200) -> Tensor:
    """One bright pixel off the centre on a background of −1."""
    images = torch.full((samples, side, side), -1.0)
    images[:, 5, 7] = 3.0
    return images


def distorted(images: Tensor, how: Distortion, seed: int = 1, epoch: int = 0, numbers: Tensor = NUMBERS) -> Tensor:
    return distort(images, how, numbers[: len(images)], seed=seed, epoch=epoch, background=-1.0)


def test_random_numbers_are_uniform_independent_and_a_function_of_their_purpose() -> None:
    drawn = random_numbers(3, "a", torch.arange(20_000), 0, 4)
    assert drawn.shape == (20_000, 4) and drawn.min() >= -1 and drawn.max() <= 1
    assert drawn.mean(0).abs().max() < 0.02 and (drawn.square().mean(0) - 1 / 3).abs().max() < 0.01
    correlation = torch.corrcoef(drawn.T) - torch.eye(4)
    assert correlation.abs().max() < 0.03
    assert torch.equal(drawn[50:60], random_numbers(3, "a", torch.arange(50, 60), 0, 4))
    for other in (
        random_numbers(4, "a", torch.arange(9), 0, 4),
        random_numbers(3, "b", torch.arange(9), 0, 4),
        random_numbers(3, "a", torch.arange(9), 1, 4),
    ):
        assert not torch.isclose(other, drawn[:9]).any()


def test_shifts_are_whole_pixels_all_equally_likely() -> None:
    shifted = distorted(dots(samples=200), Distortion(shift=2))
    assert torch.allclose(shifted.sum((1, 2)), dots()[0].sum(), atol=1e-3)
    at = torch.stack([(image > 2.9).nonzero()[0] for image in shifted]) - torch.tensor([5, 7])
    assert set(at.flatten().tolist()) == {-2, -1, 0, 1, 2}
    counts = at.flatten().add(2).bincount()
    assert counts.min() > 50 and counts.max() < 115  # 80 expected


def test_what_comes_in_is_background() -> None:
    images = torch.full((50, 6, 6), 2.0)
    shifted = distorted(images, Distortion(shift=3))
    assert set(shifted.round(decimals=3).flatten().tolist()) == {2.0, -1.0}


def test_rotation_turns_about_the_centre() -> None:
    image = torch.full((200, 21, 21), -1.0)
    image[:, 10, 16:19] = 1.0  # a bar to the right of the centre
    rotated = distorted(image, Distortion(rotation=90))
    ink = rotated + 1
    rows, columns = (torch.arange(21.0) - 10).view(1, 21, 1), (torch.arange(21.0) - 10).view(1, 1, 21)
    down, across = ((ink * at).sum((1, 2)) / ink.sum((1, 2)) for at in (rows, columns))
    assert torch.hypot(down, across).sub(7).abs().max() < 0.5
    angles = torch.atan2(down, across).mul(180 / math.pi)
    assert angles.abs().max() <= 91 and angles.min() < -70 and angles.max() > 70 and abs(angles.mean()) < 10


def test_scaling_keeps_the_centre_and_bending_moves_little() -> None:
    square = torch.full((200, 21, 21), -1.0)
    square[:, 6:15, 6:15] = 1.0
    areas = (distorted(square, Distortion(scaling=0.3)) + 1).sum((1, 2)) / 2
    assert 81 * 0.7**2 * 0.97 < areas.min() < 81 * 0.75**2 and 81 * 1.25**2 < areas.max() < 81 * 1.3**2 * 1.03
    bent = distorted(square, Distortion(bending=1))
    assert not torch.allclose(bent, square) and (bent[:, 8:13, 8:13] > 0.99).all() and (bent[:, :4] < -0.99).all()


def test_bending_is_a_cubic_field_between_knots() -> None:
    images = torch.rand(20, 12, 12, generator=torch.Generator().manual_seed(0))
    knots = random_numbers(1, "distortion", NUMBERS[:20], 0, 6 + 2 * FIELD**2)[:, 6:].view(20, 2, FIELD, FIELD)
    moved = F.interpolate(knots * 1.5 * 2 / 12, (12, 12), mode="bicubic", align_corners=True)  # 1.5 pixels, an image being 2 wide
    grid = F.affine_grid(torch.eye(2, 3).expand(20, 2, 3), [20, 1, 12, 12], align_corners=False) + moved.permute(0, 2, 3, 1)
    expected = F.grid_sample(images.unsqueeze(1) + 1, grid, align_corners=False).squeeze(1) - 1
    assert torch.allclose(distorted(images, Distortion(bending=1.5)), expected, atol=1e-4)


def test_cutout_covers_a_square_inside_the_image() -> None:
    covered = (distorted(torch.ones(200, 10, 10), Distortion(cutout=4)) == -1).long()
    assert covered.sum((1, 2)).tolist() == [16] * 200
    assert all(c.amax(1).sum() == 4 and c.amax(0).sum() == 4 for c in covered)
    assert (covered.sum(0) > 0).all()


def test_distortions_differ_between_images_and_epochs_and_come_back() -> None:
    how = Distortion(shift=2, rotation=10, scaling=0.1, bending=1, cutout=2)
    first = distorted(dots(), how)
    assert torch.equal(first, distorted(dots(), how)) and len({tuple(image) for image in first.flatten(1).tolist()}) > 190
    assert torch.equal(first[30:40], distorted(dots(samples=10), how, numbers=NUMBERS[30:40]))
    assert not torch.allclose(first, distorted(dots(), how, epoch=1)) and not torch.allclose(
        first, distorted(dots(), how, seed=2)
    )
    assert torch.equal(distorted(dots(), Distortion()), dots())


def test_batches_distort_each_image_by_its_number() -> None:
    data = TensorDataset(dots(samples=20).flatten(1), torch.arange(20))
    images = DistortedImages(data, Distortion(shift=2), seed=1, background=-1.0)
    whole = next(images.batches(20, epoch=3))
    order = torch.tensor([7, 3, 11, 0, 19])
    batches = list(images.batches(3, order, epoch=3))
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), whole.inputs[order])
    assert torch.cat([batch.labels for batch in batches]).tolist() == order.tolist()
    assert len(images) == 20 and images.batch_count(3) == 7 and list(images.batches(3, order[:0])) == []


@pytest.mark.parametrize("how", [Distortion(shift=1), Distortion(rotation=20), Distortion(bending=1.5), Distortion(scaling=0.2)])
def test_on_the_average_nothing_moves(how: Distortion) -> None:
    images = torch.full((2000, 15, 15), -1.0)
    images[:, 5:10, 5:10] = 1.0
    ink = distorted(images, how, numbers=torch.arange(2000)).mean(0) + 1
    at = torch.arange(15.0) - 7
    assert abs((ink.sum(0) * at).sum() / ink.sum()) < 0.1 and abs((ink.sum(1) * at).sum() / ink.sum()) < 0.1
