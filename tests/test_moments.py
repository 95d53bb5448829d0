"""Normalised images: slant, place and size are gone, whatever they were, and nothing else."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data import mnist
from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.data.distortion import DistortedImages, Distortion, distort
from RecurrentFF.data.moments import USUAL_HEIGHT, USUAL_WIDTH, Normalisation, moments, normalise

SIDE = 48
BACKGROUND = -1.0
UPRIGHT = Normalisation(deskew=True)
EVEN = Normalisation(deskew=True, size=1.0)


def blot(width: float, height: float, slant: float = 0.0, centre: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """An even spot of ink with these moments, as shares of the side: (1, SIDE, SIDE) on a background of −1. An ellipse is four
    times as wide as its root mean square."""
    fine = 4 * SIDE
    place = (torch.arange(float(fine)) + 0.5) / fine - 0.5
    y, x = torch.meshgrid(place - centre[1], place - centre[0], indexing="ij")
    inside = ((x - slant * y) / (2 * width)) ** 2 + (y / (2 * height)) ** 2 < 1
    return F.avg_pool2d(2 * inside.float().view(1, 1, fine, fine), 4).squeeze(1) + BACKGROUND


def measured(images: Tensor) -> list[float]:
    """Centre, width, height and slant of an image."""
    found = moments(images - BACKGROUND)
    return [*found.centre[0].tolist(), found.width.item(), found.height.item(), found.slant.item()]


@pytest.mark.parametrize("slant", [0.0, 0.5, -0.7])
def test_moments_are_those_of_the_ink(slant: float) -> None:
    image = blot(0.05, 0.1, slant, (0.03, -0.06))
    assert measured(image) == pytest.approx([0.03, -0.06, 0.05, 0.1, slant], abs=5e-3)


def test_deskewing_makes_upright_moves_to_the_middle_and_keeps_the_size() -> None:
    image = blot(0.05, 0.1, 0.6, (0.05, -0.08))
    assert measured(normalise(image, UPRIGHT, background=BACKGROUND)) == pytest.approx([0, 0, 0.05, 0.1, 0], abs=5e-3)
    upright = normalise(image, UPRIGHT, background=BACKGROUND)
    assert (upright - blot(0.05, 0.1)).abs().mean() < 0.1 * (image - blot(0.05, 0.1)).abs().mean()  # nothing else has happened


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_sizes_go_the_asked_part_of_the_way_in_logarithms(share: float) -> None:
    image = blot(0.05, 0.22, 0.3)
    width, height = (usual**share * own ** (1 - share) for usual, own in ((USUAL_WIDTH, 0.05), (USUAL_HEIGHT, 0.22)))
    found = measured(normalise(image, Normalisation(deskew=True, size=share), background=BACKGROUND))
    assert found == pytest.approx([0, 0, width, height, 0], rel=0.02, abs=3e-3)


def test_sizes_alone_leave_the_slant_of_the_form() -> None:
    """Width is measured along the lines, so that of a slanted image is that of the upright one."""
    _, _, width, height, slant = measured(normalise(blot(0.05, 0.15, 0.4), Normalisation(size=1.0), background=BACKGROUND))
    assert (width, height) == pytest.approx((USUAL_WIDTH, USUAL_HEIGHT), rel=0.03)
    assert slant == pytest.approx(0.4 * (USUAL_WIDTH / 0.05) / (USUAL_HEIGHT / 0.15), rel=0.03)


def test_one_form_looks_the_same_however_it_is_written() -> None:
    """Shifted, slanted, wider and lower: all become one image."""
    form = torch.full((1, SIDE, SIDE), BACKGROUND)
    form[:, 12:36, 18:23] = 1.0
    form[:, 12:17, 18:32] = 1.0
    soft = F.avg_pool2d(form.unsqueeze(1) + 1, 5, 1, 2).squeeze(1) - 1
    maps = {"wide": [[0.8, 0.0, 0.1], [0.0, 1.1, -0.1]], "slanted": [[1.0, 0.4, 0.0], [0.0, 1.0, 0.0]]}
    expected = normalise(soft, EVEN, background=BACKGROUND)
    for name, rows in maps.items():
        grid = F.affine_grid(torch.tensor([rows]), [1, 1, SIDE, SIDE], align_corners=False)
        written = F.grid_sample(soft.unsqueeze(1) + 1, grid, align_corners=False).squeeze(1) - 1
        error = (normalise(written, EVEN, background=BACKGROUND) - expected).abs().mean()
        assert error < 0.15 * (written - expected).abs().mean(), name


def test_images_stand_for_themselves_and_nothing_is_asked_of_none() -> None:
    images = torch.cat([blot(0.05, 0.1, 0.6), blot(0.1, 0.1, -0.2)])
    alone = torch.cat([normalise(image, EVEN, background=BACKGROUND) for image in torch.split(images, 1)])
    assert torch.allclose(normalise(images, EVEN, background=BACKGROUND), alone, atol=1e-5)
    assert torch.equal(normalise(images, Normalisation(), background=BACKGROUND), images)


def test_no_ink_and_next_to_none_give_images() -> None:
    empty = torch.full((3, SIDE, SIDE), BACKGROUND)
    empty[1, 7, 40] = 1.0  # a point
    empty[2, :, 10] = 1.0  # a line of no width
    drawn = normalise(empty, EVEN, background=BACKGROUND)
    assert torch.isfinite(drawn).all() and (drawn[0] == BACKGROUND).all()
    assert drawn[1:].amax((1, 2)).min() > 0 and drawn.min() >= BACKGROUND - 1e-6
    assert (drawn[2].amax(0) > BACKGROUND + 1e-3).sum() < SIDE  # as wide as one made of a pixel's width


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_ink_is_no_ink_though_the_background_is_rounded(dtype: torch.dtype) -> None:
    blank = mnist.as_inputs(mnist.Digits(torch.zeros(64, 28, 28, dtype=torch.uint8), torch.zeros(64).long()), 0.1307, 0.3081)
    images = blank.inputs.to(dtype).view(64, 28, 28)
    for how in (Distortion(), Distortion(shift=2), Distortion(1, 10.0, 0.1, 1.0, 8)):
        inputs = distort(images, how, torch.arange(64), seed=0, epoch=0, background=mnist.BACKGROUND, normalisation=EVEN)
        assert (inputs - mnist.BACKGROUND).abs().max() < 1e-5


def test_usual_sizes_are_those_of_the_training_digits() -> None:
    train, _ = mnist.read()
    found = moments(train.images[:10_000] / 255)
    assert found.width.mean().item() == pytest.approx(USUAL_WIDTH, rel=0.02)
    assert found.height.mean().item() == pytest.approx(USUAL_HEIGHT, rel=0.02)
    assert found.slant.mean().item() < -0.1  # people lean to the right on their way up


def test_a_data_set_is_normalised_after_it_is_distorted() -> None:
    images = torch.cat([blot(0.05, 0.1, 0.1 * number) for number in range(8)])
    data, how = TensorDataset(images.flatten(1), torch.arange(8)), Distortion(shift=3, rotation=20)
    distorted = DistortedImages(data, how, seed=1, background=BACKGROUND, normalisation=EVEN)
    inputs = next(distorted.batches(8, epoch=2)).inputs.view(images.shape)
    moved = distort(images, how, torch.arange(8), seed=1, epoch=2, background=BACKGROUND)
    assert torch.equal(inputs, normalise(moved, EVEN, background=BACKGROUND))
    assert measured(inputs[:1])[:2] == pytest.approx([0, 0], abs=5e-3)
    covering = DistortedImages(data, how._replace(cutout=9), seed=1, background=BACKGROUND, normalisation=EVEN)
    covered = next(covering.batches(8, epoch=2)).inputs.view(images.shape)
    assert ((covered == inputs) | (covered == BACKGROUND)).all() and not torch.equal(covered, inputs)  # what is left, stays
