"""Evaluation: accuracy, confusion, predictions as a file, all kinds of data, and what is refused."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset as TorchDataset

import RecurrentFF as rff
from RecurrentFF.data.dataset import LoaderDataset, TensorDataset
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.errors import InputError, OutputError
from RecurrentFF.model.optimizers import Adam
from RecurrentFF.training.evaluation import accuracy, evaluate
from tests.helpers import CLASSES, DATA_SIZE, clusters, small_settings

NAMES = ["apple", "pear", "plum", "fig", "lime"]


LEARNS: dict[str, Any] = {
    "hidden_sizes": [30],
    "prediction_window": [0, 2],
    "objective": "pairwise",
    "optimizer": Adam(learning_rate=5e-3),
    "epochs": 8,
}
"""Settings of a training that learns `clusters`."""


def network_inputs() -> tuple[rff.Network, Tensor, Tensor]:
    """A trained network without a task, inputs, and their labels."""
    network = rff.build(small_settings(**LEARNS))
    rff.fit(network, clusters(100), quiet=True)
    return network, *clusters(50, noise=1.0, seed=6)


def raw_samples() -> tuple[rff.Network, Tensor, list[str], TensorTask]:
    """A network with a task, raw samples far from unit scale, and their class names."""
    inputs, labels = clusters(120)
    samples, names = 100 + 30 * inputs, [NAMES[number] for number in labels.tolist()]
    task = TensorTask(samples, names, classes=NAMES, validation=20, test=30)
    network = rff.build(small_settings(input_size=None, num_classes=None, **LEARNS), task=task)
    rff.fit(network, task, quiet=True)
    return network, samples, names, task


def test_the_numbers_agree_with_their_definitions() -> None:
    network, inputs, labels = network_inputs()
    predicted = network.predict_inputs(inputs)
    found = evaluate(network, (inputs, labels))
    assert found.samples == 50 and found.predictions == tuple(predicted.tolist())
    assert found.accuracy == pytest.approx((predicted == labels).float().mean().item()) and 0.6 < found.accuracy < 1
    for true in range(CLASSES):
        for prediction in range(CLASSES):
            assert found.confusion[true, prediction] == ((labels == true) & (predicted == prediction)).sum()
        of_class = labels == true
        assert found.per_class_accuracy[true] == pytest.approx((predicted == labels)[of_class].float().mean().item())
    assert found.accuracy == accuracy(network, TensorDataset(inputs, labels))


def test_a_class_without_samples_has_no_accuracy() -> None:
    network, inputs, labels = network_inputs()
    found = evaluate(network, (inputs[labels < 4], labels[labels < 4]))
    assert list(found.per_class_accuracy) == [0, 1, 2, 3]
    assert str(found).splitlines()[-1].split() == ["4", "no", "samples"]


def test_all_kinds_of_data_give_the_same_result() -> None:
    network, inputs, labels = network_inputs()
    expected = evaluate(network, (inputs, labels))
    kinds: list[Any] = [
        (inputs.numpy(), labels.numpy()),
        [inputs, labels],
        TensorDataset(inputs, labels),
        TorchDataset(inputs, labels),
        DataLoader(TorchDataset(inputs, labels), batch_size=16),
        LoaderDataset([(inputs[:20], labels[:20]), (inputs[20:], labels[20:])]),
        [(inputs[:20], labels[:20]), (inputs[20:].expand(5, -1, -1), labels[20:], torch.ones(5, 30))],
    ]
    for data in kinds:
        found = evaluate(network, data)
        assert found.predictions == expected.predictions and torch.equal(found.confusion, expected.confusion)


def test_a_mask_is_used() -> None:
    network, _, labels = network_inputs()
    sequence, mask = torch.randn(5, 50, DATA_SIZE), torch.rand(5, 50) < 0.5
    found = evaluate(network, [(sequence, labels, mask)])
    assert found.predictions == tuple(network.predict_inputs(sequence, mask).tolist())
    assert found.predictions != tuple(network.predict_inputs(sequence).tolist())


def test_raw_samples_and_class_names_of_a_task() -> None:
    network, samples, names, task = raw_samples()
    found = evaluate(network, (samples, names))
    assert found.accuracy > 0.8 and list(found.predictions) == network.predict(samples)
    assert list(found.per_class_accuracy) == NAMES
    batches = [(samples[:50].numpy(), names[:50]), (samples[50:].tolist(), np.array(names[50:]))]
    assert evaluate(network, batches).predictions == found.predictions
    splits = task.splits(timesteps=5)
    assert splits.test is not None and splits.validation is not None
    on_test = evaluate(network, task)
    assert on_test.samples == 30 and on_test.accuracy == accuracy(network, splits.test)
    without_test = TensorTask(samples, names, classes=NAMES, transform=task.transform, validation=20)
    assert evaluate(network, without_test).samples == 20
    with pytest.raises(InputError, match="the task has neither test nor validation samples"):
        evaluate(network, TensorTask(samples, names, classes=NAMES, transform=task.transform, validation=None))
    with pytest.raises(InputError, match="the task 'tensors' has a class 0, which is none of the network's: 'apple'"):
        evaluate(network, TensorTask(samples, [0, 1, 2] * 40))
    with pytest.raises(InputError, match="'kiwi'"):
        evaluate(network, (samples[:2], ["kiwi", "pear"]))


def test_the_table_has_a_line_for_each_class() -> None:
    network, samples, names, _ = raw_samples()
    names = ["plum" if name == "fig" else name for name in names]
    found = evaluate(network, (samples, names))
    first, header, *rows = str(found).splitlines()
    assert first == f"accuracy {100 * found.accuracy:.2f} % of 120 samples"
    assert header.split()[:3] == ["class", "samples", "right"] and [row.split()[0] for row in rows] == NAMES
    plum = rows[2].split()
    assert plum[1] == str(names.count("plum")) and plum[-2:] == ["fig", f"({found.confusion[2, 3]})"]
    assert max(map(len, str(found).splitlines())) < 80


def test_predictions_are_written_as_csv(tmp_path: Path) -> None:
    network, samples, names, _ = raw_samples()
    path = tmp_path / "predictions.csv"
    found = evaluate(network, (samples[:40], names[:40]), predictions=str(path))
    rows = list(csv.DictReader(path.open()))
    assert [row["index"] for row in rows] == [str(index) for index in range(40)]
    assert [row["label"] for row in rows] == names[:40] and [row["prediction"] for row in rows] == list(found.predictions)
    badness = torch.tensor([[float(row[f"badness {name}"]) for name in NAMES] for row in rows])
    torch.testing.assert_close(badness, network.badness(samples[:40]), rtol=1e-4, atol=1e-5)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match=r"absent/predictions\.csv: can't be written"):
        evaluate(network, (samples, names), predictions=tmp_path / "absent" / "predictions.csv")


def count_batches(network: rff.Network) -> list[int]:
    """Record the sizes of the batches that a network predicts."""
    sizes: list[int] = []
    badness_of = network.badness_of

    def counting(x: Tensor, mask: Tensor | None = None) -> Tensor:
        sizes.append(x.shape[3])
        return badness_of(x, mask)

    network.badness_of = counting  # type: ignore[method-assign]
    return sizes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels + 2, "labels run from 2 to 6; expected 0 to 4"),
        (lambda labels: labels - 1, "labels run from -1 to 3; expected 0 to 4"),
        (lambda labels: labels.float(), "labels of type torch.float32: expected integer class numbers"),
        (lambda labels: labels.repeat(3, 1), r"labels of shape \(3, 50\): expected class numbers \(50,\)"),
        (lambda labels: labels[:1], "50 inputs but 1 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_the_first_batch(change: Any, message: str) -> None:
    network, inputs, labels = network_inputs()
    sizes, wrong = count_batches(network), change(labels)
    for data in ((inputs, wrong), [(inputs, wrong)], LoaderDataset([(inputs, wrong)])):
        with pytest.raises(InputError, match=message):
            evaluate(network, data)
    with pytest.raises(InputError, match=message):
        accuracy(network, LoaderDataset([(inputs, wrong)]))
    assert sizes == []


def test_labels_of_a_later_batch_are_checked_first_where_they_are_known() -> None:
    network, inputs, labels = network_inputs()
    network.settings = network.settings.with_arguments(prediction_batch_size=10)
    sizes = count_batches(network)
    labels[-1] = CLASSES
    with pytest.raises(InputError, match="evaluate: labels run from 0 to 5; expected 0 to 4"):
        evaluate(network, TensorDataset(inputs, labels))
    assert sizes == []
    with pytest.raises(InputError, match="accuracy: batch 5: labels run from"):
        accuracy(network, TensorDataset(inputs, labels))


@pytest.mark.parametrize(
    "data", [3, [], [torch.zeros(2, DATA_SIZE)], torch.zeros(2, DATA_SIZE), iter([])], ids=lambda data: type(data).__name__
)
def test_data_that_can_not_be_evaluated_is_refused(data: Any) -> None:
    with pytest.raises(InputError):
        evaluate(rff.build(small_settings()), data)


def test_a_task_is_evaluated_with_the_transform_and_the_classes_of_the_network() -> None:
    network, samples, names, _ = raw_samples()
    expected = evaluate(network, (samples[:60], names[:60]))
    few = [name for name in NAMES[::-1] if name in names[:60]]
    other = TensorTask(samples[60:] * 2 + 9, names[60:], classes=few, test=(samples[:60], names[:60]), validation=None)
    found = evaluate(network, other)
    assert found.predictions == expected.predictions and torch.equal(found.confusion, expected.confusion)
    assert found.classes == tuple(NAMES)


def test_texts_as_labels_of_network_inputs_are_an_error_of_one_line() -> None:
    network, inputs, _ = network_inputs()
    for data in ((inputs, ["a"] * 50), [(inputs, ["a"] * 50)], LoaderDataset([(inputs, ["a"] * 50)])):
        with pytest.raises(InputError, match=r"labels of type list such as 'a': expected class numbers; .*TensorTask") as caught:
            evaluate(network, data)
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="expected class numbers"):
            rff.fit(network, data, quiet=True)


def test_a_folder_of_images_is_evaluated_as_the_program_predicts_its_images(tmp_path: Path) -> None:
    from PIL import Image

    from RecurrentFF.training.run_data import load_run_data
    from tests.test_task import Seen

    images = torch.randint(0, 256, (40, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = ["7", "3"] * 20
    images[::2, :3], images[1::2, 3:] = images[::2, :3] // 2, images[1::2, 3:] // 2
    network = rff.build(small_settings(input_size=None, num_classes=None, **LEARNS | {"epochs": 30}),
                        task=TensorTask(images, [int(name) for name in names], classes=[7, 3], transform=Seen()))  # fmt: skip
    rff.fit(network, (images, [int(name) for name in names]), quiet=True)
    for number, (image, name) in enumerate(zip(images.numpy(), names, strict=True)):
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / name / f"{number:02}.png")
    data = load_run_data(network, tmp_path, tmp_path / "images")
    found = evaluate(network, data.dataset)
    expected = evaluate(network, (images, [int(name) for name in names]))
    assert data.name.endswith("images")
    assert torch.equal(found.confusion, expected.confusion) and 0 < expected.confusion[:, 0].sum() < 40
