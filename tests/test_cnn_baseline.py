"""The baseline `cnn`: its equations written down plainly, resumed runs, refusals, and a run of the commands."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

import RecurrentFF as rff
from RecurrentFF.benchmarks.baseline import BackpropagationLearner
from RecurrentFF.benchmarks.baselines import make_baseline
from RecurrentFF.benchmarks.feedforward_baselines import ConvolutionalNetwork
from RecurrentFF.cli import main
from RecurrentFF.data.dataset import SequenceDataset, Splits, TensorDataset
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.training.callbacks.default import core_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.helpers import CLASSES, small_settings
from tests.test_mlp_baseline import StopAfter

SIDE = 8

CONNECTIONS: list[dict[str, Any]] = [
    {"name": "convolution", "layers": [1], "channels": 4, "kernel_size": 3, "stride": 2, "padding": 1},
    {"name": "convolution", "layers": [2], "channels": 6, "kernel_size": 3, "stride": 1, "padding": 1, "pooling": 2},
]


def data() -> Splits:
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.rand(60, SIDE**2, generator=generator), torch.randint(CLASSES, (60,), generator=generator)
    return Splits(*(TensorDataset(inputs[part], labels[part]) for part in map(slice, (0, 40, 40, 0), (40, 60, 60, 20))))


def network(**arguments: Any) -> rff.Network:
    """Convolutions of 4 × 4 × 4 and 6 × 2 × 2 units, then 10 units with dense weights."""
    sizes = {"input_size": SIDE**2, "hidden_sizes": [64, 24, 10], "connections": CONNECTIONS}
    chosen = {"batch_normalization": True, "update_order": "bottom_up", "epochs": 2, "batch_size": 20, "optimizer": "adam"}
    return rff.build(small_settings(**sizes | chosen | arguments))


def cnn(**arguments: Any) -> ConvolutionalNetwork:
    return cast(ConvolutionalNetwork, make_baseline("cnn", network(**arguments), data()))


def plain(normalizes: bool) -> nn.Sequential:
    """The baseline of `network`, written down plainly."""
    bias = not normalizes

    def norm(normalization: nn.Module) -> nn.Module:
        return normalization if normalizes else nn.Identity()

    first = [
        nn.Unflatten(1, (1, SIDE, SIDE)),
        nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=bias),
        norm(nn.BatchNorm2d(4)),
        nn.ReLU(),
    ]
    second = [nn.Conv2d(4, 6, 3, padding=1, bias=bias), nn.MaxPool2d(2), norm(nn.BatchNorm2d(6)), nn.ReLU(), nn.Flatten()]
    third = [nn.Linear(24, 10, bias=bias), norm(nn.BatchNorm1d(10)), nn.ReLU()]
    return nn.Sequential(*first, *second, *third, nn.Linear(10, CLASSES))


@pytest.mark.parametrize("normalizes", [True, False])
def test_a_cnn_has_the_convolutions_of_the_network(normalizes: bool) -> None:
    model, other = cnn(batch_normalization=normalizes), plain(normalizes)
    for own, copy in zip(model.parameters(), other.parameters(), strict=True):
        assert own.shape == copy.shape
        copy.data.copy_(own)
    inputs, draws = torch.rand(20, SIDE**2), BatchDraws(0, 0, torch.arange(20))
    torch.testing.assert_close(model.logits(inputs, None, draws), other(inputs))
    other.eval()
    torch.testing.assert_close(model.logits(inputs), other(inputs))
    torch.testing.assert_close(model.logits(inputs[:5]), model.logits(inputs)[:5])
    layers = "cnn, by backpropagation: 4×4×4 + 6×2×2 + 10 units; " + ("batch normalization; " if normalizes else "")
    assert model.description == f"{layers}Adam with a learning rate of 0.001 and cosine decay"


def test_a_single_training_sample_is_normalized_by_running_statistics() -> None:
    model, one = cnn(hidden_sizes=[64, 24, 10]), torch.rand(1, SIDE**2)
    learner = BackpropagationLearner(model)
    learner.train_batch(torch.rand(20, SIDE**2), torch.zeros(20, dtype=torch.long))
    dense, convolutional = (cast(nn.BatchNorm1d, cast(Any, model.hidden[number]).normalization) for number in (2, 0))
    before, channels = dense.state_dict()["running_mean"].clone(), convolutional.state_dict()["running_mean"].clone()
    assert learner.train_batch(one, torch.zeros(1, dtype=torch.long)).loss.isfinite().all()
    assert torch.equal(dense.state_dict()["running_mean"], before)
    assert not torch.equal(convolutional.state_dict()["running_mean"], channels)  # it has 16 values for each channel


def test_units_are_dropped_in_training_alone() -> None:
    model = cnn(activity_dropout=0.5, batch_normalization=False)
    inputs, seen = torch.rand(200, SIDE**2), []
    model.hidden[1].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].count_nonzero().item()))
    model.logits(inputs)
    model.logits(inputs, None, BatchDraws(0, 0, torch.arange(200)))
    assert seen[1] == pytest.approx(0.5 * seen[0], rel=0.1)


def trainer(path: Path, *callbacks: rff.Callback) -> Trainer:
    path.mkdir(exist_ok=True)
    model = cnn(weight_averaging=0.9)
    own = [*core_callbacks(model.settings, RunFolder(path)), *callbacks]
    learner = BackpropagationLearner(model)
    return Trainer(cast(rff.Network, model), data(), own, learner=learner, console=Console(quiet=True))


def test_a_resumed_cnn_equals_an_uninterrupted_one_in_its_statistics_too(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    assert whole.fit()
    assert not trainer(tmp_path / "resumed", StopAfter(3)).fit()
    resumed = trainer(tmp_path / "resumed")
    resumed.resume(tmp_path / "resumed/last.safetensors")
    assert resumed.fit()
    for one, other in ((resumed.network, whole.network), (resumed.evaluated, whole.evaluated)):
        named = other.state_dict()
        assert any("running_var" in name for name in named)
        assert all(torch.equal(value, named[name]) for name, value in one.state_dict().items())


def test_other_connections_are_left_out() -> None:
    both = network().layers["h1"]
    assert [type(each).__name__ for each in cast(Any, both).connections].count("Conv2d") == 2  # of the input, and of itself
    forward = [*({**each, "sources": ["forward"]} for each in CONNECTIONS), {"name": "none", "sources": ["lateral", "backward"]}]
    assert len(cast(Any, network(connections=forward).layers["h1"]).connections) == 1
    expected = [parameter.shape for parameter in plain(True).parameters()]
    for model in (cnn(), cnn(connections=forward)):
        assert [parameter.shape for parameter in model.parameters()] == expected


def test_the_statistics_of_a_cnn_in_bfloat16_are_in_float32() -> None:
    model, exact = cnn(precision="bfloat16"), cnn()
    inputs, draws = torch.rand(20, SIDE**2), BatchDraws(0, 0, torch.arange(20))
    low, high = model.logits(inputs, None, draws), exact.logits(inputs, None, draws)
    assert not torch.equal(low, high)
    torch.testing.assert_close(low, high, atol=0.05, rtol=0.05)
    assert all(value.dtype != torch.bfloat16 for value in model.state_dict().values())


def test_a_network_without_convolutions_is_refused() -> None:
    plain_network = rff.build(small_settings())
    with pytest.raises(SettingsError, match="baseline 'cnn': the network's first layer has no convolution of its input; use mlp"):
        make_baseline("cnn", plain_network, data())


def test_sequences_are_refused() -> None:
    sequences = SequenceDataset(torch.rand(5, 10, SIDE**2), torch.zeros(10, dtype=torch.long))
    with pytest.raises(SettingsError, match="baseline 'cnn': it reads a single image, but a sample of this data is a sequence"):
        make_baseline("cnn", network(), Splits(sequences, None, None, None))


def test_a_cnn_is_trained_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"train_samples": 400, "validation_samples": 100, "test_samples": 100}
    flags = [f"--set=data.{key}={value}" for key, value in few.items()] + [f"--output-dir={tmp_path}", "--device=cpu"]
    flags += ["--epochs=2", "--set=training.batch_size=20"]
    assert main(["train", "mnist", "--config-file=mnist_own_features", "--baseline=cnn", *flags]) == 0
    assert "baseline    cnn, by backpropagation: 40×14×14 + 80×7×7 + 160×3×3 units; " in capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert folder.name.startswith("mnist-cnn-") and summary["baseline"] == "cnn" and summary["test_accuracy"] > 0.5
