"""The files of the best weights and of the last state agree, whatever happens to one of them."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from RecurrentFF.errors import DivergenceError
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.training import checkpoint
from RecurrentFF.training.callbacks import Callback
from RecurrentFF.training.trainer import Trainer
from tests.checkpoints import state_in, weights_in
from tests.test_survival import make_trainer

FULL = errno.ENOSPC


class FullDisk(Callback):
    """A disk that is full for some files during some epochs, from 0; and a divergence in another epoch."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, name: str, epochs: range, divergence: int) -> None:
        replace = Path.replace
        self.folder, self.behind = folder, 1 if name == "best.safetensors" else None  # that file may be of an earlier epoch
        self.epochs, self.divergence, self.epoch = epochs, divergence, 0

        def full_replace(path: Path, target: Path) -> Path:
            if Path(target).name == name and self.epoch in self.epochs:
                raise OSError(FULL, "No space left on device")
            return replace(path, target)

        patch.setattr(Path, "replace", full_replace)

    def on_epoch_start(self, trainer: Trainer) -> None:
        self.epoch = trainer.progress.epoch

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        if trainer.progress.epoch == self.divergence and trainer.progress.retries == 0:
            folder = self.folder
            if (folder / "best.safetensors").exists():  # a program that is killed now leaves files that agree
                last = state_in(folder).progress.best_epoch
                assert checkpoint.read(folder / "best.safetensors").epoch in (last, self.behind)
            raise DivergenceError("epoch 3, batch 1: diverged")


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
def test_after_a_divergence_the_best_weights_are_those_of_an_epoch_that_counts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second epoch is better than the first, its last state can't be written, and the third diverges."""
    trainer = make_trainer(tmp_path, epochs=2, on_divergence="retry", schedule="step")
    trainer.settings = trainer.settings.with_arguments(epochs=3)
    accuracies = iter([0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
    monkeypatch.setattr(trainer, "_accuracy", lambda dataset, **_: next(accuracies))
    trainer.callbacks.append(FullDisk(monkeypatch, tmp_path, name, range(1, 2), divergence=2))
    kept: list[dict[str, torch.Tensor]] = []

    class Keep(Callback):
        def on_epoch_end(self, trainer: Trainer, metrics: Any) -> None:
            if metrics.epoch == trainer.progress.best_epoch:
                kept.append({key: weight.clone() for key, weight in trainer.evaluated.state_dict().items()})

    trainer.callbacks.insert(0, Keep())
    assert trainer.fit()
    best, state = checkpoint.read(tmp_path / "best.safetensors"), state_in(tmp_path)
    expected = {"last.safetensors": 1, "best.safetensors": 2}[name]  # the second epoch was lost with its last state
    assert best.epoch == trainer.progress.best_epoch == state.progress.best_epoch == expected
    assert state.best is not None
    for key, weight in weights_in(tmp_path).items():
        assert torch.equal(weight, state.best[key]) and torch.equal(weight, kept[expected - 1][key])


def test_a_lost_file_of_the_best_weights_is_written_again(tmp_path: Path) -> None:
    assert make_trainer(tmp_path, epochs=2, schedule="step").fit()
    before = weights_in(tmp_path)
    (tmp_path / "best.safetensors").unlink()
    resumed = make_trainer(tmp_path, epochs=2, schedule="step")
    resumed.resume(tmp_path / "last.safetensors")
    resumed.settings = resumed.settings.with_arguments(epochs=3)
    assert resumed.fit()
    if resumed.progress.best_epoch < 3:
        assert all(torch.equal(weight, before[name]) for name, weight in weights_in(tmp_path).items())
    assert checkpoint.read(tmp_path / "best.safetensors").epoch == resumed.progress.best_epoch
