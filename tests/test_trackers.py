"""Trackers heed the environment of their users, and fail without ending a run."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import RecurrentFF as rff
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.training.callbacks import Callback
from RecurrentFF.training.callbacks.trackers import TensorBoard, WeightsAndBiases
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.run import finish_run
from RecurrentFF.training.trainer import Trainer
from tests.helpers import clusters, small_settings
from tests.test_callbacks import FakeRun, Lines

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(wandb, "login", lambda **_: False)


def train(folder: Path, tracker: Callback) -> list[str]:
    """Train and finish a run with a tracker. Returns the lines for the user."""
    splits = Splits(*(TensorDataset(*clusters(12, seed=seed)) for seed in (2, 3, 4, 2)))
    trainer = Trainer(rff.build(small_settings(epochs=3)), splits, [tracker], console=Lines())
    assert trainer.fit()
    finish_run(trainer, RunFolder(folder))
    assert json.loads((folder / "summary.json").read_text())["epochs"] == 3
    assert isinstance(trainer.console, Lines)
    return trainer.console.lines


def test_wandb_heeds_the_variables_of_its_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr(wandb, "init", lambda **given: options.update(given) or FakeRun())
    assert train(tmp_path, WeightsAndBiases(tmp_path)) == [f"wandb       offline, logged to {tmp_path / 'wandb'}"]
    assert options["settings"] == wandb.Settings(silent=True, console="off", init_timeout=30)
    assert options["id"] == tmp_path.name and options["dir"] == str(tmp_path) and options["project"] == "RecurrentFF"
    variables = {"RUN_ID": "mine", "RESUME": "never", "DIR": "/elsewhere", "CONSOLE": "wrap", "INIT_TIMEOUT": "9"}
    for name, value in (variables | {"PROJECT": "p", "ENTITY": "e", "NAME": "n", "TAGS": "a,b", "RUN_GROUP": "g"}).items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    options.clear()
    assert train(tmp_path, WeightsAndBiases(tmp_path)) == ["wandb       offline, logged to /elsewhere/wandb"]
    assert options["project"] == "p" and options["settings"] == wandb.Settings(silent=True)
    given = {name for name, value in options.items() if value is not None}
    assert given == {"project", "config", "mode", "settings"}  # wandb reads the others by itself


def test_wandb_itself_reads_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MODE": "offline", "RUN_ID": "of-the-user", "DIR": str(tmp_path), "PROJECT": "mine"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    (tmp_path / "run").mkdir()
    assert train(tmp_path / "run", WeightsAndBiases(tmp_path / "run")) == [f"wandb       offline, logged to {tmp_path / 'wandb'}"]
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert folder.name.endswith("-of-the-user") and not (tmp_path / "run/wandb").exists()


@pytest.mark.parametrize("mode", ["", "nonsense", "dryrun"])
def test_without_a_key_any_mode_is_offline(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr(wandb, "init", lambda **given: options.update(given) or FakeRun())
    monkeypatch.setenv("WANDB_MODE", mode)
    train(tmp_path, WeightsAndBiases(tmp_path))
    assert options["mode"] == "offline"


class Fragile(FakeRun):
    """A run of Weights & Biases that fails at one of its calls."""

    def __init__(self, place: str, error: BaseException) -> None:
        super().__init__()
        self.place, self.error, self.calls = place, error, 0

    def log(self, record: dict[str, Any], step: int) -> None:
        self.calls += 1
        if self.place == "second epoch" and step == 2:
            raise self.error

    def finish(self) -> None:
        if self.place == "end":
            raise self.error


@pytest.mark.parametrize("place", ["second epoch", "end"])
@pytest.mark.parametrize(
    "error", [ConnectionError("no\x1b network\nmore"), SystemExit(1), OSError(28, "No space left on device")]
)
def test_a_failure_of_wandb_is_one_line(
    place: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "end" and isinstance(error, SystemExit):
        pytest.skip("in a thread, SystemExit ends the thread")
    run = Fragile(place, error)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    _, *lines = train(tmp_path, WeightsAndBiases(tmp_path))
    reasons = {"ConnectionError": "no\\x1b network", "SystemExit": "1", "OSError": "[Errno 28] No space left on device"}
    name = type(error).__name__
    assert lines == [f"wandb       off, training continues without it ({name}: {reasons[name]})"]
    assert run.calls == (2 if place == "second epoch" else 3)


@pytest.mark.parametrize("method", ["add_text", "add_scalar", "flush", "close"])
def test_a_failure_of_tensorboard_is_one_line(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, method, fail)
    lines = [line for line in train(tmp_path, TensorBoard(tmp_path)) if " writes to " not in line]
    assert lines == ["tensorboard off, training continues without it (OSError: [Errno 28] No space left on device)"]


def test_a_folder_of_tensorboard_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file of the user")
    (line,) = train(tmp_path, TensorBoard(tmp_path))
    assert line.startswith("tensorboard off, training continues without it (") and (tmp_path / "tensorboard").is_file()
