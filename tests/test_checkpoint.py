"""Checkpoints: the task in them, components that a file can't hold, and files of formats 5 to 7.

The files in fixtures/format_6 were written by commit cc3bbaa. `adam.pt` and `convolution.pt` are runs on `clusters(60)`, with
`clusters(30, seed=5)` to validate, saved after two epochs. `*_expected.pt` is the badness of `clusters(10, seed=7)` after a
third. `digits.pt` is an untrained network for MNIST; `digits_expected.pt` is the badness of `raw_digits()`. Those in
fixtures/format_7 are the same from commit cf86531; `fruit.pt` has the task `fruit()` and was trained for an epoch. Those in
fixtures/format_5 are described in test_format_5.py.

Since then random numbers are drawn sample by sample, so that the third epoch has other ones. `*_expected.pt` of the runs is from
commit a803618, which still had a generator for each batch, with its draws replaced by those of `BatchDraws`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import RecurrentFF as rff
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.task import Task
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.transforms import Standardize, Transform
from RecurrentFF.errors import CheckpointError, DataError, InputError
from RecurrentFF.model.objectives import Pairwise, Sum, Threshold
from RecurrentFF.model.optimizers import Adam, RMSprop
from RecurrentFF.training import checkpoint
from RecurrentFF.training.build import build
from RecurrentFF.training.callbacks import default_callbacks
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.checkpoints import content_of, write_content
from tests.helpers import CLASSES, clusters, dense, hidden_layers, small_settings

FIXTURES = Path(__file__).parent / "fixtures"

RUNS = ["format_5/adam", "format_5/rmsprop", "format_6/adam", "format_6/convolution", "format_7/adam", "format_7/rmsprop"]
"""Runs that were saved after two epochs of three, without the ending of the file's name."""


def samples(run: str, count: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    inputs, labels = clusters(count, seed=seed)
    return (F.pad(inputs, (0, 2)) if "convolution" in run else inputs), labels


def raw_digits() -> Tensor:
    """Three images of random gray values in a rectangle, (3, 28, 28) uint8."""
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    images[:, 5:22, 8:18] = torch.randint(256, (3, 17, 10), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return images


# ---------------------------------------------------------------- former formats


@pytest.mark.parametrize("run", RUNS)
def test_a_run_of_a_former_format_is_resumed(run: str, tmp_path: Path) -> None:
    path, folder = FIXTURES / f"{run}.pt", RunFolder(tmp_path)
    (tmp_path / "last.pt").write_bytes(path.read_bytes())
    network = build(checkpoint.settings(checkpoint.read(path), path), epochs=3)
    splits = Splits(TensorDataset(*samples(run, 60)), TensorDataset(*samples(run, 30, seed=5)))
    trainer = Trainer(network, splits, default_callbacks(network.settings, folder))
    trainer.resume(folder.last_to_load)
    assert [metrics.epoch for metrics in trainer.history] == [1, 2] and 0 < (trainer.history[0].pairwise_accuracy or 0) <= 1
    assert trainer.fit()
    expected = torch.load(FIXTURES / f"{run}_expected.pt", weights_only=True)
    torch.testing.assert_close(trainer.evaluated.badness(samples(run, 10, seed=7)[0]), expected, rtol=1e-4, atol=1e-4)
    assert checkpoint.read(folder.last).format == checkpoint.FORMAT
    assert rff.load(folder.last, "cpu").settings == network.settings


@pytest.mark.parametrize("run", RUNS[:4])
def test_a_network_of_a_former_format_is_loaded(run: str) -> None:
    network = rff.load(FIXTURES / f"{run}.pt", "cpu")
    assert network.task is None and network.predict(samples(run, 4)[0]).shape == (4,)
    assert network.settings.training.batch_size == 20 and network.settings.data.validation_samples == 5000
    if run == "format_6/convolution":
        assert network.settings.objective == Sum((Threshold(), Pairwise()))
        assert network.settings.optimizer == RMSprop(learning_rate=1e-3, momentum=0.5)
    else:
        assert network.settings.objective == Pairwise() and network.settings.network.hard_example_fraction == 0.5


def test_a_network_of_format_7_has_its_task() -> None:
    images, _ = fruit()
    network = rff.load(FIXTURES / "format_7/fruit.pt", "cpu")
    assert network.task is not None and network.task.name == "fruit" and network.task.classes[0] == "apple"
    expected = torch.load(FIXTURES / "format_7/fruit_expected.pt", weights_only=True)
    torch.testing.assert_close(network.badness(images[:4]), expected, rtol=1e-4, atol=1e-4)


def test_components_replace_those_of_a_former_file() -> None:
    chosen: dict[str, Any] = {"objective": Pairwise(alpha=2.0), "optimizer": "rmsprop", "activation": "tanh"}
    network = rff.load(FIXTURES / "format_6/adam.pt", "cpu", **chosen)
    assert network.settings.objective == Pairwise(alpha=2.0) and network.settings.optimizer == RMSprop()
    assert network.settings.to_tree()["network"]["activation"] == {"name": "tanh"}


def test_a_former_network_of_a_data_set_predicts_from_raw_images() -> None:
    network = rff.load(FIXTURES / "format_6/digits.pt", "cpu")
    assert network.task is not None and network.task.name == "MNIST" and network.task.classes == tuple(range(10))
    expected = torch.load(FIXTURES / "format_6/digits_expected.pt", weights_only=True)
    for images in (raw_digits(), raw_digits() / 255, raw_digits().flatten(1), raw_digits().unsqueeze(1), raw_digits().numpy()):
        torch.testing.assert_close(network.badness(images), expected, rtol=1e-4, atol=1e-4)
    assert network.predict(raw_digits()).tolist() == expected.argmin(1).tolist()


# ---------------------------------------------------------------- the task in a checkpoint


def fruit() -> tuple[Tensor, list[str]]:
    """Images of 3 × 3 pixels with names as labels."""
    inputs, labels = clusters(60)
    images = ((F.pad(inputs, (0, 2)).clamp(-3, 3) + 3) / 6).view(-1, 3, 3)
    return (images * 255).to(torch.uint8), [("apple", "banana", "cherry", "date", "elderberry")[label] for label in labels]


def trained(**arguments: Any) -> tuple[rff.Network, Tensor]:
    images, names = fruit()
    task = TensorTask(images, names, validation=0.2, name="fruit")
    network = rff.build(small_settings(input_size=None, num_classes=None, epochs=2, **arguments), task=task)
    rff.fit(network, task, quiet=True)
    return network, images[:9]


def test_a_loaded_network_predicts_the_same_names_from_raw_samples(tmp_path: Path) -> None:
    network, images = trained(optimizer="adam")
    rff.save(network, tmp_path / "fruit.pt")
    loaded = rff.load(tmp_path / "fruit.pt", "cpu")
    assert loaded.task == network.task and type(loaded.task) is Task
    assert loaded.task is not None and loaded.task.name == "fruit" and loaded.task.classes[0] == "apple"
    assert isinstance(loaded.task.transform, Pixels) and loaded.task.transform.mean is not None
    assert torch.equal(loaded.badness(images), network.badness(images))
    predicted = loaded.predict(images)
    assert isinstance(predicted, list) and set(predicted) <= set(loaded.task.classes)
    assert predicted == network.predict(np.asarray(images)) == loaded.predict(images.float() / 255)
    assert torch.equal(loaded.badness(images.numpy()), network.badness_of(*network.prepare(images)))
    with pytest.raises(InputError, match=r"expects \(n, 3, 3\) or \(n, 9\)"):
        loaded.predict(images[:, 1:])
    with pytest.raises(DataError, match="from a checkpoint has no data; pass data=…"):
        loaded.task.splits()


def test_a_network_without_a_task_stays_without_one(tmp_path: Path) -> None:
    network = rff.build(small_settings())
    rff.save(network, tmp_path / "network.pt")
    assert rff.load(tmp_path / "network.pt").task is None


def test_a_loaded_network_is_trained_further_on_new_data(tmp_path: Path) -> None:
    network, images = trained()
    rff.save(network, tmp_path / "fruit.pt")
    loaded = rff.load(tmp_path / "fruit.pt", "cpu")
    before = loaded.badness(images)
    rff.fit(loaded, fruit(), quiet=True, epochs=1)
    assert not torch.equal(loaded.badness(images), before) and loaded.task == network.task


def test_the_best_checkpoint_in_a_run_folder_is_loaded(tmp_path: Path) -> None:
    images, names = fruit()
    task = TensorTask(images, names, validation=0.2, name="fruit")
    network = rff.build(small_settings(input_size=None, num_classes=None, epochs=2), task=task)
    rff.fit(network, task, output_dir=tmp_path, quiet=True)
    (folder,) = tmp_path.iterdir()
    for place in (folder, str(folder), folder / "best.safetensors"):
        loaded = rff.load(place, "cpu")
        assert loaded.predict(images) == network.predict(images) and loaded.task == network.task
    with pytest.raises(CheckpointError, match=r"best\.safetensors: no such checkpoint"):
        rff.load(tmp_path)


def test_a_network_of_a_data_set_that_is_gone_is_loaded(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (4, 4), 40 * number).save(tmp_path / "images" / name / f"{number}.png")
    data = {"name": "image_folder", "data_dir": str(tmp_path / "images")}
    network = rff.build(data=data, hidden_sizes=[4], device="cpu")
    rff.save(network, tmp_path / "pets.pt")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    loaded = rff.load(tmp_path / "pets.pt", "cpu")
    images = torch.zeros(2, 4, 4)
    assert loaded.task is not None and loaded.task.classes == ("cat", "dog") and loaded.predict(images) == network.predict(images)


@dataclass(frozen=True)
class Inverted(Transform):
    """A transform of one's own, which is not registered."""

    white: int = 255
    """The value of white."""

    def __call__(self, samples: Tensor) -> Tensor:
        return 1 - samples.float().flatten(1) / self.white


def test_a_transform_that_is_not_registered_must_be_passed_again(tmp_path: Path) -> None:
    images, names = fruit()
    task = TensorTask(images, names, transform=Inverted())
    network = rff.build(small_settings(input_size=None, num_classes=None), task=task)
    rff.save(network, tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match=r"own\.pt: .*Inverted.*: .*pass it again, as transform=…") as caught:
        rff.load(tmp_path / "own.pt")
    assert "\n" not in str(caught.value)
    loaded = rff.load(tmp_path / "own.pt", "cpu", transform=Inverted())
    assert torch.equal(loaded.badness(images), network.badness(images)) and loaded.task == network.task


def test_a_task_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    network, _ = trained()
    rff.save(network, tmp_path / "fruit.pt")
    whole = content_of(tmp_path / "fruit.pt")
    for damage in ({"transform": {"name": "pixelz"}}, {"input_shape": 3}, {"classes": None}, {"transform": None}, None, 3):
        task = whole["task"] | damage if isinstance(damage, dict) else damage
        write_content(tmp_path / "damaged.pt", whole | {"task": task})
        if damage is None:
            continue
        with pytest.raises(CheckpointError, match=r"damaged\.pt: ") as caught:
            rff.load(tmp_path / "damaged.pt")
        assert "\n" not in str(caught.value)


def test_weights_of_a_network_with_other_features_or_connections_are_refused(tmp_path: Path) -> None:
    """The shapes of the weights may be the same."""
    shape: dict[str, Any] = {"data": "mnist", "hidden_sizes": [4], "device": "cpu"}
    four = rff.build(**shape, transform={"name": "oriented_gradients", "directions": 4, "grid_size": 4})
    sixteen = rff.build(**shape, transform={"name": "oriented_gradients", "directions": 16, "grid_size": 2})
    assert four.input_size == sixteen.input_size == 64
    rff.save(four, tmp_path / "four.pt")
    with pytest.raises(
        CheckpointError,
        match=r"another architecture, 64-4-10 on oriented_gradients \(directions 4, grid_size 4, centered True\); this",
    ):
        rff.load(tmp_path / "four.pt", network=sixteen)
    skewed = rff.build(**shape, transform={"name": "oriented_gradients", "directions": 4, "grid_size": 4, "deskew": True})
    assert rff.load(tmp_path / "four.pt", network=skewed) is skewed  # a correction of the image, the same features
    raw = rff.build(**shape)
    rff.save(raw, tmp_path / "raw.pt")
    field = rff.build(**shape, connections=[{"name": "receptive_field", "side": 5}])
    assert rff.load(tmp_path / "raw.pt", network=field) is field
    weight = dense(hidden_layers(field)[0])
    assert weight.mask is not None and weight.weight[weight.mask == 0].eq(0).all() and weight.weight[:, :784].ne(0).any()
    planes = {"name": "convolution", "channels": 1, "kernel_size": 14, "stride": 14, "padding": 0}
    convolution = rff.build(**shape, connections=[planes])
    with pytest.raises(CheckpointError, match=r"784-4-10 on pixels; this network is 784-4-10 with connections of kind convo"):
        rff.load(tmp_path / "raw.pt", network=convolution)


def test_components_may_replace_those_that_the_file_names(tmp_path: Path) -> None:
    network = rff.build(small_settings(objective="pairwise"))
    rff.save(network, tmp_path / "network.pt")
    loaded = rff.load(tmp_path / "network.pt", "cpu", objective=Threshold(), optimizer=Adam(), activation="relu")
    assert (loaded.settings.objective, loaded.settings.optimizer) == (Threshold(), Adam())
    with pytest.raises(CheckpointError, match=r"there is no component 'objektive'; did you mean 'objective'"):
        rff.load(tmp_path / "network.pt", objektive=Threshold())
    with pytest.raises(CheckpointError, match=r"network\.pt: objective = Adam\(.*\): expected a name"):
        rff.load(tmp_path / "network.pt", objective=Adam())


def test_standardized_features_have_their_statistics_in_the_file(tmp_path: Path) -> None:
    inputs, labels = clusters(80)
    task = TensorTask(100 + 5 * inputs, labels, classes=CLASSES, transform=Standardize())
    network = rff.build(small_settings(input_size=None, num_classes=None), task=task)
    rff.save(network, tmp_path / "table.pt")
    loaded = rff.load(tmp_path / "table.pt", "cpu")
    assert loaded.settings == network.settings and loaded.task == network.task
    assert torch.equal(loaded.badness(100 + 5 * inputs), network.badness(100 + 5 * inputs))


def test_an_existing_network_takes_the_task_of_the_file(tmp_path: Path) -> None:
    network, images = trained()
    rff.save(network, tmp_path / "fruit.pt")
    for other in (rff.Network(network.settings), trained(seed=3)[0]):
        if other.task is not None:
            other.task = replace(other.task, transform=Pixels(mean=0.0, std=1.0), classes=network.task.classes[::-1])  # type: ignore[union-attr]
        loaded = rff.load(tmp_path / "fruit.pt", network=other)
        assert loaded is other and loaded.task == network.task and loaded.predict(images) == network.predict(images)
