"""Runs of networks with a generative circuit, which are interrupted, resumed, saved, loaded, averaged, and begun from weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.errors import CheckpointError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.training import container
from RecurrentFF.training.callbacks import default_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.checkpoints import content_of, weights_in
from tests.circuit_oracle import circuit_of, latent_of
from tests.helpers import CLASSES, class_numbers, clusters, generator, small_settings
from tests.test_circuit_beside import layers_of, require_same
from tests.test_survival import make_trainer, without_times

CIRCUIT: dict[str, Any] = {"name": "reconstruction", "latent_size": 3}
NAMES = ("ant", "bee", "cat", "dog", "eel")


def interrupt(trainer: Trainer, after: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Train, and raise an error after some batches. Returns whether the training was over before."""
    train_batch, count = Learner.train_batch, iter(range(10**6))

    def interrupted(self: Learner, *arguments: Any) -> Any:
        if next(count) == after:
            raise SystemError
        return train_batch(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "train_batch", interrupted)
        try:
            return trainer.fit()
        except SystemError:
            return False


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_that_is_interrupted_again_and_again_has_the_same_result(
    frozen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"generative": CIRCUIT | {"freeze_layers": frozen}, "epochs": 4}
    whole = make_trainer(tmp_path / "whole", **options)
    assert whole.fit()
    for after in (3, 12, 15):
        trainer = make_trainer(tmp_path / "broken", **options)
        if (tmp_path / "broken" / "last.safetensors").exists():
            trainer.resume(tmp_path / "broken" / "last.safetensors")
        assert not interrupt(trainer, after, monkeypatch)
    resumed = make_trainer(tmp_path / "broken", **options)
    resumed.resume(tmp_path / "broken" / "last.safetensors")
    assert resumed.fit()
    expected, last = (content_of(tmp_path / name / "last.safetensors") for name in ("whole", "broken"))
    assert container.checksum(expected["network"]) == container.checksum(last["network"])
    for key in ("learner", "average", "best", "totals"):
        assert container.checksum(expected["training"][key]) == container.checksum(last["training"][key]), key
    assert without_times(tmp_path / "whole/metrics.jsonl") == without_times(tmp_path / "broken/metrics.jsonl")
    best = [container.checksum(weights_in(tmp_path / name)) for name in ("whole", "broken")]
    assert best[0] == best[1]
    generated = [trainer.network.generate(range(CLASSES), n=2, seed=1) for trainer in (whole, resumed)]
    assert torch.equal(*generated) and float(latent_of(resumed.network).class_weight.min()) > 1
    if frozen:
        require_same(layers_of(resumed.network), layers_of(rff.build(resumed.network.settings)))


def test_the_average_of_the_weights_has_the_statistics_of_the_classes(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", generative=CIRCUIT, epochs=2, weight_averaging=0.9)
    assert trainer.fit()
    average = trainer.evaluated
    assert average is not trainer.network
    for name, buffer in latent_of(trainer.network).named_buffers():
        assert torch.equal(buffer, latent_of(average).get_buffer(name))
        assert bool(buffer.any()) == (name != "saw_sequences")
    assert not torch.equal(latent_of(average).weight, latent_of(trainer.network).weight)
    inputs, _ = clusters(4)
    assert average.generate([1, 2]).isfinite().all() and average.reconstruct(inputs).isfinite().all()
    loaded = rff.load(tmp_path / "run" / "best.safetensors")
    assert loaded.generate([0, 4], n=2).shape == (4, 7)


# ---------------------------------------------------------------- saving and loading


def drawings(samples: int = 40) -> TensorTask:
    """Images of classes with names."""
    images, labels = torch.rand(samples, 4, 3, generator=generator()), [NAMES[i % CLASSES] for i in range(samples)]
    return TensorTask(images, labels, validation=None, transform=Pixels())


def trained(task: TensorTask, **arguments: Any) -> Network:
    """A network after an epoch."""
    options: dict[str, Any] = {"input_size": None, "num_classes": None, "epochs": 1, "batch_size": 10, "generative": CIRCUIT}
    settings = small_settings(**(options | arguments))
    network = rff.build(settings, task=task)
    assert Trainer(network, task, default_callbacks(settings), console=Console(quiet=True)).fit()
    return network


def imagined(network: Network) -> list[Tensor]:
    """Something of everything that a network can imagine."""
    images = torch.rand(3, 4, 3, generator=generator(1))
    mask = torch.rand(4, 3, generator=generator(2)) < 0.5
    return [
        network.reconstruct(images),
        network.reconstruct(images, "cat", "latent"),
        network.complete(images, mask, 2, label=["ant", "bee", "eel"]),
        network.generate(["bee", "dog"], n=2, seed=3),
    ]


OPTIONS: list[dict[str, Any]] = [{}, {"noise": 0.0}, {"freeze_layers": True, "optimizer": {"name": "rmsprop"}}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_loaded_network_imagines_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    network = trained(drawings(), generative=CIRCUIT | options)
    rff.save(network, tmp_path / "network.safetensors")
    loaded = rff.load(tmp_path / "network.safetensors", "cpu")
    assert loaded.settings.generative == network.settings.generative
    for found, expected in zip(imagined(loaded), imagined(network), strict=True):
        assert torch.equal(found, expected)
    require_same(loaded.state_dict(), network.state_dict())
    assert loaded.generate("ant").shape == (1, 4, 3)


def test_a_circuit_that_learned_with_bfloat16_imagines_after_it_was_loaded(tmp_path: Path) -> None:
    network = trained(drawings(), precision="bfloat16", generative=CIRCUIT)
    assert network.compute_dtype == torch.bfloat16
    found = imagined(network)
    assert all(each.dtype == torch.float32 and each.isfinite().all() for each in found)
    rff.save(network, tmp_path / "network.safetensors")
    for each, expected in zip(imagined(rff.load(tmp_path / "network.safetensors", "cpu")), found, strict=True):
        torch.testing.assert_close(each, expected, rtol=0.05, atol=0.05)


def test_weights_with_another_circuit_are_refused(tmp_path: Path) -> None:
    network = trained(drawings())
    rff.save(network, tmp_path / "network.safetensors")
    with pytest.raises(CheckpointError, match="weights of another architecture"):
        rff.build(drawings_settings(tmp_path / "network.safetensors", CIRCUIT | {"latent_size": 4}), task=drawings())


def drawings_settings(weights: Path, circuit: dict[str, Any], **arguments: Any) -> rff.Settings:
    """The settings of `trained`, which start from weights."""
    options: dict[str, Any] = {"input_size": None, "num_classes": None, "epochs": 1, "batch_size": 10}
    return small_settings(**(options | arguments | {"weights": str(weights), "generative": circuit}))


def test_a_circuit_learns_beside_the_frozen_layers_of_a_trained_network(tmp_path: Path) -> None:
    task = drawings()
    plain = trained(task, generative=None, negatives={"name": "readout"})
    rff.save(plain, tmp_path / "plain.safetensors")
    frozen = CIRCUIT | {"freeze_layers": True}
    settings = drawings_settings(tmp_path / "plain.safetensors", frozen, negatives={"name": "readout"})
    network = rff.build(settings, task=task)
    require_same(layers_of(network), layers_of(plain))
    assert Trainer(network, task, default_callbacks(settings), console=Console(quiet=True)).fit()
    require_same(layers_of(network), layers_of(plain))
    images = torch.rand(5, 4, 3, generator=generator(3))
    assert torch.equal(network.badness(images), plain.badness(images))
    assert network.generate("cat", n=2).shape == (2, 4, 3)


def test_the_same_seed_gives_the_same_circuit_on_both_paths() -> None:
    found = []
    for fused in (True, False):
        network = Network(small_settings(generative=CIRCUIT), dtype=torch.float64, fused=fused)
        learner = Learner(network)
        for batch in range(3):
            inputs, _ = clusters(6, seed=batch)
            learner.train_batch(inputs.double(), class_numbers(6, seed=batch))
        found.append(torch.cat([module.weight_vector() for module in circuit_of(network)]))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_a_folder_of_a_run_holds_the_circuit(tmp_path: Path) -> None:
    settings = small_settings(generative=CIRCUIT, epochs=1)
    trainer = make_trainer(tmp_path / "run", generative=CIRCUIT, epochs=1)
    assert trainer.fit() and RunFolder(tmp_path / "run").last.exists()
    names = content_of(RunFolder(tmp_path / "run").last)["network"].keys()
    expected = set(rff.build(settings).state_dict())
    assert set(names) == expected and "layers.predict_h3.class_products" in expected
