"""The command `rff search`: its output, its files, how it continues, and its mistakes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from RecurrentFF.cli import main
from RecurrentFF.data import mnist
from RecurrentFF.data.dataset import LabeledImages
from RecurrentFF.search import Space
from RecurrentFF.settings import Settings, recipes
from RecurrentFF.training.callbacks import Callback, default_callbacks

ROOT = Path(__file__).parents[1]
SPACE = """
[optimizer]
learning_rate = { type = "float", low = 1e-3, high = 1e-2, log = true }

[network]
hidden_sizes = { type = "categorical", choices = [[8], [10, 6]] }
"""
TINY = [
    "--set=data.name=mnist",
    "--set=data.train_samples=60",
    "--set=data.validation_samples=30",
    "--set=data.test_samples=10",
    "--set=training.batch_size=30",
    "--set=network.prelabel_timesteps=1",
    "--set=network.label_timesteps=2",
    "--epochs=2",
    "--device=cpu",
]


@pytest.fixture(autouse=True)
def _few_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Replace MNIST by 700 training and ten test digits, and work in a new folder with a search space."""
    (tmp_path / "space.toml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mnist, "read", lambda data_dir=None, device=None: DIGITS)


DIGITS = [LabeledImages(*(part[place].clone() for part in mnist.read()[1])) for place in (slice(700), slice(700, 710))]


def run(*flags: str) -> int:
    """Run `rff search` on few digits."""
    return main(["search", "smoke", "--space=space.toml", *TINY, *flags])


def test_a_search_prints_a_line_for_each_trial_and_writes_a_configuration_that_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--trials=3", "--seed=1") == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    lines = output.splitlines()
    assert lines[0] == "study       smoke in sqlite:///runs/search-smoke/study.db; 0 of 3 trials finished"
    assert lines[2] == "data        60 train, 30 validation samples; the test samples are not used"
    trials = [line for line in lines if line.startswith("trial ")]
    pattern = r"trial \d {4} complete +\d+\.\d\d % [* ] +\d+\.\d s  learning_rate = 0\.\d+, hidden_sizes = \[[\d, ]+\]"
    assert len(trials) == 4 and all(re.fullmatch(pattern, line) for line in trials[:3])
    best = tmp_path / "runs" / "search-smoke" / "best.toml"
    assert lines[-1] == "train it    rff train mnist --config-file runs/search-smoke/best.toml"
    assert main(lines[-1].split()[3:]) == 0
    trained = capsys.readouterr().out
    accuracy = re.search(r"best        trial \d, validation accuracy (.*)", output)
    assert accuracy and f"{accuracy[1]}" in trained
    assert Settings.from_file(best).training.seed == 0

    assert run("--trials=3", "--seed=1") == 0
    again = capsys.readouterr().out.splitlines()
    assert again[0].endswith("3 of 3 trials finished") and again[-1] == lines[-1]
    assert not any("complete" in line for line in again)
    assert run("--trials=3", "--epochs=1") == 2
    assert "training.epochs: 2, now 1" in capsys.readouterr().err


class Interrupt(Callback):
    """Sends a signal after the first batch."""

    def on_batch_end(self, trainer: Any, metrics: Any, samples: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="the system has other signals")
def test_ctrl_c_says_how_to_continue(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("RecurrentFF.search.objective.default_callbacks", lambda given: [*default_callbacks(given), Interrupt()])
    assert run("--storage=sqlite:///kept.db", "--study=mine") == 130
    output, errors = capsys.readouterr()
    assert errors == "" and " interrupted " in output
    assert output.splitlines()[-1] == "stopped     0 trials are finished; the same command continues the study 'mine'"
    monkeypatch.setattr("RecurrentFF.search.objective.default_callbacks", default_callbacks)
    assert run("--storage=sqlite:///kept.db", "--study=mine", "--trials=1") == 0
    assert "trial 1     complete" in capsys.readouterr().out and Path("kept.db").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["smoke"], "the following arguments are required: --space"),
        (["smok", "--space=space.toml"], "no such configuration file, and no recipe of that name; did you mean 'smoke'?"),
        (["smoke", "--space=no.toml"], "no.toml: can't be read (no such file)"),
        (["smoke", "--space=space.toml", "--trials=many"], "--trials many: expected a whole number"),
        (["smoke", "--space=space.toml", "--trials=0"], "trials = 0: expected at least 1"),
        (["smoke", "--space=space.toml", "--study=../up"], "study '../up': a name has letters"),
        (["smoke", "--space=space.toml"], 'data.name = "own": no data to read'),
        (["smoke", "--space=space.toml", *TINY, "--set=data.validation_samples=0"], "data.validation_samples = 0: a search"),
        (["smoke", "--space=space.toml", *TINY, "--storage=search.db"], "write a URL such as sqlite:///search.db"),
        (["smoke", "--space=space.toml", *TINY, "--sampler=grid"], "sampler 'grid': there is no such sampler"),
        (["smoke", "--space=space.toml", *TINY, "--output-dir=space.toml"], "space.toml/search-smoke: can't be created"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", *arguments]) == 2
    errors = capsys.readouterr().err
    assert words in errors and len(errors.splitlines()) == 1


def test_neither_help_nor_the_space_imports_torch_or_optuna() -> None:
    code = (
        "import sys\nfrom RecurrentFF.cli import argument_parser\nfrom RecurrentFF.search import Space\n"
        "argument_parser().format_help()\nassert not {'torch', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def blocks(language: str) -> list[str]:
    """The blocks of a language in the guide."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/guides/search.md").read_text("utf-8"), flags=re.DOTALL)


def test_the_example_of_the_guide_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, names)
    assert names["result"].best_accuracy > 0.3 and len(capsys.readouterr().out.splitlines()) == 4


def test_the_spaces_in_the_guide_and_the_examples_are_valid() -> None:
    texts = blocks("toml space")
    settings = Settings.from_file(recipes.path_of("mnist_raw"))
    assert texts
    for text in [*texts, (ROOT / "examples/space.toml").read_text("utf-8")]:
        Space.from_toml(text).require_accepted(settings)
