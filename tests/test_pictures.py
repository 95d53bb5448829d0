"""Pictures need no display, show any text, and never end a run."""

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import RecurrentFF as rff
from RecurrentFF.data.panels import Images, Panel, Texts, Values
from RecurrentFF.errors import OutputError
from RecurrentFF.training import plots
from RecurrentFF.training.callbacks import plots as callback
from RecurrentFF.training.callbacks.checkpoints import Checkpoints
from RecurrentFF.training.callbacks.plots import Plots
from RecurrentFF.training.callbacks.progress import ProgressConsole
from RecurrentFF.training.console import Console
from RecurrentFF.training.figures import picture, show_unchanged
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.metrics import EpochMetrics
from RecurrentFF.training.run import finish_run
from RecurrentFF.training.sample_plots import plot_samples
from RecurrentFF.training.trainer import Trainer
from tests.helpers import small_settings

pytestmark = pytest.mark.usefixtures("rendered_pictures")

STRANGE = ["$\\frac$", "$$", "_^{", "two\nlines", "\udcff\x1b[31m", "東京", "{0}%s\\", ""]


@pytest.mark.parametrize("text", STRANGE)
def test_any_text_can_be_shown(text: str, tmp_path: Path) -> None:
    panels: list[Panel] = [Images(text, torch.rand(1, 2, 1, 3, 3)), Values(text, torch.rand(1, 2, 3)), Texts((text, "b"))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # also not about characters that the font lacks
        plot_samples(panels, [text, "b"], text, tmp_path / "samples.png")
        with picture(tmp_path / "title.png", 2, 2) as figure:
            show_unchanged([figure.suptitle(text)])
    assert (tmp_path / "samples.png").stat().st_size > 500 and (tmp_path / "title.png").stat().st_size > 500


def imported(path: Path, code: str, **environment: str) -> str:
    """What a new process prints that makes a picture first."""
    imports = "import os; from pathlib import Path; from RecurrentFF.training.figures import *"
    start = f"{imports}\nwith picture(Path({str(path)!r}), 1, 1): pass\n"
    result = subprocess.run(
        [sys.executable, "-c", start + code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    return (result.stdout or result.stderr.splitlines()[-1]).strip()


def test_the_backend_of_the_environment_is_not_needed_and_stays_what_it_is(tmp_path: Path) -> None:
    code = "import matplotlib as m; print(os.environ['MPLBACKEND'], "
    for name in ("module://matplotlib_inline.backend_inline", "no such backend"):
        assert imported(tmp_path / "a.png", code + "end='')", MPLBACKEND=name) == name
        (tmp_path / "a.png").unlink()
    assert imported(tmp_path / "a.png", code + "m.rcParams['backend'])", MPLBACKEND="svg") == "svg svg"


def test_a_damaged_matplotlibrc_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe damaged")
    line = imported(Path("a.png"), "", MATPLOTLIBRC=str(tmp_path / "matplotlibrc"))
    assert line.startswith("RecurrentFF.errors.OutputError: a.png: can't be drawn (UnicodeDecodeError: 'utf-8' codec")


def trainer(folder: Path) -> Trainer:
    images = torch.randint(0, 255, (40, 8, 8), dtype=torch.uint8)
    task = rff.TensorTask(images, torch.arange(40) % 5, validation=0.5)
    network = rff.build(task=task, hidden_sizes=[6], epochs=1, device="cpu")
    return Trainer(network, task, [Plots(RunFolder(folder))], console=Console())


def test_no_failure_of_a_picture_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(error: Exception) -> Any:
        def call(*_: Any, **__: Any) -> None:
            raise error

        return call

    monkeypatch.setattr(callback, "plot_curves", failing(MemoryError()))
    monkeypatch.setattr(Figure, "savefig", failing(RuntimeError("latex could not be found\nlog")))
    run = trainer(tmp_path)
    monkeypatch.setattr(type(run.network.task), "show", failing(ZeroDivisionError("division\nby zero")))
    assert run.fit()
    finish_run(run, RunFolder(tmp_path))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not saved")]
    assert lines == [
        f"not saved   {tmp_path}/samples.png: can't be drawn (ZeroDivisionError: division)",
        f"not saved   {tmp_path}/curves.png: can't be drawn (MemoryError)",
        f"not saved   {tmp_path}/timesteps.png: can't be drawn (RuntimeError: latex could not be found)",
    ]
    assert (tmp_path / "summary.json").exists() and not list(tmp_path.glob("*.png"))


def test_the_functions_that_draw_show_mistakes_in_the_code(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        plots.plot_curves([], "title", tmp_path / "a.png", 1, None)
    with pytest.raises(OutputError, match="No such file or directory"):
        plot_samples([Images("", torch.rand(1, 1, 1, 3, 3))], ["a"], "title", tmp_path / "absent/a.png")


def test_a_network_without_a_task_has_no_picture_of_its_samples(tmp_path: Path) -> None:
    inputs, labels = torch.randn(40, 7), torch.arange(40) % 5
    rff.fit(rff.build(small_settings(epochs=1)), (inputs, labels), output_dir=tmp_path, quiet=True)
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.glob("*.png")) == ["curves.png"]


def curves_of(path: Path, layers: int, epochs: int, accuracy: float | None, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure of the learning curves of a run."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    rest = {"train_accuracy": None, "test_accuracy": None, "pairwise_accuracy": None, "readout_loss": None}
    numbers = [0.5 + layer for layer in range(layers)]
    lists = {"layer_loss": numbers, "badness_pos": numbers, "badness_neg": [number + 0.2 for number in numbers]}
    base = EpochMetrics(1, 1.0, 1.0, 0.1, 0.7, validation_accuracy=accuracy, **rest, **lists)  # type: ignore[arg-type]
    history = [replace(base, epoch=epoch) for epoch in range(1, epochs + 1)]
    plots.plot_curves(history, "MNIST: a title\nrun-1", path / "curves.png", epochs, accuracy)
    return figures[0]


@pytest.mark.parametrize("layers", [0, 1, 2, 8])
@pytest.mark.parametrize("epochs", [1, 60])
def test_legends_show_the_colors_and_markers_of_the_curves(
    layers: int, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = curves_of(tmp_path, layers, epochs, 0.9, monkeypatch)
    assert figure.get_suptitle() == "MNIST: a title\nrun-1"
    assert len(figure.axes) == (3 if layers else 2)
    errors = {str(line.get_label()): list(line.get_ydata()) for line in figure.axes[0].lines}  # type: ignore[arg-type]
    best = f"test, weights of epoch {epochs}"
    assert errors == {"validation": pytest.approx([10.0] * epochs), best: pytest.approx([10.0])}
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None and axes.get_xlabel() == "epoch" and axes.get_ylabel()
        handles = {str(handle.get_label()): handle for handle in legend.legend_handles if isinstance(handle, Line2D)}
        named = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
        assert [line.get_label() for line in named] == list(handles)
        for line in named:
            handle = handles[str(line.get_label())]
            assert (handle.get_color(), handle.get_marker()) == (line.get_color(), line.get_marker())
            assert epochs > 1 or line.get_marker() not in ("None", "", None)  # a single point is visible
    colors = {str(line.get_color()) for line in figure.axes[-1].lines if str(line.get_label()).startswith("layer")}
    assert len(colors) == layers


def test_without_accuracies_there_is_no_empty_plot_of_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = curves_of(tmp_path, 2, 3, None, monkeypatch)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "badness, mean of h²"]


def test_the_curves_name_the_run_and_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr(callback, "plot_curves", lambda history, title, *_: titles.append(title))
    run = trainer(tmp_path)
    run.fit()
    summary = finish_run(run, RunFolder(tmp_path))
    assert summary.validation_accuracy is not None and summary.processes == 1
    percent = f"{100 * summary.validation_accuracy:.2f} % of the validation samples right with the weights of epoch 1"
    assert titles == [f"tensors: {percent}\n{tmp_path.name}"]


def test_the_line_of_an_epoch_is_printed_when_its_checkpoint_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(network: Any, path: Path, **_: Any) -> None:
        print(f"saved {path.name}")

    monkeypatch.setattr("RecurrentFF.training.callbacks.checkpoints.checkpoint.save", save)
    run = trainer(tmp_path)
    run.callbacks[:] = [Checkpoints(RunFolder(tmp_path)), ProgressConsole()]
    run.fit()
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    last = ["saved", "last.safetensors"]
    assert lines[:3] == [last, last, ["saved", "best.safetensors"]] and lines[3][0] == "epoch" and lines[4][0] == "1/1"
