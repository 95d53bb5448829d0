"""Baselines: logistic regression and a GRU, trained by backpropagation on the same samples in the same order.

The optimizer is Adam with a learning rate of 1e-3 and cosine decay. Epochs, batch size, timesteps and seed are those of the
configuration. As for the network, the validation samples, if there are any, select the best epoch, and the test set is read once,
at the end.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from RecurrentFF.atomic_files import write_text
from RecurrentFF.benchmarks.benchmark import Benchmark
from RecurrentFF.data.dataset import Batch, Dataset, Splits
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training.build import build
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.stopwatch import Stopwatch
from RecurrentFF.training.summary import weights_of
from RecurrentFF.training.trainer import epoch_order

LEARNING_RATE = 1e-3
"""The learning rate of Adam at the first batch."""


class LogisticRegression(nn.Module):
    """Logistic regression: one linear layer on the flattened sequence."""

    def __init__(self, timesteps: int, data_size: int, classes: int) -> None:
        super().__init__()
        self.output = nn.Linear(timesteps * data_size, classes)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Compute logits (batch, classes) of inputs (timesteps, batch, data_size). The mask is not used."""
        timesteps = self.output.in_features // inputs.shape[2]
        logits: Tensor = self.output(inputs[:timesteps].transpose(0, 1).flatten(1))
        return logits


class GRU(nn.Module):
    """A gated recurrent unit, and a linear layer on its activity at the last valid timestep of each sequence."""

    def __init__(self, data_size: int, units: int, classes: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(data_size, units)
        self.output = nn.Linear(units, classes)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """Compute logits (batch, classes).

        Args:
            inputs: (timesteps, batch, data_size).
            mask: (timesteps, batch), true at valid timesteps, which come first; None if all are valid.
        """
        activity, _ = self.recurrent(inputs)
        last = torch.full((inputs.shape[1],), len(inputs) - 1, device=inputs.device)
        if mask is not None:
            last = mask.long().sum(0).clamp(min=1) - 1
        logits: Tensor = self.output(activity[last, torch.arange(len(last), device=last.device)])
        return logits


def make_baseline(name: str, network: Network, timesteps: int) -> nn.Module:
    """Create a baseline for the data of a network.

    Args:
        name: "logistic" or "gru".
        network: the network to compare with. The GRU has as many units as fit into its number of weights.
        timesteps: the number of timesteps that logistic regression reads; 1 for a static input.
    """
    data_size, classes = network.data_size, network.num_classes
    torch.manual_seed(network.settings.training.seed)
    if name == "logistic":
        return LogisticRegression(timesteps, data_size, classes).to(network.device)
    weights = sum(parameter.numel() for parameter in network.parameters())
    # 3·u·(data_size + u + 2) + classes·(u + 1) weights, solved for u
    linear = 3 * (data_size + 2) + classes
    units = int((math.sqrt(linear**2 + 12 * (weights - classes)) - linear) / 6)
    return GRU(data_size, max(1, units), classes).to(network.device)


def run(benchmark: Benchmark, settings: Settings, name: str, parent: Path) -> None:
    """Train a baseline on a benchmark's data and test it once.

    Args:
        benchmark: the source of the data.
        settings: the configuration of the network to compare with.
        name: "logistic" or "gru".
        parent: the folder in which the run's folder is created, which receives configuration and summary.
    """
    network, console = build(settings), Console()
    settings = network.settings
    splits = benchmark.load(settings, network.device)
    folder = RunFolder.create(parent, f"{benchmark.folder_name(settings)}-{name}")
    write_text(folder.config, settings.to_toml())
    static = next(iter(splits.train.batches(1))).inputs.dim() == 2
    model = make_baseline(name, network, 1 if static else settings.timesteps)
    weights = sum(parameter.numel() for parameter in model.parameters())
    network_weights = sum(parameter.numel() for parameter in network.parameters())
    console.log(
        f"baseline    {name}, by backpropagation: {_describe(model)}, {weights:,} weights (the network has {network_weights:,})"
    )
    console.log(f"data        {settings.data_config.dataset}: {len(splits.train):,} training samples; run folder {folder.path}")
    clock = Stopwatch()
    best_epoch, validation = _train(model, network, splits, console)
    assert splits.test is not None
    test = _accuracy(model, network, splits.test)
    seconds = round(clock.seconds, 1)
    summary = {"baseline": name, "weights": weights, "test_accuracy": test, "validation_accuracy": validation,
               "best_epoch": best_epoch, "epochs": settings.model.epochs, "seconds": seconds,
               "seed": settings.training.seed, "torch": torch.__version__}  # fmt: skip
    write_text(folder.summary, json.dumps(summary, indent=2) + "\n")
    console.log(f"test        {100 * test:.2f} % right, {100 - 100 * test:.2f} % wrong of {len(splits.test):,}")
    console.log(weights_of(best_epoch, validation))
    console.log(f"time        {int(seconds) // 60} min {int(seconds) % 60} s")


def _describe(model: nn.Module) -> str:
    return f"{model.recurrent.hidden_size} units" if isinstance(model, GRU) else "one linear layer on the flattened sequence"


def _train(model: nn.Module, network: Network, splits: Splits, console: Console) -> tuple[int, float | None]:
    """Train a model, and load the weights of its best epoch (of the last one without validation samples).

    Returns:
        That epoch, numbered from 1, and its validation accuracy, None without validation samples.
    """
    settings, size = network.settings, network.settings.data_config.train_batch_size
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    steps = settings.model.epochs * splits.train.batch_count(size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best_epoch, best, best_weights = settings.model.epochs, None, None
    for epoch in range(settings.model.epochs):
        order, losses = epoch_order(settings.training.seed, epoch, len(splits.train)), []
        for batch in splits.train.batches(size, order, epoch):
            loss = F.cross_entropy(_logits(model, network, batch), batch.labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        accuracy = None if splits.validation is None else _accuracy(model, network, splits.validation)
        if accuracy is not None and (best is None or accuracy > best):
            best_epoch, best, best_weights = epoch + 1, accuracy, copy.deepcopy(model.state_dict())
        mean = torch.stack(losses).mean().item()
        shown = "" if accuracy is None else f"  validation {100 * accuracy:.2f} %"
        console.log(f"epoch {epoch + 1:>3}/{settings.model.epochs}  loss {mean:.4f}{shown}")
    if best_weights is not None:
        model.load_state_dict(best_weights)
    return best_epoch, best


def _logits(model: nn.Module, network: Network, batch: Batch) -> Tensor:
    inputs = network.input_sequence(batch.inputs).squeeze(2).transpose(1, 2)  # (timesteps or 1, batch, data_size)
    logits: Tensor = model(inputs.expand(network.settings.timesteps, -1, -1), batch.mask)
    return logits


@torch.no_grad()
def _accuracy(model: nn.Module, network: Network, dataset: Dataset) -> float:
    correct = [
        (_logits(model, network, batch).argmax(1) == batch.labels).sum()
        for batch in dataset.batches(network.settings.data_config.test_batch_size)
    ]
    return torch.stack(correct).sum().item() / len(dataset)
