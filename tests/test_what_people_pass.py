"""Data as people pass them to `fit`, `evaluate` and `predict`: loaders, data sets of torch, frames, sequences, images."""

import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torch.utils.data import TensorDataset as TorchDataset

import RecurrentFF as rff
from RecurrentFF.data.dataset import LabeledImages, LoaderDataset
from RecurrentFF.data.moving_mnist import MovingDigits
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.training.fit import Interrupted
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.trainer import Trainer
from tests.helpers import clusters, small_settings, video
from tests.refusals import refusal

INPUTS, LABELS = clusters(60)


def new_network(**arguments: Any) -> Network:
    return rff.build(small_settings(epochs=1, **arguments))


def weights(network: Network) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


class Once:
    """A loader that can be read only once."""

    def __init__(self) -> None:
        self.batches = iter([(INPUTS, LABELS)])

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches


class Promise:
    """A loader that gives fewer batches than it promises."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter(())


# ---------------------------------------------------------------- validation data

WRONG: dict[str, tuple[Any, str]] = {
    "labels out of range": ([(INPUTS, LABELS + 3)], "validation data: batch 1: labels run from"),
    "labels out of range in a later batch": ([(INPUTS, LABELS), (INPUTS, LABELS + 3)], "validation data: batch 2: labels run"),
    "floating-point labels": ([(INPUTS, LABELS.float())], "validation data: batch 1: labels of type torch.float32"),
    "labels that change over time": ([(INPUTS, LABELS.expand(3, 60))], "expected class numbers (60,)"),
    "one-hot labels": ([(INPUTS, torch.nn.functional.one_hot(LABELS, 5))], "one-hot?"),
    "fewer labels": ([(INPUTS[:10], LABELS[:1])], "validation data: batch 1: 10 inputs but 1 labels"),
    "more labels": ([(INPUTS[:10], LABELS[:11])], "validation data: batch 1: 10 inputs but 11 labels"),
    "other features": ([(INPUTS[:, :3], LABELS)], "validation data: batch 1: inputs of shape (60, 3)"),
    "NaN": ([(INPUTS * torch.nan, LABELS)], "validation data: batch 1: inputs that are not all finite"),
    "a wrong mask": ([(INPUTS, LABELS, torch.ones(60, 5))], "validation data: batch 1: mask of shape (60, 5)"),
    "no labels": ([INPUTS], "batch 1 of type Tensor"),
    "a DataLoader": (DataLoader(TorchDataset(INPUTS, LABELS + 3), 20), "validation data: batch 1: labels run from"),
    "a DataLoader of samples": (DataLoader(TorchDataset(INPUTS, LABELS), None), "validation data: batch 1: inputs of shape (7,)"),
    "an iterator": (Once(), "can be read only once"),
    "a promise": (Promise(), "promises 3 batches"),
    "a generator": (((INPUTS, LABELS) for _ in range(3)), "knows its number of batches"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_validation_data_are_refused_before_the_first_batch(case: str) -> None:
    network = new_network()
    before = weights(network)
    data, message = WRONG[case]
    assert message in refusal(lambda: rff.fit(network, (INPUTS, LABELS), validation=data, quiet=True))
    assert torch.equal(weights(network), before)


def test_an_error_in_a_later_batch_names_it() -> None:
    loader = DataLoader(TorchDataset(INPUTS, torch.cat([LABELS[:40], LABELS[40:] + 4])), 20)
    assert refusal(lambda: rff.fit(new_network(), loader, quiet=True)).startswith("epoch 1, batch 3: labels run from")
    assert "accuracy: batch 3: " in refusal(lambda: rff.fit(new_network(), (INPUTS, LABELS), validation=loader, quiet=True))
    assert refusal(lambda: rff.evaluate(new_network(), loader)).startswith("batch 3: evaluate: labels run from")
    assert "batch 2: inputs of type NoneType" in refusal(
        lambda: rff.fit(new_network(), [(INPUTS, LABELS), (None, LABELS), (INPUTS, LABELS)], quiet=True)
    )


def test_loaders_that_give_nothing_are_refused() -> None:
    for data in (Promise(), [(INPUTS[:0], LABELS[:0])]):
        refusal(lambda data=data: rff.fit(new_network(), data, quiet=True))  # type: ignore[misc]
    assert "promises 3 batches, but gives none" in refusal(lambda: rff.evaluate(new_network(), Promise()))
    network = rff.build(small_settings(epochs=3))
    assert "promises 1 batches, but gives none" in refusal(lambda: rff.fit(network, Once(), quiet=True))


def test_a_look_at_validation_data_changes_no_randomness() -> None:
    class Noisy(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            noise = torch.rand(1) + np.random.rand()
            drawn.append(float(noise))
            return INPUTS[index] + noise.float(), LABELS[index]

    drawn: list[float] = []
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(Noisy(), 20, shuffle=True, generator=generator)
    torch.manual_seed(0)
    np.random.seed(0)
    rff.fit(new_network(), (INPUTS, LABELS), validation=loader, quiet=True)
    assert len(drawn) == 40 and drawn[:20] == drawn[20:]  # the look, and the evaluation


def test_a_look_that_is_never_finished_restores_no_randomness_later() -> None:
    def drawn() -> tuple[float, float]:
        return float(torch.rand(1)), float(np.random.rand())

    looked_at = LoaderDataset(DataLoader(TorchDataset(INPUTS, LABELS), 20)).looked_at()
    next(looked_at)
    seen = []
    for unfinished in (None, looked_at):
        torch.manual_seed(5)
        np.random.seed(5)
        if unfinished is not None:
            unfinished.close()  # type: ignore[attr-defined]
        seen.append(drawn())
    assert seen[0] == seen[1]


# ---------------------------------------------------------------- loaders and data sets of torch


def test_the_seed_decides_the_order_of_a_loader_that_shuffles() -> None:
    def trained(seed: int, of_program: int) -> Tensor:
        torch.manual_seed(of_program)
        network = new_network()
        network.settings = network.settings.with_arguments(seed=seed)
        loader = DataLoader(TorchDataset(INPUTS, LABELS), 10, shuffle=True)
        rff.fit(network, loader, epochs=2, quiet=True)
        assert loader.sampler.generator is None  # type: ignore[attr-defined]
        return weights(network)

    assert torch.equal(trained(0, 1), trained(0, 2)) and not torch.equal(trained(0, 1), trained(4, 1))


def test_each_epoch_of_a_loader_that_shuffles_has_its_own_order() -> None:
    orders = []

    class Numbers(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            orders.append(index)
            return INPUTS[index], LABELS[index]

    rff.fit(new_network(), DataLoader(Numbers(), 10, shuffle=True), epochs=2, quiet=True)
    assert orders[:20] != orders[20:] and sorted(orders[:20]) == sorted(orders[20:]) == list(range(20))


def test_data_sets_of_torch_are_trained_and_evaluated() -> None:
    dataset = TorchDataset(INPUTS, LABELS)
    network = new_network()
    history = rff.fit(network, Subset(dataset, range(40)), validation=Subset(dataset, range(40, 60)), quiet=True)
    assert history[0].validation_accuracy is not None
    assert rff.evaluate(network, Subset(dataset, range(30))).samples == 30
    assert rff.evaluate(network, dataset).samples == 60
    for data in (dataset, DataLoader(dataset, 8), Subset(dataset, range(9))):
        assert "rff.evaluate(network, data)" in refusal(lambda data=data: network.predict(data))  # type: ignore[misc]


def test_frames_and_slices_of_them_are_trained_on() -> None:
    frame, column = pd.DataFrame(INPUTS.numpy()), pd.Series(LABELS.numpy())
    networks = [new_network(), new_network()]
    rff.fit(networks[0], (frame[10:50], column[10:50]), quiet=True)
    rff.fit(networks[1], (INPUTS[10:50], LABELS[10:50]), quiet=True)
    assert torch.equal(*map(weights, networks)) and len(networks[0].predict(frame[3:9])) == 6


IMAGES = (torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(0)) * 255).byte()


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES[:, None],
        IMAGES[..., None],
        IMAGES.flatten(1),
        IMAGES / 255,
        IMAGES.long(),
        list(IMAGES),
        [image.numpy() for image in IMAGES],
        [Image.fromarray(image.numpy()) for image in IMAGES],
        IMAGES[:, None].expand(-1, 3, -1, -1),
    ],
    ids=["plain", "channel", "channel last", "flat", "0 to 1", "int64", "tensors", "arrays", "Pillow", "colors"],
)
def test_images_of_many_forms_with_text_labels_are_a_task(images: Any) -> None:
    labels = ["a", "b", "c", "d"] * 10
    task = rff.TensorTask(images, labels)
    network = rff.build(small_settings(input_size=None, num_classes=None, epochs=1), task=task)
    rff.fit(network, task, quiet=True)
    assert rff.evaluate(network, (images, np.array(labels)[:, None])).samples == 40
    assert set(network.predict(images)) <= set(labels)


def test_a_network_of_a_task_does_not_take_pixels_for_network_inputs() -> None:
    task = rff.TensorTask(IMAGES, [0, 1, 2, 3] * 10)
    network = rff.build(small_settings(input_size=None, num_classes=None), task=task)
    assert torch.equal(network.badness(IMAGES), network.badness(IMAGES.flatten(1)))
    torch.testing.assert_close(network.badness(IMAGES), network.badness((IMAGES / 255).flatten(1)))
    assert "give [image]" in refusal(lambda: network.predict(Image.fromarray(IMAGES[0].numpy())))


def test_color_images_with_receptive_fields_are_an_error_of_one_line() -> None:
    task = rff.TensorTask(torch.rand(20, 3, 6, 6), [0, 1, 2, 3] * 5)
    settings = small_settings(input_size=None, num_classes=None, connections=["receptive_field"])
    assert "square images of one channel" in refusal(lambda: rff.build(settings, task=task), SettingsError)


def test_a_list_of_samples_is_an_error_that_says_how_to_batch_them() -> None:
    samples = list(zip(INPUTS, LABELS, strict=True))
    assert "a DataLoader with a batch_size" in refusal(lambda: rff.fit(new_network(), samples, quiet=True))
    assert rff.fit(new_network(), DataLoader(samples, 20), quiet=True)[0].epoch == 1  # type: ignore[arg-type]


def test_the_data_set_of_moving_digits_is_trained_on_as_it_is_and_by_a_loader() -> None:
    images = LabeledImages((torch.rand(24, 28, 28) * 255).byte(), torch.arange(24) % 5)
    digits = MovingDigits(images, 5, seed=0, split="train")
    video_of_7, label = digits[7]
    assert torch.equal(video_of_7, next(digits[7:8].batches(1)).inputs[:, 0]) and label == 2
    assert torch.equal(digits[-1][0], digits[23][0])
    with pytest.raises(IndexError):
        _ = digits[24]
    network = new_network(input_size=64**2)
    assert rff.fit(network, digits, validation=digits[:6], quiet=True)[0].validation_accuracy is not None
    assert "batch_first=True" in refusal(lambda: rff.fit(network, DataLoader(digits, 6), quiet=True))  # type: ignore[arg-type]
    rff.fit(network, DataLoader(digits, 6), validation=Subset(digits, range(9)), batch_first=True, quiet=True)  # type: ignore[arg-type]


# ---------------------------------------------------------------- sequences


def test_sequences_with_the_batch_first() -> None:
    networks = [new_network(), new_network()]
    inputs, mask = video(5).float(), torch.ones(5, 6, dtype=torch.bool)
    mask[3:, 1] = False
    over_time = LABELS[:18].view(3, 6)
    rff.fit(networks[0], [(inputs, over_time, mask)], validation=[(inputs, LABELS[:6], mask)], quiet=True)
    samples = list(zip(inputs.transpose(0, 1), over_time.T, mask.T, strict=True))
    batch_first: Any = DataLoader(samples, 6)  # type: ignore[arg-type]
    validation = [(inputs.transpose(0, 1), LABELS[:6], mask.T)]
    rff.fit(networks[1], batch_first, validation=validation, batch_first=True, quiet=True)
    assert torch.equal(*map(weights, networks))
    badness = networks[0].badness(inputs, mask)
    assert torch.equal(networks[0].badness(inputs.transpose(0, 1), mask.T, batch_first=True), badness)
    accuracies = [
        rff.evaluate(networks[0], data, batch_first=first).accuracy
        for data, first in (([(inputs, LABELS[:6], mask)], False), (validation, True))
    ]
    assert accuracies[0] == accuracies[1]


def test_a_batch_of_as_many_sequences_as_timesteps_warns_unless_the_layout_is_said() -> None:
    network, inputs, labels = new_network(), video(5, 5).float(), LABELS[:5]
    for call in (lambda: network.predict(inputs), lambda: rff.fit(network, [(inputs, labels)], quiet=True)):
        with pytest.warns(UserWarning, match=r"read as \(timesteps, batch, features\).*batch_first=True"):
            call()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for first in (True, False):
            network.predict(inputs, batch_first=first)
            rff.fit(network, [(inputs, labels)], batch_first=first, quiet=True)
            rff.evaluate(network, [(inputs, labels)], batch_first=first)
        network.predict(inputs[:, :4])
    assert "pass batch_first=True" in refusal(lambda: network.predict(video(6, 5)))


def test_one_hot_labels_of_a_loader_whose_batches_have_as_many_samples_as_timesteps() -> None:
    network = new_network(label_timesteps=5, batch_size=5)
    before, one_hot = weights(network), torch.nn.functional.one_hot(LABELS, 5)
    for labels in (one_hot, one_hot.float(), one_hot.bool()):
        loader = DataLoader(TorchDataset(INPUTS, labels), 5)
        assert "argmax(1)" in refusal(lambda loader=loader: rff.fit(network, loader, quiet=True))  # type: ignore[misc]
    assert torch.equal(weights(network), before)
    Learner(network).train_batch(INPUTS[:5], LABELS[:5].expand(5, 5))  # labels over time
    Learner(network).train_batch(INPUTS[:5], one_hot[:5].unsqueeze(2))  # the same, said explicitly


# ---------------------------------------------------------------- the result


def test_an_interruption_carries_the_history_and_more_epochs_follow() -> None:
    class Interrupt(rff.Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: EpochMetrics) -> None:
            if metrics.epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    network = new_network()
    with pytest.raises(KeyboardInterrupt, match="after 2 epochs") as caught:
        rff.fit(network, (INPUTS, LABELS), epochs=5, callbacks=[Interrupt()], quiet=True)
    assert isinstance(caught.value, Interrupted) and [metrics.epoch for metrics in caught.value.history] == [1, 2]
    assert len(rff.fit(network, (INPUTS, LABELS), epochs=3, optimizer="adam", quiet=True)) == 3


def test_fit_leaves_the_weights_of_the_best_epoch() -> None:
    network, data = new_network(), (INPUTS[40:], LABELS[40:])
    history = rff.fit(network, (INPUTS[:40], LABELS[:40]), validation=data, epochs=6, quiet=True)
    assert rff.evaluate(network, data).accuracy == max(metrics.validation_accuracy or 0.0 for metrics in history)


def test_options_of_a_data_set_that_is_not_named_are_refused() -> None:
    for arguments in ({"deskew": True, "shift": 3}, {"fresh_velocities": False}):
        words = refusal(lambda arguments=arguments: rff.build(**arguments), SettingsError)  # type: ignore[misc]
        assert "an option of the data set" in words and "name it too" in words


def test_a_layer_changed_after_it_was_made_is_not_loaded_as_another_network(tmp_path: Path) -> None:
    class Linear(rff.Activation):
        def apply(self, z: Tensor) -> Tensor:
            return z

    def changed(**changes: Any) -> Network:
        network = new_network()
        for name, value in changes.items():
            setattr(network.layers["h2"], name, value)
        return network

    for changes in ({"activation": Linear()}, {"epsilon": 0.5}, {"reduction": "sum"}):
        network, path = changed(**changes), tmp_path / "network.safetensors"
        rff.save(network, path)
        assert "network=" in refusal(lambda path=path: rff.load(path), rff.errors.CheckpointError)  # type: ignore[misc]
        loaded = rff.load(path, "cpu", network=changed(**changes))
        assert torch.equal(loaded.badness(INPUTS), network.badness(INPUTS))
    assert not new_network(straight_through=True).has_own_modules and not new_network().has_own_modules
