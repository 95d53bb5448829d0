"""Circuits in unusual trainings: frozen layers, sequences of one's own, unseen classes, no code, and nothing to learn."""

from pathlib import Path
from typing import Any

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF import cli
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.data.image_transforms import Frames
from RecurrentFF.data.transforms import Identity
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.generative import Reconstruction
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.optimizers import Torch
from RecurrentFF.training import imagined
from RecurrentFF.training.trainer import Trainer
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
    learner = Learner(network)
    for batch in range(4):
        learner.train_batch(clusters(6)[0], class_numbers(6, seed=batch, classes=3))
    assert set(asked) == {0, 1, 2}  # the classes 3 and 4 are in no batch


def test_a_circuit_without_a_code_draws_what_it_can(tmp_path: Path) -> None:
    pixels, labels = images(60, 8, 8)
    network, folder = trained(rff.TensorTask(pixels, labels, validation=12), tmp_path, generative=FirstLayer())
    assert [(folder / name).exists() for name in PICTURES] == [True, False, False]
    paths = imagined.Paths(*(tmp_path / name for name in PICTURES))
    assert list(imagined.pictures(network, network.prepare(pixels)[0], labels, paths)) == [paths.reconstructions]


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
        Learner(network).train_batch(*clusters(6))
        found.append(network.layers["predict_h2"].get_buffer("class_products"))
    torch.testing.assert_close(*found)
    assert isinstance(network.layers["predict_x"], Reconstruction)


def test_the_method_of_prediction_can_be_set() -> None:
    network = Network(small_settings(negatives="readout"))
    assert network.prediction == "badness"
    network.prediction = "readout"
    assert network.settings.network.prediction == network.prediction == "readout"
    with pytest.raises(SettingsError, match=r"network\.prediction = 'foo'"):
        network.prediction = "foo"  # type: ignore[assignment]
    assert network.prediction == "readout"


def test_counts_that_would_never_end_are_refused(tmp_path: Path) -> None:
    pixels, labels = images(60, 3, 4, 4)
    network, _ = trained(rff.TensorTask(pixels, labels, validation=12), tmp_path)
    visible = torch.ones(4, 4, dtype=torch.bool)
    assert "n = 10000000000: expected a whole number from 1 to 1,000,000" in refusal(lambda: network.generate(0, n=10**10))
    assert "steps = 100000: expected a whole number from 0 to 10,000" in refusal(lambda: network.generate(0, steps=10**5))
    assert "steps = 100000: expected" in refusal(lambda: network.complete(pixels[:2], visible, 10**5))


def test_a_mask_of_pixels_is_that_of_all_channels(tmp_path: Path) -> None:
    pixels, labels = images(60, 3, 4, 4)
    network, _ = trained(rff.TensorTask(pixels, labels, validation=12), tmp_path)
    visible = torch.rand(4, 4, generator=generator()) < 0.5
    assert torch.equal(network.complete(pixels[:2], visible), network.complete(pixels[:2], visible.expand(3, 4, 4)))


def test_of_equal_accuracies_the_later_circuit_is_kept() -> None:
    for circuit, best in ((None, 1), ("reconstruction", 3)):
        network = rff.build(small_settings(hidden_sizes=[9, 5], generative=circuit, epochs=3, optimizer=Torch("SGD", 1e-30)))
        trainer = Trainer(network, Splits(*(TensorDataset(*clusters(20)) for _ in range(2))))
        assert trainer.fit()
        assert trainer.progress.best_epoch == best


def test_random_layers_that_are_frozen_are_noted(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ["--set", "data.train_samples=40", "--set", "data.validation_samples=10", "--set", "data.test_samples=10"]
    flags += ["--set", "network.hidden_sizes=[4, 3]", "--set", "generative.name=reconstruction", "--epochs", "1"]
    assert cli.main(["train", "mnist", *flags, "--set", "generative.freeze_layers=true", "--output-dir", str(tmp_path)]) == 0
    captured = capfd.readouterr()
    assert "note: generative.freeze_layers = true without --weights: the layers are random" in captured.err
    assert "of the generative circuit; " in captured.out and "circuit     mean squared error" in captured.out
