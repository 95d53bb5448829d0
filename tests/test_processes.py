"""Trainings by several processes are those of one process, up to the order of sums."""

import os
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from RecurrentFF.data.dataset import LoaderDataset, Splits, TensorDataset
from RecurrentFF.distributed import is_first
from RecurrentFF.model.learner import BatchMetrics
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training.callbacks import Callback
from RecurrentFF.training.callbacks.default import core_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.trainer import Trainer
from tests.several_processes import in_processes

SAMPLES, FEATURES = 23, 12

BASE: dict[str, Any] = {
    "input_size": FEATURES, "num_classes": 3, "hidden_sizes": [8, 7, 6], "epochs": 1, "batch_size": 10, "device": "cpu",
    "compile": False, "prelabel_timesteps": 3, "label_timesteps": 4, "prediction_window": (1, 3), "precision": "float32",
    "objective": {"name": "pairwise", "alpha": 4.0}, "optimizer": {"name": "torch", "optimizer": "SGD", "learning_rate": 0.03,
                  "options": [["momentum", 0.9]]},
}  # fmt: skip
"""Gradient descent changes a weight in proportion to its gradient. RMSprop and Adam divide by the size of the gradient, so that
one that is zero but for rounding would become large."""
HYBRID = {"name": "hybrid", "mask": "features"}

CASES: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": {"name": "rmsprop", "learning_rate": 1e-3}},
    "adam, threshold": {"objective": "threshold", "optimizer": {"name": "adam", "learning_rate": 1e-3}},
    "residual connections": {"residual_connections": [[4, 1], [1, 3], [0, 3]], "weight_averaging": 0.9},
    "dropout": {"dropout": 0.2, "input_dropout": 0.1, "activity_dropout": 0.3, "negatives": {"name": "uniform", "count": 2}},
    "readout": {"negatives": {"name": "readout", "count": 2}, "prediction": "propose_and_verify"},
    "badness": {"negatives": "badness", "input_dropout": 0.1},
    "hybrid": {"negatives": HYBRID | {"count": 2}},
    "label-free": {"negatives": HYBRID, "label_free": True, "prediction": "readout"},
    "circuit": {"generative": {"name": "reconstruction", "noise": 0.5}},
    "generated": {"generative": {"name": "reconstruction"}, "negatives": "generated"},
    "mixture": {"negatives": {"name": "mixture", "sources": ["uniform", HYBRID | {"trains_readout": False}, "readout"]}},
    "peer normalization": {"peer_normalization": 0.1},
    "hard examples": {"hard_example_fraction": 0.4},
    "adversarial noise": {"adversarial_noise": 0.1, "residual_connections": [[4, 1]]},
    "noise in two layers": {"adversarial_noise": 0.1, "residual_connections": [[4, 1], [0, 3]]},
    "spikes": {"connections": [{"name": "black_box", "function": "spikes"}], "dropout": 0.2},
    "traces": {"connections": [{"name": "traces"}], "time_constants": (1.0, 4.0)},
    "fast weights": {"connections": [{"name": "fast_weights"}]},
    "sequences": {"data": "sequences"},
}  # fmt: skip

FEW = ("plain", "dropout", "readout")

DIVISIONS: dict[str, tuple[int, dict[str, Any], tuple[str, ...]]] = {
    "data 2": (2, {"mode": "data"}, ("dropout",)),
    "layer 2": (2, {"mode": "layer"}, ("dropout",)),
    "data 4": (4, {"mode": "data"}, ("plain", "generated", "hard examples", "sequences")),
    "layer 3": (3, {"mode": "layer", "layers_per_process": [1, 1, 1]}, (*FEW, "generated", "noise in two layers")),
    "mesh 2 x 2": (4, {"mode": "layer", "layer_processes": 2}, tuple(CASES)),
}


def batches(dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Sequences of different lengths, with labels that change over time."""
    generator = torch.Generator().manual_seed(1)
    for size in (9, 5, 1):  # the last batch has fewer samples than there are processes
        x = torch.rand(7, size, FEATURES, dtype=dtype, generator=generator)
        ends = torch.randint(4, 8, (size,), generator=generator)
        yield x, torch.randint(3, (4, size), generator=generator), torch.arange(7).unsqueeze(1) < ends


def new_trainer(
    options: dict[str, Any],
    dtype: torch.dtype = torch.float64,
    folder: RunFolder | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """A trainer of a small network, with its callbacks; `folder` is written by the first process."""
    options = BASE | options
    x = torch.rand(SAMPLES, FEATURES, dtype=dtype, generator=torch.Generator().manual_seed(0))
    y = torch.arange(SAMPLES) % 3
    known = TensorDataset(x[:9], y[:9])
    train: Any = TensorDataset(x, y)
    if options.get("data") == "sequences":
        del options["data"]
        train = LoaderDataset(list(batches(dtype)), batch_first=False)
    settings = Settings.from_arguments(**options)
    first = folder is not None and is_first()
    own = core_callbacks(settings, folder if first else None)
    network = Network(settings, dtype=dtype)
    return Trainer(network, Splits(train, known, None, known), [*own, *callbacks], console=Console(quiet=True))


def trained(options: dict[str, Any], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """All that a training leaves, as one flat dictionary: weights, optimizers, metrics, predictions."""
    trainer = new_trainer(options, dtype)
    trainer.fit()
    return content(trainer)


def content(trainer: Trainer) -> dict[str, Tensor]:
    state = trainer.state_dict()
    for metrics in state["history"]:
        metrics.update(seconds=0.0, samples_per_second=0.0)
    state["progress"].update(seconds=0.0)
    numbers = dict(flat({"network": trainer.network.state_dict(), **state}))
    x = torch.rand(5, FEATURES, dtype=trainer.network.dtype, generator=torch.Generator().manual_seed(2))
    return numbers | {"predictions": trainer.network.predict_inputs(x), "badness": trainer.network.badness(x)}


def flat(tree: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """The numbers in a tree by their places."""
    if isinstance(tree, Tensor):
        yield place, tree.detach().clone()
    elif isinstance(tree, int | float):
        yield place, torch.tensor(float(tree), dtype=torch.float64)
    elif isinstance(tree, dict | list | tuple):
        for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from flat(item, f"{place}/{key}")


def all_trained(
    division: Mapping[str, Any], cases: Sequence[str], dtype: torch.dtype = torch.float64
) -> dict[str, dict[str, Tensor]]:
    """What is left by the trainings of several cases."""
    warnings.simplefilter("ignore")
    return {name: trained(CASES[name] | {"distributed": dict(division)}, dtype) for name in cases}


@cache
def of_one_process(dtype: torch.dtype = torch.float64) -> dict[str, dict[str, Tensor]]:
    return in_processes(1, all_trained, {}, tuple(CASES), dtype)[0]  # type: ignore[no-any-return]


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, float]:
    """The greatest difference at each place, relative to the size of what is there where that is above 1."""
    assert expected.keys() == found.keys()
    pairs = {name: (expected[name].double(), found[name].double()) for name in expected if expected[name].numel()}
    return {name: float(((a - b).abs() / a.abs().clamp(min=1)).max()) for name, (a, b) in pairs.items()}


def require_same(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], place: object, limit: float) -> None:
    """Weights within the limit, and everything else within ten times that."""
    gaps = differences(expected, found)
    wrong = {name: gap for name, gap in gaps.items() if not gap <= (limit if name.startswith("/network") else 10 * limit)}
    assert not wrong, (place, wrong)


@pytest.mark.parametrize("division", DIVISIONS)
def test_several_processes_train_what_one_trains(division: str) -> None:
    count, options, cases = DIVISIONS[division]
    for process, results in enumerate(in_processes(count, all_trained, options, cases)):
        assert tuple(results) == cases
        for case, found in results.items():
            require_same(of_one_process()[case], found, (case, process), 1e-10)
            assert torch.equal(found["predictions"], of_one_process()[case]["predictions"])


def test_in_single_precision_too() -> None:
    cases = ("dropout", "readout", "hybrid")
    one = in_processes(1, all_trained, {}, cases, torch.float32)[0]
    results = in_processes(4, all_trained, {"mode": "layer", "layer_processes": 2}, cases, torch.float32)[3]
    for case, found in results.items():
        require_same(one[case], found, case, 1e-5)


# ---------------------------------------------------------------- interrupted and resumed


class InterruptOne(Callback):
    """Ctrl-C in one of the processes, in the second epoch."""

    def on_batch_end(self, trainer: Trainer, metrics: BatchMetrics, samples: int) -> None:
        if (trainer.progress.epoch, trainer.progress.batch) == (1, 2) and trainer.group.index == trainer.group.count - 1:
            os.kill(os.getpid(), signal.SIGINT)


RESUMED = CASES["dropout"] | {"negatives": "readout", "weight_averaging": 0.9, "epochs": 2}


def run(division: Mapping[str, Any], path: str, what: str) -> dict[str, Tensor] | None:
    """A training in a folder that is interrupted, or resumed, or neither."""
    folder = RunFolder(Path(path))
    trainer = new_trainer(
        RESUMED | {"distributed": dict(division)}, folder=folder, callbacks=[InterruptOne()] * (what == "interrupt")
    )
    if what == "resume":
        trainer.resume(folder.last)
    finished = trainer.fit()
    assert finished != (what == "interrupt") and trainer.saved
    return content(trainer) if finished else None


SAME = [("mesh 2 x 2", "mesh 2 x 2")]
OTHER = [("one", "layer 3"), ("data 2", "one")]


@pytest.mark.parametrize(("before", "after"), SAME + OTHER)
def test_a_run_is_resumed_with_the_same_or_another_division(before: str, after: str, tmp_path: Path) -> None:
    divisions: dict[str, tuple[int, dict[str, Any]]] = {"one": (1, {})} | {
        name: (count, options) for name, (count, options, _) in DIVISIONS.items()
    }
    in_processes(divisions[before][0], run, divisions[before][1], str(tmp_path), "interrupt")
    assert (tmp_path / "last.safetensors").is_file() and len(list(tmp_path.glob("*.safetensors"))) <= 3
    found = in_processes(divisions[after][0], run, divisions[after][1], str(tmp_path), "resume")[0]
    count, options = divisions[after] if before == after else divisions["one"]
    (tmp_path / "other").mkdir()
    expected = in_processes(count, run, options, str(tmp_path / "other"), "whole")[0]
    if before == after:
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    require_same(expected, found, (before, after), 1e-10)


def test_sums_in_low_precision_are_near_those_of_one_process() -> None:
    (one,) = in_processes(1, all_trained, {}, ("dropout",))
    found = in_processes(2, all_trained, {"mode": "data", "reduce_precision": "bfloat16"}, ("dropout",))
    gaps = differences(one["dropout"], found[0]["dropout"])
    changed = [gap for name, gap in gaps.items() if name.endswith("weight") and name.startswith("/network/layers")]
    assert 1e-7 < max(changed) < 1e-2  # bfloat16 has 8 bits
    assert all(torch.equal(each, found[1]["dropout"][name]) for name, each in found[0]["dropout"].items())
