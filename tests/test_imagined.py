"""What a run writes about a generative circuit: errors of reconstructions and pictures; and the command that measures it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.benchmarks import imagination as command
from RecurrentFF.data import fashion_mnist, mnist
from RecurrentFF.data.dataset import LabeledImages
from RecurrentFF.data.image_transforms import OrientedGradients
from RecurrentFF.data.transforms import Identity
from RecurrentFF.training import imagined
from tests.helpers import generator

PICTURES = ("reconstructions.png", "completions.png", "samples_generated.png")
SMALL: dict[str, Any] = {
    "hidden_sizes": [12, 8],
    "generative": {"name": "reconstruction", "latent_size": 4},
    "optimizer": "adam",
    "batch_size": 20,
    "epochs": 1,
    "device": "cpu",
    "precision": "float32",
}


def images(samples: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Random images of uint8, and their labels, in turn 0, 1 and 2."""
    pixels = torch.randint(0, 256, (samples, *shape), generator=generator(), dtype=torch.uint8)
    return pixels, torch.arange(samples) % 3


def trained(task: rff.Task, folder: Path, **arguments: Any) -> tuple[rff.Network, Path]:
    """A network with a circuit, and the folder of its run."""
    network = rff.build(task=task, **(SMALL | arguments))
    rff.fit(network, task, output_dir=folder, quiet=True)
    return network, next(folder.iterdir())


@pytest.mark.usefixtures("rendered_pictures")
def test_a_run_on_images_draws_three_pictures_and_measures_the_reconstructions(tmp_path: Path) -> None:
    pixels, labels = images(60, 8, 8)
    task = rff.TensorTask(pixels, labels, validation=12)
    network, folder = trained(task, tmp_path)
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    errors = json.loads((folder / "summary.json").read_text())["reconstruction_errors"]
    splits = task.splits()
    assert splits.validation is not None
    held_out = splits.validation.inputs  # type: ignore[attr-defined]
    assert network.task is not None
    shown = network.task.samples_of(held_out)
    assert list(errors) == ["h1", "h2", "latent"]
    for level, error in errors.items():
        expected = float((network.reconstruct(shown, level=level) - shown).square().mean())
        assert error == pytest.approx(expected, rel=1e-4)


def test_errors_of_many_batches_are_a_mean_over_samples(tmp_path: Path) -> None:
    pixels, labels = images(60, 8, 8)
    network, _ = trained(rff.TensorTask(pixels, labels, validation=12), tmp_path, prediction_batch_size=5)
    assert network.task is not None
    dataset = rff.TensorTask(pixels[:11], labels[:11], transform=network.task.transform, validation=None).splits().train
    found = imagined.reconstruction_errors(network, dataset)["h1"]
    shown = pixels[:11] / 255
    assert found == pytest.approx(float((network.reconstruct(shown) - shown).square().mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("shape", "arguments", "drawn"),
    [
        ((8, 8), {"transform": OrientedGradients(grid_size=3)}, 3),
        ((3, 6, 6), {}, 3),
        ((5,), {}, 3),
    ],
    ids=["features", "colors", "table"],
)
@pytest.mark.usefixtures("rendered_pictures")
def test_other_samples_are_drawn_too(shape: tuple[int, ...], arguments: dict[str, Any], drawn: int, tmp_path: Path) -> None:
    pixels, labels = images(60, *shape)
    samples = pixels.float() if len(shape) == 1 else pixels
    _, folder = trained(rff.TensorTask(samples, labels, validation=12, **arguments), tmp_path)
    assert sum((folder / name).exists() for name in PICTURES) == drawn


@pytest.mark.usefixtures("rendered_pictures")
def test_of_sequences_the_prediction_of_the_next_input_is_drawn_and_measured(tmp_path: Path) -> None:
    steps = SMALL | {"prelabel_timesteps": 2, "label_timesteps": 3}
    pixels, labels = images(60, 6, 6)
    videos = torch.stack([pixels.float() / 255 + t for t in range(5)])
    network = rff.build(input_size=36, num_classes=3, **steps)
    network.task = rff.Task("videos", (6, 6), (0, 1, 2), Identity())
    batch = (videos.flatten(2), labels)
    rff.fit(network, [batch], validation=[batch], quiet=True)
    x = network.input_sequence(videos.flatten(2))
    paths = imagined.Paths(*(tmp_path / name for name in PICTURES))
    for draw in imagined.pictures(network, x, labels, paths).values():
        draw()
    assert [path.exists() for path in paths] == [True, False, False]
    predicted = network.reconstruct(videos)  # (2, 60, 6, 6), after both timesteps before the label
    dataset = rff.LoaderTask([batch], input_shape=(6, 6), transform=Identity(), classes=(0, 1, 2)).splits().train
    expected = float((predicted[:-1] - videos[1:2]).square().mean())
    assert imagined.reconstruction_errors(network, dataset)["h1"] == pytest.approx(expected, rel=1e-4)


def test_half_or_a_quarter_is_hidden() -> None:
    lower, quarter = imagined.hidden_parts((4, 6)).values()
    assert lower[:2].all() and not lower[2:].any()
    parts = imagined.hidden_parts((3, 100, 100))
    assert list(parts) == ["lower half", "random quarter"]
    assert float(parts["random quarter"].float().mean()) == pytest.approx(0.75, abs=0.02)
    assert torch.equal(parts["random quarter"][0], parts["random quarter"][2]) and quarter.shape == (4, 6)
    second, some = imagined.hidden_parts((10,)).values()
    assert second.tolist() == [True] * 5 + [False] * 5 and some.shape == (10,)


def test_the_first_sample_of_each_class_is_shown() -> None:
    assert imagined.one_of_each_class(torch.tensor([2, 2, 0, 5, 0]), 10) == [2, 0, 3]
    assert imagined.one_of_each_class(torch.tensor([2, 2, 0, 5, 0]), 2) == [2, 0]


def test_the_command_measures_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    few = [LabeledImages(part.images[:200], part.labels[:200]) for part in mnist.read()]
    for name, value in {"PER_CLASS": 3, "COMPLETED": 20, "DETECTED": 30, "FEEDBACKS": (1.0,)}.items():
        monkeypatch.setattr(command, name, value)
    monkeypatch.setattr(mnist, "read", lambda *_: few)
    monkeypatch.setattr(fashion_mnist, "read", lambda folder: few[::-1])
    task = rff.TensorTask(few[0].images, few[0].labels, validation=40, name="digits")
    _, folder = trained(task, tmp_path)
    assert command.main([str(folder), "--classifier", str(folder), "--seed", "3"]) == 0
    output = capsys.readouterr().out
    assert all(f"\n{word}" in f"\n{output}" for word in ("reconstruction", "completion", "generation", "detection"))
    assert "PCA of 4: " in output and "real test digits" in output and "feedback 0.0" in output
    # The same images have the same badness, with and without feedback.
    assert output.count("Fashion-MNIST") == 2 + len(command.FEEDBACKS)


def test_the_command_refuses_a_run_without_a_circuit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels, labels = images(60, 8, 8)
    _, plain = trained(rff.TensorTask(pixels, labels, validation=12), tmp_path / "plain", generative=None)
    _, small = trained(rff.TensorTask(pixels, labels, validation=12), tmp_path / "small")
    for folder, reason in (
        (plain, "has no generative circuit"),
        (small, "this command measures networks on the pixels of MNIST"),
    ):
        assert command.main([str(folder), "--classifier", str(folder)]) == 2
        error = capsys.readouterr().err
        assert reason in error and error.count("\n") == 1
