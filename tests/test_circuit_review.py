"""Circuits in unusual trainings: frozen layers, sequences of one's own, unseen classes, no code, and nothing to learn."""

from pathlib import Path
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.data.image_transforms import Frames
from RecurrentFF.data.transforms import Identity
from RecurrentFF.model.generative import Reconstruction
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.training import imagined
from tests.helpers import class_numbers, clusters, generator, small_settings, video
from tests.refusals import refusal
from tests.test_circuit_options import FirstLayer
from tests.test_imagined import PICTURES, SMALL, images, trained


@pytest.mark.parametrize("epochs", [2, 5])
def test_the_circuit_beside_frozen_layers_is_that_of_the_last_epoch(epochs: int) -> None:
    circuit = {"name": "reconstruction", "latent_size": 3, "freeze_layers": True}
    networks = []
    for validation in (None, clusters(20)):
        network = rff.build(small_settings(hidden_sizes=[9, 5], generative=circuit, epochs=epochs))
        history = rff.fit(network, clusters(60), validation=validation, quiet=True)
        assert len(history) == epochs
        networks.append(network.state_dict())
    assert all(torch.equal(weight, networks[1][name]) for name, weight in networks[0].items())


def test_sequences_of_ones_own_are_reconstructed_and_not_generated() -> None:
    frames, labels = images(60, 6, 6)
    videos = torch.stack([frames.float() / 255 for _ in range(5)])
    task = rff.TensorTask(videos, labels, transform=Frames(), validation=10)
    network = rff.build(task=task, **(SMALL | {"prelabel_timesteps": 2, "label_timesteps": 3}))
    rff.fit(network, task, quiet=True)
    assert "the inputs change over time" in refusal(lambda: network.generate(0))
    assert network.reconstruct(videos[:, :4]).shape == (2, 4, 6, 6)
    assert network.reconstruct(videos[:, :4], 1).shape == (5, 4, 6, 6)


def test_one_timestep_before_the_label_predicts_no_input_of_a_sequence() -> None:
    steps: dict[str, Any] = {"prelabel_timesteps": 1, "label_timesteps": 3, "hidden_sizes": [5]}
    network = rff.build(input_size=36, num_classes=3, **(SMALL | steps))
    network.task = rff.Task("videos", (6, 6), (0, 1, 2), Identity())
    videos, labels = video(4, 6, input_size=36).float(), torch.arange(6) % 3
    assert network.reconstruct(videos).shape == (1, 6, 6, 6)
    dataset = rff.LoaderTask([(videos, labels)], input_shape=(6, 6), transform=Identity(), classes=(0, 1, 2)).splits().train
    assert imagined.reconstruction_errors(network, dataset) == {}
    assert imagined.pictures(network, network.input_sequence(videos), labels, imagined.Paths(Path(), Path(), Path())) == {}


def test_what_follows_the_end_of_a_sequence_is_no_error() -> None:
    network = rff.build(input_size=4, num_classes=3, **(SMALL | {"prelabel_timesteps": 3, "label_timesteps": 2}))
    videos, mask = video(5, 6, input_size=4).float(), torch.ones(5, 6, dtype=torch.bool)
    mask[2:, 3:] = False
    other = videos.clone()
    other[2:, 3:] = 9.0
    errors = []
    for inputs in (videos, other):
        task = rff.LoaderTask([(inputs, torch.arange(6) % 3, mask)], input_shape=(4,), transform=Identity(), classes=(0, 1, 2))
        errors.append(imagined.reconstruction_errors(network, task.splits().train))
    assert errors[0] == pytest.approx(errors[1]) and errors[0]["h1"] > 0


def test_negatives_are_generated_of_the_classes_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from RecurrentFF.model import generated

    asked: list[int] = []

    def recorded(network: Network, numbers: torch.Tensor, *others: Any) -> torch.Tensor:
        asked.extend(numbers.tolist())
        return torch.zeros(network.input_size, 1, len(numbers), dtype=network.dtype)

    monkeypatch.setattr(generated, "generated_inputs", recorded)
    network = Network(small_settings(hidden_sizes=[9, 5], generative="reconstruction", negatives="generated"))
    learner = Learner(network, generator())
    for batch in range(4):
        learner.train_batch(clusters(6)[0], class_numbers(6, seed=batch, classes=3))
    assert set(asked) == {0, 1, 2}  # the classes 3 and 4 are in no batch


def test_a_circuit_without_a_code_draws_what_it_can(tmp_path: Path) -> None:
    pixels, labels = images(60, 8, 8)
    _, folder = trained(rff.TensorTask(pixels, labels, validation=12), tmp_path, generative=FirstLayer())
    assert [(folder / name).exists() for name in PICTURES] == [True, False, False]


def test_pictures_are_drawn_of_a_loader(tmp_path: Path) -> None:
    pixels, labels = images(60, 8, 8)
    batches = [(pixels[i : i + 20] / 255, labels[i : i + 20]) for i in range(0, 60, 20)]
    task = rff.LoaderTask(batches, validation=batches[:1], input_shape=(8, 8), classes=(0, 1, 2))
    _, folder = trained(task, tmp_path)
    assert all((folder / name).exists() for name in PICTURES)


def test_frozen_layers_without_a_circuit_have_nothing_to_learn() -> None:
    settings = small_settings(generative={"name": "reconstruction", "freeze_layers": True})
    layers = Network(small_settings()).local_modules
    assert "there is nothing to learn" in refusal(lambda: Learner(Network(settings, modules=layers)))


def test_noise_does_not_widen_the_distribution_of_codes() -> None:
    found = []
    for noise in (0.0, 2.0):
        circuit = {"name": "reconstruction", "latent_size": 3, "noise": noise, "freeze_layers": True}
        network = Network(
            small_settings(hidden_sizes=[9, 5], generative=circuit | {"optimizer": {"name": "torch", "learning_rate": 1e-30}})
        )
        Learner(network, generator()).train_batch(*clusters(6))
        found.append(network.layers["predict_h2"].get_buffer("class_products"))
    torch.testing.assert_close(*found)
    assert isinstance(network.layers["predict_x"], Reconstruction)
