"""Tests of tasks: raw samples and labels of all kinds, splits, what is saved of a task, and image folders."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset as TorchDataset

from RecurrentFF.data import mnist
from RecurrentFF.data.augment import Augmentation, AugmentedImages
from RecurrentFF.data.dataset import Batch, Dataset, SequenceDataset, TensorDataset
from RecurrentFF.data.image_folder import ImageFolder, ImageFolderTask
from RecurrentFF.data.image_transforms import Frames, OrientedGradients, Pixels
from RecurrentFF.data.loader_task import LoaderTask
from RecurrentFF.data.panels import Images
from RecurrentFF.data.pen_strokes import PenStrokes
from RecurrentFF.data.relabeled import RelabeledDataset
from RecurrentFF.data.source import DataSource, Own
from RecurrentFF.data.task import Task
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.transforms import Identity, Standardize, Transform
from RecurrentFF.errors import DataError, InputError, SettingsError
from RecurrentFF.registry import make, names

DIGITS = mnist.Mnist().task()
IMAGES = torch.randint(0, 256, (6, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
COLORS = Task("colors", (2,), ("red", "green", "blue"), Identity())


def only(dataset: Dataset | None) -> Batch:
    assert dataset is not None
    (batch,) = dataset.batches(1000)
    return batch


RAW: dict[str, Any] = {
    "tensor": IMAGES,
    "flat": IMAGES.flatten(1),
    "channel": IMAGES.unsqueeze(1),
    "channel last": IMAGES.unsqueeze(3),
    "integers": IMAGES.long(),
    "numpy": IMAGES.numpy(),
    "read-only": np.frombuffer(IMAGES.numpy().tobytes(), dtype=np.uint8).reshape(6, 28, 28),
    "negative strides": IMAGES.flip(0).numpy()[::-1],
    "objects": IMAGES.numpy().astype(object),
    "uint16": IMAGES.numpy().astype(np.uint16),
    "nested lists": IMAGES.tolist(),
    "list of tensors": list(IMAGES),
    "list of arrays": list(IMAGES.numpy()),
    "scaled": IMAGES / 255,
    "float64": IMAGES.numpy() / 255,
    "float16": (IMAGES / 255).half(),
}


@pytest.mark.parametrize("kind", RAW)
def test_raw_samples_of_all_kinds_become_the_same_inputs(kind: str) -> None:
    inputs = DIGITS.inputs(RAW[kind])
    assert inputs.dtype == torch.float32 and inputs.shape == (6, 784) == (6, DIGITS.input_size)
    expected = (IMAGES.flatten(1) / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(inputs, expected, rtol=1e-5, atol=2e-3 if kind == "float16" else 1e-5)


def test_pandas_frames_are_samples_and_labels() -> None:
    pandas = pytest.importorskip("pandas")
    assert torch.equal(DIGITS.inputs(pandas.DataFrame(IMAGES.flatten(1).numpy())), DIGITS.inputs(IMAGES))
    assert COLORS.class_numbers(pandas.Series(["blue", "red"])).tolist() == [2, 0]
    assert COLORS.class_numbers(pandas.DataFrame({"color": ["blue", "red"]})).tolist() == [2, 0]
    assert COLORS.class_numbers(pandas.Series(["blue", "red"], dtype="category")).tolist() == [2, 0]
    frame = pandas.DataFrame({"width": [1.0, 2.0, 3.0], "height": [2, 5, 6]})
    task = TensorTask(frame, pandas.Series(["a", "b", "a"]), validation=None)
    assert task.classes == ("a", "b") and only(task.splits().train).inputs.mean(0).abs().max() < 1e-6
    with pytest.raises(InputError, match="expected numbers"):
        TensorTask(pandas.DataFrame({"width": ["wide", "narrow"]}), ["a", "b"])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(28, 28), r"samples of shape \(28, 28\): .*\(n, 28, 28\) or \(n, 784\); add an axis .*samples\[None\]"),
        (torch.zeros(3, 27, 28), r"samples of shape \(3, 27, 28\): the task 'MNIST' expects \(n, 28, 28\)"),
        (torch.zeros(3, 3, 28, 28), r"\(3, 3, 28, 28\)"),
        (torch.zeros(784), r"\(784,\)"),
        (torch.zeros(0, 28, 28), "no samples"),
        ([[1, 2], [3]], "samples of type list"),
        (["digit"], "samples of type list: expected numbers"),
        ([torch.zeros(28, 28), torch.zeros(28, 27)], "unequal shapes"),
        (torch.full((2, 28, 28), 255.0), "divide by 255"),
        (None, "samples of type NoneType"),
    ],
)
def test_other_samples_are_errors_of_one_line(samples: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        DIGITS.inputs(samples)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (["red", "blue"], [0, 2]),
        (("green",), [1]),
        (np.array(["red", "blue"]), [0, 2]),
        (np.array([["red"], ["blue"]], dtype=object), [0, 2]),
        (torch.tensor([2, 0]), [2, 0]),
        ([2.0, 1], [2, 1]),
        ([torch.tensor(2), torch.tensor(1)], [2, 1]),
        ([], []),
    ],
)
def test_labels_of_all_kinds_become_class_numbers(labels: Any, numbers: list[int]) -> None:
    found = COLORS.class_numbers(labels)
    assert found.tolist() == numbers and found.dtype == torch.long


def test_classes_may_be_any_integers() -> None:
    task = replace(COLORS, classes=(7, -1, 3))
    for labels in ([3, 7], np.array([[3.0], [7.0]]), torch.tensor([3, 7], dtype=torch.uint8)):
        assert task.class_numbers(labels).tolist() == [2, 0]
    found = task.names(torch.tensor([2, 0]))
    assert isinstance(found, Tensor) and found.tolist() == [3, 7] and not task.labels_are_text
    assert COLORS.names(torch.tensor([2, 0])) == ["blue", "red"] and COLORS.labels_are_text
    assert replace(task, classes=(False, True)).class_numbers([True, False]).tolist() == [1, 0]
    with pytest.raises(InputError, match=r"label 0 of sample 1: unknown class; expected 7, -1, 3$"):
        task.class_numbers([7, 0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["red", "crimson"], r"label 'crimson' of sample 1: unknown class; expected 'red', 'green', 'blue'$"),
        ([0, 3], "label 3 of sample 1: unknown class"),
        (["red", 1], "label 1 of sample 1: unknown class"),
        (torch.eye(3), r"one-hot\? .*argmax"),
        ([[0, 1, 0], [1, 0, 0]], "one-hot"),
        ([0.5], "label 0.5 of sample 0: expected a text or a whole number"),
        ([float("nan")], "label nan of sample 0"),
        ([None], "label None of sample 0"),
        (torch.zeros(1, 1, 1), r"labels of shape \(1, 1, 1\)"),
        (torch.tensor(1), r"labels of shape \(\)"),
        (7, "labels of type int"),
    ],
)
def test_other_labels_are_errors_of_one_line(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        COLORS.class_numbers(labels)
    assert "\n" not in str(caught.value)


def test_a_task_is_saved_as_plain_values_and_made_again() -> None:
    transforms = [OrientedGradients(deskew=True), PenStrokes(), Frames()]
    tasks = [mnist.Mnist().task(transform) for transform in (None, *transforms)]
    tables = TensorTask(np.random.default_rng(0).random((9, 3)), list("abcabcabc"))
    for task in (*tasks, tables, COLORS):
        tree = json.loads(json.dumps(task.to_tree()))
        loaded = Task.from_tree(tree)
        assert type(loaded) is Task and loaded == task.without_data() and loaded.to_tree() == task.to_tree()
        assert loaded.input_size == task.input_size and loaded.num_classes == task.num_classes
        with pytest.raises(DataError, match=r"has no data; pass data="):
            loaded.splits()
    raw = np.random.default_rng(1).random((4, 3))
    assert torch.equal(Task.from_tree(tables.to_tree()).inputs(raw), tables.inputs(raw))
    with pytest.raises(DataError, match="not a saved task"):
        Task.from_tree({"name": "colors"})


@dataclass(frozen=True)
class Halved(Transform):
    def __call__(self, samples: Tensor) -> Tensor:
        return samples.flatten(1) / 2


def test_an_unregistered_transform_is_passed_again() -> None:
    tree = replace(COLORS, transform=Halved()).to_tree()
    with pytest.raises(SettingsError, match="pass it again"):
        Task.from_tree(tree)
    assert Task.from_tree(tree, Halved()).inputs([[2.0, 4.0]]).tolist() == [[1, 2]]


def test_the_image_in_the_inputs_is_known() -> None:
    assert DIGITS.image_shape == (28, 28) and mnist.Mnist().task(OrientedGradients()).image_shape is None
    assert COLORS.image_shape is None and Task("c", (3, 8, 9), (0, 1), Pixels(mean=0.0, std=1.0)).image_shape == (3, 8, 9)


def test_sequences_keep_their_timesteps() -> None:
    videos = torch.rand(4, 6, 5, 3)
    task = Task("videos", (5, 3), (0, 1), Frames(rms=0.5))
    for raw in (videos, videos.flatten(2), videos.numpy()):
        assert torch.equal(task.inputs(raw), videos.flatten(2) / 0.5)
    one = task.inputs(videos[:, :1])
    assert one.shape == (4, 1, 15)
    with pytest.raises(InputError, match=r"expects \(n, 28, 28\) or \(n, 784\)$"):
        DIGITS.inputs(torch.rand(4, 6, 28, 28))


def test_videos_of_ones_own_are_a_task() -> None:
    videos = torch.randint(0, 256, (4, 6, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    task = TensorTask(videos, [0, 1] * 3, transform=Frames(), validation=2)
    splits = task.splits(train_subset_samples=2)
    train, validation = only(splits.train), only(splits.validation)
    assert task.input_shape == (5, 3) and train.inputs.shape == (4, 4, 15) and validation.inputs.shape == (4, 2, 15)
    assert train.inputs.square().mean().item() == pytest.approx(1, abs=1e-5)
    inputs = task.inputs(videos)
    found = torch.cat([train.inputs, validation.inputs], 1).transpose(0, 1)
    numbers = [[torch.equal(inputs[:, n], sample) for n in range(6)].index(True) for sample in found]
    assert sorted(numbers) == list(range(6))
    assert [n % 2 for n in numbers] == [*train.labels.tolist(), *validation.labels.tolist()]
    assert torch.equal(only(splits.train_subset).inputs, train.inputs[:, :2])
    with pytest.raises(InputError, match="6 labels"):
        TensorTask(videos, [0, 1] * 3, transform=Pixels())


def test_the_transform_is_fitted_on_the_training_samples_only() -> None:
    table = torch.arange(40.0).view(20, 2)
    task = TensorTask(table, [0, 1] * 10, validation=5, test=(table[:4] + 1000, [0, 1, 0, 1]))
    splits = task.splits()
    assert only(splits.train).inputs.mean(0).abs().max() < 1e-5 and len(splits.train) == 15
    assert only(splits.test).inputs.min() > 10 and len(only(splits.validation).labels) == 5
    assert isinstance(task.transform, Standardize) and task.transform.is_fitted
    raw = sorted((row[0].item() for row in table), key=float)
    mean, std = task.transform.mean or (), task.transform.std or ()
    found = [only(part).inputs[:, 0] * std[0] + mean[0] for part in (splits.train, splits.validation)]
    assert sorted(torch.cat(found).round().tolist()) == raw  # every sample is in one of the two
    assert all(part.tolist() == sorted(part.tolist()) for part in found)  # in the order of the samples


def test_the_draw_of_validation_samples_depends_on_the_seed_only() -> None:
    table = torch.arange(60.0).view(30, 2)

    def validation(seed: int) -> list[float]:
        samples: list[float] = (
            only(TensorTask(table, [0, 1] * 15, transform=Identity(), seed=seed).splits().validation).inputs[:, 0].tolist()
        )
        return samples

    assert validation(0) == validation(0) != validation(1) and len(validation(0)) == 3


def test_separate_validation_samples_and_texts_as_labels() -> None:
    table = np.random.default_rng(0).random((8, 3))
    task = TensorTask(table, ["b", "a"] * 4, validation=(table[:2], ["c", "a"]), name="letters")
    assert task.classes == ("a", "b", "c") and task.name == "letters"
    splits = task.splits(train_subset_samples=3)
    assert only(splits.train).labels.tolist() == [1, 0] * 4 and only(splits.validation).labels.tolist() == [2, 0]
    assert splits.test is None and len(only(splits.train_subset).labels) == 3
    assert task.splits(validation_samples=0).validation is None
    few = task.splits(train_samples=4, validation_samples=1)
    assert (len(few.train), len(only(few.validation).labels)) == (4, 1)
    limited = TensorTask(table, ["b", "a"] * 4, validation=None, test=2, train_samples=3, test_samples=1).splits()
    assert (len(limited.train), len(only(limited.test).labels), limited.validation) == (3, 1, None)
    with pytest.raises(DataError, match="train_samples = 9, but the task has 8"):
        task.splits(train_samples=9)


def test_images_are_recognized() -> None:
    labels = [0, 1] * 3
    shapes: list[tuple[Any, tuple[int, ...], type[Transform]]] = [
        (IMAGES, (28, 28), Pixels),
        (IMAGES.flatten(1), (28, 28), Pixels),
        (IMAGES[:, None] / 255, (28, 28), Pixels),
        (IMAGES[..., None].numpy(), (28, 28), Pixels),
        (torch.rand(6, 3, 8, 9), (3, 8, 9), Pixels),
        (torch.rand(6, 784), (784,), Standardize),
        (IMAGES.flatten(1).long(), (784,), Standardize),
    ]
    for samples, shape, transform in shapes:
        task = TensorTask(samples, labels)
        assert task.input_shape == shape and type(task.transform) is transform
    flat = TensorTask(IMAGES.flatten(1).long(), labels, transform=OrientedGradients())
    assert flat.input_shape == (28, 28) and flat.input_size == 800
    with pytest.raises(InputError, match=r"\(8, 9, 3\): expected \(channels, height, width\)"):
        TensorTask(torch.rand(6, 8, 9, 3), labels)


def test_training_images_are_augmented() -> None:
    plain, shifted = (
        TensorTask(IMAGES, [0, 1] * 3, augmentation=limits, validation=2) for limits in (None, Augmentation(translate=3))
    )
    splits = shifted.splits(seed=4, train_subset_samples=2)
    assert isinstance(splits.train, AugmentedImages) and splits.train.seed == 4
    assert torch.equal(only(splits.validation).inputs, only(plain.splits().validation).inputs)
    assert torch.equal(only(splits.train_subset).inputs, only(plain.splits().train).inputs[:2])
    assert not torch.equal(only(splits.train).inputs, only(plain.splits().train).inputs)
    with pytest.raises(DataError, match="translate = 30: images have a side of 28 pixels; expected at most 27"):
        TensorTask(IMAGES, [0, 1] * 3, augmentation=Augmentation(translate=30)).splits()
    with pytest.raises(DataError, match="square"):
        TensorTask(torch.rand(6, 4), [0, 1] * 3, augmentation=Augmentation(translate=1)).splits()
    with pytest.raises(SettingsError, match="cutout = 29"):
        mnist.Mnist(augmentation=Augmentation(cutout=29))


def test_strokes_of_ones_own_images_are_sequences() -> None:
    train = mnist.read()[0]
    task = TensorTask(train.images[:12], train.labels[:12], transform=PenStrokes(), validation=2)
    splits = task.splits(timesteps=5)
    assert isinstance(splits.train, SequenceDataset) and only(splits.train).inputs.shape == (5, 10, 128)
    assert only(splits.validation).mask is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0] * 6}, "classes 0: expected at least two"),
        ({"labels": [0, 1]}, r"samples \(6, 28, 28\) and 2 labels"),
        ({"classes": ["a", "b", "a"]}, "a name occurs twice"),
        ({"classes": 1}, "expected at least two"),
        ({"classes": [0, 5]}, "label 1 of sample 1: unknown class"),
        ({"validation": 1.5}, r"validation = 1\.5: expected a fraction"),
        ({"validation": -1}, "validation = -1"),
        ({"validation": (IMAGES[:2], [0])}, "2 samples and 1 labels"),
        ({"validation": (IMAGES[:2], [0, 5]), "classes": 2}, "label 5 of sample 1"),
        ({"samples": torch.zeros(6)}, r"samples \(6,\)"),
        ({"samples": torch.full((6, 4, 4), 16.0)}, "pixels from 16"),
    ],
)
def test_tasks_of_wrong_data_are_errors_of_one_line(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"samples": IMAGES, "labels": [0, 1] * 3} | arguments
    with pytest.raises(InputError, match=message) as caught:
        TensorTask(**given)
    assert "\n" not in str(caught.value)


def test_no_training_samples_remain() -> None:
    with pytest.raises(DataError, match="validation = 6 leaves none of the 6 samples"):
        TensorTask(IMAGES, [0, 1] * 3, validation=6)


def test_a_loader_is_transformed_batch_by_batch() -> None:
    labels = torch.tensor([0, 1] * 3)
    loader = DataLoader(TorchDataset(IMAGES, labels), batch_size=4)
    task = LoaderTask(loader, input_shape=(28, 28), classes=2, transform=Pixels(), validation=(IMAGES[:2], [0, 1]), test=loader)
    assert isinstance(task.transform, Pixels) and task.transform == Pixels().fitted(IMAGES[:4])
    splits = task.splits()
    assert len(splits.train) == 6 and splits.train.batch_count(99) == 2
    batches = list(splits.train.batches(99))
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), task.inputs(IMAGES))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), labels)
    assert torch.equal(only(splits.validation).inputs, task.inputs(IMAGES[:2]))
    assert only(splits.validation).labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="a loader decides"):
        task.splits(train_samples=3)
    wrong = LoaderTask(loader, input_shape=(28, 28), classes=["a", "b"], transform=Pixels())
    assert next(iter(wrong.splits().train.batches(1))).labels.tolist() == [0, 1, 0, 1]
    with pytest.raises(InputError, match="label 1 of sample 1: unknown class"):
        list(LoaderTask(loader, input_shape=(28, 28), classes=[0, 5], transform=Pixels()).splits().train.batches(1))


def test_a_loader_may_give_network_inputs_and_masks() -> None:
    inputs, mask = torch.rand(3, 2, 5), torch.tensor([[True, True], [True, False], [False, False]])
    task = LoaderTask([(inputs, torch.tensor([1, 0]), mask)], input_shape=(5,), classes=2)
    batch = only(task.splits().train)
    assert torch.equal(batch.inputs, inputs) and batch.mask is not None and torch.equal(batch.mask, mask)
    assert task.transform == Identity() and torch.equal(task.inputs(inputs), inputs)
    with pytest.raises(InputError, match="empty"):
        LoaderTask([], input_shape=(5,), classes=2)
    with pytest.raises(InputError, match="TensorTask"):
        LoaderTask((inputs, torch.tensor([0, 1])), input_shape=(5,), classes=2)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Make image files of two classes, bright cats and dark dogs, of 8 × 10 pixels."""
    from PIL import Image

    for name, value in (("cat", 200), ("dog", 50)):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.fromarray(np.full((8, 10, 3), value + number, dtype=np.uint8)).save(tmp_path / name / f"{number}.png")
    yield tmp_path


def test_image_files_are_read_and_named_by_their_folders(folder: Path) -> None:
    task = ImageFolderTask(folder, validation=0.2)
    assert task.classes == ("cat", "dog") and task.input_shape == (8, 10) and task.name == folder.name
    splits = task.splits()
    train, validation = only(splits.train), only(splits.validation)
    assert (len(train.labels), len(validation.labels), splits.test) == (16, 4, None)
    assert (train.inputs[train.labels == 0] > 0).all() and (train.inputs[train.labels == 1] < 0).all()
    color = ImageFolderTask(folder, size=(4, 5), grayscale=False)
    assert color.input_shape == (3, 4, 5) and color.input_size == 60


def test_an_image_folder_is_named_in_a_configuration(folder: Path) -> None:
    source = make("data", {"name": "image_folder", "data_dir": str(folder), "size": [6, 6]}, "data")
    assert isinstance(source, ImageFolder)
    task = source.task(OrientedGradients(grid_size=3))
    splits = task.splits()
    assert task.input_size == 72 and [len(part or ()) for part in splits[:3]] == [16, 2, 2]
    augmented = replace(source, augmentation=Augmentation(translate=2)).task().splits()
    assert isinstance(augmented.train, AugmentedImages) and augmented.train.config.translate == 2
    with pytest.raises(SettingsError, match=r"set data\.data_dir"):
        ImageFolder().task()


def test_folders_of_training_and_test_images(folder: Path) -> None:
    for part in ("train", "test"):
        (folder / part).mkdir()
    for name in ("cat", "dog"):
        (folder / name).rename(folder / "train" / name)
        (folder / "test" / name).mkdir()
        (folder / "train" / name / "0.png").rename(folder / "test" / name / "0.png")
    splits = ImageFolderTask(folder, validation=None).splits()
    assert [len(part or ()) for part in splits[:3]] == [18, 0, 2]


def test_unreadable_image_folders_are_errors_of_one_line(folder: Path) -> None:
    for path in (folder / "absent", folder / "cat"):
        with pytest.raises(DataError, match="one folder of images for each class") as caught:
            ImageFolderTask(path)
        assert "\n" not in str(caught.value)
    (folder / "dog" / "3.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"3\.png: not an image"):
        ImageFolderTask(folder)


def test_every_data_source_is_a_component() -> None:
    assert {"own", "mnist", "fashion_mnist", "moving_mnist", "seq_mnist", "image_folder"} <= set(names("data"))
    own: DataSource = Own()
    assert own.task() is None
    source = make("data", {"name": "mnist", "augmentation": {"translate": 1}, "test_samples": 5}, "data")
    assert source == mnist.Mnist(augmentation=Augmentation(translate=1), test_samples=5)
    with pytest.raises(SettingsError, match=r"data\.augmentation\.rotation = 200"):
        make("data", {"name": "mnist", "augmentation": {"rotation": 200}}, "data")
    with pytest.raises(SettingsError, match=r"unknown key 'data\.augmentation\.rotate'"):
        make("data", {"name": "mnist", "augmentation": {"rotate": 2}}, "data")


def test_a_transform_of_ones_own_with_statistics_is_fitted_to_a_data_set() -> None:
    @dataclass(frozen=True)
    class Centered(Transform):
        brightness: float | None = None

        def fitted(self, samples: Tensor) -> "Centered":
            return Centered(samples.double().mean().item())

        def __call__(self, samples: Tensor) -> Tensor:
            return samples.flatten(1).float() - (self.brightness or 0)

    task = mnist.Mnist(train_samples=100, test_samples=10, validation_samples=10).task(Centered())
    assert only(task.splits().train).inputs.mean().abs() < 1e-3


# ---------------------------------------------------------------- the data of one task for a network of another


def test_a_task_takes_the_transform_and_the_class_numbers_of_another_one() -> None:
    network = TensorTask(IMAGES, ["a", "b", "c"] * 2, validation=None).without_data()
    names = ["c", "b"] * 3
    batches = [(IMAGES[:4], names[:4]), (IMAGES[4:], names[4:])]
    darker = Pixels(mean=0.9, std=0.1)
    options: dict[str, Any] = {"classes": ["c", "b"], "validation": None}
    given: list[Task] = [
        TensorTask(IMAGES, names, transform=darker, **options),
        TensorTask(IMAGES.flatten(1) / 255, names, test=batches, **options),
        LoaderTask(batches, input_shape=(28, 28), classes=["c", "b"], transform=darker, test=(IMAGES, names)),
    ]
    for task in given:
        adapted = task.adapted_to(network)
        assert adapted.classes == network.classes and adapted.transform == network.transform and adapted.input_shape == (28, 28)
        for part in (adapted.splits().train, adapted.splits().test):
            for start, batch in enumerate(part.batches(4) if part is not None else ()):
                chosen = slice(4 * start, 4 * start + 4)
                torch.testing.assert_close(batch.inputs, network.inputs(IMAGES[chosen]), rtol=1e-5, atol=1e-5)
                assert len(part or ()) == 6
                assert torch.equal(batch.labels, network.class_numbers(names[chosen]))
        (panel,) = adapted.show(adapted.splits().train, 2)
        assert isinstance(panel, Images) and panel.images.shape == (1, 2, 1, 28, 28)
        with pytest.raises(InputError, match=r"has a class 'c', which is none of the network's: 'a', 'b'$"):
            task.adapted_to(replace(network, classes=("a", "b")))
        with pytest.raises(
            InputError, match=r"'.*' has samples of shape .*, but the network was made for samples of shape \(5, 3\)"
        ):
            task.adapted_to(replace(network, input_shape=(5, 3)))


def test_a_task_that_fits_already_stays_as_it_is() -> None:
    source = mnist.Mnist().task()
    assert source.adapted_to(DIGITS.without_data()) is source
    inputs = TensorTask(torch.rand(6, 784), [0, 1] * 3, transform=Identity(), classes=10, validation=None)
    assert inputs.adapted_to(DIGITS) is inputs  # network inputs, which are not transformed again
    texts = TensorTask(IMAGES, ["3", "1"] * 3, classes=["3", "1"], validation=None).adapted_to(DIGITS)
    assert only(texts.splits().train).labels.tolist() == [3, 1] * 3
    gradients = mnist.Mnist(train_samples=20, test_samples=5, validation_samples=5).task(Pixels())
    adapted = gradients.adapted_to(replace(DIGITS.without_data(), transform=Pixels(mean=0.5, std=0.5)))
    assert only(adapted.splits().train).inputs.min() == -1 and only(gradients.splits().train).inputs.min() > -1


def test_validation_samples_may_come_from_a_list_a_loader_or_a_data_set() -> None:
    labels, flat = ["a", "b"] * 3, IMAGES.flatten(1)
    batches = [(IMAGES[:2], ("a", "b")), (IMAGES[2:4].numpy(), ["a", "b"])]
    expected = TensorTask(IMAGES, labels, validation=(IMAGES[:4], labels[:4]))
    inputs = expected.splits().validation
    parts: list[Any] = [[IMAGES[:4], labels[:4]], (list(IMAGES[:4]), tuple(labels[:4])), batches, inputs]
    for part in parts:
        task = TensorTask(IMAGES, labels, validation=part)
        loader = LoaderTask(batches, input_shape=(28, 28), classes=["a", "b"], validation=part, transform=task.transform)
        for splits in (task.splits(), loader.splits()):
            found = list(splits.validation.batches(9)) if splits.validation is not None else []
            assert torch.equal(torch.cat([batch.inputs for batch in found]), only(inputs).inputs)
            assert torch.equal(torch.cat([batch.labels for batch in found]), only(inputs).labels)
        assert task.splits(validation_samples=0).validation is None
    with pytest.raises(DataError, match="validation_samples = 1, but a loader decides"):
        TensorTask(IMAGES, labels, validation=batches).splits(validation_samples=1)
    wrong: Any
    for wrong in ("half", iter([])):
        with pytest.raises(InputError) as caught:
            list(TensorTask(IMAGES, labels, validation=wrong).splits().validation.batches(9))  # type: ignore[union-attr]
        assert "\n" not in str(caught.value)
    int_of_numpy: Any = np.int64(3)
    assert TensorTask(IMAGES, [0, 1] * 3, classes=int_of_numpy, validation=np.int64(2)).classes == (0, 1, 2)
    with pytest.raises(InputError, match="transform"):
        Identity()(flat)


def test_flat_samples_have_the_shape_that_is_given() -> None:
    task = TensorTask(IMAGES.flatten(1), [0, 1] * 3, transform=Halved(), input_shape=(28, 28))
    assert task.input_shape == (28, 28) and torch.equal(task.inputs(IMAGES), task.inputs(IMAGES.flatten(1)))
    assert TensorTask(torch.rand(6, 12), [0, 1] * 3, input_shape=[3, 4]).image_shape == (3, 4)
    with pytest.raises(InputError, match=r"\(6, 784\): the task 'tensors' expects \(n, 28, 27\)"):
        TensorTask(IMAGES.flatten(1), [0, 1] * 3, input_shape=(28, 27))


@dataclass(frozen=True)
class Seen(Transform):
    """A transform that gives the samples as it takes them."""

    mean: float | None = None
    """The mean of the samples that it was fitted on."""

    def fitted(self, samples: Tensor) -> "Seen":
        return Seen(samples.double().mean().item())

    def __call__(self, samples: Tensor) -> Tensor:
        return samples.flatten(1).float()


def test_a_transform_of_ones_own_always_takes_images_from_0_to_1(folder: Path) -> None:
    covered = Augmentation(cutout=1)
    tasks = [
        TensorTask(images, [0, 1] * 3, transform=Seen(), augmentation=augmentation, validation=2)
        for images in (IMAGES, IMAGES / 255)
        for augmentation in (None, covered)
    ]
    source = mnist.Mnist(train_samples=20, test_samples=5, validation_samples=5)
    tasks += [source.task(Seen()), replace(source, augmentation=covered).task(Seen())]  # type: ignore[list-item]
    tasks += [ImageFolderTask(folder, transform=Seen()), ImageFolderTask(folder, transform=Seen(), grayscale=False)]
    loader = [(IMAGES, [0, 1] * 3)]
    tasks += [LoaderTask(loader, input_shape=(28, 28), classes=2, transform=Seen(), validation=loader)]  # type: ignore[list-item]
    for task in tasks:
        assert isinstance(task.transform, Seen) and 0 < (task.transform.mean or 0) < 1
        for part in task.splits()[:2]:
            assert 0.5 < only(part).inputs.max() <= 1
    torch.testing.assert_close(tasks[0].inputs(IMAGES), tasks[0].inputs(IMAGES / 255))
    table = TensorTask(IMAGES.flatten(1)[:, 300:303], [0, 1] * 3, transform=Seen())  # no images
    assert table.inputs([[200.0, 3.0, 4.0]]).max() == 200
    with pytest.raises(DataError, match=r"augmentation of images of type torch\.int64: expected torch\.uint8"):
        TensorTask(IMAGES.long(), [0, 1] * 3, transform=Seen(), augmentation=covered).splits()


def test_samples_of_another_shape_are_reshaped_only_if_they_are_flat() -> None:
    flat = TensorTask(IMAGES.flatten(1) / 255, [0, 1] * 3, classes=10, validation=None, augmentation=Augmentation(cutout=1))
    assert only(flat.adapted_to(DIGITS).splits().train).inputs.shape == (6, 784)
    wide = TensorTask(IMAGES.view(-1, 14, 56), [0, 1] * 3, classes=10, validation=None)
    with pytest.raises(InputError, match=r"shape \(14, 56\), but the network was made for samples of shape \(28, 28\)"):
        wide.adapted_to(DIGITS)


@pytest.mark.parametrize("size", [0, 0.0])
def test_a_part_of_no_samples_is_none(size: float) -> None:
    splits = TensorTask(IMAGES, [0, 1] * 3, validation=size, test=size).splits()
    assert splits.validation is None and splits.test is None and len(splits.train) == 6


def test_bytes_that_are_no_images_are_given_unchanged() -> None:
    table = torch.arange(18, dtype=torch.uint8).view(6, 3)
    task = TensorTask(table, [0, 1] * 3, transform=Seen(), validation=None)
    assert torch.equal(only(task.splits().train).inputs, table.float())


def test_a_data_set_with_other_class_numbers_is_shown_as_it_shows_itself() -> None:
    class Drawn(TensorDataset):
        def show(self, samples: int) -> Tensor:
            return torch.ones(1, samples, 2, 2)

    dataset = RelabeledDataset(Drawn(torch.zeros(6, 784), torch.zeros(6).long()), torch.tensor([3]))
    (images, inputs) = DIGITS.show(dataset, 2)
    assert isinstance(images, Images) and torch.equal(images.images, torch.ones(1, 2, 1, 2, 2))
    assert isinstance(inputs, Images) and inputs.images.shape == (1, 2, 1, 28, 28)
