"""Pictures need no display, show any text, and never end a run."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

import RecurrentFF as rff
from RecurrentFF.errors import OutputError
from RecurrentFF.training import plots
from RecurrentFF.training.callbacks import plots as callback
from RecurrentFF.training.callbacks.plots import Plots
from RecurrentFF.training.console import Console
from RecurrentFF.training.figures import picture, show_unchanged
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.run import finish_run
from RecurrentFF.training.trainer import Trainer
from tests.helpers import small_settings

pytestmark = pytest.mark.usefixtures("rendered_pictures")

STRANGE = ["$\\frac$", "$$", "_^{", "two\nlines", "\udcff\x1b[31m", "東京", "{0}%s\\", ""]


@pytest.mark.parametrize("text", STRANGE)
def test_any_text_can_be_shown(text: str, tmp_path: Path) -> None:
    plots.plot_samples(torch.rand(1, 2, 3, 3), [text, "b"], tmp_path / "samples.png")
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
        plots.plot_samples(torch.rand(1, 1, 3, 3), ["a"], tmp_path / "absent/a.png")


def test_a_network_without_a_task_has_no_picture_of_its_samples(tmp_path: Path) -> None:
    inputs, labels = torch.randn(40, 7), torch.arange(40) % 5
    rff.fit(rff.build(small_settings(epochs=1)), (inputs, labels), output_dir=tmp_path, quiet=True)
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.glob("*.png")) == ["curves.png"]
