"""Speeds, pictures and parts of one's own data are what a person expects to see."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import RecurrentFF as rff
from RecurrentFF.data.augment import Augmentation
from RecurrentFF.data.image_transforms import OrientedGradients, Pixels
from RecurrentFF.data.panels import Images, some_of_each_class
from RecurrentFF.data.parts import _shares
from RecurrentFF.data.task import shown_batch
from RecurrentFF.registry import make
from RecurrentFF.training import checkpoint
from RecurrentFF.training.callbacks import plots as callback
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.plots import plot_timesteps
from RecurrentFF.training.run import finish_run
from RecurrentFF.training.sample_plots import plot_samples
from tests.test_pictures import trainer

DISTORTED = Augmentation(rotation=20.0)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved during the test. They are not drawn."""
    saved: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: saved.append(figure))
    return saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes: 20, 20 and 5 images of 6 × 6 pixels, each of its own brightness."""
    root = tmp_path_factory.mktemp("images")
    for number, (name, count) in enumerate({"a": 20, "b": 20, "c": 5}.items()):
        (root / name).mkdir()
        for image in range(count):
            Image.fromarray(np.full((6, 6), 80 * number + image, dtype=np.uint8)).save(root / name / f"{image:02}.png")
    return root


def test_the_speed_is_all_samples_by_the_time_of_all_epochs(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.fit()
    first = replace(run.history[0], seconds=10.0, samples_per_second=100.0)
    run.history[:] = [first, replace(first, epoch=2, seconds=1.0, samples_per_second=1000.0)]
    assert finish_run(run, RunFolder(tmp_path)).samples_per_second == round(2000 / 11, 1)


# ---------------------------------------------------------------- colors


def test_digits_are_dark_ink_and_own_images_have_their_true_colors(folder: Path, tmp_path: Path) -> None:
    for name in ("mnist", "fashion_mnist", "moving_mnist", "seq_mnist"):
        assert make("data", {"name": name}, "data").high_is_dark
    task = make("data", {"name": "mnist"}, "data").task()
    assert task.high_is_dark and task.without_data().high_is_dark
    assert not rff.ImageFolderTask(folder).high_is_dark
    network = rff.build(data="mnist", hidden_sizes=[3], epochs=1, device="cpu")
    checkpoint.save(network, tmp_path / "a.safetensors")
    loaded = checkpoint.load(tmp_path / "a.safetensors", "cpu").task
    assert loaded is not None and loaded.high_is_dark and loaded == network.task
    own = rff.build("mnist_fast", task=rff.TensorTask(torch.rand(9, 28, 28), [0, 1, 2] * 3), hidden_sizes=[3], device="cpu")
    checkpoint.save(own, tmp_path / "a.safetensors")
    loaded = checkpoint.load(tmp_path / "a.safetensors", "cpu").task
    assert loaded is not None and not loaded.high_is_dark


def test_only_pixels_of_own_images_are_shown_light(tmp_path: Path, figures: list[Figure]) -> None:
    images, labels = torch.randint(0, 255, (9, 8, 8), dtype=torch.uint8), torch.arange(9) % 3
    task, ink = (rff.TensorTask(images, labels, transform=Pixels(), validation=None) for _ in range(2))
    object.__setattr__(ink, "high_is_dark", True)
    maps = rff.TensorTask(images, labels, transform=OrientedGradients(grid_size=4), validation=None)
    for each, dark in ((task, [False]), (ink, [True]), (maps, [False, True])):
        panels = each.show(each.splits().train, 3)
        assert [panel.dark for panel in panels if isinstance(panel, Images)] == dark
        plot_samples(panels, ["0", "1", "2"], "title", tmp_path / "a.png")
        drawn = figures.pop().axes[0].images
        assert {image.get_cmap().name for image in drawn} == {"gray_r" if dark[-1] else "gray"}
    first = np.asarray(drawn[0].get_array())  # in one row with dark maps, the image itself is inverted
    assert first.flatten()[int(images[0].flatten().argmax())] == 0.0 and first.flatten()[int(images[0].flatten().argmin())] == 1.0


# ---------------------------------------------------------------- samples of each class


@pytest.mark.parametrize("augmentation", [None, DISTORTED])
def test_some_samples_of_each_class_are_shown(
    augmentation: Augmentation | None, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(callback, "plot_samples", lambda *arguments: shown.append(arguments))
    task = rff.ImageFolderTask(folder, validation=None, augmentation=augmentation)
    network = rff.build(task=task, hidden_sizes=[3], epochs=1, device="cpu")
    run = rff.Trainer(network, task)
    state = torch.get_rng_state()
    callback.Plots(RunFolder(tmp_path)).on_fit_start(run)
    assert torch.equal(state, torch.get_rng_state())
    panels, names = shown[0][:2]
    assert names == list("abcabcabca")
    pixels = panels[0].images[0, :, 0, 0, 0].float()
    restored = task.transform.inverse(pixels)
    assert restored is not None
    brightness = pixels if augmentation is None else 255 * restored
    expected = [80 * (sample % 3) + sample // 3 for sample in range(10)]
    assert brightness.tolist() == pytest.approx(expected, abs=0.01)
    assert torch.as_tensor(shown_batch(run.splits.train, 4).labels).tolist() == [0, 1, 2, 0]


def test_samples_are_chosen_from_all_classes_in_turn() -> None:
    assert some_of_each_class(torch.tensor([2, 2, 0, 2, 0, 5, 2]), 6).tolist() == [2, 0, 5, 4, 1, 3]
    assert some_of_each_class(torch.tensor([[0, 1, 2], [2, 1, 0]]), 2).tolist() == [0, 1]  # labels that change over time


# ---------------------------------------------------------------- the parts of an image folder


@pytest.mark.parametrize(
    ("sizes", "count", "shares"),
    [
        ([20, 20, 20], 6, [2, 2, 2]),
        ([100, 2, 1], 10, [9, 1, 0]),
        ([100, 30, 2], 13, [9, 3, 1]),
        ([3, 2, 2, 2], 2, [1, 1, 0, 0]),
        ([3, 0, 1], 3, [2, 0, 1]),
    ],
)
def test_each_class_has_its_share(sizes: list[int], count: int, shares: list[int]) -> None:
    assert _shares(sizes, count) == shares


def test_the_parts_of_an_image_folder_have_all_classes(folder: Path) -> None:
    parts: Any = rff.ImageFolderTask(folder, validation=0.1, test=6).splits()
    counts = {name: torch.bincount(getattr(parts, name).labels).tolist() for name in ("train", "validation", "test")}
    assert counts == {"train": [16, 16, 3], "validation": [1, 2, 1], "test": [3, 2, 1]}
    again: Any = rff.ImageFolderTask(folder, validation=0.1, test=6, seed=1).splits()
    assert not torch.equal(again.test.inputs, parts.test.inputs)  # drawn at random


# ---------------------------------------------------------------- errors over the timesteps


def error_axes(errors: list[list[float]], path: Path, figures: list[Figure]) -> Axes:
    """The left panel for two layers with these errors, in percent of 200 samples, at each timestep."""
    labels, wanted = torch.zeros(200, dtype=torch.long), torch.tensor(errors)
    wrong = torch.arange(200) < 2 * wanted.unsqueeze(2)
    badness = torch.stack([wrong.float(), 1 - wrong.float()], 3)
    plot_timesteps(badness, labels, torch.ones(len(errors), 200), (0, 1), [2], path / "timesteps.png")
    return figures.pop().axes[0]


@pytest.mark.parametrize("errors", [[[90.0, 60.0], [20.0, 0.5]], [[0.5, 2.5], [0.0, 0.5]], [[50.0, 52.0]], [[0.0, 0.0]]])
def test_errors_over_time_are_readable_where_they_are_small(
    errors: list[list[float]], tmp_path: Path, figures: list[Figure]
) -> None:
    axes = error_axes(errors, tmp_path, figures)
    values, (lowest, highest) = [value for pair in errors for value in pair], axes.get_ylim()
    logarithmic = max(values) > 60 or (0 in values and max(values) > 0)
    assert axes.get_yscale() == ("log" if logarithmic else "linear")
    for layer in (0, 1):
        edge = lowest if logarithmic else 0.0
        assert list(axes.lines[layer].get_ydata()) == pytest.approx([pair[layer] or edge for pair in errors])  # type: ignore[arg-type]
    assert all(lowest <= value <= highest for value in values if value)
    assert axes.get_ylabel() == "error, % of the samples" + (" (lower edge: 0)" if logarithmic and 0 in values else "")
    assert axes.get_title(loc="left") == "Error of predictions by the badness at each timestep"
    labels = tick_labels(axes)
    assert len(labels) >= 2 and all(float(label) <= 1000 for label in labels)


def tick_labels(axes: Axes) -> list[str]:
    """The texts at the visible ticks of the vertical axis."""
    lowest, highest = axes.get_ylim()
    found = []
    for place, formatter in (
        (axes.yaxis.get_majorticklocs(), axes.yaxis.get_major_formatter()),
        (axes.yaxis.get_minorticklocs(), axes.yaxis.get_minor_formatter()),
    ):
        found += [formatter(tick) for tick in place if lowest <= tick <= highest]
    return [text for text in found if text]


def test_timesteps_after_the_end_of_all_sequences_have_no_error(tmp_path: Path, figures: list[Figure]) -> None:
    badness, valid = torch.rand(3, 1, 4, 2), torch.ones(3, 4)
    valid[2] = 0
    plot_timesteps(badness, torch.zeros(4, dtype=torch.long), valid, (0, 1), [1], tmp_path / "timesteps.png")
    assert np.isnan(np.asarray(figures[0].axes[0].lines[0].get_ydata())).tolist() == [False, False, True]
