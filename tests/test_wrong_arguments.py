"""Arguments of a wrong kind, exchanged, or out of range: each is refused in one line that says what to give, or works."""

from __future__ import annotations

import copy
import datetime
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

import RecurrentFF as rff
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.task import require_task
from RecurrentFF.errors import InputError, OutputError, RecurrentFFError, SettingsError
from RecurrentFF.model.integrity import require_network
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.paths import expanded
from tests.helpers import clusters, small_settings

INPUTS, LABELS = clusters(60)
IMAGES, NUMBERS = torch.arange(20 * 36).view(20, 6, 6).remainder(256).byte(), [0, 1] * 10


def new_network(**arguments: Any) -> Network:
    return rff.build(small_settings(epochs=1, **arguments))


def new_task(**arguments: Any) -> rff.TensorTask:
    return rff.TensorTask(IMAGES, NUMBERS, **arguments)


def refusal(call: Callable[[], Any], kind: type[RecurrentFFError] = InputError) -> str:
    with pytest.raises(kind) as caught:
        call()
    words = str(caught.value)
    assert "\n" not in words and len(words) < 400
    return words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images of two classes, one of them in a folder below that of its class."""
    for name in ("a/0", "a/1", "b/0", "b/below/1"):
        file = tmp_path / f"images/{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[0].numpy()).save(file)
    return tmp_path / "images"


# ---------------------------------------------------------------- networks and tasks

NO_NETWORK: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "fit": (rff.fit, "fit(network, data): the network is of type"),
    "evaluate": (rff.evaluate, "evaluate(network, data): the network is of type"),
    "record": (lambda wrong, data: rff.record(wrong, *data), "record(network, samples, labels): the network is of type"),
}


@pytest.mark.parametrize("wrong", ["network.safetensors", (INPUTS, LABELS), None, nn.Linear(2, 2)], ids=lambda wrong: type(wrong))
@pytest.mark.parametrize("function", NO_NETWORK)
def test_what_is_no_network_is_named_with_the_order_of_the_arguments(function: str, wrong: Any) -> None:
    call, message = NO_NETWORK[function]
    words = refusal(lambda: call(wrong, (INPUTS, LABELS)))
    assert message in words and type(wrong).__name__ in words and words.endswith("mind the order of the arguments")


def test_a_task_a_class_and_a_classifier_are_no_network() -> None:
    assert "of type TensorTask" in refusal(lambda: rff.fit(new_task(), new_network()))  # type: ignore[arg-type]
    assert "the class Network" in refusal(lambda: rff.evaluate(Network, (INPUTS, LABELS)))  # type: ignore[arg-type]
    classifier = rff.RecurrentFFClassifier((5,), epochs=1).fit(INPUTS.numpy(), LABELS.numpy())
    assert "give classifier.network_" in refusal(lambda: require_network(classifier, "save(network, path)"))
    assert require_network(classifier.network_, "save(network, path)") is classifier.network_


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("mnist", "data='mnist'"), ("mnits", "of type str"), (5, "of type int"), (rff.TensorTask, "the class TensorTask")],
)
def test_what_is_no_task_is_refused(wrong: Any, message: str) -> None:
    assert message in refusal(lambda: require_task(wrong))


def test_a_task_is_returned() -> None:
    task = new_task()
    assert require_task(task) is task


def test_labels_as_a_third_argument_and_samples_without_labels() -> None:
    network = new_network()
    assert "fit(network, (samples, labels))" in refusal(lambda: rff.fit(network, INPUTS, LABELS))
    assert "evaluate(network, (samples, labels))" in refusal(lambda: rff.evaluate(network, INPUTS, LABELS))
    for samples in (INPUTS, INPUTS.numpy(), pd.DataFrame(INPUTS.numpy())):
        for function in (rff.fit, rff.evaluate):
            call: Any = function
            words = refusal(partial(call, network, samples))
            assert words == f"data of type {type(samples).__name__} have no labels; give the pair (samples, labels)"
    assert "neither (inputs, labels) nor a loader" in refusal(lambda: rff.fit(network, "data"))
    for predict in (network.badness, network.predict):
        words = refusal(partial(predict, INPUTS, LABELS))
        assert words.endswith("for labels use rff.evaluate(network, (samples, labels))")


# ---------------------------------------------------------------- networks that a program has changed


def _no_settings(network: Any) -> None:
    network.settings = None


def _bias(network: Any) -> None:
    network.layers["h1"].bias = nn.Parameter(torch.zeros(3))


def _activation(network: Any) -> None:
    network.layers["h2"].activation = nn.Tanh()


def _no_readout(network: Any) -> None:
    network.readout = None


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "activation": (_activation, "network.layers['h2'].activation is of type Tanh: expected"),
    "other module": (lambda network: network.layers.update({"h1": nn.Linear(3, 3)}), "network.layers['h1'] is another module"),
    "layer of another network": (lambda network: network.layers.update(new_network().layers), "network.layers['h1'] is another"),
    "further layer": (lambda network: network.layers.update({"h9": nn.Linear(3, 3)}), "network.layers['h9'] is another module"),
    "no layer": (lambda network: network.layers.pop("h2"), "network.layers['h2'] is missing"),
    "no last layer": (lambda network: network.layers.pop("h3"), "network.layers['h3'] is missing"),
    "bias": (_bias, "network.layers.h1.bias: (3,), but (9,) when the network was made"),
    "readout": (_no_readout, "network.readout.weight: absent, but"),
    "settings": (_no_settings, "network.settings is of type NoneType: expected Settings"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_network_whose_parts_were_exchanged_is_refused(case: str) -> None:
    change, message = CHANGES[case]
    network = new_network()
    change(network)
    assert message in refusal(lambda: rff.evaluate(network, (INPUTS, LABELS)))
    assert message in refusal(lambda: rff.fit(network, (INPUTS, LABELS), quiet=True))


def test_a_copied_a_converted_and_a_loaded_network_are_intact(tmp_path: Path) -> None:
    network = new_network()
    rff.save(network, tmp_path / "network.safetensors")
    copies = [copy.deepcopy(network), pickle.loads(pickle.dumps(network)), rff.load(tmp_path / "network.safetensors", "cpu")]
    for each in (*copies, new_network().to(torch.float64)):
        assert rff.evaluate(each, (INPUTS.to(each.dtype), LABELS)).samples == 60
        assert len(rff.fit(each, (INPUTS.to(each.dtype), LABELS), quiet=True)) == 1


# ---------------------------------------------------------------- tasks


def test_a_transform_is_given_by_its_name_too(folder: Path) -> None:
    assert new_task(transform="pixels").transform == new_task(transform=Pixels()).transform
    assert new_task(transform={"name": "pixels", "mean": 0.0, "std": 1.0}).transform == Pixels(mean=0.0, std=1.0)
    assert isinstance(rff.ImageFolderTask(folder, transform="pixels").transform, Pixels)
    loader = rff.LoaderTask([(IMAGES, NUMBERS)], input_shape=(6, 6), classes=2, transform="pixels")
    assert loader.transform == new_task(transform="pixels", validation=None).transform
    for wrong, message in (("pixls", "did you mean 'pixels'?"), (5, "expected a name"), (Pixels, "expected a name")):
        assert message in refusal(lambda wrong=wrong: new_task(transform=wrong), SettingsError)  # type: ignore[misc]
        assert message in refusal(lambda wrong=wrong: rff.ImageFolderTask(folder, transform=wrong), SettingsError)  # type: ignore[misc]


def test_the_size_of_images(folder: Path) -> None:
    sizes: list[Any] = [4, (4, 4), [4, 4], np.int64(4), np.array([4, 4]), torch.tensor([4, 4])]
    assert {rff.ImageFolderTask(folder, size=size).input_shape for size in sizes} == {(4, 4)}
    assert rff.ImageFolderTask(folder).input_shape == (6, 6)
    for size in ("x", "4x4", (0, 0), -4, (4,), (4, 4, 1), (2.5, 3), True, 2**70, {4: 4}):
        words = refusal(lambda size=size: rff.ImageFolderTask(folder, size=size))  # type: ignore[misc]
        assert words.startswith("size = ") and "expected (height, width)" in words


def test_images_in_a_folder_below_that_of_their_class_belong_to_it(folder: Path) -> None:
    splits = rff.ImageFolderTask(folder, validation=None).splits()
    assert len(splits.train) == 4


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "validation of NaN": ({"validation": float("nan")}, "validation = nan: expected a fraction"),
    "test of NaN": ({"test": np.float32("nan")}, "test = nan: expected a fraction"),
    "infinite validation": ({"validation": float("inf")}, "validation = inf: expected a fraction"),
    "validation as a switch": ({"validation": True}, "validation = True: expected a fraction"),
    "test as a switch": ({"test": False}, "test = False: expected a fraction"),
    "validation as a text": ({"validation": "x"}, "validation: a str is neither"),
    "validation as a dictionary": ({"validation": {"x": IMAGES, "y": NUMBERS}}, "validation: a dict is neither"),
    "test without labels": ({"test": IMAGES}, "test: data of type Tensor have no labels"),
    "validation without labels": ({"validation": IMAGES.numpy()}, "validation: data of type ndarray have no labels"),
    "seed": ({"seed": "x"}, "seed = 'x': expected a whole number"),
    "large seed": ({"seed": 2**70}, "expected a whole number of 64 bits"),
    "training samples": ({"train_samples": 2.5}, "train_samples = 2.5: expected a whole number"),
    "negative test samples": ({"test_samples": -1}, "test_samples = -1: expected a whole number of at least 0"),
    "name": ({"name": 5}, "name = 5: expected text"),
    "shape": ({"input_shape": "x"}, "input_shape = 'x': expected the lengths"),
    "negative shape": ({"input_shape": (-1, 6)}, "input_shape = [-1, 6]: expected the lengths"),
    "fraction of classes": ({"classes": 2.0}, "classes = 2.0: expected a number of classes"),
    "classes in a text": ({"classes": "ab"}, "classes = 'ab': expected a number of classes"),
    "many classes": ({"classes": 10**12}, "expected at most 1,000,000"),
    "augmentation": ({"augmentation": "shift"}, "augmentation = 'shift': expected an Augmentation"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_of_a_task_is_refused_when_the_task_is_made(case: str) -> None:
    arguments, message = WRONG[case]
    assert message in refusal(lambda: new_task(**arguments))


def test_numbers_and_shapes_of_other_libraries_are_taken() -> None:
    shape = np.array([6, 6])
    task = new_task(
        seed=np.int64(3), input_shape=shape, classes=torch.tensor(2), train_samples=torch.tensor(5), test=np.float32(0.2)
    )
    assert task.input_shape == (6, 6) and task.classes == (0, 1)
    assert rff.TensorTask(IMAGES.flatten(1), NUMBERS, input_shape=36).input_shape == (36,)  # type: ignore[arg-type]


def test_class_names_beyond_64_bits_are_refused() -> None:
    for name in (2**63, -(2**63) - 1, 1e300):
        words = refusal(lambda name=name: rff.TensorTask(IMAGES, [name, 1] * 10))  # type: ignore[misc]
        assert words.startswith("label ") and "a whole number of 64 bits" in words
    task = rff.TensorTask(IMAGES, [2**63 - 1, -(2**63)] * 10)
    network = rff.build(small_settings(input_size=None, num_classes=None), task=task)
    assert set(network.predict(IMAGES).tolist()) <= {2**63 - 1, -(2**63)}


# ---------------------------------------------------------------- loaders


class Promise:
    """A loader of a length that its batches, which never end, do not have."""

    def __init__(self, length: Any) -> None:
        self.length = length

    def __len__(self) -> Any:
        return self.length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield INPUTS, LABELS


class ManySamples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A data set that says that it has very many samples."""

    def __len__(self) -> int:
        return 10**15

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return INPUTS[0], LABELS[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Promise(10**15), "of the length 1,000,000,000,000,000: expected at most"),
        (Promise(10**30), "neither (inputs, labels) nor a loader"),
        (Promise(-1), "neither (inputs, labels) nor a loader"),
        (Promise("x"), "neither (inputs, labels) nor a loader"),
        (Promise(3), "the loader promises 3 batches, but gives more"),
        (ManySamples(), "expected at most 1,000,000,000"),
        (DataLoader(ManySamples(), 5), "expected at most 1,000,000,000"),
        (DataLoader(ManySamples(), 10**9), "expected at most 1,000,000,000"),
    ],
    ids=["large", "larger", "negative", "text", "endless", "data set", "DataLoader", "large batches"],
)
def test_a_loader_of_a_wrong_length_is_refused(data: Any, message: str) -> None:
    assert message in refusal(lambda: rff.fit(new_network(), data, quiet=True))


def test_an_evaluation_and_a_validation_of_endless_batches_end() -> None:
    network, message = new_network(), "the loader promises 2 batches, but gives more"
    assert message in refusal(lambda: rff.evaluate(network, Promise(2)))
    assert message in refusal(lambda: rff.fit(network, (INPUTS, LABELS), validation=Promise(2), quiet=True))
    large = DataLoader(ManySamples(), 10**9)
    assert "expected at most" in refusal(lambda: rff.fit(network, (INPUTS, LABELS), validation=large, quiet=True))


def test_one_hot_labels_with_the_classes_first_are_refused() -> None:
    network = new_network(label_timesteps=5)
    one_hot = nn.functional.one_hot(LABELS, 5).T
    words = refusal(lambda: Learner(network).train_batch(INPUTS, one_hot))
    assert "one-hot?" in words and "labels.argmax(0), or labels.unsqueeze(2) if they change over time" in words
    Learner(network).train_batch(INPUTS, one_hot.unsqueeze(2))
    Learner(network).train_batch(INPUTS, LABELS.expand(5, 60))
    assert "labels.argmax(0)" in refusal(lambda: rff.evaluate(network, (INPUTS, one_hot)))


def test_a_tensor_that_stands_for_its_negative_is_read() -> None:
    numbers = torch.randn(3, 7, dtype=torch.complex64).conj()
    assert numbers.imag.is_neg()
    assert torch.equal(new_network().badness(numbers.imag), new_network().badness(numbers.imag.resolve_neg()))
    task = rff.TensorTask(IMAGES, NUMBERS)
    network = rff.build(small_settings(input_size=None, num_classes=None), task=task)
    images = torch.complex(IMAGES / 255, -(IMAGES / 255)).conj().imag
    assert torch.equal(network.badness(images), network.badness(images.resolve_neg()))


# ---------------------------------------------------------------- settings and paths


def test_numbers_devices_and_types_of_torch_are_settings() -> None:
    settings = small_settings(
        epochs=torch.tensor(2), hidden_sizes=[torch.tensor(4)], device=torch.device("cpu"), precision=torch.float32
    )
    assert settings.training.epochs == 2 and settings.network.hidden_sizes == (4,) and settings.device.device == "cpu"
    assert small_settings(device={"device": torch.device("cuda", 1)}).device.device == "cuda:1"
    for arguments in ({"epochs": torch.tensor([2])}, {"epochs": torch.tensor(2, device="meta")}, {"epochs": torch.tensor(2.5)}):
        assert "expected a whole number" in refusal(lambda arguments=arguments: small_settings(**arguments), SettingsError)  # type: ignore[misc]
    for device in (None, 0, b"cpu", ["cpu"]):
        words = refusal(lambda device=device: small_settings(device=device), SettingsError)  # type: ignore[misc]
        assert words.startswith("arguments: device.device = ") and "expected text" in words
    assert "expected" in refusal(lambda: small_settings(device=torch.device("meta")), SettingsError)


def test_the_length_of_a_list_is_said() -> None:
    assert "of at most 1,000 entries instead of 3,000" in refusal(lambda: small_settings(hidden_sizes=[1] * 3000), SettingsError)
    assert "of at least 1 entry instead of 0" in refusal(lambda: small_settings(hidden_sizes=()), SettingsError)


@pytest.mark.parametrize("path", [None, 5, True, b"folder", ["folder"], Path], ids=str)
def test_what_is_no_path_is_refused(path: Any) -> None:
    network = new_network()
    assert "a path of type" in refusal(lambda: expanded(path, OutputError), OutputError)
    assert "a path of type" in refusal(lambda: rff.ImageFolderTask(path), RecurrentFFError)
    assert "a path of type" in refusal(lambda: rff.load(path), RecurrentFFError)
    assert "a path of type" in refusal(lambda: rff.save(network, path), RecurrentFFError)
    if path is not None:
        assert "a path of type" in refusal(lambda: rff.evaluate(network, (INPUTS, LABELS), predictions=path), OutputError)
        assert "a path of type" in refusal(
            lambda: rff.fit(network, (INPUTS, LABELS), output_dir=path, quiet=True), RecurrentFFError
        )


def test_the_number_to_divide_by_is_that_of_the_pixels() -> None:
    assert "divide by 16" in refusal(lambda: rff.TensorTask(IMAGES.remainder(17).float(), NUMBERS))
    assert "divide by 255, or give uint8" in refusal(lambda: rff.TensorTask(IMAGES.float(), NUMBERS))
    assert "divide by 4095" in refusal(
        lambda: rff.TensorTask((IMAGES.float() * 16).clip(0, 4095).index_fill(0, torch.tensor(0), 4095.0), NUMBERS)
    )


# ---------------------------------------------------------------- the classifier


def test_wrong_arguments_of_the_classifier_are_named() -> None:
    X, y = INPUTS.numpy(), LABELS.numpy()

    def words(**arguments: Any) -> str:
        return refusal(lambda: rff.RecurrentFFClassifier((5,), epochs=1, **arguments).fit(X, y), RecurrentFFError)

    for seed in (2**70, -1, "x"):
        assert words(random_state=seed).startswith("random_state = ")
    assert words(validation_fraction="x").startswith("validation_fraction = 'x': expected a number")
    assert words(validation_fraction=float("nan")).startswith("validation_fraction = nan")
    assert words(settings=5).startswith("settings = 5: expected a dictionary")
    assert words(settings={1: 2}).startswith("settings = {1: 2}: expected a dictionary")


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_dates_and_large_numbers_are_labels_of_the_classifier(unit: str) -> None:
    X, dates = INPUTS.numpy(), np.array([datetime.date(2020, 1, day) for day in range(1, 6)], dtype=f"datetime64[{unit}]")
    large = np.arange(2**63, 2**63 + 5, dtype=np.uint64)
    for names in (dates, large, dates - dates[0]):
        y = names[LABELS.numpy()]
        predicted = rff.RecurrentFFClassifier((5,), epochs=1).fit(X, y).predict(X)
        assert predicted.dtype == y.dtype and set(predicted) <= set(y)
