"""Tests of the moments of the ink, and of the normalization of slant, position and size."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from RecurrentFF.data import mnist
from RecurrentFF.data.augment import Augmentation, AugmentedImages, augment
from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.data.moments import REFERENCE_HEIGHT, REFERENCE_WIDTH, NormalizationConfig, moments, normalize

SIDE = 48
BACKGROUND = -1.0
DESKEW = NormalizationConfig(deskew=True)
FULL = NormalizationConfig(deskew=True, size=1.0)


def ellipse(width: float, height: float, slant: float = 0.0, center: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Draw a uniform ellipse of ink with the given moments, relative to the side: (1, SIDE, SIDE) on a background of −1.

    The axes of an ellipse are four times as long as its root mean squares.
    """
    fine = 4 * SIDE
    position = (torch.arange(float(fine)) + 0.5) / fine - 0.5
    y, x = torch.meshgrid(position - center[1], position - center[0], indexing="ij")
    inside = ((x - slant * y) / (2 * width)) ** 2 + (y / (2 * height)) ** 2 < 1
    return F.avg_pool2d(2 * inside.float().view(1, 1, fine, fine), 4).squeeze(1) + BACKGROUND


def measured(images: Tensor) -> list[float]:
    """Measure the center, width, height and slant of an image."""
    found = moments(images - BACKGROUND)
    return [*found.center[0].tolist(), found.width.item(), found.height.item(), found.slant.item()]


@pytest.mark.parametrize("slant", [0.0, 0.5, -0.7])
def test_moments_equal_those_of_a_drawn_ellipse(slant: float) -> None:
    image = ellipse(0.05, 0.1, slant, (0.03, -0.06))
    assert measured(image) == pytest.approx([0.03, -0.06, 0.05, 0.1, slant], abs=5e-3)


def test_deskewing_removes_the_slant_centers_the_ink_and_keeps_the_size() -> None:
    image = ellipse(0.05, 0.1, 0.6, (0.05, -0.08))
    assert measured(normalize(image, DESKEW, background=BACKGROUND)) == pytest.approx([0, 0, 0.05, 0.1, 0], abs=5e-3)
    deskewed = normalize(image, DESKEW, background=BACKGROUND)
    assert (deskewed - ellipse(0.05, 0.1)).abs().mean() < 0.1 * (image - ellipse(0.05, 0.1)).abs().mean()  # the form is unchanged


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_size_normalization_interpolates_the_logarithms_of_the_sizes(strength: float) -> None:
    image = ellipse(0.05, 0.22, 0.3)
    width, height = (
        reference**strength * size ** (1 - strength) for reference, size in ((REFERENCE_WIDTH, 0.05), (REFERENCE_HEIGHT, 0.22))
    )
    found = measured(normalize(image, NormalizationConfig(deskew=True, size=strength), background=BACKGROUND))
    assert found == pytest.approx([0, 0, width, height, 0], rel=0.02, abs=3e-3)


def test_size_normalization_without_deskewing_keeps_the_slant() -> None:
    """The width is measured horizontally from the slanted axis, so the slant does not change it."""
    _, _, width, height, slant = measured(
        normalize(ellipse(0.05, 0.15, 0.4), NormalizationConfig(size=1.0), background=BACKGROUND)
    )
    assert (width, height) == pytest.approx((REFERENCE_WIDTH, REFERENCE_HEIGHT), rel=0.03)
    assert slant == pytest.approx(0.4 * (REFERENCE_WIDTH / 0.05) / (REFERENCE_HEIGHT / 0.15), rel=0.03)


def test_affine_maps_of_a_form_are_normalized_to_the_same_image() -> None:
    """Translated, slanted, wider and lower versions of a form become the same image."""
    form = torch.full((1, SIDE, SIDE), BACKGROUND)
    form[:, 12:36, 18:23] = 1.0
    form[:, 12:17, 18:32] = 1.0
    smooth = F.avg_pool2d(form.unsqueeze(1) + 1, 5, 1, 2).squeeze(1) - 1
    maps = {"wide": [[0.8, 0.0, 0.1], [0.0, 1.1, -0.1]], "slanted": [[1.0, 0.4, 0.0], [0.0, 1.0, 0.0]]}
    expected = normalize(smooth, FULL, background=BACKGROUND)
    for name, matrix in maps.items():
        grid = F.affine_grid(torch.tensor([matrix]), [1, 1, SIDE, SIDE], align_corners=False)
        mapped = F.grid_sample(smooth.unsqueeze(1) + 1, grid, align_corners=False).squeeze(1) - 1
        error = (normalize(mapped, FULL, background=BACKGROUND) - expected).abs().mean()
        assert error < 0.15 * (mapped - expected).abs().mean(), name


def test_images_are_normalized_independently_and_stay_unchanged_by_default() -> None:
    images = torch.cat([ellipse(0.05, 0.1, 0.6), ellipse(0.1, 0.1, -0.2)])
    one_by_one = torch.cat([normalize(image, FULL, background=BACKGROUND) for image in torch.split(images, 1)])
    assert torch.allclose(normalize(images, FULL, background=BACKGROUND), one_by_one, atol=1e-5)
    assert torch.equal(normalize(images, NormalizationConfig(), background=BACKGROUND), images)


def test_images_with_little_or_no_ink_stay_finite() -> None:
    images = torch.full((3, SIDE, SIDE), BACKGROUND)
    images[1, 7, 40] = 1.0  # a point
    images[2, :, 10] = 1.0  # a line of one pixel's width
    normalized = normalize(images, FULL, background=BACKGROUND)
    assert torch.isfinite(normalized).all() and (normalized[0] == BACKGROUND).all()
    assert normalized[1:].amax((1, 2)).min() > 0 and normalized.min() >= BACKGROUND - 1e-6
    assert (normalized[2].amax(0) > BACKGROUND + 1e-3).sum() < SIDE  # limited by the smallest width, a pixel's


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_image_stays_empty_despite_rounding_of_the_background(dtype: torch.dtype) -> None:
    blank = mnist.as_inputs(
        mnist.LabeledImages(torch.zeros(64, 28, 28, dtype=torch.uint8), torch.zeros(64).long()), 0.1307, 0.3081
    )
    images = blank.inputs.to(dtype).view(64, 28, 28)
    for config in (
        Augmentation(),
        Augmentation(translate=2),
        Augmentation(translate=1, rotation=10, scale=0.1, elastic=1, cutout=8),
    ):
        inputs = augment(images, config, torch.arange(64), seed=0, epoch=0, background=mnist.BACKGROUND, normalization=FULL)
        assert (inputs - mnist.BACKGROUND).abs().max() < 1e-5


def test_reference_sizes_are_the_means_of_the_training_digits() -> None:
    train, _ = mnist.read()
    found = moments(train.images[:10_000] / 255)
    assert found.width.mean().item() == pytest.approx(REFERENCE_WIDTH, rel=0.02)
    assert found.height.mean().item() == pytest.approx(REFERENCE_HEIGHT, rel=0.02)
    assert found.slant.mean().item() < -0.1  # handwriting leans to the right


def test_a_data_set_is_normalized_after_augmentation_and_before_cutout() -> None:
    images = torch.cat([ellipse(0.05, 0.1, 0.1 * number) for number in range(8)])
    data, config = TensorDataset(images.flatten(1), torch.arange(8)), Augmentation(translate=3, rotation=20)
    augmented = AugmentedImages(data, config, seed=1, background=BACKGROUND, normalization=FULL)
    inputs = next(augmented.batches(8, epoch=2)).inputs.view(images.shape)
    transformed = augment(images, config, torch.arange(8), seed=1, epoch=2, background=BACKGROUND)
    assert torch.equal(inputs, normalize(transformed, FULL, background=BACKGROUND))
    assert measured(inputs[:1])[:2] == pytest.approx([0, 0], abs=5e-3)
    with_cutout = AugmentedImages(
        data, config.model_copy(update={"cutout": 9}), seed=1, background=BACKGROUND, normalization=FULL
    )
    covered = next(with_cutout.batches(8, epoch=2)).inputs.view(images.shape)
    assert ((covered == inputs) | (covered == BACKGROUND)).all()  # the other pixels are unchanged
    assert not torch.equal(covered, inputs)
