"""Tests of the transforms from raw samples to network inputs, and that each data set's inputs equal those of former versions."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from RecurrentFF.data import mnist
from RecurrentFF.data.augment import Augmentation, augment
from RecurrentFF.data.dataset import Batch, Dataset, LabeledImages
from RecurrentFF.data.image_transforms import Frames, ImageTransform, OrientedGradients, Pixels
from RecurrentFF.data.moments import NormalizationConfig, normalize
from RecurrentFF.data.moving_mnist import MovingMnist, render, trajectories, velocities
from RecurrentFF.data.oriented_gradients import OrientedGradientConfig, oriented_gradients
from RecurrentFF.data.panels import Images, Values
from RecurrentFF.data.pen_strokes import PenStrokes
from RecurrentFF.data.seq_mnist import SeqMnist, StrokeDataset
from RecurrentFF.data.stroke_cache import trace_cached
from RecurrentFF.data.transforms import Identity, Standardize, Transform
from RecurrentFF.errors import DataError, InputError, SettingsError
from RecurrentFF.registry import make, names, tree_of

MEAN, STD = 0.1307, 0.3081
BACKGROUND = -MEAN / STD


@pytest.fixture(scope="module")
def train() -> LabeledImages:
    return mnist.read()[0]


def former_pixels(images: Tensor) -> Tensor:
    """Convert raw images to standardized pixels with torchvision, as former versions of this package did."""
    from torchvision.transforms.v2 import functional

    scaled = functional.to_dtype(images.unsqueeze(1), torch.float32, scale=True)
    pixels: Tensor = functional.normalize(scaled, [MEAN], [STD]).squeeze(1)
    return pixels


def former_features(images: Tensor, directions: int, grid_size: int) -> Tensor:
    if not directions:
        return images.flatten(1)
    return oriented_gradients(images, OrientedGradientConfig(directions, grid_size), background=BACKGROUND)


CONFIGURATIONS = {
    "pixels": (Augmentation(), Pixels(), (False, 0.0, 0, 0)),
    "normalized": (Augmentation(), Pixels(deskew=True, size_normalization=0.5), (True, 0.5, 0, 0)),
    "cutout": (Augmentation(translate=2, cutout=6), Pixels(), (False, 0.0, 0, 0)),
    "fast": (Augmentation(translate=1, rotation=10, scale=0.1), OrientedGradients(), (False, 0.0, 8, 10)),
    "best": (
        Augmentation(rotation=10, elastic=1.5),
        OrientedGradients(deskew=True, size_normalization=0.5, grid_size=14),
        (True, 0.5, 8, 14),
    ),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_inputs_of_mnist_equal_those_of_former_versions_bit_by_bit(name: str, train: LabeledImages) -> None:
    augmentation, transform, (deskew, size, directions, grid_size) = CONFIGURATIONS[name]
    source = mnist.Mnist(train_samples=130, validation_samples=70, test_samples=60, augmentation=augmentation)
    task = source.task(transform)
    splits = task.splits(seed=3, train_subset_samples=20)
    normalization = NormalizationConfig(deskew, size)
    parts = {"validation": train.images[-70:], "test": mnist.read()[1].images[:60], "train_subset": train.images[:20]}
    for part, images in parts.items():
        expected = normalize(former_pixels(images), normalization, background=BACKGROUND)
        assert torch.equal(only(getattr(splits, part)).inputs, former_features(expected, directions, grid_size))
    order = torch.randperm(130, generator=torch.Generator().manual_seed(1))
    for epoch in (0, 2):
        for batch, samples in zip(splits.train.batches(50, order, epoch), torch.split(order, 50), strict=True):
            if not augmentation:  # transformed all at once
                images = normalize(former_pixels(train.images[:130]), normalization, background=BACKGROUND)[samples]
                assert torch.equal(batch.inputs, former_features(images, directions, grid_size))
                continue
            images = augment(
                former_pixels(train.images[samples]),
                augmentation,
                samples,
                seed=3,
                epoch=epoch,
                background=BACKGROUND,
                normalization=normalization,
            )
            assert torch.equal(batch.inputs, former_features(images, directions, grid_size))
            assert torch.equal(batch.labels, train.labels[samples])


def only(dataset: Dataset | None) -> Batch:
    assert dataset is not None
    (batch,) = dataset.batches(1000)
    return batch


def digest(tensors: Iterator[Tensor]) -> str:
    hashed = hashlib.sha256()
    for tensor in tensors:
        hashed.update(tensor.contiguous().numpy().tobytes())
    return hashed.hexdigest()[:16]


def test_pixels_of_mnist_have_the_hash_of_former_versions() -> None:
    splits = mnist.Mnist(train_samples=300, validation_samples=200, test_samples=100).task().splits()
    assert digest(only(dataset).inputs for dataset in (splits.train, splits.validation, splits.test)) == "121d7e62c12efe3a"


def test_videos_of_moving_mnist_equal_those_of_former_versions_bit_by_bit(train: LabeledImages) -> None:
    source = MovingMnist(train_samples=40, validation_samples=20, test_samples=10)
    task = source.task()
    splits = task.splits(seed=3, timesteps=7)
    rms = ((0.1307**2 + 0.3081**2) * 28**2 / 64**2) ** 0.5
    order = torch.tensor([4, 39, 0])
    for epoch in (0, 2):
        positions = trajectories(velocities(3, "train", order, epoch), 7)
        expected = render(train.images[order].float() / (255 * rms), positions)
        assert torch.equal(next(iter(splits.train.batches(10, order, epoch))).inputs, expected)
    numbers = torch.arange(59_980, 60_000)
    raw = render(train.images[numbers], trajectories(velocities(3, "train", numbers), 7))
    assert raw.dtype == torch.uint8
    expected = only(splits.validation).inputs
    assert torch.equal(task.inputs(raw), expected) and torch.equal(task.inputs(raw.view(7, 20, 64, 64)), expected)
    torch.testing.assert_close(task.inputs(raw.numpy() / 255), expected)
    assert torch.equal(task.inputs(raw.view(7, 20, 64, 64)[0]), expected[0])  # a still image
    (panel,) = task.show(splits.validation, 3)  # type: ignore[arg-type]
    assert isinstance(panel, Images) and torch.equal(panel.images, raw[:, :3].view(7, 3, 1, 64, 64).float())
    assert digest(only(dataset).inputs for dataset in (splits.train, splits.validation, splits.test)) == "0974e6b71208c3c5"


def test_another_transform_of_moving_mnist_is_given_each_frame() -> None:
    source = MovingMnist(train_samples=4, validation_samples=2, test_samples=2, fresh_velocities=False)
    task = source.task(OrientedGradients())
    batch, plain = (only(source.task(transform).splits(timesteps=3).train) for transform in (task.transform, Frames(rms=1.0)))
    assert batch.inputs.shape == (3, 4, 800)
    pixels = (plain.inputs * 255).round().to(torch.uint8).view(12, 64, 64)
    torch.testing.assert_close(batch.inputs.view(12, 800), task.transform(pixels), atol=1e-3, rtol=0)  # square roots of almost 0
    frames, maps = task.show(source.task(task.transform).splits(timesteps=3).train, 2)
    assert isinstance(frames, Images) and torch.equal(frames.images.flatten(0, 2), pixels.view(3, 4, 64, 64)[:, :2].flatten(0, 1))
    assert isinstance(maps, Images) and maps.images.shape == (3, 2, 8, 10, 10)
    deskewed = source.task(OrientedGradients(deskew=True))  # its frames are rendered
    batch = only(deskewed.splits(timesteps=3).train)
    assert torch.equal(batch.inputs.view(12, 800), deskewed.transform(pixels))
    with pytest.raises(DataError, match="sequences already"):
        source.task(PenStrokes())
    with pytest.raises(DataError, match="timesteps"):
        source.task().splits()


@pytest.mark.parametrize("repeat", [False, True])
def test_raw_digits_become_the_strokes_and_masks_of_seq_mnist(repeat: bool, train: LabeledImages) -> None:
    source = SeqMnist(train_samples=30, validation_samples=10, test_samples=5)
    task = source.task(PenStrokes(repeat=repeat))
    splits = task.splits(timesteps=9)
    for raw in (train.images[:30], train.images[:30].float() / 255, train.images[:30].flatten(1), train.images[:30, None]):
        prepared, expected = task.prepare(raw, 9), only(splits.train)
        assert torch.equal(prepared.inputs, expected.inputs) and task.input_size == expected.inputs.shape[2] == 128
        assert (prepared.mask is None) == (expected.mask is None) == repeat
        assert prepared.mask is None or expected.mask is None or torch.equal(prepared.mask, expected.mask)
    strokes = trace_cached(LabeledImages(train.images[:30], train.labels[:30]))
    (former,) = StrokeDataset(strokes, 9, PenStrokes(repeat=repeat)).batches(30)
    assert torch.equal(former.inputs, only(splits.train).inputs)
    drawings, inputs = task.show(splits.train, 4)
    assert isinstance(drawings, Images) and drawings.images.shape == (9, 4, 1, 28, 28)
    assert isinstance(inputs, Values) and inputs.values.shape == (9, 4, 128)
    with pytest.raises(DataError, match="pen_strokes or population_code, not Pixels"):
        source.task(Pixels())


def test_strokes_take_as_many_timesteps_as_the_longest_digit_needs(train: LabeledImages) -> None:
    transform, images = PenStrokes(), train.images[:20]
    longest = int(trace_cached(LabeledImages(images, train.labels[:20])).lengths.max())
    inputs = transform(images)
    assert inputs.shape == (-(-longest // 4), 20, 128)
    assert torch.equal(inputs, transform.prepare(images, len(inputs)).inputs)
    empty = transform.prepare(torch.zeros(2, 28, 28, dtype=torch.uint8), 3)
    assert empty.inputs.shape == (3, 2, 128) and empty.mask is not None and not empty.mask.any()


def test_statistics_that_are_left_out_are_those_of_the_training_samples() -> None:
    images = torch.randint(0, 256, (50, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    fitted = Pixels().fitted(images)
    inputs = fitted(images)
    assert abs(inputs.mean()) < 1e-5 and inputs.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert Pixels(mean=0.5).fitted(images).mean == 0.5 and fitted.fitted(images[:3]) is fitted
    assert OrientedGradients().fitted(images).mean == fitted.mean
    assert Frames().fitted(images)(images).square().mean().item() == pytest.approx(1, abs=1e-5)
    constant = Pixels().fitted(torch.full((3, 2, 2), 51, dtype=torch.uint8))
    assert constant.mean == pytest.approx(0.2) and constant.std == 1
    for unfitted in (Pixels(), Frames(), OrientedGradients(), Standardize()):
        assert not unfitted.is_fitted
        with pytest.raises(InputError, match="unknown; set"):
            unfitted(images)


def test_tables_are_standardized_and_constant_features_are_kept() -> None:
    table = torch.tensor([[1990.0, 3.0, 7.0], [2010.0, 5.0, 7.0], [2000.0, 4.0, 7.0]])
    fitted = Standardize().fitted(table)
    assert fitted.mean == (2000, 4, 7) and fitted.std is not None and fitted.std[2] == 1
    inputs = fitted(table)
    assert torch.allclose(inputs.mean(0), torch.zeros(3), atol=1e-6) and (inputs[:, 2] == 0).all()
    assert torch.allclose(inputs[:, :2].square().mean(0), torch.ones(2)) and inputs.dtype == torch.float32
    assert torch.allclose(fitted(table.double()), inputs) and torch.allclose(fitted(table.long()), inputs)
    scaled = Standardize(scale=3.0).fitted(table)
    for samples in (table, table.double()):
        torch.testing.assert_close(scaled(samples), 3 * inputs)
        torch.testing.assert_close(scaled.inverse(scaled(samples)), table)
    with pytest.raises(InputError, match="2 features: expected 3"):
        fitted(table[:, :2])
    with pytest.raises(InputError, match="feature 1 of sample 2 is nan"):
        fitted(table.index_put((torch.tensor(2), torch.tensor(1)), torch.tensor(float("nan"))))
    with pytest.raises(InputError, match="means of 3 features, but samples have 4"):
        fitted.output_size((4,))
    with pytest.raises(SettingsError, match="mean has 1 values and std has 2"):
        Standardize(mean=(1.0,), std=(1.0, 2.0))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.full((2, 4, 4), 17.0), r"pixels from 17 to 17: .*0\.\.1, or uint8; divide by 17, or by the largest"),
        (torch.full((2, 4, 4), 1.01), r"pixels from 1\.01"),
        (torch.full((2, 4, 4), -0.4), r"pixels from -0\.4 to -0\.4: .*don't standardize"),
        (torch.full((2, 4, 4), float("nan")), "pixels from nan"),
        (torch.full((2, 4, 4), 300), r"pixels from 300 to 300: expected integers in 0\.\.255"),
    ],
)
def test_pixels_out_of_range_are_errors_of_one_line(samples: Tensor, message: str) -> None:
    for transform in (Pixels(mean=0.1, std=0.3), OrientedGradients(mean=0.1, std=0.3), Frames(rms=0.5), PenStrokes()):
        with pytest.raises(InputError, match=message) as caught:
            transform(samples)
        assert "\n" not in str(caught.value)


def test_integers_and_truth_values_are_pixels() -> None:
    images = torch.randint(0, 256, (5, 4, 4), dtype=torch.uint8)
    transform = Pixels(mean=0.1, std=0.3)
    assert torch.equal(transform(images.long()), transform(images))
    torch.testing.assert_close(transform(images.double() / 255), transform(images))
    assert torch.equal(transform(images > 99), transform((images > 99).float()))
    before = images.float() / 255
    kept = before.clone()
    transform(before)
    assert torch.equal(before, kept)


def test_color_images_are_pixels_but_are_not_deskewed() -> None:
    images = torch.rand(3, 3, 5, 4)
    transform = Pixels(mean=0.5, std=0.25)
    assert transform(images).shape == (3, 60) and transform.output_size((3, 5, 4)) == 60
    assert transform.show(transform(images), (3, 5, 4)).shape == (1, 3, 5, 4)
    with pytest.raises(InputError, match="square"):
        Pixels(mean=0.5, std=0.25, deskew=True)(images)


@dataclass(frozen=True)
class Inverted(Transform):
    def __call__(self, samples: Tensor) -> Tensor:
        return 1 - samples.float().flatten(1)[:, ::2]


def test_a_transform_of_ones_own_needs_only_a_call() -> None:
    transform = Inverted()
    assert transform.output_size((4, 6)) == 12 and transform.is_fitted and transform.fitted(torch.zeros(1, 4, 6)) is transform
    assert transform.prepare(torch.ones(2, 4, 6), None).inputs.tolist() == [[0.0] * 12] * 2
    assert transform.show(torch.rand(3, 10), (20,)).shape == (1, 3, 3, 4)  # padded to a rectangle
    splits = mnist.Mnist(train_samples=20, validation_samples=10, test_samples=10).task(transform).splits()
    assert only(splits.train).inputs.shape == (20, 392)
    augmented = mnist.Mnist(train_samples=20, augmentation=Augmentation(rotation=10)).task(transform).splits().train
    assert only(augmented).inputs.max() <= 1 and only(augmented).inputs.min() >= 0


def test_network_inputs_need_no_transform_but_must_be_floating_point() -> None:
    assert torch.equal(Identity()(torch.ones(2, 3, 4)), torch.ones(2, 12)) and Identity().output_size((3, 4)) == 12
    with pytest.raises(InputError, match="transform"):
        Identity()(torch.ones(2, 3, dtype=torch.uint8))


FITTED: dict[str, dict[str, Any]] = {
    "identity": {},
    "pixels": {"mean": 0.1, "std": 0.3, "deskew": True},
    "oriented_gradients": {"mean": 0.1, "std": 0.3, "directions": 6, "grid_size": 5},
    "frames": {"rms": 0.5},
    "standardize": {"mean": [0.1, 0.2], "std": [1.0, 2.0]},
    "pen_strokes": {"delay_line": 9, "repeat": True},
    "population_code": {"directions": 6, "accumulate": False, "mask_ends": True},
}


def test_every_transform_is_made_from_its_options_again() -> None:
    assert set(FITTED) <= set(names("transform"))
    for name, options in FITTED.items():
        transform = make("transform", {"name": name, **options}, "transform")
        tree = json.loads(json.dumps(tree_of(transform)))
        assert tree["name"] == name and options.items() <= tree.items()
        assert make("transform", tree, "transform") == transform and hash(transform) is not None
    with pytest.raises(SettingsError, match="size_normalization = 2"):
        make("transform", {"name": "pixels", "size_normalization": 2}, "transform")
    with pytest.raises(SettingsError, match="delay_line = 2: must be at least moves_per_timestep = 4"):
        PenStrokes(delay_line=2)
    assert issubclass(Pixels, ImageTransform) and Pixels.gives_images and not OrientedGradients.gives_images


def test_frames_of_moving_digits_reach_a_transform_of_ones_own_from_0_to_1() -> None:
    task = MovingMnist(train_samples=4, validation_samples=2, test_samples=2).task(Inverted())
    inputs = only(task.splits(timesteps=3).train).inputs
    assert inputs.shape == (3, 4, 2048) and inputs.min() >= 0 and inputs.max() == 1
