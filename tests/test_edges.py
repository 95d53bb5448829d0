"""Images as edges: as the equations say, in every direction alike, whatever the contrast."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import RecurrentFF as rff
from RecurrentFF.benchmarks.mnist.mnist import MNIST, as_seen
from RecurrentFF.data import mnist
from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.data.distortion import DistortedImages, Distortion, distort
from RecurrentFF.data.edges import Edges, edges, tiled
from RecurrentFF.data.moments import Normalisation, normalise
from RecurrentFF.errors import CheckpointError, InputError, SettingsError
from RecurrentFF.settings import Settings
from RecurrentFF.training import checkpoint

BACKGROUND = -0.5


def some_images(count: int, side: int, seed: int = 0) -> Tensor:
    """Random spots on an empty page."""
    generator = torch.Generator().manual_seed(seed)
    ink = torch.rand(count, side, side, dtype=torch.float64, generator=generator)
    return ink * (torch.rand(count, side, side, generator=generator) < 0.4) + BACKGROUND


def by_the_book(image: NDArray[np.float64], directions: int, places: int) -> NDArray[np.float64]:
    """The equations of the module for one image of ink, pixel by pixel, with angles: (directions · places²,)."""
    side = len(image)
    ink = np.pad(image, 1)
    step, spacing = 2 * math.pi / directions, side / places
    responses = np.zeros((directions, side, side))
    for y in range(side):
        for x in range(side):
            patch = ink[y : y + 3, x : x + 3]
            gx = (patch[:, 2] - patch[:, 0]) @ [1, 2, 1]
            gy = (patch[2] - patch[0]) @ [1, 2, 1]
            k = int(math.atan2(gy, gx) % (2 * math.pi) / step) % directions
            beside = np.array([[math.cos(k * step), math.cos((k + 1) * step)], [math.sin(k * step), math.sin((k + 1) * step)]])
            responses[[k, (k + 1) % directions], y, x] += np.linalg.solve(beside, [gx, gy])
    activity = np.zeros((directions, places, places))
    for row in range(places):
        for column in range(places):
            y, x = np.mgrid[:side, :side]
            far = (y + 0.5 - (row + 0.5) * spacing) ** 2 + (x + 0.5 - (column + 0.5) * spacing) ** 2
            near = np.exp(-far / (2 * (math.sqrt(2) * spacing / math.pi) ** 2))
            activity[:, row, column] = np.sqrt((responses * near).sum((1, 2)) / near.sum())
    found: NDArray[np.float64] = ((activity - activity.mean()) / np.sqrt(activity.var() + 1e-3)).ravel()
    return found


@pytest.mark.parametrize(("directions", "places", "side"), [(8, 7, 28), (7, 4, 14), (12, 5, 12), (4, 12, 12), (5, 1, 9)])
def test_edges_are_what_the_equations_say(directions: int, places: int, side: int) -> None:
    images = some_images(2, side)
    found = edges(images, Edges(directions, places), background=BACKGROUND)
    expected = [by_the_book(image.numpy() - BACKGROUND, directions, places) for image in images]
    assert found.shape == (2, directions * places**2)
    assert np.allclose(found.numpy(), expected, atol=1e-9)


def test_a_turned_image_has_the_same_edges_turned() -> None:
    image = some_images(1, 28)
    found = edges(image, Edges(8, 7), background=BACKGROUND).view(8, 7, 7)
    turned = edges(image.rot90(dims=(1, 2)), Edges(8, 7), background=BACKGROUND).view(8, 7, 7)
    assert torch.allclose(turned, found.rot90(dims=(1, 2)).roll(-2, 0), atol=1e-5)  # y is down: against the clock is back


def test_contrast_does_not_count_and_an_empty_image_is_silent() -> None:
    ink = some_images(1, 28) - BACKGROUND
    images = torch.cat([10 * ink, 20 * ink, 0 * ink, 1e-9 * ink])
    once, twice, nothing, trace = edges(images, Edges(8, 7), background=0.0)
    assert torch.allclose(once, twice, atol=0.02)
    assert (nothing == 0).all() and trace.abs().max() < 0.01
    assert once.mean().abs() < 1e-9 and once.square().mean().item() == pytest.approx(1, abs=0.02)


def test_images_stand_for_themselves() -> None:
    images = some_images(120, 14)  # more than are worked on at once
    found = edges(images, Edges(8, 4), background=BACKGROUND)
    alone = torch.cat([edges(image, Edges(8, 4), background=BACKGROUND) for image in torch.split(images, 1)])
    assert torch.allclose(found, alone)


class NothingDenormal(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails where float32 numbers come in or out that are too small for all their digits, with which a CPU is slow."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, Tensor) and tensor.dtype == torch.float32:
                assert not ((tensor != 0) & (tensor.abs() < torch.finfo(torch.float32).tiny)).any(), func
        return result


@pytest.mark.parametrize("places", [7, 10, 14, 28])
def test_nothing_is_denormal_on_the_way(places: int) -> None:
    digits, how = mnist.load()[0].inputs[:500].view(-1, 28, 28), Distortion(shift=1, rotation=10, scaling=0.1)
    images = torch.cat([digits, distort(digits, how, torch.arange(500), seed=0, epoch=0, background=mnist.BACKGROUND)])
    with NothingDenormal():  # type: ignore[no-untyped-call]
        edges(images, Edges(8, places), background=mnist.BACKGROUND)


def test_a_data_set_shows_its_edges() -> None:
    images, how = some_images(9, 14).float(), Edges(8, 4)
    data = TensorDataset(images.flatten(1), torch.arange(9))
    distorted = DistortedImages(data, Distortion(rotation=30), seed=1, background=BACKGROUND)
    view = DistortedImages(data, Distortion(rotation=30), seed=1, background=BACKGROUND, seen_as=how)
    order = torch.arange(8, -1, -1)
    assert len(view) == 9 and view.batch_count(4) == 3
    for shown, made in zip(view.batches(4, order, epoch=3), distorted.batches(4, order, epoch=3), strict=True):
        assert torch.equal(shown.inputs, edges(made.inputs.view(-1, 14, 14), how, background=BACKGROUND))
        assert torch.equal(shown.labels, made.labels)


def test_mnist_is_seen_as_edges_in_every_split_after_all_else() -> None:
    few = {"train_samples": 60, "validation_samples": 50, "test_samples": 50, "train_accuracy_samples": 50}
    asked = {"deskew": True, "size_normalisation": 0.5, "edge_directions": 6, "edge_places": 5, "seed": 3}
    settings = MNIST.complete(Settings.from_arguments(**few, **asked))
    assert settings.data_config.data_size == 150
    how, train, test = Edges(6, 5), *mnist.load()
    splits = MNIST.load(settings, torch.device("cpu"))
    for split, digits in zip(splits, (train[:60], train[-5000:][-50:], test[:50], train[:50]), strict=True):
        upright = normalise(digits.inputs.view(-1, 28, 28), Normalisation(True, 0.5), background=mnist.BACKGROUND)
        assert split is not None
        expected, batch = edges(upright, how, background=mnist.BACKGROUND), next(iter(split.batches(60)))
        assert torch.allclose(batch.inputs, expected, atol=1e-4) and torch.equal(batch.labels, digits.labels)
        assert torch.equal(batch.inputs, as_seen(digits.inputs, settings, background=mnist.BACKGROUND))
    turned = MNIST.load(settings.with_arguments(cutout=9), torch.device("cpu")).train
    made = DistortedImages(
        train[:60], Distortion(cutout=9), seed=3, background=mnist.BACKGROUND, normalisation=Normalisation(True, 0.5)
    )
    expected_inputs = next(made.batches(60, epoch=1)).inputs.view(-1, 28, 28)
    inputs = next(iter(turned.batches(60, epoch=1))).inputs
    assert torch.allclose(inputs, edges(expected_inputs, how, background=mnist.BACKGROUND), atol=1e-5)


def test_samples_are_shown_as_maps() -> None:
    maps = torch.arange(2.0 * 5 * 4).view(2, 20) - 7  # five directions, 2 × 2 places: two rows of three maps, each with a border
    shown = tiled(maps, 5)
    assert shown.shape == (2, 6, 9)
    assert shown[1, 1:3, 4:6].flatten().tolist() == (maps[1, 4:8] + 7).tolist()  # the second map, beside the first
    assert shown[1, 4:6, 1:3].flatten().tolist() == (maps[1, 12:16] + 7).tolist()  # the fourth, below it
    assert (shown[:, 0] == 0).all() and (shown[:, 4:6, 7:9] == 0).all()
    assert tiled(maps[:, :16], 4).shape == (2, 6, 6)  # four: two rows of two
    few = {"train_samples": 10, "validation_samples": 10, "test_samples": 10}
    for asked, shape in (({"edge_directions": 4, "edge_places": 14}, (1, 3, 30, 30)), ({}, (1, 3, 28, 28))):
        settings = MNIST.complete(Settings.from_arguments(**few, **asked))  # either way 784 inputs
        assert MNIST.show(settings, MNIST.load(settings, torch.device("cpu")).train, 3).shape == shape


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data_config.edge_directions=3", r"edge_directions = 3: expected 0 \(none\) or 4 to 64, for instance 8"),
        ("data_config.edge_directions=65", r"edge_directions = 65: expected 0"),
        ("data_config.edge_places=0", r"edge_places = 0"),
        ("data_config.edge_places=29", r"edge_places = 29"),
        ("model.receptive_field=7", r"receptive_field = 7: is a patch of pixels, .*edge_directions = 8.*set one of them to 0"),
    ],
)
def test_edges_that_can_not_be_are_refused(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_arguments(edge_directions=8).override([override])
    for directions in (0, 4, 64):
        assert Settings.from_arguments(edge_directions=directions).data_config.edge_directions == directions


def test_pixels_stay_pixels_and_what_is_no_image_is_refused() -> None:
    images = some_images(3, 28)
    plain = Settings.from_arguments()
    assert torch.equal(as_seen(images, plain, background=BACKGROUND), images.flatten(1))
    assert torch.equal(as_seen(images.flatten(1), plain, background=BACKGROUND), images.flatten(1))
    for wrong in (images[0, 0], images.unsqueeze(1), images[:, 1:], images.flatten(1)[:, 1:], (images > 0).to(torch.uint8)):
        with pytest.raises(InputError, match=r"^images of shape .* expected \(images, side, side\)"):
            as_seen(wrong, plain, background=BACKGROUND)


@pytest.mark.parametrize("arguments", [{"data_size": 784}, {"data_size": 4096}])
def test_an_input_of_another_size_than_the_edges_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=r"data_size = \d+: edges of 8 directions at 10 × 10 places .* are 800 values; set"):
        Settings.from_arguments(edge_directions=8, edge_places=10, **arguments)


def test_weights_are_for_what_they_were_trained_on(tmp_path: Path) -> None:
    small: dict[str, Any] = {"num_classes": 10, "hidden_sizes": [8], "device": "cpu"}
    pixels = rff.build(data_size=784, **small)
    found = rff.build(data_size=784, edge_directions=4, edge_places=14, **small)
    rff.save(pixels, tmp_path / "pixels.pt")
    content = checkpoint.read(tmp_path / "pixels.pt")
    with pytest.raises(
        CheckpointError, match=r"another architecture, 784-8-10; this .* 784-8-10 on edges of 4 directions at 14 × 14 places$"
    ):
        checkpoint.load_weights(found, content, tmp_path / "pixels.pt")
    rff.save(found, tmp_path / "edges.pt")
    again = rff.load(tmp_path / "edges.pt", device="cpu")
    images = as_seen(mnist.load()[1].inputs[:5], again.settings, background=mnist.BACKGROUND)
    assert torch.equal(again.predict(images), found.predict(images))
