"""The loop: learning, resuming to the bit, checkpoints, and the notebook's calls."""

import json
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset as TorchDataset

import RecurrentFF as rff
from RecurrentFF.data.dataset import Batch, Splits, TensorDataset
from RecurrentFF.errors import CheckpointError, DeviceError, InputError
from RecurrentFF.training import checkpoint, devices, tracker
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder, write_atomically
from RecurrentFF.training.summary import conclude
from RecurrentFF.training.trainer import Trainer
from tests.helpers import DATA_SIZE, clusters, small_settings


class InterruptedDataset(TensorDataset):
    """Ctrl-C is pressed while batch `at` is being fetched, counted over all epochs."""

    at = -1
    fetched = 0

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Batch]:
        for batch in super().batches(size, order):
            if order is not None:
                if self.fetched == self.at:
                    os.kill(os.getpid(), signal.SIGINT)
                self.fetched += 1
            yield batch


def make_trainer(folder: Path, interrupt_at: int = -1, **arguments: Any) -> Trainer:
    settings = small_settings(
        **{
            "hidden_sizes": [12, 10],
            "epochs": 3,
            "train_batch_size": 40,
            "dropout": 0.1,
            "should_replace_neg_data": True,
            "ff_optimizer": "adam",
            "lr_schedule": "cosine",
            **arguments,
        }
    )
    train = InterruptedDataset(*clusters(200))
    train.at = interrupt_at
    validation, test = TensorDataset(*clusters(60, seed=3)), TensorDataset(*clusters(60, seed=4))
    folder.mkdir(exist_ok=True)
    return Trainer(rff.build(settings), Splits(train, validation, test, validation), RunFolder(folder), Console(quiet=True))


def without_times(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


@pytest.mark.parametrize("batch", [0, 4, 7, 14], ids=lambda batch: f"batch_{batch}")
@pytest.mark.parametrize("optimiser", ["adam", "rmsprop", "adadelta"])
def test_an_interrupted_run_goes_on_to_the_bit(tmp_path: Path, batch: int, optimiser: str) -> None:
    straight = make_trainer(tmp_path / "straight", ff_optimizer=optimiser)
    assert straight.fit()
    stopped = make_trainer(tmp_path / "stopped", interrupt_at=batch, ff_optimizer=optimiser)
    assert not stopped.fit()
    resumed = make_trainer(tmp_path / "stopped", ff_optimizer=optimiser)
    resumed.resume()
    assert resumed.progress.epoch * 5 + resumed.progress.batch == batch + 1
    assert resumed.fit()
    for mine, theirs in zip(resumed.network.parameters(), straight.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert without_times(tmp_path / "stopped/metrics.jsonl") == without_times(tmp_path / "straight/metrics.jsonl")
    assert resumed.progress.best_epoch == straight.progress.best_epoch


def test_a_finished_run_leaves_its_files_and_reads_the_test_set_with_the_best_weights(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=6, test_every_epoch=False, objective="pairwise")
    assert trainer.fit()
    summary = conclude(trainer, RunFolder(tmp_path / "run"))
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"best.pt", "last.pt", "metrics.jsonl", "summary.json", "curves.png"}
    metrics = without_times(tmp_path / "run/metrics.jsonl")
    assert [m["epoch"] for m in metrics] == [1, 2, 3, 4, 5, 6]
    assert all(m["test_accuracy"] is None for m in metrics)
    accuracies = [m["validation_accuracy"] for m in metrics]
    assert summary.validation_accuracy == max(accuracies)
    assert summary.best_epoch == accuracies.index(max(accuracies)) + 1
    inputs, labels = clusters(60, seed=4)
    best = rff.load(tmp_path / "run/best.pt", "cpu")
    assert summary.test_accuracy == pytest.approx((best.predict(inputs) == labels).float().mean().item())
    assert (tmp_path / "run/curves.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_are_what_they_say(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=1)
    before = [layer.weight.clone() for layer in trainer.network.hidden_layers()]
    trainer.fit()
    (metrics,) = trainer.history
    for layer, old, weight_norm, update_norm in zip(
        trainer.network.hidden_layers(), before, metrics.weight_norm, metrics.update_norm, strict=True
    ):
        assert weight_norm == pytest.approx(layer.weight.norm().item(), rel=1e-6)
        assert update_norm == pytest.approx((layer.weight - old).norm().item(), rel=1e-6)
    assert metrics.loss == pytest.approx(sum(metrics.layer_loss) / 2, rel=1e-6)
    assert metrics.activity_norm[0] ** 2 / 12 == pytest.approx((metrics.badness_pos[0] + metrics.badness_neg[0]) / 2)
    inputs, labels = clusters(60, seed=3)
    assert metrics.validation_accuracy == pytest.approx((trainer.network.predict(inputs) == labels).float().mean().item())


def test_the_profile_is_written_on_request(tmp_path: Path) -> None:
    make_trainer(tmp_path / "run", epochs=1, skip_profiling=False).fit()
    assert json.loads((tmp_path / "run/profile.json").read_text())["traceEvents"]


def test_fit_from_tensors_and_from_a_loader() -> None:
    inputs, labels = clusters(300)
    options: dict[str, Any] = {"hidden_sizes": [30], "epochs": 8, "train_batch_size": 50, "ff_optimizer": "adam"}
    for data in ((inputs, labels), DataLoader(TorchDataset(inputs, labels), batch_size=32, shuffle=True)):
        network = rff.build(small_settings(**options, objective="pairwise", ff_adam={"learning_rate": 5e-3}))
        history = rff.fit(network, data, validation=clusters(100, seed=5), quiet=True)
        assert len(history) == 8
        accuracy = history[-1].validation_accuracy
        assert accuracy is not None and accuracy > 0.95


def test_fit_says_nothing_when_quiet_and_one_line_an_epoch_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    network = rff.build(small_settings(epochs=2))
    rff.fit(network, clusters(50), quiet=True)
    assert capsys.readouterr() == ("", "")
    rff.fit(network, clusters(50))
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 3 and output.err == ""


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.zeros(5, DATA_SIZE + 1), torch.zeros(5, dtype=torch.long), "data_size"),
        (torch.zeros(5, DATA_SIZE), torch.tensor([0, 1, 2, 3, 4]), "labels run from 0 to 4; expected 0 to 3"),
        (torch.zeros(5, DATA_SIZE), torch.tensor([0, 1, 2, -1, 3]), "labels run from -1"),
    ],
)
def test_fit_refuses_data_that_does_not_fit(inputs: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rff.fit(rff.build(small_settings()), (inputs, labels))


def test_save_and_load_give_the_same_network(tmp_path: Path) -> None:
    network = rff.build(small_settings(residual_connections=[[0, 2]], objective="pairwise", seed=5))
    rff.fit(network, clusters(100), quiet=True)
    rff.save(network, tmp_path / "network.pt")
    loaded = rff.load(tmp_path / "network.pt", "cpu")
    inputs, _ = clusters(20)
    assert loaded.settings == network.settings
    assert torch.equal(loaded.badness(inputs), network.badness(inputs))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    rff.save(rff.build(small_settings()), tmp_path / "network.pt")
    with pytest.raises(CheckpointError, match=r"another architecture, layers\.\d\.\w+ is"):
        checkpoint.load_weights(rff.build(small_settings(hidden_sizes=[9, 5, 7])), tmp_path / "network.pt")
    with pytest.raises(CheckpointError, match="another architecture"):
        checkpoint.load_weights(rff.build(small_settings(hidden_sizes=[9, 5])), tmp_path / "network.pt")


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def test_a_checkpoint_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": checkpoint.FORMAT, "network": Hostile()}, "hostile.pt")
    Path("plain.pkl").write_bytes(pickle.dumps(Hostile()))
    for file in ("hostile.pt", "plain.pkl"):
        with pytest.raises(CheckpointError, match=f"{file}: not a readable checkpoint"):
            rff.load(file)
    assert not Path("executed").exists()


def test_files_that_are_no_checkpoint_are_refused_by_name(tmp_path: Path) -> None:
    rff.save(rff.build(small_settings()), tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for name, content in {"empty.pt": b"", "text.pt": b"weights", "cut.pt": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"weights": 1}, tmp_path / "other.pt")
    for name in ("empty.pt", "text.pt", "cut.pt", "other.pt", "absent.pt"):
        with pytest.raises(CheckpointError, match=name) as caught:
            rff.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, fail)
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_run_folders_never_collide(tmp_path: Path) -> None:
    assert len({RunFolder.create(tmp_path / "deep" / "runs", "mnist").path for _ in range(5)}) == 5


def test_devices_that_are_not_there_are_named_with_those_that_are() -> None:
    with pytest.raises(DeviceError, match=r"device 'cuda:99' is not there; this machine has: cpu"):
        devices.resolve_device("cuda:99")
    assert str(devices.resolve_device("auto")) == ("cuda" if torch.cuda.is_available() else devices.available_devices()[-1])


def test_auto_precision_is_resolved_and_recorded() -> None:
    resolved = devices.resolve(small_settings(precision="auto").device)
    fast = devices.multiplies_bfloat16_fast(torch.device("cpu"))
    assert resolved.precision == ("bfloat16" if fast else "float32")


def test_wandb_failing_to_start_or_to_log_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    said: list[str] = []

    class Broken:
        def log(self, *_: Any, **__: Any) -> None:
            raise ConnectionError("down\nand out")

    trainer = make_trainer(tmp_path / "run", epochs=2)
    trainer.fit()

    monkeypatch.setattr(wandb, "init", lambda **_: Broken())
    broken = tracker.Tracker(trainer.settings, tmp_path, said.append)
    for metrics in trainer.history:
        broken.log(metrics)
    broken.finish({})
    assert said[-1] == "wandb       off, training goes on without it (ConnectionError: down)"
    assert len(said) == 2

    def refuse(**_: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(wandb, "init", refuse)
    tracker.Tracker(trainer.settings, tmp_path, said.append).log(trainer.history[0])
    assert "SystemExit" in said[-1]


def test_wandb_gets_one_curve_for_each_layer_and_is_offline_when_not_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    started: dict[str, Any] = {}
    logged: list[dict[str, Any]] = []

    class Fake:
        summary: dict[str, Any] = {}  # noqa: RUF012

        def log(self, record: dict[str, Any], step: int) -> None:
            logged.append(record | {"step": step})

        def finish(self) -> None:
            logged.append({"finished": True})

    monkeypatch.setattr(wandb, "init", lambda **options: started.update(options) or Fake())
    trainer = make_trainer(tmp_path / "run", epochs=2, should_log_metrics=True)
    trainer.fit()
    assert started["mode"] == "offline" and started["config"]["model"]["hidden_sizes"] == [12, 10]
    assert [record.get("step") for record in logged] == [1, 2, None]
    for name in ("badness_pos", "badness_neg", "layer_loss", "weight_norm", "activity_norm", "update_norm"):
        assert {f"{name}/layer_1", f"{name}/layer_2"} <= logged[0].keys()
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    tracker.Tracker(trainer.settings, tmp_path, lambda _: None)
    assert started["mode"] == "online"
