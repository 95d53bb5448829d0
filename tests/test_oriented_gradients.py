"""Tests of the oriented-gradient features, and of the preprocessing of MNIST that uses them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from RecurrentFF.data import mnist
from RecurrentFF.data.augment import Augmentation, AugmentedImages, augment
from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.data.image_transforms import OrientedGradients, Pixels
from RecurrentFF.data.moments import NormalizationConfig, normalize
from RecurrentFF.data.oriented_gradients import OrientedGradientConfig, oriented_gradients, tile_maps
from RecurrentFF.data.panels import Images
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import InputError, SettingsError

BACKGROUND = -0.5


def some_images(count: int, side: int, seed: int = 0) -> Tensor:
    """Make images of random spots on an empty background, (count, side, side) float64."""
    generator = torch.Generator().manual_seed(seed)
    ink = torch.rand(count, side, side, dtype=torch.float64, generator=generator)
    return ink * (torch.rand(count, side, side, generator=generator) < 0.4) + BACKGROUND


def reference_features(image: NDArray[np.float64], directions: int, grid_size: int) -> NDArray[np.float64]:
    """Compute the module's equations for one image of ink, pixel by pixel, with angles: (directions · grid_size²,)."""
    side = len(image)
    ink = np.pad(image, 1)
    angle, spacing = 2 * math.pi / directions, side / grid_size
    responses = np.zeros((directions, side, side))
    for y in range(side):
        for x in range(side):
            patch = ink[y : y + 3, x : x + 3]
            gx = (patch[:, 2] - patch[:, 0]) @ [1, 2, 1]
            gy = (patch[2] - patch[0]) @ [1, 2, 1]
            k = int(math.atan2(gy, gx) % (2 * math.pi) / angle) % directions
            directions_xy = np.array([[f(k * angle), f((k + 1) * angle)] for f in (math.cos, math.sin)])
            responses[[k, (k + 1) % directions], y, x] += np.linalg.solve(directions_xy, [gx, gy])
    cells = np.zeros((directions, grid_size, grid_size))
    for row in range(grid_size):
        for column in range(grid_size):
            y, x = np.mgrid[:side, :side]
            squared_distance = (y + 0.5 - (row + 0.5) * spacing) ** 2 + (x + 0.5 - (column + 0.5) * spacing) ** 2
            weights = np.exp(-squared_distance / (2 * (math.sqrt(2) * spacing / math.pi) ** 2))
            cells[:, row, column] = np.sqrt((responses * weights).sum((1, 2)) / weights.sum())
    features: NDArray[np.float64] = ((cells - cells.mean()) / np.sqrt(cells.var() + 1e-3)).ravel()
    return features


@pytest.mark.parametrize(("directions", "grid_size", "side"), [(8, 7, 28), (7, 4, 14), (12, 5, 12), (4, 12, 12), (5, 1, 9)])
def test_features_equal_the_reference(directions: int, grid_size: int, side: int) -> None:
    images = some_images(2, side)
    features = oriented_gradients(images, OrientedGradientConfig(directions, grid_size), background=BACKGROUND)
    expected = [reference_features(image.numpy() - BACKGROUND, directions, grid_size) for image in images]
    assert features.shape == (2, directions * grid_size**2)
    assert np.allclose(features.numpy(), expected, atol=1e-9)


def test_a_rotated_image_has_rotated_features() -> None:
    image = some_images(1, 28)
    features = oriented_gradients(image, OrientedGradientConfig(8, 7), background=BACKGROUND).view(8, 7, 7)
    rotated = oriented_gradients(image.rot90(dims=(1, 2)), OrientedGradientConfig(8, 7), background=BACKGROUND).view(8, 7, 7)
    # y points down, so a counterclockwise rotation lowers the number of a direction.
    assert torch.allclose(rotated, features.rot90(dims=(1, 2)).roll(-2, 0), atol=1e-5)


def test_features_do_not_depend_on_contrast_and_are_zero_for_an_empty_image() -> None:
    ink = some_images(1, 28) - BACKGROUND
    images = torch.cat([10 * ink, 20 * ink, 0 * ink, 1e-9 * ink])
    normal, doubled, empty, faint = oriented_gradients(images, OrientedGradientConfig(8, 7), background=0.0)
    assert torch.allclose(normal, doubled, atol=0.02)
    assert (empty == 0).all() and faint.abs().max() < 0.01
    assert normal.mean().abs() < 1e-9 and normal.square().mean().item() == pytest.approx(1, abs=0.02)


def test_images_are_transformed_independently() -> None:
    images = some_images(120, 14)  # more than one chunk
    features = oriented_gradients(images, OrientedGradientConfig(8, 4), background=BACKGROUND)
    one_by_one = torch.cat(
        [oriented_gradients(image, OrientedGradientConfig(8, 4), background=BACKGROUND) for image in torch.split(images, 1)]
    )
    assert torch.allclose(features, one_by_one)


class NoDenormals(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode that fails if an operation reads or writes denormal float32 numbers, with which a CPU is slow."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, Tensor) and tensor.dtype == torch.float32:
                assert not ((tensor != 0) & (tensor.abs() < torch.finfo(torch.float32).tiny)).any(), func
        return result


@pytest.mark.parametrize("grid_size", [7, 10, 14, 28])
def test_no_intermediate_result_is_denormal(grid_size: int) -> None:
    digits, config = mnist.load()[0].inputs[:500].view(-1, 28, 28), Augmentation(translate=1, rotation=10, scale=0.1)
    images = torch.cat([digits, augment(digits, config, torch.arange(500), seed=0, epoch=0, background=mnist.BACKGROUND)])
    with NoDenormals():  # type: ignore[no-untyped-call]
        oriented_gradients(images, OrientedGradientConfig(8, grid_size), background=mnist.BACKGROUND)


def test_augmented_images_are_converted_to_features() -> None:
    images, config = some_images(9, 14).float(), OrientedGradientConfig(8, 4)
    data = TensorDataset(images.flatten(1), torch.arange(9))
    pixels = AugmentedImages(data, Augmentation(rotation=30), seed=1, background=BACKGROUND)
    encode = OrientedGradients(mean=-BACKGROUND, std=1.0, directions=8, grid_size=4).encode
    features = AugmentedImages(data, Augmentation(rotation=30), seed=1, background=BACKGROUND, encode=encode)
    order = torch.arange(8, -1, -1)
    assert len(features) == 9 and features.batch_count(4) == 3
    for batch, expected in zip(features.batches(4, order, epoch=3), pixels.batches(4, order, epoch=3), strict=True):
        assert torch.equal(batch.inputs, oriented_gradients(expected.inputs.view(-1, 14, 14), config, background=BACKGROUND))
        assert torch.equal(batch.labels, expected.labels)


def test_features_of_mnist_are_computed_last_in_every_split() -> None:
    source = mnist.Mnist(train_samples=60, validation_samples=50, test_samples=50)
    transform = OrientedGradients(deskew=True, size_normalization=0.5, directions=6, grid_size=5)
    task = source.task(transform)
    assert task.input_size == 150
    config, train, test = OrientedGradientConfig(6, 5), *mnist.load()
    raw = mnist.read()[0].images
    splits = task.splits(seed=3, train_subset_samples=50)
    for split, digits in zip(splits, (train[:60], train[-50:], test[:50], train[:50]), strict=True):
        normalized = normalize(digits.inputs.view(-1, 28, 28), NormalizationConfig(True, 0.5), background=mnist.BACKGROUND)
        assert split is not None
        expected, batch = oriented_gradients(normalized, config, background=mnist.BACKGROUND), next(iter(split.batches(60)))
        assert torch.allclose(batch.inputs, expected, atol=1e-4) and torch.equal(batch.labels, digits.labels)
    assert torch.equal(next(iter(splits.train.batches(60))).inputs, task.inputs(raw[:60]))
    augmented = replace(source, augmentation=Augmentation(cutout=9)).task(transform).splits(seed=3).train
    expected_images = AugmentedImages(
        train[:60],
        Augmentation(cutout=9),
        seed=3,
        background=mnist.BACKGROUND,
        normalization=NormalizationConfig(True, 0.5),
    )
    expected_inputs = next(expected_images.batches(60, epoch=1)).inputs.view(-1, 28, 28)
    inputs = next(iter(augmented.batches(60, epoch=1))).inputs
    assert torch.allclose(inputs, oriented_gradients(expected_inputs, config, background=mnist.BACKGROUND), atol=1e-5)


def test_features_are_shown_as_tiled_maps() -> None:
    maps = torch.arange(2.0 * 5 * 4).view(2, 20) - 7  # five directions, 2 × 2 cells: two lines of three maps, each with a border
    picture = tile_maps(maps, 5)
    assert picture.shape == (2, 6, 9)
    assert picture[1, 1:3, 4:6].flatten().tolist() == (maps[1, 4:8] + 7).tolist()  # the second map, beside the first
    assert picture[1, 4:6, 1:3].flatten().tolist() == (maps[1, 12:16] + 7).tolist()  # the fourth, below it
    assert (picture[:, 0] == 0).all() and (picture[:, 4:6, 7:9] == 0).all()
    assert tile_maps(maps[:, :16], 4).shape == (2, 6, 6)  # four: two lines of two
    source = mnist.Mnist(train_samples=10, validation_samples=10, test_samples=10)
    transforms: list[tuple[Transform, list[tuple[int, ...]]]] = [
        (OrientedGradients(directions=4, grid_size=14), [(1, 3, 1, 28, 28), (1, 3, 4, 14, 14)]),
        (Pixels(), [(1, 3, 1, 28, 28)]),
    ]
    for transform, shapes in transforms:
        task = source.task(transform)  # 784 inputs in both cases
        assert [panel.images.shape for panel in task.show(task.splits().train, 3) if isinstance(panel, Images)] == shapes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": 3}, r"directions = 3"),
        ({"directions": 65}, r"directions = 65"),
        ({"grid_size": 0}, r"grid_size = 0"),
        ({"grid_size": 29}, r"grid_size = 29"),
    ],
)
def test_invalid_options_of_the_features_are_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        OrientedGradients(**options)  # type: ignore[arg-type]
    for directions in (4, 64):
        assert OrientedGradients(directions=directions).output_size((28, 28)) == 100 * directions
    for shape in ((28, 27), (3, 28, 28), (784,)):
        with pytest.raises(InputError, match="square"):
            OrientedGradients().output_size(shape)
