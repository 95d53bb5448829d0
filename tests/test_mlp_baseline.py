"""The baseline `mlp`: its training written down plainly, dropout, averaged weights, sequences, and a run of the command line."""

import copy
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import RecurrentFF as rff
from RecurrentFF.benchmarks.baseline import BackpropagationLearner
from RecurrentFF.benchmarks.baselines import make_baseline
from RecurrentFF.benchmarks.feedforward_baselines import MultilayerPerceptron
from RecurrentFF.cli import main
from RecurrentFF.data.dataset import SequenceDataset, Splits, TensorDataset
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.training.callbacks import Callback
from RecurrentFF.training.callbacks.default import core_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.helpers import CLASSES, DATA_SIZE, clusters, small_settings

DROPOUT: dict[str, Any] = {"activity_dropout": 0.5, "input_dropout": 0.25}


def data() -> Splits:
    return Splits(*(TensorDataset(*clusters(number, seed=seed)) for number, seed in ((60, 2), (30, 3), (30, 4), (30, 2))))


def perceptron(splits: Splits | None = None, **arguments: Any) -> MultilayerPerceptron:
    settings = small_settings(**{"epochs": 3, "batch_size": 20, "optimizer": "adam"} | arguments)
    return cast(MultilayerPerceptron, make_baseline("mlp", rff.build(settings), splits or data()))


def mlp_trainer(path: Path, *callbacks: Callback, **arguments: Any) -> Trainer:
    path.mkdir(exist_ok=True)
    model = perceptron(**arguments)
    own = [*core_callbacks(model.settings, RunFolder(path)), *callbacks]
    learner = BackpropagationLearner(model)
    return Trainer(cast(rff.Network, model), data(), own, learner=learner, console=Console(quiet=True))


class StopAfter(Callback):
    """Stops the training as Ctrl-C does, after some batches."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_batch_end(self, trainer: Trainer, metrics: object, samples: int) -> None:
        self.batches -= 1
        if not self.batches:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_mlp_is_trained_with_adam_of_the_configuration_and_cosine_decay(tmp_path: Path) -> None:
    """The same training, written down plainly."""
    optimizer = {"name": "adam", "learning_rate": 5e-3, "weight_decay": 0.1}
    trainer = mlp_trainer(tmp_path, optimizer=optimizer, weight_averaging=0.8)
    torch.manual_seed(0)
    sizes = [DATA_SIZE, 9, 5, 8]
    layers = [module for pair in itertools.pairwise(sizes) for module in (nn.Linear(*pair), nn.ReLU())]
    plain = nn.Sequential(*layers, nn.Linear(8, CLASSES))
    averages = [parameter.detach().clone() for parameter in plain.parameters()]
    adam = torch.optim.AdamW(plain.parameters(), lr=5e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 9)
    inputs, labels = clusters(60, seed=2)
    losses: list[float] = []
    for epoch in range(3):
        for index in torch.split(torch.randperm(60, generator=torch.Generator().manual_seed(epoch)), 20):
            loss = F.cross_entropy(plain(inputs[index]), labels[index])
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            schedule.step()
            decay = min(0.8, (1 + len(losses)) / (10 + len(losses))) if losses else 0.0
            averages = [torch.lerp(a, p.detach(), 1 - decay) for a, p in zip(averages, plain.parameters(), strict=True)]
            losses.append(loss.item())
    assert trainer.fit()
    assert [metrics.loss for metrics in trainer.history] == pytest.approx([sum(losses[i : i + 3]) / 3 for i in (0, 3, 6)])
    for own, expected in (
        (trainer.network.parameters(), plain.parameters()),
        (trainer.evaluated.parameters(), averages),
    ):
        for parameter, other in zip(own, expected, strict=True):
            torch.testing.assert_close(parameter, other)


def test_inputs_and_hidden_units_are_dropped_in_training_alone() -> None:
    model = perceptron(hidden_sizes=[40, 30], **DROPOUT)
    inputs = 1 + torch.rand(200, DATA_SIZE)
    seen: list[Tensor] = []
    for module in (model.hidden[0], model.output):
        module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    assert torch.equal(model.logits(inputs), model.logits(inputs))
    assert torch.equal(seen[0], inputs) and torch.equal(seen[1], seen[3])
    learner = BackpropagationLearner(model)
    for _ in range(2):
        learner.train_batch(inputs, torch.zeros(200, dtype=torch.long))
    dropped, other = seen[4], seen[6]
    kept = dropped != 0
    assert kept.float().mean() == pytest.approx(0.75, abs=0.04)
    torch.testing.assert_close(dropped[kept], (inputs / 0.75)[kept])
    assert not torch.equal(kept, other != 0)  # a batch has samples of its own
    in_prediction, in_training = (activity.count_nonzero().item() for activity in (seen[1], seen[5]))
    assert in_training == pytest.approx(0.5 * in_prediction, rel=0.15)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_mlp_equals_an_uninterrupted_one(precision: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"precision": precision, "weight_averaging": 0.9, **DROPOUT}
    whole = mlp_trainer(tmp_path / "whole", **arguments)
    assert whole.fit()
    stopped = mlp_trainer(tmp_path / "resumed", StopAfter(4), **arguments)
    assert not stopped.fit()
    resumed = mlp_trainer(tmp_path / "resumed", **arguments)
    resumed.resume(tmp_path / "resumed/last.safetensors")
    assert (resumed.progress.epoch, resumed.progress.batch) == (1, 1)
    assert resumed.fit()
    for one, other in ((resumed.network, whole.network), (resumed.evaluated, whole.evaluated)):
        assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert [metrics.loss for metrics in resumed.history] == [metrics.loss for metrics in whole.history]
    inputs, exact = torch.rand(20, DATA_SIZE), copy.deepcopy(whole.network)
    exact.settings = exact.settings.with_arguments(precision="float32")
    assert torch.equal(exact.logits(inputs), whole.network.logits(inputs)) == (precision == "float32")


def test_an_mlp_reads_the_flattened_sequence_and_drops_a_feature_at_all_timesteps() -> None:
    inputs, labels = 1 + torch.rand(5, 50, DATA_SIZE), torch.zeros(50, dtype=torch.long)
    splits = Splits(SequenceDataset(inputs, labels), None, None, None)
    model = perceptron(splits, input_dropout=0.5)
    assert cast(nn.Linear, model.hidden[0]).in_features == 5 * DATA_SIZE and "on the flattened sequence" in model.description
    seen: list[Tensor] = []
    model.hidden[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model.logits(inputs)
    model.logits(inputs, None, BatchDraws(0, 0, torch.arange(50)))
    assert torch.equal(seen[0].view(50, 5, -1), inputs.transpose(0, 1))
    kept = seen[1].view(50, 5, -1) != 0
    assert torch.equal(kept, kept[:, :1].expand_as(kept)) and 0.4 < kept.float().mean() < 0.6


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        ({"name": "adam", "learning_rate": 0.02}, 0.02),
        ({"name": "torch", "optimizer": "AdamW", "learning_rate": 0.03}, 0.03),
        ({"name": "rmsprop", "learning_rate": 0.04}, 1e-3),
    ],
)
def test_the_learning_rate_is_that_of_adam_in_the_configuration(optimizer: dict[str, Any], rate: float) -> None:
    model = perceptron(optimizer=optimizer, **DROPOUT)
    learner = BackpropagationLearner(model)
    learner.scale_learning_rates(0.5)
    assert isinstance(learner.optimizer, torch.optim.AdamW) and learner.learning_rate == 0.5 * rate
    assert model.description == (
        "mlp, by backpropagation: 9 + 5 + 8 units; dropout of 0.25 of the inputs and 0.5 of the units; "
        f"Adam with a learning rate of {rate:g} and cosine decay"
    )


def test_an_mlp_of_a_convolutional_network_is_described_as_dense() -> None:
    model = cast(MultilayerPerceptron, make_baseline("mlp", rff.build("mnist_conv", device="cpu"), data()))
    assert "mlp, by backpropagation: 3136 + 500 units; " in model.description


def test_other_baselines_have_neither_dropout_nor_averaged_weights_nor_another_rate() -> None:
    settings = small_settings(optimizer={"name": "adam", "learning_rate": 0.02}, weight_averaging=0.9, **DROPOUT)
    inputs, draws = torch.rand(20, DATA_SIZE), BatchDraws(0, 0, torch.arange(20))
    for name in ("logistic", "gru-4", "rnn-4"):
        model = make_baseline(name, rff.build(settings), data())
        learner = BackpropagationLearner(model)
        assert torch.equal(model.logits(inputs), model.logits(inputs, None, draws))
        assert isinstance(learner.optimizer, torch.optim.Adam) and not isinstance(learner.optimizer, torch.optim.AdamW)
        assert learner.learning_rate == 1e-3
        assert model.settings.training.weight_averaging == 0


def test_an_mlp_is_trained_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"train_samples": 400, "validation_samples": 100, "test_samples": 100}
    flags = [f"--set=data.{key}={value}" for key, value in few.items()]
    flags += ["--epochs=2", "--device=cpu", "--set=network.hidden_sizes=[90,60]", f"--output-dir={tmp_path}"]
    assert main(["train", "mnist", "--config-file=mnist_raw", "--baseline=mlp", *flags, "--set=training.batch_size=10"]) == 0
    output = capsys.readouterr().out
    assert "baseline    mlp, by backpropagation: 90 + 60 units; dropout of 0.2 of the inputs and 0.5 of the units; " in output
    (folder,) = tmp_path.iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert folder.name.startswith("mnist-mlp-") and summary["baseline"] == "mlp" and summary["test_accuracy"] > 0.3
    assert {"start", "training", "evaluation"} <= set(summary["seconds_by_part"])
    assert main(["report", str(tmp_path)]) == 0 and main(["resume", str(folder)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 2
    assert "the run of a baseline (mlp), which can't be evaluated" in capsys.readouterr().err
