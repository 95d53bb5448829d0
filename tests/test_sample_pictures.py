"""samples.png shows the samples of any task as a person knows them, and as the network sees them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.data.associative_retrieval import AssociativeRetrieval
from RecurrentFF.data.augment import Augmentation
from RecurrentFF.data.image_transforms import Frames, OrientedGradients, Pixels
from RecurrentFF.data.panels import Images, Panel, Texts, Values, direction_names, shows_the_same
from RecurrentFF.data.population_code import PopulationCode
from RecurrentFF.data.task import Task
from RecurrentFF.data.transforms import Transform
from RecurrentFF.training.sample_plots import _grid, plot_samples

DIGITS = torch.zeros(12, 12, 12, dtype=torch.uint8)
DIGITS[:, 2:10, 5:7] = torch.randint(1, 255, (12, 8, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.arange(12) % 3


@dataclass(frozen=True)
class Halved(Transform):
    """A transform of a user, with no more than it needs."""

    def __call__(self, samples: Tensor) -> Tensor:
        return samples.float().flatten(1)[:, ::2]


@dataclass(frozen=True)
class Drawn(Halved):
    """A transform of a user that says how its inputs become images."""

    def show(self, inputs: Tensor, input_shape: tuple[int, ...]) -> Tensor:
        return inputs.view(1, -1, 6, 12)


def tensors(transform: Transform, **options: Any) -> Task:
    return rff.TensorTask(DIGITS, LABELS, transform=transform, validation=None, **options)


def sequences() -> Task:
    words = [torch.randn(length, 5, generator=torch.Generator().manual_seed(length)) for length in (4, 7, 3)]
    return rff.SequenceTask(words, ["yes", "no", "yes"], validation=None)


def symbols() -> Task:
    return AssociativeRetrieval(train_samples=6, validation_samples=1, test_samples=1).task()


DISTORTED = Augmentation(rotation=20.0)
TASKS: dict[str, tuple[Any, list[str]]] = {
    "pixels": (lambda: tensors(Pixels()), ["image; the network input is the same, in another scale"]),
    "deskewed": (lambda: tensors(Pixels(deskew=True)), ["image", "deskewed; the network input is the same, in another scale"]),
    "distorted": (
        lambda: tensors(Pixels(), augmentation=DISTORTED),
        ["image", "distorted at random; the network input is the same, in another scale"],
    ),
    "gradients": (
        lambda: tensors(OrientedGradients(grid_size=4, size_normalization=1.0), augmentation=DISTORTED),
        [
            "image",
            "distorted at random, of one size",
            "network input: how much the pixels rise in the direction of the arrow, in 4 × 4 cells",
        ],
    ),
    "strokes": (
        lambda: tensors(PopulationCode(grid_size=4)),
        ["image", "network input: ink drawn so far in the direction of the arrow, at 4 × 4 places"],
    ),
    "own": (
        lambda: tensors(Halved(), augmentation=DISTORTED),
        ["image", "distorted at random, anew in every epoch", "network input"],
    ),
    "drawn": (lambda: tensors(Drawn()), ["image", "network input"]),
    "colors": (
        lambda: rff.TensorTask(torch.rand(6, 3, 4, 5), LABELS[:6], validation=None),
        ["image; the network input is the same, in another scale"],
    ),
    "videos": (
        lambda: rff.TensorTask(torch.rand(7, 6, 4, 5), LABELS[:6], transform=Frames(), validation=None),
        ["frames; the network input is the same, in another scale"],
    ),
    "table": (
        lambda: rff.TensorTask(torch.rand(6, 5), LABELS[:6], validation=None),
        ["network input: each feature minus its mean, divided by its standard deviation"],
    ),
    "sequences": (sequences, ["network input: each feature minus its mean, divided by its standard deviation"]),
    "symbols": (symbols, ["", "network input: which symbols are shown at each timestep"]),
}


def shown(name: str, samples: int = 4) -> tuple[list[Panel], list[str]]:
    """The panels of the first samples of a task, and their labels."""
    task: Task = TASKS[name][0]()
    train = task.splits(timesteps=9).train
    labels = next(iter(train.batches(samples))).labels.tolist()
    return task.show(train, samples), [str(task.classes[number]) for number in labels]


@pytest.mark.parametrize("name", TASKS)
def test_the_samples_of_every_kind_of_task_are_shown(name: str, tmp_path: Path) -> None:
    panels, labels = shown(name)
    assert [getattr(panel, "caption", "") for panel in panels] == TASKS[name][1]
    sizes = [len(panel.texts) if isinstance(panel, Texts) else panel[1].shape[1] for panel in panels]
    assert sizes == [len(labels)] * len(panels)
    assert isinstance(panels[-1], Values) == (name in ("own", "table", "sequences", "symbols"))
    plot_samples(panels, labels, "title", tmp_path / "samples.png")
    assert (tmp_path / "samples.png").exists()


def texts_of(panels: list[Panel], labels: list[str], path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """All texts in the picture of some samples."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    plot_samples(panels, labels, "MNIST: samples", path / "samples.png")
    return "\n".join(text.get_text() for text in figures[0].findobj(Text))


def test_every_map_is_named_by_its_direction_and_every_sample_by_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels, labels = shown("gradients")
    found = texts_of(panels, labels, tmp_path, monkeypatch).split("\n")
    assert [text for text in found if text in "→↘↓↙←↖↑↗" and text] == list("→↘↓↙←↖↑↗")
    assert [text for text in found if text.startswith("label ")] == [f"label {label}" for label in labels]
    assert "MNIST: samples" in found


def test_symbols_are_shown_as_text_beside_their_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panels, labels = shown("symbols")
    assert isinstance(panels[0], Texts)
    assert f"{panels[0].texts[0]}\nlabel {labels[0]}" in texts_of(panels, labels, tmp_path, monkeypatch)


def test_every_row_of_a_video_has_the_label_of_its_sample() -> None:
    (panel,), labels = shown("videos", 3)
    assert isinstance(panel, Images)
    _, *rows = _grid([panel], labels, 3).rows  # after the caption
    assert [row.label for row in rows] == labels and len(set(labels)) == 3
    for sample, row in enumerate(rows):
        assert row.images[0] is not None and torch.equal(row.images[0], panel.images[0, sample, 0])


def test_the_timesteps_after_the_end_of_a_sequence_are_not_shown() -> None:
    (panel,), _ = shown("sequences", 3)
    assert isinstance(panel, Values) and panel.mask is not None
    assert panel.mask.sum(0).tolist() == [7, 4, 3]  # the first "no", then both "yes"


def test_colors_stay_colors() -> None:
    (panel,), _ = shown("colors")
    assert isinstance(panel, Images) and panel.images.shape == (1, 4, 1, 4, 5, 3)


def test_the_distorted_images_are_those_of_the_first_epoch() -> None:
    task = tensors(Pixels(), augmentation=DISTORTED)
    train = task.splits().train
    images, distorted = task.show(train, 4)
    expected = next(iter(train.batches(4, epoch=0))).inputs
    assert isinstance(images, Images) and isinstance(distorted, Images)
    assert torch.equal(distorted.images.reshape(4, -1), expected)
    assert not shows_the_same(images, distorted)


def test_a_data_set_of_ones_own_needs_no_more_than_batches() -> None:
    class Own:
        def __init__(self, dataset: Any) -> None:
            self.dataset = dataset

        def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Any:
            return self.dataset.batches(size, order, epoch)

    task = tensors(OrientedGradients(grid_size=4))
    (panel,) = task.show(Own(task.splits().train), 4)  # type: ignore[arg-type]
    assert isinstance(panel, Images) and panel.images.shape == (1, 4, 8, 4, 4)


def test_directions_are_named_from_the_right_clockwise() -> None:
    assert direction_names(4) == ("→", "↓", "←", "↑")
    assert direction_names(8) == tuple("→↘↓↙←↖↑↗")
    assert direction_names(12)[:4] == ("→0°", "↘30°", "↘60°", "↓90°")
    rising = torch.arange(12).expand(1, 12, 12).to(torch.uint8) * 20  # darker to the right
    for image, arrow in ((rising, "→"), (rising.flip(2), "←"), (rising.transpose(1, 2), "↓")):
        features = OrientedGradients(grid_size=4, mean=0.5, std=0.5)(image).view(8, 4, 4)
        assert direction_names(8)[int(features[:, 1:3, 1:3].sum((1, 2)).argmax())] == arrow
