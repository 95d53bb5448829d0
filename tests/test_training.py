"""The training loop, exact resuming, checkpoints, plots, devices and tracking, and the functions fit, build, save and load."""

import json
import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torch.utils.data import DataLoader, SubsetRandomSampler
from torch.utils.data import TensorDataset as TorchDataset

import RecurrentFF as rff
from RecurrentFF.atomic_files import write_atomically
from RecurrentFF.data.dataset import Batch, Dataset, LoaderDataset, Splits, TensorDataset
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.transforms import Transform
from RecurrentFF.errors import (
    CallbackError,
    CheckpointError,
    DeviceError,
    DivergenceError,
    InputError,
    OutputError,
    RecurrentFFError,
    SettingsError,
)
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.optimizers import Adam
from RecurrentFF.training import checkpoint, devices
from RecurrentFF.training.callbacks import Callback, default_callbacks
from RecurrentFF.training.callbacks.plots import logits_over_time
from RecurrentFF.training.console import Console
from RecurrentFF.training.evaluation import accuracy
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import Totals, epoch_metrics
from RecurrentFF.training.plots import accuracy_so_far, plot_timesteps
from RecurrentFF.training.run import finish_run
from RecurrentFF.training.schedules import Cosine, Step
from RecurrentFF.training.trainer import Trainer
from tests.helpers import CLASSES, DATA_SIZE, clusters, dense, hidden_layers, small_settings


class InterruptedDataset(TensorDataset):
    """A data set that simulates Ctrl-C while a batch is loaded."""

    interrupt_at = -1
    """Number of that batch, from 0, over all epochs."""
    loaded = 0
    """Number of batches loaded so far."""

    def batches(self, size: int, order: Tensor | None = None, epoch: int = 0) -> Iterator[Batch]:
        for batch in super().batches(size, order, epoch):
            if order is not None:
                if self.loaded == self.interrupt_at:
                    os.kill(os.getpid(), signal.SIGINT)
                self.loaded += 1
            yield batch


def make_trainer(folder: Path, interrupt_at: int = -1, callbacks: Sequence[Callback] = (), **arguments: Any) -> Trainer:
    settings = small_settings(
        **{
            "hidden_sizes": [12, 10],
            "epochs": 3,
            "batch_size": 40,
            "dropout": 0.1,
            "negatives": "readout",
            "optimizer": "adam",
            "schedule": "cosine",
            "test_every_epoch": True,
            **arguments,
        }
    )
    train = InterruptedDataset(*clusters(200))
    train.interrupt_at = interrupt_at
    train_subset, validation, test = (TensorDataset(*clusters(60, seed=seed)) for seed in (2, 3, 4))
    folder.mkdir(exist_ok=True)
    splits = Splits(train, validation, test, train_subset)
    own = [*default_callbacks(settings, RunFolder(folder)), *callbacks]
    return Trainer(rff.build(settings), splits, own, console=Console(quiet=True))


def without_times(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


def assert_same_parameters(network: rff.Network, other: rff.Network) -> None:
    for parameter, expected in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter, expected)


@pytest.mark.parametrize("batch", [0, 4, 7, 14], ids=lambda batch: f"batch_{batch}")
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adadelta", "averaged"])
def test_a_resumed_run_equals_an_uninterrupted_run_bit_for_bit(tmp_path: Path, batch: int, optimizer: str) -> None:
    arguments: dict[str, Any] = {"optimizer": optimizer}
    if optimizer == "averaged":
        arguments = {"weight_averaging": 0.8, "schedule": Cosine(warmup_epochs=0.5)}
    uninterrupted = make_trainer(tmp_path / "uninterrupted", **arguments)
    assert uninterrupted.fit()
    interrupted = make_trainer(tmp_path / "interrupted", interrupt_at=batch, **arguments)
    assert not interrupted.fit()
    resumed = make_trainer(tmp_path / "interrupted", **arguments)
    resumed.resume(tmp_path / "interrupted/last.safetensors")
    assert resumed.progress.epoch * 5 + resumed.progress.batch == batch + 1
    assert resumed.fit()
    assert_same_parameters(resumed.network, uninterrupted.network)
    assert_same_parameters(resumed.evaluated, uninterrupted.evaluated)
    assert without_times(tmp_path / "interrupted/metrics.jsonl") == without_times(tmp_path / "uninterrupted/metrics.jsonl")
    assert resumed.progress.best_epoch == uninterrupted.progress.best_epoch


def test_the_moving_average_of_the_weights_is_evaluated_and_saved(tmp_path: Path) -> None:
    trainer, weights = make_trainer(tmp_path / "run", epochs=1, weight_averaging=0.5), list[Tensor]()
    train_batch = trainer.learner.train_batch

    def train_and_record(*batch: Any) -> BatchMetrics:
        metrics = train_batch(*batch)
        weights.append(hidden_layers(trainer.network)[0].weight_vector())
        return metrics

    trainer.learner.train_batch = train_and_record  # type: ignore[method-assign, assignment]
    trainer.fit()
    average = weights[0]
    for batches, weight in enumerate(weights[1:], start=1):
        decay = min(0.5, (1 + batches) / (10 + batches))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(hidden_layers(trainer.evaluated)[0].weight_vector(), average)
    assert trainer.splits.validation is not None
    assert trainer.history[-1].validation_accuracy == accuracy(trainer.evaluated, trainer.splits.validation)
    best = rff.load(tmp_path / "run/best.safetensors", "cpu")
    torch.testing.assert_close(hidden_layers(best)[0].weight_vector(), average)
    assert not torch.equal(hidden_layers(trainer.network)[0].weight_vector(), average)


def test_the_weights_of_the_epoch_with_the_best_validation_accuracy_are_saved_and_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulated validation accuracy is highest after the second of four epochs. The fourth epoch only equals it."""
    trainer = make_trainer(tmp_path / "run", epochs=4, test_every_epoch=False)
    validation, test = trainer.splits.validation, trainer.splits.test
    validation_accuracies, snapshots = [0.3, 0.9, 0.5, 0.9], []

    def simulated_accuracy(network: rff.Network, dataset: Dataset, **_: Any) -> float:
        if dataset is validation:
            snapshots.append([p.clone() for p in network.parameters()])
            return validation_accuracies[len(snapshots) - 1]
        assert dataset is not test
        return accuracy(network, dataset)

    monkeypatch.setattr("RecurrentFF.training.trainer.accuracy", simulated_accuracy)
    assert trainer.fit()
    summary = finish_run(trainer, RunFolder(tmp_path / "run"))
    assert (summary.best_epoch, summary.validation_accuracy) == (2, 0.9)
    best = rff.load(tmp_path / "run/best.safetensors", "cpu")
    for network in (best, trainer.network):
        assert all(torch.equal(weight, saved) for weight, saved in zip(network.parameters(), snapshots[1], strict=True))
    inputs, labels = clusters(60, seed=4)
    assert summary.test_accuracy == pytest.approx((best.predict_inputs(inputs) == labels).float().mean().item())
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"best.safetensors", "last.safetensors", "metrics.jsonl", "summary.json", "curves.png", "timesteps.png"}
    metrics = without_times(tmp_path / "run/metrics.jsonl")
    assert [m["epoch"] for m in metrics] == [1, 2, 3, 4] and all(m["test_accuracy"] is None for m in metrics)
    assert (tmp_path / "run/curves.png").read_bytes().startswith(b"\x89PNG")


def test_each_accuracy_is_measured_on_its_own_data(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=2)
    seeds = {"train": 11, "validation": 12, "test": 13}
    data = {name: TensorDataset(*clusters(30, noise=3, seed=seed)) for name, seed in seeds.items()}
    trainer.splits = Splits(trainer.splits.train, data["validation"], data["test"], data["train"])
    trainer.fit()
    expected = {name: accuracy(trainer.network, dataset) for name, dataset in data.items()}
    assert len(set(expected.values())) == 3
    assert {name: getattr(trainer.history[-1], f"{name}_accuracy") for name in seeds} == expected


def test_the_learning_rate_schedule_is_applied(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=3, schedule=Step(step_size=1, gamma=0.1), optimizer=Adam(learning_rate=0.01))
    trainer.fit()
    assert [m.learning_rate for m in trainer.history] == pytest.approx([0.01, 0.001, 0.0001])
    norms = [sum(m.update_norm) for m in trainer.history]
    assert norms[0] > 3 * norms[1] > 9 * norms[2]


def test_the_seed_determines_the_negative_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks with equal initial weights and an equal order of the samples differ only by their negative labels."""
    monkeypatch.setattr("RecurrentFF.training.trainer.epoch_order", lambda seed, epoch, samples: torch.arange(samples))
    trained = []
    for seed in (1, 1, 2):
        trainer = make_trainer(tmp_path / "run", epochs=1, seed=seed, dropout=0.0)
        trainer.network.load_state_dict(rff.build(small_settings(hidden_sizes=[12, 10])).state_dict())
        trainer.splits = Splits(TensorDataset(*clusters(40)))
        trainer.fit()
        trained.append(torch.cat([p.flatten() for p in trainer.network.parameters()]))
    assert torch.equal(trained[0], trained[1]) and not torch.allclose(trained[0], trained[2])


def test_totals_weight_batches_by_their_numbers_of_samples() -> None:
    totals = Totals()
    for value, samples in ((1.0, 30), (4.0, 10)):
        totals.add(BatchMetrics(*(torch.tensor(value) for _ in BatchMetrics._fields)), samples)
    assert totals.mean().loss.item() == pytest.approx(1.75) and totals.samples == 40


def test_badness_is_a_mean_over_valid_samples() -> None:
    """All samples are valid at the first of two timesteps. At the second one only a fifth of the second batch is valid."""
    totals = Totals()
    for valid_fraction, badness in (([1.0, 0.0], [2.0, 0.0]), ([1.0, 0.2], [4.0, 7.0])):
        values = {name: torch.zeros(()) for name in BatchMetrics._fields} | {
            "loss": torch.zeros(2, 1),
            "badness_neg": torch.zeros(2, 1),
        }
        values |= {"valid_fraction": torch.tensor(valid_fraction).view(2, 1), "badness_pos": torch.tensor(badness).view(2, 1)}
        totals.add(BatchMetrics(**values), 10)
    assert totals.mean().badness_pos.flatten().tolist() == pytest.approx([3.0, 7.0])
    network = rff.build(small_settings(hidden_sizes=[9]))
    metrics = epoch_metrics(
        network, totals, [layer.weight_vector() for layer in hidden_layers(network)], epoch=1, seconds=1, learning_rate=1,
        train_accuracy=None, validation_accuracy=None, test_accuracy=None,
    )  # fmt: skip
    assert metrics.badness_pos == pytest.approx([(10 * 2 + 10 * 4 + 2 * 7) / 22])


def test_a_divergence_ends_the_run_with_an_error_that_names_the_layer(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", optimizer=Adam(learning_rate=1e30))
    with pytest.raises(DivergenceError, match=r"^epoch 1, batch 1: .* the loss of layer 1 at label timestep 1 is not finite"):
        trainer.fit()


def test_metrics_agree_with_their_definitions(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=1)
    initial_weights = [layer.weight_vector() for layer in hidden_layers(trainer.network)]
    trainer.fit()
    (metrics,) = trainer.history
    for layer, initial, weight_norm, update_norm in zip(
        hidden_layers(trainer.network), initial_weights, metrics.weight_norm, metrics.update_norm, strict=True
    ):
        assert weight_norm == pytest.approx(layer.weight_vector().norm().item(), rel=1e-6)
        assert update_norm == pytest.approx((layer.weight_vector() - initial).norm().item(), rel=1e-6)
    assert metrics.loss == pytest.approx(sum(metrics.layer_loss) / 2, rel=1e-6)
    assert metrics.activity_norm[0] ** 2 / 12 == pytest.approx((metrics.badness_pos[0] + metrics.badness_neg[0]) / 2)
    inputs, labels = clusters(60, seed=3)
    assert metrics.validation_accuracy == pytest.approx((trainer.network.predict_inputs(inputs) == labels).float().mean().item())


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """A list of the figures that are saved during the test. The figures are not drawn."""
    saved: list[Figure] = []

    def save(figure: Figure, file: object, **options: Any) -> None:
        saved.append(figure)

    monkeypatch.setattr(Figure, "savefig", save)
    return saved


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_plots_name_the_reduction_of_the_badness(tmp_path: Path, figures: list[Figure], reduction: str) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=1, badness=reduction)
    trainer.fit()
    finish_run(trainer, RunFolder(tmp_path / "run"))
    assert len(figures) == 2  # curves.png and timesteps.png
    for figure in figures:
        assert [axes.get_ylabel() for axes in figure.axes].count(f"badness, {reduction} of h²") == 1


def test_the_legend_entry_of_the_prediction_window_is_visible(tmp_path: Path, figures: list[Figure]) -> None:
    badness, labels = torch.rand(4, 2, 10, 3), torch.arange(10) % 3
    plot_timesteps(badness, labels, torch.ones(4, 10), (1, 2), [1, 2], tmp_path / "timesteps.png")
    for axes in figures[0].axes:
        legend = axes.get_legend()
        assert legend is not None
        (window,) = (
            handle for handle in legend.legend_handles if handle is not None and handle.get_label() == "prediction window"
        )
        assert isinstance(window, Patch) and window.get_linewidth() > 0
        assert max(to_rgb(window.get_edgecolor())) < 0.6  # dark enough on white


def test_evidence_so_far_is_the_mean_badness_of_the_valid_timesteps() -> None:
    badness = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[3.0, 1.0], [9.0, 0.0]], [[0.0, 1.5], [0.0, 9.0]]])
    valid = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    labels = torch.tensor([0, 1])
    # The first sample: 0 < 1, 3 > 2, 3 < 3.5. The second: 1 > 0; the timestep is invalid; 1 < 9.
    assert accuracy_so_far(badness, labels, valid).tolist() == [100, 50, 50]
    assert accuracy_so_far(badness, labels, torch.zeros(3, 2)).tolist() == [0, 0, 0]
    late = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])  # before it begins, a sequence counts neither way
    assert accuracy_so_far(badness, labels, late).tolist() == [100, 50, 50]


def test_the_accuracy_of_the_readout_is_drawn_before_the_label(tmp_path: Path, figures: list[Figure]) -> None:
    trainer = make_trainer(tmp_path / "run", epochs=1, negatives="readout")
    trainer.fit()
    finish_run(trainer, RunFolder(tmp_path / "run"))
    axes = figures[-1].axes[0]
    lines = {str(line.get_label()): line for line in axes.lines}
    assert list(lines["readout, before the label"].get_xdata()) == [-2, -1]  # type: ignore[arg-type]
    assert len(lines["layers 1 and 2, timesteps so far"].get_xdata()) == 3  # type: ignore[arg-type]
    network, inputs = trainer.network, torch.randn(2, 7)
    logits = logits_over_time(network, network.input_sequence(inputs))
    torch.testing.assert_close(logits[-1], network.logits(inputs))


def test_the_profile_is_written_if_profiling_is_on(tmp_path: Path) -> None:
    make_trainer(tmp_path / "run", epochs=1, profile=True).fit()
    assert json.loads((tmp_path / "run/profile.json").read_text())["traceEvents"]


def test_fit_learns_from_tensors_and_from_a_loader() -> None:
    inputs, labels = clusters(300)
    options: dict[str, Any] = {"hidden_sizes": [30], "epochs": 8, "batch_size": 50}
    for data in ((inputs, labels), DataLoader(TorchDataset(inputs, labels), batch_size=32, shuffle=True)):
        network = rff.build(small_settings(**options, objective="pairwise", optimizer=Adam(learning_rate=5e-3)))
        history = rff.fit(network, data, validation=clusters(100, seed=5), quiet=True)
        assert len(history) == 8
        accuracy = history[-1].validation_accuracy
        assert accuracy is not None and accuracy > 0.95


def data_predicted_without_errors(network: rff.Network) -> tuple[Tensor, Tensor]:
    """Inputs and the labels that the network predicts for them."""
    inputs, _ = clusters(64)
    return inputs, network.predict_inputs(inputs)


@pytest.mark.parametrize(
    "options", [{"sampler": SubsetRandomSampler(range(32))}, {"batch_size": 40, "drop_last": True}], ids=["sampler", "batches"]
)
def test_accuracy_is_a_mean_over_the_samples_that_a_loader_returns(options: dict[str, Any]) -> None:
    network = rff.build(small_settings())
    assert accuracy(network, LoaderDataset(DataLoader(TorchDataset(*data_predicted_without_errors(network)), **options))) == 1


def test_fit_accepts_data_of_all_documented_types() -> None:
    inputs, labels = clusters(20)
    for data in (
        TensorDataset(inputs, labels),
        TorchDataset(inputs, labels),
        [inputs, labels],
        (inputs.numpy(), labels.numpy()),
        [(inputs[:10], labels[:10].int()), (inputs[10:], labels[10:].int())],
        [(inputs.expand(5, -1, -1), labels.repeat(3, 1))],
    ):
        (metrics,) = rff.fit(rff.build(small_settings(epochs=1)), data, quiet=True)  # type: ignore[arg-type]
        assert metrics.samples_per_second * metrics.seconds == pytest.approx(20, rel=0.2)


@pytest.mark.parametrize(
    "data",
    [
        torch.zeros(5, DATA_SIZE),
        ([[0.0]], [0]),
        (torch.zeros(5, DATA_SIZE).byte(), torch.zeros(5).long()),
        [],
        (torch.zeros(0, DATA_SIZE), torch.zeros(0).long()),
        iter([]),
        3,
    ],
    ids=lambda data: type(data).__name__,
)
def test_fit_refuses_invalid_data(data: Any) -> None:
    with pytest.raises(InputError):
        rff.fit(rff.build(small_settings()), data, quiet=True)


def test_an_interrupted_fit_raises_keyboard_interrupt_and_keeps_the_weights() -> None:
    train = InterruptedDataset(*clusters(200))
    network = rff.build(small_settings())
    initial = [p.clone() for p in network.parameters()]

    class Loader:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[Batch]:
            os.kill(os.getpid(), signal.SIGINT)
            return train.batches(20)

    with pytest.raises(KeyboardInterrupt, match="after 0 epochs and 1 batches"):
        rff.fit(network, Loader(), quiet=True)
    assert not all(torch.equal(weight, old) for weight, old in zip(network.parameters(), initial, strict=True))


def test_an_error_before_the_first_batch_leaves_the_network_and_the_output_folder_as_they_were(tmp_path: Path) -> None:
    class Refuse(Callback):
        def __init__(self, event: str) -> None:
            setattr(self, event, self.fail)

        def fail(self, *_: Any) -> None:
            raise ValueError("no")

    network, wrong = rff.build(small_settings()), torch.zeros(5, DATA_SIZE + 1)
    before = network.settings
    calls: list[dict[str, Any]] = [{"callbacks": [Refuse(event)]} for event in ("setup", "on_fit_start", "on_epoch_start")]
    calls += [{"data": (wrong, torch.zeros(5).long())}, {"data": [(wrong, torch.zeros(5).long())]}, {"data": 3}]
    given: dict[str, Any] = {"data": clusters(20), "epochs": 9, "objective": "pairwise", "quiet": True}
    for folder in (None, tmp_path):
        for call in calls:
            with pytest.raises(RecurrentFFError):
                rff.fit(network, **(given | {"output_dir": folder} | call))
            assert network.settings is before and network.task is None and not list(tmp_path.iterdir())
    task = rff.TensorTask(*clusters(20))
    with pytest.raises(CallbackError):
        rff.fit(network, task, callbacks=[Refuse("setup")], quiet=True)
    assert network.task is None
    with pytest.raises(CallbackError):
        rff.fit(network, clusters(20), epochs=9, output_dir=tmp_path, callbacks=[Refuse("on_batch_end")], quiet=True)
    assert network.settings.training.epochs == 9 and len(list(tmp_path.iterdir())) == 1  # it has been trained


def test_an_interrupted_fit_says_how_to_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupt(Callback):
        def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    network = rff.build(small_settings(epochs=2))
    with pytest.raises(KeyboardInterrupt):
        rff.fit(network, clusters(100), output_dir=tmp_path, callbacks=[Interrupt()])
    (folder,) = tmp_path.iterdir()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stopped")]
    advice = f'rff.fit(rff.load("{folder}/last.safetensors"), …)'
    assert lines == [f"stopped     all saved; train on from the last weights with {advice}"]
    loaded = rff.load(folder / "last.safetensors")
    assert_same_parameters(loaded, network)
    assert len(rff.fit(loaded, clusters(100), quiet=True)) == 2


def test_fit_writes_a_run_folder_into_output_dir(tmp_path: Path) -> None:
    network = rff.build(small_settings(epochs=2, profile=True))
    with pytest.raises(SettingsError, match="output_dir"):
        rff.fit(network, clusters(30), quiet=True)
    rff.fit(network, clusters(100), output_dir=tmp_path, quiet=True)
    (folder,) = tmp_path.iterdir()
    files = {"best.safetensors", "config.toml", "curves.png", "last.safetensors", "metrics.jsonl", "profile.json", "summary.json"}
    assert {path.name for path in folder.iterdir()} == files


def test_build_accepts_settings_or_a_file_with_keys_that_override_them(tmp_path: Path) -> None:
    (tmp_path / "custom.toml").write_text("[network]\nhidden_sizes = [3, 3]\n")
    for settings in (rff.Settings.from_arguments(hidden_sizes=[3, 3]), tmp_path / "custom.toml", str(tmp_path / "custom.toml")):
        sizes = rff.build(settings, input_size=7, num_classes=2, device="cpu").sizes
        assert sizes == {"x": 7, "h1": 3, "h2": 3, "y": 2}
    with pytest.raises(SettingsError, match="not dict"):
        rff.build({"model": {}})  # type: ignore[arg-type]


def test_precision_determines_the_compute_dtype_and_is_saved(tmp_path: Path) -> None:
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        rff.save(rff.build(small_settings(precision=precision)), tmp_path / "network.pt")
        assert rff.load(tmp_path / "network.pt", "cpu").compute_dtype == dtype
    automatic = rff.build(small_settings(precision="auto"))
    assert automatic.settings.device.precision in ("float32", "bfloat16")


def test_the_error_about_a_failed_save_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"absent/network\.pt: can't be written"):
        rff.save(rff.build(small_settings()), tmp_path / "absent" / "network.pt")


def test_fit_prints_nothing_if_quiet_else_a_header_and_one_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    network = rff.build(small_settings(epochs=2))
    rff.fit(network, clusters(50), quiet=True)
    assert capsys.readouterr() == ("", "")
    rff.fit(network, clusters(50))
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 3 and output.err == ""


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.zeros(5, DATA_SIZE + 1), torch.zeros(5, dtype=torch.long), "input_size"),
        (torch.zeros(5, DATA_SIZE), torch.tensor([0, 1, 2, 3, 5]), "labels run from 0 to 5; expected 0 to 4"),
        (torch.zeros(5, DATA_SIZE), torch.tensor([0, 1, 2, -1, 3]), "labels run from -1"),
    ],
)
def test_fit_refuses_data_that_does_not_match_the_network(inputs: Tensor, labels: Tensor, message: str) -> None:
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


def test_weights_outside_receptive_fields_stay_zero_after_loading_dense_weights(tmp_path: Path) -> None:
    rff.save(rff.build(small_settings(input_size=9)), tmp_path / "dense.pt")
    local = rff.build(small_settings(input_size=9, connections=[{"name": "receptive_field", "side": 2}]))
    checkpoint.load_weights(local, checkpoint.read(tmp_path / "dense.pt"), "dense.pt")
    first = dense(hidden_layers(local)[0])
    assert first.mask is not None and (first.weight[first.mask == 0] == 0).all() and (first.weight != 0).any()


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    rff.save(rff.build(small_settings()), tmp_path / "network.pt")
    content = checkpoint.read(tmp_path / "network.pt")
    with pytest.raises(CheckpointError, match=r"another architecture, 7-9-5-8-5; this network is 7-9-5-7-5"):
        checkpoint.load_weights(rff.build(small_settings(hidden_sizes=[9, 5, 7])), content, "network.pt")
    with pytest.raises(CheckpointError, match="another architecture"):
        checkpoint.load_weights(rff.build(small_settings(hidden_sizes=[9, 5])), content, "network.pt")


class Malicious:
    """An object whose unpickling creates a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def test_loading_a_checkpoint_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": checkpoint.FORMAT, "network": Malicious()}, "malicious.pt")
    Path("plain.pkl").write_bytes(pickle.dumps(Malicious(), protocol=2))
    for file in ("malicious.pt", "plain.pkl"):
        with pytest.raises(CheckpointError, match=f"{file}: not a readable checkpoint"):
            rff.load(file)
    assert not Path("executed").exists()


def test_the_error_about_a_file_that_is_not_a_checkpoint_names_it(tmp_path: Path) -> None:
    rff.save(rff.build(small_settings()), tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for name, content in {"empty.pt": b"", "text.pt": b"weights", "truncated.pt": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"weights": 1}, tmp_path / "other.pt")
    for name in ("empty.pt", "text.pt", "truncated.pt", "other.pt", "absent.pt"):
        with pytest.raises(CheckpointError, match=name) as caught:
            rff.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other_file(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OutputError, match="disk full"):
        write_atomically(file, fail)
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_run_folders_have_unique_names(tmp_path: Path) -> None:
    assert len({RunFolder.create(tmp_path / "deep" / "runs", "mnist").path for _ in range(5)}) == 5


def test_the_error_about_a_missing_device_names_the_available_devices() -> None:
    with pytest.raises(DeviceError, match=r"device 'cuda:99' is not available; this machine has: cpu"):
        devices.resolve_device("cuda:99")
    assert str(devices.resolve_device("auto")) == ("cuda" if torch.cuda.is_available() else devices.available_devices()[-1])


def test_automatic_precision_is_bfloat16_where_the_device_computes_it_fast() -> None:
    resolved = devices.resolve(small_settings(precision="auto").device)
    fast = devices.has_fast_bfloat16(torch.device("cpu"))
    assert resolved.precision == ("bfloat16" if fast else "float32")


# ---------------------------------------------------------------- data for a network with a task


def of_task(**arguments: Any) -> tuple[rff.Network, Tensor, Tensor]:
    """A network with a task, raw images of 3 × 3 pixels, and their labels."""
    inputs, labels = clusters(60)
    images = torch.nn.functional.pad(inputs.sigmoid(), (0, 2)).view(-1, 3, 3)
    task = TensorTask(images, labels, classes=CLASSES, **arguments)
    settings = small_settings(input_size=None, num_classes=None, epochs=2, batch_size=20)
    return rff.build(settings, task=task), images, labels


def trained_on(data: Any, **arguments: Any) -> rff.Network:
    network, _, _ = of_task()
    rff.fit(network, data, quiet=True, **arguments)
    return network


def test_fit_gives_a_second_task_the_transform_and_the_classes_of_the_network() -> None:
    network, images, labels = of_task()
    assert network.task is not None
    expected = trained_on((images[:40], labels[:40]), validation=(images[40:], labels[40:]))
    part = (images[40:], labels[40:])
    other = TensorTask(images[:40], labels[:40], validation=part, transform=Pixels(mean=0.5, std=3.0), classes=[4, 3, 2, 1, 0])
    found = trained_on(other)
    assert found.task == network.task == expected.task
    assert_same_parameters(found, expected)


def test_fit_does_not_transform_network_inputs_again() -> None:
    network, images, labels = of_task()
    assert network.task is not None
    inputs = TensorDataset(network.task.inputs(images[:40]), labels[:40])
    part = TensorDataset(network.task.inputs(images[40:]), labels[40:])
    expected = trained_on((images[:40], labels[:40]), validation=(images[40:], labels[40:]))
    parts: list[Any] = [part, (images[40:], labels[40:]), [(images[40:50], labels[40:50]), (images[50:], labels[50:])]]
    for validation in parts:
        assert_same_parameters(trained_on(inputs, validation=validation), expected)
        assert_same_parameters(trained_on((images[:40], labels[:40]), validation=validation), expected)
    assert rff.evaluate(expected, part).confusion.sum() == 20


def test_all_kinds_of_data_are_training_data_and_validation_data() -> None:
    network, images, labels = of_task(transform=Mirrored())
    rff.fit(network, (images.flatten(1), labels), quiet=True)  # flat images for an image transform of one's own
    assert network.task is not None and network.task.input_shape == (3, 3)
    loader = DataLoader(TorchDataset(images, labels), 20)
    texts = [(batch, tuple(str(number) for number in numbers.tolist())) for batch, numbers in loader]
    own = rff.build(
        small_settings(input_size=None, num_classes=None, epochs=1), task=TensorTask(images, list(map(str, labels.tolist())))
    )
    kinds: list[Any] = [(images, labels), [images, labels], loader, list(loader), TorchDataset(images, labels)]
    for data in kinds:
        for validation in kinds:
            assert trained_on(data, validation=validation).task is not None
    rff.fit(own, texts, validation=texts, quiet=True)
    assert rff.evaluate(own, texts).samples == 60


class Numbered(torch.utils.data.Dataset[Any]):
    """A data set of torch with items."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.items = list(zip(inputs, labels, strict=True))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        return self.items[number]


def test_a_data_set_of_torch_trains_the_same_with_pictures_and_as_tensors_do(tmp_path: Path) -> None:
    _, images, labels = of_task()
    torch.manual_seed(5)
    expected = trained_on((images, labels))
    found = trained_on(Numbered(images, labels), output_dir=tmp_path)
    assert list(tmp_path.glob("*/curves.png"))
    assert_same_parameters(found, trained_on(Numbered(images, labels)))
    assert_same_parameters(found, expected)


def test_build_refuses_a_transform_beside_that_of_the_task() -> None:
    _, images, labels = of_task()
    task = TensorTask(images, labels, classes=CLASSES)
    for same in (task.transform, Pixels(), "pixels"):
        assert rff.build(task=task, transform=same, hidden_sizes=[4]).settings.transform == task.transform
    for other in ("identity", Pixels(mean=0.5), {"name": "pixels", "deskew": True}):
        with pytest.raises(
            SettingsError, match=r"transform = .*: the task 'tensors' has a transform of its own, Pixels"
        ) as caught:
            rff.build(task=task, transform=other, hidden_sizes=[4])
        assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Mirrored(Transform):
    def __call__(self, samples: Tensor) -> Tensor:
        return samples.flip(2).flatten(1)


def test_a_data_set_of_network_inputs_is_checked_and_converted() -> None:
    network, images, labels = of_task()
    assert network.task is not None
    inputs = network.task.inputs(images)
    with pytest.raises(InputError, match="labels run from 99 to 99; expected 0 to 4"):
        rff.fit(network, TensorDataset(inputs, torch.full_like(labels, 99)), quiet=True)
    with pytest.raises(InputError, match="inputs have 8 features, but the network's input_size is 9"):
        rff.fit(network, TensorDataset(inputs[:, :8], labels), quiet=True)
    assert len(rff.fit(network, TensorDataset(inputs.double(), labels), quiet=True)) == 2


def test_inputs_labels_and_a_mask_are_led_to_batches() -> None:
    inputs, labels = clusters(20)
    with pytest.raises(InputError, match=r"^data: expected \(inputs, labels\), not \(inputs, labels, mask\); pass "):
        rff.fit(rff.build(small_settings()), (inputs, labels, torch.ones(1, 20)), quiet=True)  # type: ignore[arg-type]


def test_a_data_set_of_torch_leaves_the_global_generator_alone() -> None:
    network, images, labels = of_task()
    before = torch.get_rng_state()
    rff.fit(network, Numbered(images, labels), quiet=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loader_trains_the_same_with_pictures(tmp_path: Path) -> None:
    networks = []
    for folder in (None, tmp_path):
        network, images, labels = of_task()
        loader = DataLoader(TorchDataset(images, labels), 20, shuffle=True, generator=torch.Generator().manual_seed(3))
        rff.fit(network, loader, output_dir=folder, quiet=True)
        networks.append(network)
    assert_same_parameters(*networks)


def test_a_transform_of_the_settings_gives_way_to_that_of_the_task() -> None:
    _, images, labels = of_task()
    task = TensorTask(images, labels, classes=CLASSES)
    settings = rff.Settings.from_arguments(transform="oriented_gradients", hidden_sizes=[4])
    assert rff.build(settings, task=task).settings.transform == task.transform


def test_a_run_says_if_an_epoch_has_few_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hint = "batches of 50, 2 in an epoch (a smaller training.batch_size learns more in it)\n"
    for samples, words in ((100, hint), (200, "batches of 50\n")):
        rff.fit(rff.build(small_settings(epochs=1, batch_size=50)), clusters(samples), output_dir=tmp_path)
        assert words in capsys.readouterr().out


def test_an_existing_network_takes_a_task_with_a_transform_that_is_passed(tmp_path: Path) -> None:
    network, _, _ = of_task(transform=Mirrored())
    rff.save(network, tmp_path / "mirrored.pt")
    with pytest.raises(CheckpointError, match="pass it again, as transform=…"):
        rff.load(tmp_path / "mirrored.pt", network=network)
    loaded = rff.load(tmp_path / "mirrored.pt", network=network, transform=Mirrored())
    assert loaded is network and loaded.task is not None and loaded.task.transform == Mirrored()
