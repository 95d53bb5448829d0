"""The command line: output, exit codes, and files."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import RecurrentFF as rff
from RecurrentFF import toml
from RecurrentFF.benchmarks import report
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.benchmarks.mnist.mnist import MNIST
from RecurrentFF.benchmarks.moving_mnist.moving_mnist import MOVING_MNIST
from RecurrentFF.benchmarks.recurrent_baselines import GRU
from RecurrentFF.benchmarks.seq_mnist.seq_mnist import SEQ_MNIST
from RecurrentFF.data import mnist
from RecurrentFF.data.dataset import Batch, LabeledImages
from RecurrentFF.data.seq_mnist import SeqMnist
from RecurrentFF.settings import Settings
from tests.checkpoints import weights_in

TINY = [
    "--set=network.hidden_sizes=[16, 12]",
    "--set=data.train_samples=1000",
    "--set=data.validation_samples=200",
    "--set=data.test_samples=200",
    "--set=training.batch_size=100",
    "--set=training.train_accuracy_samples=100",
    "--epochs=2",
    "--device=cpu",
]
FORMER_TINY = [
    "--set=model.hidden_sizes=[16, 12]",
    "--set=data_config.train_samples=1000",
    "--set=data_config.train_batch_size=100",
    "--set=data_config.validation_samples=200",
    "--set=data_config.test_samples=200",
    *TINY[5:],
]
"""The same in the former form."""


def run_folder(parent: Path) -> Path:
    (folder,) = parent.iterdir()
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    return toml.loads((folder / "config.toml").read_text())


def best_weights(folder: Path) -> dict[str, torch.Tensor]:
    return weights_in(folder)


def same_weights(one: Path, other: Path) -> bool:
    a, b = best_weights(one), best_weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.usefixtures("rendered_pictures")
def test_a_run_prints_its_result_and_writes_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(MNIST, [*TINY, f"--output-dir={tmp_path}"]) == 0
    folder = run_folder(tmp_path)
    pictures = {"samples.png", "curves.png", "timesteps.png"}
    names = {"config.toml", "metrics.jsonl", "summary.json", "best.safetensors", "last.safetensors", *pictures}
    assert {path.name for path in folder.iterdir()} == names
    output = capsys.readouterr()
    assert output.err == ""
    summary = json.loads((folder / "summary.json").read_text())
    assert f"{100 * summary['test_accuracy']:.2f} % right" in output.out
    assert str(folder) in output.out and "800-16-12-10" in output.out


@pytest.mark.parametrize(("baseline", "precision"), [("logistic", "float32"), ("gru-9", "bfloat16")])
def test_a_baseline_says_in_which_precision_it_computes(
    baseline: str, precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        f"--baseline={baseline}",
        "--set=device.precision=bfloat16",
        "--set=training.batch_size=500",
        f"--output-dir={tmp_path}",
    ]
    assert main(MNIST, [*TINY, *flags]) == 0
    output = capsys.readouterr().out
    assert f"device      cpu, {precision} matrix products" in output
    expected = {
        "logistic": "logistic, by backpropagation: one linear layer on the input, ",
        "gru-9": "gru-9, by backpropagation: 9",
    }
    assert f"baseline    {expected[baseline]}" in output
    assert "in an epoch" not in output  # the hint is about the network
    folder = run_folder(tmp_path)
    assert json.loads((folder / "summary.json").read_text())["precision"] == precision
    assert config_of(folder)["device"]["precision"] == precision


@pytest.mark.parametrize("flags", [[], ["--baseline=logistic"]])
def test_without_validation_samples_the_last_epoch_is_tested(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["--set=data.validation_samples=0", "--set=training.weight_averaging=0.0", f"--output-dir={tmp_path}"]
    assert main(MNIST, [*TINY, *plain, *flags]) == 0
    assert "weights     of epoch 2, the last\n" in capsys.readouterr().out
    folder = run_folder(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["validation_accuracy"] is None and summary["best_epoch"] == 2
    if not flags:
        last = weights_in(folder / "last.safetensors")
        assert all(torch.equal(last[name], weight) for name, weight in best_weights(folder).items())
        assert report.main([str(tmp_path), f"--csv={tmp_path / 'epochs.csv'}"]) == 0
        assert "| 2 | – |" in capsys.readouterr().out
        assert report.main([str(tmp_path), f"--plot={tmp_path / 'nothing.png'}"]) == 2
        assert "none of these runs has a validation error" in capsys.readouterr().err


def test_moving_mnist_runs_and_is_reproducible(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert main(MOVING_MNIST, [*TINY, "--set=network.connections=[]", f"--output-dir={tmp_path / name}"]) == 0
    first, second = run_folder(tmp_path / "first"), run_folder(tmp_path / "second")
    assert first.name.startswith("moving_mnist-") and same_weights(first, second)
    config = config_of(first)
    assert (config["data"]["name"], config["network"]["input_size"]) == ("moving_mnist", 8 * 23 * 23)
    assert config["data"]["fresh_velocities"] is True


@pytest.mark.parametrize("fast", [True, False])
def test_a_precision_that_may_be_emulated_is_reported(
    fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("RecurrentFF.training.run.has_fast_bfloat16", lambda device: fast)
    for precision in ("bfloat16", "float32"):
        assert main(MNIST, [*TINY, f"--set=device.precision={precision}", f"--output-dir={tmp_path / precision}"]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("device"))
        assert ("not known to be fast" in line) is (precision == "bfloat16" and not fast)


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Replace MNIST by few digits, and the cache folder by a temporary one of all tests."""
    train, test = mnist.read()
    few = (
        LabeledImages(train.images[:1500], train.labels[:1500]),
        LabeledImages(test.images[:300], test.labels[:300]),
    )
    monkeypatch.setattr(mnist, "read", lambda data_dir=None, device=None: few)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "traced"))


@pytest.mark.usefixtures("small_mnist")
def test_seq_mnist_runs_and_is_reproducible_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("first", "second"):
        assert main(SEQ_MNIST, [*TINY, f"--output-dir={tmp_path / name}"]) == 0
        if name == "first":
            files = sorted((tmp_path / "cache").rglob("*.npz"))
            written = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 2 and written == [file.stat().st_mtime_ns for file in files]
    first, second = run_folder(tmp_path / "first"), run_folder(tmp_path / "second")
    assert first.name.startswith("seq_mnist-") and same_weights(first, second)
    config = config_of(first)
    assert (config["data"]["name"], config["network"]["input_size"]) == ("seq_mnist", 800)
    assert config["transform"]["moves_per_timestep"] == 4
    assert "1,000 train, 200 validation, 200 test samples" in capsys.readouterr().out


@pytest.mark.usefixtures("small_mnist")
@pytest.mark.parametrize("baseline", ["logistic", "gru"])
def test_baselines_learn_from_the_same_data(baseline: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "second"):
        arguments = [f"--baseline={baseline}", "--epochs=6", f"--output-dir={tmp_path / name}", "--set=network.hidden_sizes=[60]"]
        assert main(SEQ_MNIST, [*TINY[1:], *arguments]) == 0
    folder = run_folder(tmp_path / "first")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test_accuracy"] > (0.6 if baseline == "logistic" else 0.25)
    assert summary["best_epoch"] >= 2 and summary["epochs"] == 6
    again = json.loads((run_folder(tmp_path / "second") / "summary.json").read_text())
    measured = {"seconds": 0, "samples_per_second": 0, "seconds_by_part": {}}
    assert summary | measured == again | measured
    output = capsys.readouterr().out
    assert f"{100 * summary['test_accuracy']:.2f} % right" in output and f"{summary['weights']:,} weights" in output


def test_a_gru_has_the_size_of_the_network_and_ignores_invalid_timesteps() -> None:
    network = rff.build(input_size=12, num_classes=4, hidden_sizes=[30, 20], device="cpu")
    gru = GRU(network)
    larger = nn.ModuleList([nn.GRU(12, gru.recurrent.hidden_size + 1), nn.Linear(gru.recurrent.hidden_size + 1, 4)])
    layers = nn.ModuleList(network.hidden_layers())  # without the readout, which nothing trains here
    size, limit, above = (sum(p.numel() for p in model.parameters()) for model in (gru, layers, larger))
    assert size <= limit < above
    inputs, mask = torch.randn(5, 2, 12), torch.tensor([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0]]).bool()
    changed = inputs.clone()
    changed[2:, 1] = 9
    assert torch.equal(gru(inputs, mask), gru(changed, mask)) and not torch.equal(gru(inputs, None), gru(changed, None))


@pytest.mark.usefixtures("small_mnist")
def test_a_limit_of_samples_traces_fewer_digits_and_selects_the_same_ones() -> None:
    def batches(**arguments: Any) -> list[Batch]:
        settings = Settings.from_arguments(data=SeqMnist(validation_samples=200, **arguments))
        task = settings.data.task()
        assert task is not None
        splits = task.splits(timesteps=settings.timesteps)
        return [next(iter(data.batches(2000))) for data in (splits.train, splits.validation, splits.test) if data is not None]

    whole, cut = batches(), batches(train_samples=700, test_samples=100)
    assert [len(batch.labels) for batch in whole + cut] == [1300, 200, 300, 700, 200, 100]
    for one, other in zip(whole, cut, strict=True):
        assert torch.equal(one.inputs[:, : len(other.labels)], other.inputs)
        assert torch.equal(one.labels[: len(other.labels)], other.labels)


def test_the_former_flags_give_the_same_run(tmp_path: Path) -> None:
    assert main(MNIST, [*TINY, "--set=optimizer.learning_rate=2e-3", f"--output-dir={tmp_path / 'present'}"]) == 0
    former = [*FORMER_TINY, "--set=model.ff_adam.learning_rate=2e-3"]
    assert main(MNIST, [*former, f"--output-dir={tmp_path / 'former'}"]) == 0
    one, other = run_folder(tmp_path / "present"), run_folder(tmp_path / "former")
    assert config_of(one) == config_of(other) and same_weights(one, other)


def test_the_written_configuration_is_complete_and_reproduces_the_run(tmp_path: Path) -> None:
    main(MNIST, [*TINY, f"--output-dir={tmp_path / 'first'}", "--seed=3"])
    first = run_folder(tmp_path / "first")
    config = config_of(first)
    assert config["training"]["seed"] == 3 and config["data"]["name"] == "mnist"
    assert config["device"]["device"] == "cpu" and config["device"]["precision"] in ("float32", "bfloat16")
    main(MNIST, [f"--config-file={first / 'config.toml'}", f"--output-dir={tmp_path / 'second'}"])
    second = run_folder(tmp_path / "second")
    assert same_weights(first, second)
    assert (first / "config.toml").read_text() == (second / "config.toml").read_text()


def test_a_run_starts_from_given_weights(tmp_path: Path) -> None:
    main(MNIST, [*TINY, f"--output-dir={tmp_path / 'first'}"])
    weights = run_folder(tmp_path / "first") / "best.safetensors"
    frozen = ["--set=optimizer.learning_rate=1e-30", "--set=negatives.optimizer.learning_rate=1e-30", "--seed=9"]
    assert main(MNIST, [*TINY, *frozen, f"--weights={weights}", f"--output-dir={tmp_path / 'second'}"]) == 0
    second = run_folder(tmp_path / "second")
    assert same_weights(weights.parent, second)
    assert config_of(second)["training"]["weights"] == str(weights)
    assert main(MNIST, [f"--config-file={second / 'config.toml'}", f"--output-dir={tmp_path / 'third'}"]) == 0
    assert same_weights(second, run_folder(tmp_path / "third"))


def test_ctrl_c_ends_a_run_cleanly_and_it_can_be_resumed(tmp_path: Path) -> None:
    arguments = [*TINY, "--epochs=40", "--set=training.batch_size=10", f"--output-dir={tmp_path}"]
    arguments.append("--set=schedule.name=step")
    command = [sys.executable, "-m", "RecurrentFF.benchmarks.mnist.mnist", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "2/40" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors == ""
    folder = run_folder(tmp_path)
    assert output.splitlines()[-1] == f"stopped     all saved; continue with: rff resume {folder}"
    done = len((folder / "metrics.jsonl").read_text().splitlines())
    assert 2 <= done < 40
    assert main(MNIST, [f"--resume={folder}", f"--epochs={done + 1}"]) == 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == done + 1
    assert run_folder(tmp_path) == folder
    assert config_of(folder)["training"]["epochs"] == done + 1


def test_resuming_with_another_configuration_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(MNIST, [*TINY, f"--output-dir={tmp_path / 'cosine'}"])
    cosine = run_folder(tmp_path / "cosine")
    main(MNIST, [*TINY, "--set=schedule.name=step", f"--output-dir={tmp_path / 'step'}"])
    step = run_folder(tmp_path / "step")
    before = {path: path.read_bytes() for path in [*cosine.iterdir(), *step.iterdir()]}
    capsys.readouterr()
    for arguments, message in [
        ([f"--resume={cosine}", "--epochs=3"], "the cosine schedule of this run ends with its 2 epochs"),
        ([f"--resume={step}", "--epochs=1"], "the run has trained 2 already"),
        ([f"--resume={step}", "--output-dir=elsewhere"], "--resume keeps the configuration"),
    ]:
        assert main(MNIST, arguments) == 2
        errors = capsys.readouterr().err
        assert message in errors and len(errors.splitlines()) == 1
    assert before == {path: path.read_bytes() for path in [*cosine.iterdir(), *step.iterdir()]}


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom RecurrentFF.benchmarks.mnist.mnist import MNIST\n"
        "from RecurrentFF.benchmarks.cli import argument_parser\n"
        "argument_parser(MNIST).format_help()\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_with_a_convolution_shows_its_planes_and_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--set=network.hidden_sizes=[98, 12]", "--set=transform.name=pixels", "--set=schedule.name=step"]
    shape = [*sizes, '--set=network.connections=[{ name = "convolution", channels = 2, stride = 4 }]']
    assert main(MNIST, [*TINY, *shape, "--epochs=1", f"--output-dir={tmp_path}"]) == 0
    assert "network     784-98 (2×7×7)-12-10, " in capsys.readouterr().out
    assert main(MNIST, [f"--resume={run_folder(tmp_path)}", "--epochs=2"]) == 0
    assert "resumed     after 1 epochs and 0 batches" in capsys.readouterr().out


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_a_finished_run_says_how_to_train_longer(schedule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(MNIST, [*TINY, "--epochs=1", f"--set=schedule.name={schedule}", f"--output-dir={tmp_path}"]) == 0
    folder = run_folder(tmp_path)
    assert main(MNIST, [f"--resume={folder}"]) == 0
    hint = ", --epochs N trains longer" if schedule == "step" else f"; --weights {folder / 'last.safetensors'} starts from it"
    assert f"after 1 epochs and 0 batches; training is complete{hint}\n" in capsys.readouterr().out
