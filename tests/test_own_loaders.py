"""Loaders of a program's own and lists of batches: the order of their axes, and how often they are read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset as TorchDataset

import RecurrentFF as rff
from RecurrentFF.data.dataset import Batch, LoaderDataset
from RecurrentFF.data.raw import is_pair
from RecurrentFF.data.time_first import time_first_data
from RecurrentFF.errors import InputError
from RecurrentFF.model.network import Network
from tests.helpers import clusters, small_settings, video

INPUTS, LABELS = clusters(60)
SEQUENCES = video(5, 60).float().transpose(0, 1)  # (batch, timesteps, features)


def new_network(**arguments: Any) -> Network:
    return rff.build(small_settings(epochs=1, **arguments))


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def batches_of(samples: Tensor) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(samples, 20), torch.split(LABELS, 20), strict=True))


class Loader:
    """A loader that counts how often it is started."""

    def __init__(self, samples: Tensor) -> None:
        self.content = batches_of(samples)
        self.starts = 0

    def __len__(self) -> int:
        return len(self.content)

    def __iter__(self) -> Iterator[Any]:
        self.starts += 1
        return iter(self.content)


class Once(Loader):
    """A loader that gives the same iterator again."""

    def __init__(self, samples: Tensor) -> None:
        super().__init__(samples)
        self.rest = iter(self.content)

    def __iter__(self) -> Iterator[Any]:
        return self.rest


class Itself(Once):
    """A loader that is an iterator."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.rest)


# ---------------------------------------------------------------- how often they are read


@pytest.mark.parametrize("kind", [Once, Itself])
@pytest.mark.parametrize("batch_first", [None, False, True])
def test_a_loader_that_can_be_read_only_once_is_refused_as_validation_data(kind: type[Loader], batch_first: bool | None) -> None:
    samples = SEQUENCES if batch_first else torch.split(SEQUENCES.transpose(0, 1), 20, 1)
    content: Any = batches_of(SEQUENCES) if batch_first else list(zip(samples, torch.split(LABELS, 20), strict=True))
    loader = kind(SEQUENCES)
    loader.content, loader.rest = content, iter(content)  # type: ignore[attr-defined]
    network = new_network()
    assert "validation data: the loader can be read only once" in refusal(
        lambda: rff.fit(network, content, validation=loader, batch_first=batch_first, quiet=True)
    )


@pytest.mark.parametrize("batch_first", [False, True])
def test_all_samples_of_an_own_loader_are_validated_on(batch_first: bool) -> None:
    samples = SEQUENCES if batch_first else INPUTS
    loader = Loader(samples)
    history = rff.fit(new_network(), loader, validation=loader, batch_first=batch_first, quiet=True)
    assert loader.starts == 4  # training, evaluation, the look at the first batch, and whether it can be read again
    network = new_network()
    rff.fit(network, loader, batch_first=batch_first, quiet=True)
    assert rff.evaluate(network, loader, batch_first=batch_first).accuracy == history[0].validation_accuracy


def test_a_data_loader_is_started_once_for_a_look() -> None:
    started: list[int] = []

    class Order(torch.utils.data.Sampler[int]):
        def __len__(self) -> int:
            return 60

        def __iter__(self) -> Iterator[int]:
            started.append(1)
            return iter(range(60))

    loader = DataLoader(TorchDataset(SEQUENCES, LABELS), 20, sampler=Order())
    for dataset in (LoaderDataset(loader), LoaderDataset(time_first_data(loader))):
        started.clear()
        assert len(list(dataset.looked_at())) == 1 and len(started) == 1 and len(dataset) == 60


# ---------------------------------------------------------------- the batch axis first


def test_a_list_of_batches_has_its_samples_counted_with_any_order_of_axes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    time_first = list(zip(torch.split(SEQUENCES.transpose(0, 1), 20, 1), torch.split(LABELS, 20), strict=True))
    for data, batch_first in ((time_first, False), (batches_of(SEQUENCES), True), (tuple(batches_of(SEQUENCES)), True)):
        rff.fit(new_network(), data, batch_first=batch_first, output_dir=tmp_path)
        lines.append(next(line for line in capsys.readouterr().out.splitlines() if line.startswith("data")))
    assert "60 train" in lines[0] and lines == lines[:1] * 3


def test_a_later_batch_of_a_list_is_looked_at_with_any_order_of_axes() -> None:
    wrong = [*batches_of(SEQUENCES)[:2], (SEQUENCES[40:], LABELS[40:] + 5)]
    assert "validation data: batch 3: labels run from" in refusal(
        lambda: rff.fit(new_network(), batches_of(SEQUENCES), validation=wrong, batch_first=True, quiet=True)
    )
    wrong[1] = (None, LABELS[:20])  # type: ignore[assignment]
    for call in (
        lambda: rff.fit(new_network(), batches_of(SEQUENCES), validation=wrong, batch_first=True, quiet=True),
        lambda: rff.evaluate(new_network(), wrong, batch_first=True),
    ):
        assert "batch 2: inputs of type NoneType" in refusal(call)


def test_what_is_no_loader_is_named_by_its_own_type_with_any_order_of_axes() -> None:
    generator = (batch for batch in batches_of(SEQUENCES))
    for batch_first in (None, True):
        words = refusal(lambda first=batch_first: rff.fit(new_network(), generator, batch_first=first, quiet=True))  # type: ignore[misc]
        assert words.startswith("a generator is neither")


def test_a_data_set_of_torch_is_evaluated_with_the_batch_first() -> None:
    network = new_network()
    expected = rff.evaluate(network, batches_of(SEQUENCES), batch_first=True)
    samples = torch.utils.data.Subset(TorchDataset(SEQUENCES, LABELS), range(60))
    assert rff.evaluate(network, samples, batch_first=True).predictions == expected.predictions


# ---------------------------------------------------------------- two batches and pairs


def test_a_list_of_two_batches_is_no_pair_if_one_is_malformed() -> None:
    good = (INPUTS, LABELS)
    for wrong, message in (
        ((None, LABELS), "batch 2: inputs of type NoneType"),
        (INPUTS, "batch 2 of type Tensor"),
        (None, "batch 2 of type NoneType"),
        ((INPUTS,), "batch 2 of type tuple"),
    ):
        assert message in refusal(lambda wrong=wrong: rff.fit(new_network(), [good, wrong], quiet=True))  # type: ignore[misc]
        assert "batch 1" in refusal(lambda wrong=wrong: rff.evaluate(new_network(), [wrong, good]))  # type: ignore[misc]


def test_two_samples_with_two_labels_are_a_pair() -> None:
    images = torch.zeros(2, 8, 8)
    for samples in (images, list(images), tuple(images), images.numpy(), [list(image) for image in images]):
        for labels in ([0, 1], (0, 1), ["a", "b"], torch.tensor([0, 1]), list(torch.tensor([0, 1]))):
            assert is_pair((samples, labels)) and is_pair([samples, labels])
    assert not is_pair([(INPUTS, LABELS), (INPUTS, LABELS)])


# ---------------------------------------------------------------- labels


class OwnData:
    """A data set of network inputs whose labels are known."""

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(INPUTS)

    def batch_count(self, size: int) -> int:
        return 1

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Any]:
        yield Batch(INPUTS, self.labels)


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS.float(), LABELS[:, None] - 1])
def test_known_labels_are_checked_in_one_place_before_a_training_and_an_evaluation(labels: Tensor) -> None:
    words = [
        refusal(lambda: rff.fit(new_network(), OwnData(labels), quiet=True)),
        refusal(lambda: rff.fit(new_network(), OwnData(LABELS), validation=OwnData(labels), quiet=True)),
        refusal(lambda: rff.evaluate(new_network(), OwnData(labels))),
    ]
    assert [word.partition(": ")[0] for word in words] == ["train data", "validation data", "evaluate"]
    assert len({word.partition(": ")[2] for word in words}) == 1


def test_known_training_labels_may_change_over_time() -> None:
    assert len(rff.fit(new_network(), OwnData(LABELS.expand(3, 60)), quiet=True)) == 1


class Tuples:
    """A data set of network inputs that yields plain tuples."""

    def __len__(self) -> int:
        return 20

    def batch_count(self, size: int) -> int:
        return 1

    def batches(self, size: int, order: Any = None, epoch: int = 0) -> Any:
        yield clusters(20)


def test_a_data_set_that_yields_plain_tuples_is_refused() -> None:
    network: Any = rff.build(small_settings(epochs=1))
    works: list[Any] = [lambda: rff.fit(network, Tuples(), quiet=True), lambda: rff.evaluate(network, Tuples())]
    works.append(lambda: rff.fit(network, clusters(20), validation=Tuples(), quiet=True))
    for work in works:
        with pytest.raises(InputError, match="yields a tuple; let its method batches yield"):
            work()
