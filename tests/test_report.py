"""The report on several runs: it is computed from their files, and refuses runs that can't be averaged."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from RecurrentFF.benchmarks import report
from RecurrentFF.benchmarks.cli import main
from RecurrentFF.benchmarks.mnist.mnist import MNIST
from RecurrentFF.settings import Settings
from tests.test_cli import TINY, config_of, run_folder


def write_run(folder: Path, seed: int, test: float, validation: list[float], **arguments: float) -> None:
    """Write those files of a complete run that a report reads."""
    run = folder / f"run-{seed}-{test}"
    run.mkdir(parents=True)
    (run / "config.toml").write_text(Settings.from_arguments(seed=seed, epochs=len(validation), **arguments).to_toml())
    (run / "summary.json").write_text(
        json.dumps({"test_accuracy": test, "validation_accuracy": max(validation), "seconds": 90.0 + 60 * seed})
    )
    lines = [
        {"epoch": n, "loss": 0.5, "train_accuracy": None, "validation_accuracy": accuracy, "samples_per_second": 1000.4}
        for n, accuracy in enumerate(validation, start=1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.usefixtures("rendered_pictures")
def test_mean_and_standard_deviation_over_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, test in ((2, 0.97), (0, 0.99), (1, 0.98)):
        write_run(tmp_path / "fast", seed, test, [0.9, 0.985])
    write_run(tmp_path / "single", 0, 0.995, [0.99])
    folders = [str(tmp_path / "fast"), str(tmp_path / "single")]
    assert report.main([*folders, f"--csv={tmp_path / 'all.csv'}", f"--plot={tmp_path / 'all.png'}"]) == 0
    output = capsys.readouterr().out
    assert "| fast | 2 | 1.50 ± 0.00 % (1.50, 1.50, 1.50) | 2.00 ± 1.00 % (1.00, 2.00, 3.00) | 2.5 min |" in output
    assert "| single | 1 | 1.00 % | 0.50 % | 1.5 min |" in output
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert len(rows) == 7
    assert [row["test_error"] for row in rows] == ["", "1.00", "", "2.00", "", "3.00", "0.50"]
    assert rows[0]["validation_error"] == "10.00" and rows[0]["train_error"] == "" and rows[0]["samples_per_second"] == "1000"
    assert (tmp_path / "all.png").stat().st_size > 1000


def test_runs_that_are_not_comparable_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "twice", 0, 0.9, [0.9])
    write_run(tmp_path / "twice", 0, 0.8, [0.9])
    write_run(tmp_path / "mixed", 0, 0.9, [0.9])
    write_run(tmp_path / "mixed", 1, 0.9, [0.9], label_timesteps=3)
    write_run(tmp_path / "several", 0, 0.9, [0.9])  # of equal seed, which is not what is wrong
    write_run(tmp_path / "several", 0, 0.8, [0.9], dropout=0.5)
    write_run(tmp_path / "cut", 0, 0.9, [0.9])
    next((tmp_path / "cut").glob("*/metrics.jsonl")).unlink()
    assert report.main([str(tmp_path / "cut")]) == 2 and "has no metrics of an epoch" in capsys.readouterr().err
    for name, words in (
        ("twice", f"{tmp_path}/twice/run-0-0.8 and {tmp_path}/twice/run-0-0.9: two runs with the same seed, 0; move one away"),
        ("mixed", "differ in more than their seed, in network.label_timesteps; name only the folders of runs with one"),
        ("several", "differ in more than their seed, in network.dropout"),
        ("none", "no complete run"),
    ):
        assert report.main([str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {tmp_path / name}") and words in error and error.count("\n") == 1


def test_folders_of_single_runs_are_one_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a", 1, 0.98, [0.9, 0.985])
    write_run(tmp_path / "a", 0, 0.99, [0.9, 0.985])
    write_run(tmp_path / "b", 0, 0.9, [0.9])
    singles = [next((tmp_path / "a").glob(f"run-{seed}-*")) for seed in (1, 0)]
    stamped = [str(path.rename(path.with_name(f"mnist-2026-11-25-16083{n}-1c7e"))) for n, path in enumerate(singles)]
    assert report.main([str(tmp_path / "b"), *stamped]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| b | 1 | ")
    assert lines[3].startswith("| mnist | 2 | 1.50 ± 0.00 % (1.50, 1.50) | 1.50 ± 0.71 % (1.00, 2.00) |")
    (Path(stamped[0]) / "summary.json").unlink()
    assert report.main(stamped) == 2
    assert f"error: {stamped[0]}: the run is not complete; leave it out" in capsys.readouterr().err


def test_a_report_reads_the_files_of_real_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        assert main(MNIST, [*TINY, f"--seed={seed}", f"--output-dir={tmp_path / 'tiny'}"]) == 0
    assert main(MNIST, [*TINY, f"--output-dir={tmp_path / 'other'}"]) == 0
    capsys.readouterr()
    assert report.main([str(tmp_path / "tiny"), str(tmp_path / "other"), f"--csv={tmp_path / 'runs.csv'}"]) == 0
    summary = json.loads((run_folder(tmp_path / "other") / "summary.json").read_text())
    assert f"| other | 2 | {100 - 100 * summary['validation_accuracy']:.2f} % |" in capsys.readouterr().out
    assert config_of(run_folder(tmp_path / "other"))["training"]["seed"] == 0
    assert (tmp_path / "runs.csv").read_text().count("\n") == 7


def test_a_component_of_the_users_is_compared_without_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        write_run(tmp_path, seed, 0.9, [0.9])
        config = tmp_path / f"run-{seed}-0.9/config.toml"
        text = config.read_text().replace('name = "threshold"', 'name = "mine"\nstrength = 2.0')
        assert "strength" in text
        text = "".join(line for line in text.splitlines(keepends=True) if not (seed and line.startswith("dropout")))
        config.write_text(text)  # a key that a configuration lacks has its default
    assert report.main([str(tmp_path)]) == 0 and "| 2" not in capsys.readouterr().err
    config.write_text(text.replace("strength = 2.0", "strength = 3.0"))
    assert report.main([str(tmp_path)]) == 2
    assert "more than their seed, in objective.strength; name only" in capsys.readouterr().err


def test_all_keys_in_which_runs_differ_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [
        "dropout",
        "activity_dropout",
        "input_dropout",
        "damping_factor",
        "epsilon",
        "adversarial_noise",
        "peer_normalization",
    ]
    write_run(tmp_path, 0, 0.9, [0.9])
    for count, end in ((1, keys[0]), (2, "dropout and network.activity_dropout"), (7, "input_dropout and 2 more")):
        write_run(tmp_path, count, 0.9, [0.9], **dict.fromkeys(keys[:count], 0.125))
        assert report.main([str(tmp_path / "run-0-0.9"), str(tmp_path / f"run-{count}-0.9")]) == 2
        assert f"{end}; name only" in capsys.readouterr().err


@pytest.mark.parametrize("errors", [[0.0], [3.0], [80.0, 0.5, 0.0]])
def test_runs_of_any_length_are_visible_in_the_plot(errors: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    write_run(tmp_path / "a", 0, 0.9, [1 - error / 100 for error in errors])
    assert report.main([str(tmp_path / "a"), f"--plot={tmp_path / 'a.png'}"]) == 0
    (line,) = figures[0].axes[0].lines
    lowest, highest = figures[0].axes[0].get_ylim()
    assert line.get_marker() == "o" and len(line.get_xdata()) == len(errors)  # type: ignore[arg-type]
    assert all(lowest <= value <= highest for value in np.asarray(line.get_ydata(), dtype=float).tolist())


def test_a_run_that_is_named_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, 0, 0.9, [0.9])
    (single,) = tmp_path.iterdir()
    assert report.main([str(single), str(single)]) == 0
    assert "| run-0-0.9 | 1 | " in capsys.readouterr().out


def test_a_baseline_is_not_averaged_with_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, 0, 0.9, [0.9])
    write_run(tmp_path, 1, 0.8, [0.9])
    file = tmp_path / "run-1-0.8/summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"baseline": "gru"}))
    assert report.main([str(tmp_path)]) == 2
    assert "differ in more than their seed, in their baseline; name only" in capsys.readouterr().err
