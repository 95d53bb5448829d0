"""Tests of MNIST, Fashion-MNIST, and the batches and splits of data sets."""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from threading import Thread

import pytest
import torch

from RecurrentFF.data import fashion_mnist, mnist
from RecurrentFF.data.augment import Augmentation
from RecurrentFF.data.dataset import LoaderDataset, SequenceDataset, SplitOptions, Splits, TensorDataset, split
from RecurrentFF.data.image_transforms import OrientedGradients, Pixels
from RecurrentFF.data.moments import NormalizationConfig, normalize
from RecurrentFF.data.oriented_gradients import OrientedGradientConfig, oriented_gradients
from RecurrentFF.errors import DataError, InputError


def unpack(folder: Path) -> None:
    """Unpack the files of MNIST into a torchvision folder."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (resources.files("RecurrentFF.data") / "mnist_idx").iterdir():
        if packed.name.endswith(".gz"):
            (raw / packed.name[:-3]).write_bytes(gzip.decompress(packed.read_bytes()))


@pytest.fixture(scope="module")
def digits() -> tuple[TensorDataset, TensorDataset]:
    return mnist.load()


def test_mnist_has_the_original_samples_in_the_original_order(digits: tuple[TensorDataset, TensorDataset]) -> None:
    train, test = digits
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_inputs_are_the_pixels_of_the_files(digits: tuple[TensorDataset, TensorDataset]) -> None:
    packed = resources.files("RecurrentFF.data") / "mnist_idx" / "t10k-images-idx3-ubyte.gz"
    raw = torch.frombuffer(bytearray(gzip.decompress(packed.read_bytes())[16:]), dtype=torch.uint8).view(-1, 784)
    restored = (digits[1].inputs * 0.3081 + 0.1307) * 255
    torch.testing.assert_close(restored, raw.float(), rtol=0, atol=1e-3)


def test_inputs_have_unit_mean_square(digits: tuple[TensorDataset, TensorDataset]) -> None:
    assert digits[0].inputs.square().mean().item() == pytest.approx(1, abs=0.01)
    assert digits[0].inputs.dtype == torch.float32


def test_an_existing_torchvision_folder_is_read_and_not_changed(
    tmp_path: Path, digits: tuple[TensorDataset, TensorDataset]
) -> None:
    unpack(tmp_path)
    file = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    content = bytearray(file.read_bytes())
    content[8] = 3  # the first test label, which identifies this folder
    file.write_bytes(content)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    _, test = mnist.load(tmp_path)
    assert test.labels[0] == 3 and torch.equal(test.inputs, digits[1].inputs)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_a_folder_without_mnist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no files of MNIST here or in MNIST/raw, raw or MNIST.*--data-dir") as caught:
        mnist.load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_package_file_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mnist._MD5, "t10k-labels-idx1-ubyte", "0" * 32)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: not the original.*reinstall"):
        mnist.read()


def numbered(samples: int) -> TensorDataset:
    """Make a data set whose sample i has the input i."""
    return TensorDataset(torch.arange(samples).unsqueeze(1).float(), torch.arange(samples) % 3)


def options(**sizes: int) -> SplitOptions:
    return SplitOptions(torch.device("cpu"), **sizes)


def test_splits_take_training_samples_from_the_start_and_validation_samples_from_the_end() -> None:
    sizes = options(validation_samples=5, train_samples=12, test_samples=4, train_subset_samples=3)
    splits = Splits(*split(numbered(20), numbered(9), sizes))
    inputs = {name: next(dataset.batches(100))[0].flatten().tolist() for name, dataset in splits._asdict().items()}
    assert inputs["train"] == list(range(12)) and inputs["validation"] == list(range(15, 20))
    assert inputs["test"] == [0, 1, 2, 3] and inputs["train_subset"] == [0, 1, 2]
    everything = Splits(*split(numbered(20), numbered(9), options(validation_samples=5)))
    assert (len(everything.train), len(everything.test or ())) == (15, 9) and everything.train_subset is None
    unvalidated = Splits(*split(numbered(20), numbered(9), options()))
    assert len(unvalidated.train) == 20 and unvalidated.validation is None


@pytest.mark.parametrize("sizes", [(20, 0, 0), (5, 16, 0), (5, 0, 10)])
def test_a_split_larger_than_the_data_is_an_error(sizes: tuple[int, int, int]) -> None:
    validation, train, test = sizes
    with pytest.raises(DataError, match=r"data\.\w+_samples"):
        split(numbered(20), numbered(9), options(validation_samples=validation, train_samples=train, test_samples=test))


def test_sequences_and_their_masks_follow_the_order_and_are_sliced_by_sample() -> None:
    inputs, mask = torch.arange(2 * 5 * 3.0).view(2, 5, 3), torch.arange(10).view(2, 5) % 3 > 0
    data = SequenceDataset(inputs, torch.arange(5), mask)
    order = torch.tensor([4, 0, 2])
    first, second = data.batches(2, order)
    assert torch.equal(first.inputs, inputs[:, [4, 0]]) and first.labels.tolist() == [4, 0]
    assert first.mask is not None and torch.equal(first.mask, mask[:, [4, 0]]) and second.labels.tolist() == [2]
    (batch,) = data[1:3].batches(10)
    assert torch.equal(batch.inputs, inputs[:, 1:3]) and batch.labels.tolist() == [1, 2]
    assert batch.mask is not None and torch.equal(batch.mask, mask[:, 1:3])
    assert (len(data), data.batch_count(2)) == (5, 3) and list(data.batches(2, order[:0])) == []
    assert next(SequenceDataset(inputs, torch.arange(5)).batches(2)).mask is None


def test_batches_follow_the_order_and_the_last_one_is_smaller() -> None:
    order = torch.tensor([4, 2, 0, 1, 3])
    batches = list(numbered(5).batches(2, order))
    assert [batch.inputs.flatten().tolist() for batch in batches] == [[4, 2], [0, 1], [3]]
    assert [batch.labels.tolist() for batch in batches] == [[1, 2], [0, 1], [0]]
    assert list(numbered(5).batches(2, order[:0])) == []
    assert numbered(5).batch_count(2) == 3


def test_batches_in_stored_order_are_views() -> None:
    data = numbered(5)
    first = next(data.batches(2))
    assert first.inputs.data_ptr() == data.inputs.data_ptr()


def test_inputs_and_labels_of_wrong_shape_or_type_are_errors() -> None:
    with pytest.raises(InputError, match="samples, features"):
        TensorDataset(torch.zeros(3, 28, 28), torch.zeros(3, dtype=torch.long))
    with pytest.raises(InputError, match="samples, features"):
        TensorDataset(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(InputError, match="integer"):
        TensorDataset(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(InputError, match="knows its number of batches"):
        LoaderDataset(iter([]))


@pytest.fixture
def clothes(tmp_path: Path) -> Path:
    """Make a torchvision folder of Fashion-MNIST with the digits of MNIST, whose files have the same format."""
    unpack(tmp_path)
    (tmp_path / "MNIST").rename(tmp_path / "FashionMNIST")
    return tmp_path


def test_fashion_mnist_is_read_from_a_torchvision_folder(clothes: Path, digits: tuple[TensorDataset, TensorDataset]) -> None:
    for found, expected in zip(fashion_mnist.load(clothes), digits, strict=True):
        assert torch.equal(found.labels, expected.labels)
        torch.testing.assert_close(found.inputs * 0.3530 + 0.2860, expected.inputs * 0.3081 + 0.1307, rtol=0, atol=1e-6)


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_from_a_folder_of_its_four_files(
    packed: bool, clothes: Path, digits: tuple[TensorDataset, TensorDataset]
) -> None:
    raw = clothes / "FashionMNIST" / "raw"
    if packed:
        compress_files(raw)
    for found, expected in zip(fashion_mnist.load(raw), digits, strict=True):
        assert torch.equal(found.labels, expected.labels)
    (raw / f"t10k-labels-idx1-ubyte{'.gz' if packed else ''}").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte(\.gz)?: no IDX file"):
        fashion_mnist.load(raw)


def compress_files(raw: Path) -> dict[str, str]:
    """Replace each file of a folder by a .gz file, and return their MD5 sums by name."""
    sums = {}
    for path in list(raw.iterdir()):
        content = gzip.compress(path.read_bytes(), compresslevel=1)
        Path(f"{path}.gz").write_bytes(content)
        sums[f"{path.name}.gz"] = hashlib.md5(content).hexdigest()
        path.unlink()
    return sums


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the files of a folder over HTTP, and yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def test_fashion_mnist_is_downloaded_completely_or_not_at_all(
    clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, cache = clothes / "FashionMNIST" / "raw", tmp_path / "cache"
    sums = compress_files(raw)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: cache)
    with serve(raw) as address:
        monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", [address])
        last_file_damaged = {name: sums[name] if "train" in name else "0" * 32 for name in sorted(sums, reverse=True)}
        monkeypatch.setattr("torchvision.datasets.FashionMNIST.resources", list(last_file_damaged.items()))
        with pytest.raises(DataError, match=r"can't be downloaded \(t10k-\S+: its checksum differs"):
            fashion_mnist.load()
        assert not cache.exists()
        monkeypatch.setattr("torchvision.datasets.FashionMNIST.resources", list(sums.items()))
        first, _ = fashion_mnist.load()
    again, _ = fashion_mnist.load()  # from the cache: the server has stopped
    assert torch.equal(first.inputs, again.inputs)
    assert [path.name for path in (cache / "fashion_mnist").iterdir()] == ["FashionMNIST"]
    (cache / "fashion_mnist" / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"damaged \(.*t10k-labels-idx1-ubyte: no IDX file .*can't be downloaded"):
        fashion_mnist.load()


def test_fashion_mnist_is_normalized_with_its_own_background(clothes: Path) -> None:
    source = fashion_mnist.FashionMnist(data_dir=str(clothes), train_samples=50, test_samples=50)
    plain, normalized = (source.task(Pixels(deskew=deskew)).splits().test for deskew in (False, True))
    assert plain is not None and normalized is not None
    images = next(iter(plain.batches(50))).inputs.view(50, 28, 28)
    expected = normalize(images, NormalizationConfig(deskew=True), background=fashion_mnist.BACKGROUND)
    assert torch.allclose(next(iter(normalized.batches(50))).inputs, expected.flatten(1), atol=1e-5)


def test_features_of_fashion_mnist_use_its_own_background(clothes: Path) -> None:
    augmentation = Augmentation(rotation=30)
    source = fashion_mnist.FashionMnist(data_dir=str(clothes), train_samples=50, test_samples=50, augmentation=augmentation)
    plain, transformed = (source.task(transform).splits() for transform in (None, OrientedGradients(grid_size=7)))
    for pixels, features in ((plain.train, transformed.train), (plain.test, transformed.test)):
        assert pixels is not None and features is not None
        images = next(iter(pixels.batches(50))).inputs.view(50, 28, 28)
        expected = oriented_gradients(images, OrientedGradientConfig(8, 7), background=fashion_mnist.BACKGROUND)
        assert torch.allclose(next(iter(features.batches(50))).inputs, expected, atol=1e-5)


def test_fashion_mnist_predicts_names_and_accepts_names_and_class_numbers(clothes: Path) -> None:
    task = fashion_mnist.FashionMnist(data_dir=str(clothes)).task()
    assert task.name == "Fashion-MNIST" and task.names(torch.tensor([9, 0])) == ["Ankle boot", "T-shirt/top"]
    assert task.class_numbers(["Bag", "Trouser"]).tolist() == task.class_numbers([8, 1]).tolist() == [8, 1]


def test_missing_fashion_mnist_is_an_error_of_one_line_that_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"no files of FashionMNIST here.*; put its four original files there$") as caught:
        fashion_mnist.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["file:///nowhere/"])
    with pytest.raises(DataError, match=r"and it can't be downloaded \(.*\); name .*--data-dir") as caught:
        fashion_mnist.load()
    assert str(tmp_path / "RecurrentFF") in str(caught.value) and "\n" not in str(caught.value)
