"""A training continues without its streams, in folders with any name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from RecurrentFF.benchmarks.runs import table
from RecurrentFF.settings import Settings
from RecurrentFF.training.files import RunFolder
from tests.test_cli import TINY

pytestmark = pytest.mark.faults

FILES = {"config.toml", "metrics.jsonl", "summary.json", "samples.png", "curves.png", "timesteps.png"}


def train(parent: Path, streams: str, **environment: str) -> tuple[int, str, str, RunFolder]:
    """Train with the streams of a shell. Returns the exit code, standard output, standard error, and the run's folder."""
    command = f'exec "$0" -m RecurrentFF train mnist "$@" --output-dir "$PARENT" {streams}'
    result = subprocess.run(
        ["bash", "-c", command, sys.executable, *TINY, "--epochs=1"],
        capture_output=True,
        env=os.environ | {"PARENT": str(parent), "PYTHONUNBUFFERED": ""} | environment,
        check=False,
    )
    (folder,) = parent.iterdir()
    return result.returncode, result.stdout.decode(), result.stderr.decode(), RunFolder(folder)


def require_complete(run: RunFolder) -> None:
    """The run has all files, and nothing else has been written into them."""
    assert {path.name for path in run.path.iterdir()} > FILES and run.best.exists() and run.last.exists()
    assert run.curves.read_bytes().startswith(b"\x89PNG")
    Settings.from_file(run.config)
    assert table(run.path).splitlines()[1].endswith("complete")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_training_whose_output_does_not_fit_the_disk(tmp_path: Path) -> None:
    backend = "module://matplotlib_inline.backend_inline"  # a notebook sets it for the programs that it starts
    code, _, errors, run = train(tmp_path / "run $\\frac$", "> /dev/full", MPLBACKEND=backend)
    reason = "standard output can't be written (No space left on device)"
    assert (code, errors) == (0, f"note: {reason}; the program continues without its lines\n")
    require_complete(run)


def test_a_training_with_closed_streams(tmp_path: Path) -> None:
    code, output, errors, run = train(tmp_path / "run", "<&- >&- 2>&-")
    assert (code, output, errors) == (0, "", "")
    require_complete(run)


def test_a_training_in_a_folder_whose_name_the_encoding_lacks(tmp_path: Path) -> None:
    code, output, errors, run = train(tmp_path / "é東", "2>&-", PYTHONIOENCODING="ascii")
    assert (code, errors) == (0, "") and "run folder  " in output and "/\\xe9\\u6771/mnist-" in output
    require_complete(run)
