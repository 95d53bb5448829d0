"""The examples run, as scripts and as plugins of a configuration, and compute what the autograd reference computes."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from examples.own_activation import Squareplus
from examples.own_connection import Sparse
from examples.own_data import Spectrum
from examples.own_negatives import Swapped
from examples.own_objective import Hinge
from RecurrentFF.model.connections import Dense
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import Negatives, NegativeSource, SamplingContext
from RecurrentFF.model.network import Network
from RecurrentFF.model.reference import Reference
from RecurrentFF.model.regularizers import Disturbance
from tests.helpers import batch_draws

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != "__init__.py")
COMPONENTS = [path for path in EXAMPLES if path.name.startswith("own_")]

CONFIGURATION = """
plugins = [
    "examples.own_objective",
    "examples.own_activation",
    "examples.own_negatives",
    "examples.own_connection",
    "examples.own_data",
]

[network]
hidden_sizes = [20, 10]
activation = "squareplus"

[[network.connections]]
name = "sparse"
density = 0.25

[objective]
name = "hinge"
margin = 0.3

[negatives]
name = "swapped"

[data]
name = "mnist"
train_samples = 200
validation_samples = 50
test_samples = 50

[transform]
name = "spectrum"

[training]
epochs = 1
batch_size = 50
"""


SCRIPTS = """
import contextlib, io, json, runpy, sys, traceback
from RecurrentFF import RecurrentFFClassifier
classifier = RecurrentFFClassifier.__init__.__kwdefaults__
classifier["epochs"] = 10
printed = {}
for path in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            runpy.run_path(path, run_name="__main__")
        except BaseException:
            traceback.print_exc()
            output = None
    printed[path] = output and output.getvalue()
json.dump(printed, sys.stdout)
"""
"""A program that runs files as scripts, one after the other, and prints what each has printed; null if it has failed.

The classifier for scikit-learn trains a third of its epochs."""


def run(*arguments: str | Path, cwd: Path) -> str:
    """Run Python with these arguments. Returns what it prints; fails if its exit code is not 0."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


# ---------------------------------------------------------------- as files, scripts and plugins


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_explained_in_two_sentences(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 30
    explanation = ast.get_docstring(ast.parse(text))
    assert explanation is not None
    assert len(re.findall(r"[.](?=\s|$)", explanation)) == 2


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What the examples print, all in one process that is not this one, where they are registered already."""
    printed = json.loads(run("-c", SCRIPTS, *EXAMPLES, cwd=tmp_path_factory.mktemp("examples")))
    return {path.stem: printed[str(path)] for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_a_script(path: Path, outputs: dict[str, str | None]) -> None:
    if path.stem == "digits_sklearn":
        pytest.importorskip("sklearn")
    printed = outputs[path.stem]
    assert printed is not None, "the example has failed; its traceback is in the standard error of the fixture"
    if path.stem == "digits_sklearn":
        assert float(printed.partition("%")[0]) >= 97
    elif path.stem == "own_data":
        assert printed.endswith("['sine', 'square', 'sine', 'square']\n")
    else:
        accuracies = [float(percent) for percent in re.findall(r"([\d.]+) %", printed.splitlines()[-1])]
        assert accuracies[-1] > 30, printed  # the validation accuracy of the last epoch


@pytest.fixture(scope="module")
def run_with_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that the command line has started from a configuration with all five components."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "own.toml").write_text(CONFIGURATION)
    files: list[str | Path] = ["--config-file", folder / "own.toml", "--output-dir", folder / "runs"]
    run("-m", "RecurrentFF", "train", "mnist", *files, cwd=ROOT)
    (run_folder,) = (folder / "runs").iterdir()
    return run_folder


def test_a_configuration_names_the_examples_as_plugins(run_with_plugins: Path) -> None:
    settings = rff.Settings.from_file(run_with_plugins / "config.toml")
    assert settings.objective == Hinge(margin=0.3)
    assert settings.network.activation == Squareplus()
    assert settings.network.connections == (Sparse(density=0.25),)
    assert settings.negatives == Swapped()
    assert settings.transform == Spectrum()
    assert (run_with_plugins / "summary.json").exists()


def test_a_checkpoint_imports_no_plugin(run_with_plugins: Path) -> None:
    code = f"import RecurrentFF as rff; rff.load({str(run_with_plugins)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    error = done.stderr.splitlines()[-1]
    assert error.startswith("RecurrentFF.errors.CheckpointError")
    assert re.search("hinge|squareplus|swapped|sparse|spectrum", error)
    network = rff.load(run_with_plugins)  # the examples are imported here
    assert len(network.predict(torch.zeros(3, 28, 28, dtype=torch.uint8))) == 3


# ---------------------------------------------------------------- against the reference


class Recorded(NegativeSource):
    """Another source of negatives, whose last ones are kept."""

    def __init__(self, source: NegativeSource) -> None:
        self.source = source
        self.count = source.count
        self.last = Negatives()

    def sample(self, context: SamplingContext) -> Negatives:
        self.last = self.source.sample(context)
        return self.last


class MaskedReference(Reference):
    """The reference, where masks of the connections keep units unconnected."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.masks = {
            (layer.name, source): connection.mask[:, connection.columns[source]]
            for layer, connection in dense_connections(network)
            for source in connection.sources
            if connection.mask is not None
        }

    def drive(self, layer: str, source: str, weight: Tensor, reads: dict[str, Tensor]) -> Tensor:
        mask = self.masks.get((layer, source), torch.ones(()))
        return super().drive(layer, source, weight * mask, reads)


def dense_connections(network: Network) -> list[tuple[Layer, Dense]]:
    """All connections of a network of dense ones, each with its layer."""
    layers = [module for module in network.local_modules if isinstance(module, Layer)]
    pairs = [(layer, connection) for layer in layers for connection in layer.connections]
    return [(layer, connection) for layer, connection in pairs if isinstance(connection, Dense)]


CASES: dict[str, dict[str, Any]] = {
    "objective": {"objective": Hinge(margin=0.3)},
    "objective_flat": {"objective": Hinge(margin=1e-3), "badness": "sum"},
    "activation": {"activation": Squareplus()},
    "activation_sharp": {"activation": Squareplus(b=1e-4), "objective": "pairwise"},
    "negatives": {"negatives": Swapped()},
    "negatives_pairwise": {"negatives": Swapped(), "objective": "pairwise"},
    "connection": {"connections": [Sparse(density=0.4)]},
    "connection_of_all_sources": {"connections": [Sparse(sources=(), density=0.5)], "residual_connections": [[0, 2], [3, 1]]},
    "all": {
        "objective": Hinge(),
        "activation": Squareplus(b=1.0),
        "negatives": Swapped(),
        "connections": [Sparse(layers=(2,))],
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
    },
}


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("case", CASES)
def test_an_example_computes_what_the_reference_computes(case: str, fused: bool) -> None:
    options = {"input_size": 7, "num_classes": 4, "hidden_sizes": [9, 6], "prelabel_timesteps": 2, "label_timesteps": 3}
    optimizer = {"name": "rmsprop", "learning_rate": 1e-2}
    settings = rff.Settings.from_arguments(**options | {"device": "cpu", "optimizer": optimizer} | CASES[case])
    network = Network(settings, torch.float64, fused=fused)
    reference = MaskedReference(network)
    source = Recorded(settings.negatives)
    learner = Learner(network, 3, negatives=source)
    draw = torch.Generator().manual_seed(1)
    for _ in range(3):
        x = torch.randn(5, 7, dtype=torch.float64, generator=draw)
        y = torch.randint(4, (5,), generator=draw)
        learner.train_batch(x, y)
        wrong = source.last
        assert wrong.labels is not None
        inputs = [x, *([x] * source.count if wrong.inputs is None else wrong.inputs[0].permute(1, 2, 0))]
        sequences = [candidate.expand(settings.timesteps, -1, -1) for candidate in inputs]
        reference.train_batch(sequences, [y.expand(3, -1), *(labels.expand(3, -1) for labels in wrong.labels)])
    for layer, connection in dense_connections(network):
        for name, weight in connection.weights().items():
            torch.testing.assert_close(weight, reference.weight[layer.name, name].detach(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(layer.bias.data, reference.bias[layer.name].detach(), rtol=1e-10, atol=1e-10)
    sequence = torch.randn(settings.timesteps, 6, 7, dtype=torch.float64, generator=draw)
    assert network.predict(sequence).tolist() == reference.predict(sequence).tolist()


def test_the_values_of_the_hinge_and_of_squareplus() -> None:
    badness = torch.tensor([[1.0]]), torch.tensor([[1.2], [2.0]])
    torch.testing.assert_close(Hinge(margin=0.5).loss(*badness), torch.tensor([[0.3], [0.0]]))
    z = torch.tensor([-3.0, 0.0, 3.0])
    torch.testing.assert_close(Squareplus(b=16.0).apply(z), torch.tensor([1.0, 2.0, 4.0]))


def test_swapped_negatives_are_wrong_for_their_inputs() -> None:
    settings = rff.Settings.from_arguments(input_size=2, num_classes=3, hidden_sizes=[4])
    network = Network(settings)
    y = torch.tensor([[0, 0, 1, 2, 2, 1]])
    x = torch.stack([y[0], torch.arange(6)]).double()[None, :, None]  # features are the class and the number of the sample
    context = SamplingContext(network, network.path.new_state(1, 6), x, Disturbance(), y, None, batch_draws(6))
    labels, inputs, _ = Swapped().sample(context)
    assert labels is not None and inputs is not None
    assert inputs[0, 1, 0].tolist() == [5, 0, 1, 2, 3, 4]
    assert (labels[0, 0] != inputs[0, 0, 0]).all()
    assert labels[0, 0, [0, 2, 3, 5]].tolist() == [0, 1, 2, 1]


def test_sparse_connections_stay_sparse_and_are_the_same_again_when_loaded(tmp_path: Path) -> None:
    samples, labels = torch.randn(60, 12), [0, 1, 2] * 20
    task = rff.TensorTask(samples, labels, validation=None)
    network = rff.build(
        task=task, hidden_sizes=[30, 20], connections=[Sparse(density=0.2)], batch_size=20, epochs=2, device="cpu"
    )
    rff.fit(network, task, quiet=True)
    rff.save(network, tmp_path / "sparse.pt")
    loaded = rff.load(tmp_path / "sparse.pt", device="cpu")
    assert torch.equal(network.badness(samples), loaded.badness(samples))
    sparse = [connection for _, connection in dense_connections(loaded) if connection.mask is not None]
    assert [connection.sources for connection in sparse] == [("h1",), ("h2",)]
    assert all(0.1 < (connection.weight != 0).float().mean() < 0.3 for connection in sparse)
