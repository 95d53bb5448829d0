"""compile = "auto": the choice between eager and compiled kernels by a measurement, which is remembered. Nothing is compiled."""

import functools
import itertools
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.data.dataset import Batch, LoaderDataset, Splits, TensorDataset
from RecurrentFF.model.fused import EAGER, FusedPath, Kernels
from RecurrentFF.model.network import Network
from RecurrentFF.training import compile_choice, compiling, measurements
from RecurrentFF.training.callbacks import default_callbacks
from RecurrentFF.training.compile_choice import Trial, choose, longest_seconds, operations, set_kernels
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.group import TrainingGroup
from RecurrentFF.training.run import run_training
from RecurrentFF.training.trainer import Trainer
from tests.helpers import CLASSES, DATA_SIZE, clusters, small_settings
from tests.several_processes import in_processes

FAST = Kernels(functools.partial(EAGER.respond), functools.partial(EAGER.learn), functools.partial(EAGER.rmsprop))
"""Eager kernels that take the place of compiled ones."""

DATA = TensorDataset(*clusters(60))
"""Ten batches."""


class Machine:
    """A machine on which batches take the given times, in place of this one.

    Attributes:
        eager: the seconds of a batch with eager kernels.
        compiled: the seconds of a batch with compiled kernels.
        batches: the number of batches that were timed.
        compilations: how often something was compiled.
    """

    def __init__(self, eager: float, compiled: float) -> None:
        self.eager, self.compiled = eager, compiled
        self.batches = self.compilations = 0

    def seconds(self, trial: Trial, kernels: Kernels) -> float:
        self.batches += 1
        return self.eager if kernels is EAGER else self.compiled

    def warm_up(self, network: Network) -> None:
        self.compilations += 1


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Machine]:
    """Make a machine, with a cache of its own that lasts for the test."""
    monkeypatch.setattr(measurements, "cache_folder", lambda name: tmp_path / "cache" / name)
    for module in (compiling, compile_choice):
        monkeypatch.setattr(module, "compiled", lambda: FAST)

    def make(eager: float = 1.0, compiled: float = 0.8) -> Machine:
        machine = Machine(eager, compiled)
        monkeypatch.setattr(Trial, "seconds", lambda trial, kernels: machine.seconds(trial, kernels))
        monkeypatch.setattr(compiling, "warm_up", machine.warm_up)
        monkeypatch.setattr(compile_choice, "SLOWEST_TIMESTEP", 0.2)  # so that few batches may be a long training
        return machine

    return make


def network_for(batches: int, **options: Any) -> Network:
    """A network whose training has about this number of batches of `DATA`."""
    return rff.build(small_settings(epochs=max(1, batches // 10), **options))


def kernels_of(network: Network, before: bool | None = None) -> tuple[bool, bool | None, list[str]]:
    """Choose the kernels of a training. Returns what `set_kernels` returns, and the lines for the user."""
    lines: list[str] = []
    found = set_kernels(network, network.settings, DATA, TrainingGroup(), before, lines.append)
    assert isinstance(network.path, FusedPath) and (network.path.kernels is FAST) == found[0]
    return *found, lines


@pytest.mark.parametrize(
    ("compiled", "batches", "expected", "words"),
    [
        (0.8, 1000, True, "compiled    the layers' timestep, in 0 s: 1.25 times as fast as eager code (measured"),
        (1.25, 1000, False, "compiled    no: 0.80 times as fast as eager code (measured"),
        (0.98, 10_000, False, "compiled    no: 1.02 times as fast as eager code (measured"),
        (0.9, 140, False, "compiled    no: 1.11 times as fast as eager code (measured"),
    ],
    ids=["faster", "slower", "hardly faster", "too short for so little"],
)
def test_the_measured_time_decides_and_is_remembered(
    compiled: float, batches: int, expected: bool, words: str, on: Callable[..., Machine]
) -> None:
    machine = on(1.0, compiled)
    chosen, measured, (line,) = kernels_of(network_for(batches))
    assert (chosen, measured, machine.compilations) == (expected, expected, 1) and line.startswith(words)
    assert "(measured; remembered for this machine)" in line
    other = on(1.0, 2.0 - compiled)  # the second training does not look at it
    chosen, measured, (line,) = kernels_of(network_for(batches, optimizer={"name": "rmsprop", "learning_rate": 0.01}, seed=4))
    assert (chosen, measured) == (expected, expected) and "(measured before)" in line
    assert (other.batches, other.compilations) == (0, expected)


def test_a_training_that_compiling_can_not_pay_for_is_not_delayed(on: Callable[..., Machine], tmp_path: Path) -> None:
    machine = on(1e-9, 1e-10)
    assert kernels_of(network_for(10)) == (False, False, []) and machine.batches == 0  # short on any machine
    assert not (tmp_path / "cache").exists()
    network = network_for(1_000_000)
    assert longest_seconds(network, 1_000_000) > compile_choice.WORTH_SECONDS
    assert kernels_of(network) == (False, False, []) and (machine.batches, machine.compilations) == (1, 0)  # short on this one
    assert kernels_of(network) == (False, False, []) and machine.batches == 1


def test_repetitions_choose_alike_whatever_was_measured_meanwhile(on: Callable[..., Machine]) -> None:
    """Each training first meets what shorter ones have left in the cache, then what longer ones have. The times vary."""
    trainings = {100: (1.0, 0.6), 130: (1.0, 0.6), 140: (1.2, 0.7), 200: (0.8, 0.9), 5000: (1.5, 1.0)}
    found: dict[int, bool] = {}
    for _ in range(2):
        for batches, times in trainings.items():
            on(*times)
            chosen = kernels_of(network_for(batches))[0]
            assert found.setdefault(batches, chosen) is chosen, batches
    assert list(found.values()) == [False, False, True, True, True]


def test_measuring_changes_neither_the_network_nor_any_source_of_randomness(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measurements, "cache_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(compile_choice, "compiled", lambda: FAST)
    monkeypatch.setattr(compiling, "warm_up", lambda network: torch.rand(1))
    monkeypatch.setattr(compile_choice, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(compile_choice, "MEASURED_SECONDS", 1e-9)
    network = network_for(10, activity_dropout=0.1, negatives="readout")
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert choose(network, DATA, TrainingGroup()).measured
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[index]
    assert isinstance(network.path, FusedPath) and network.path.kernels is EAGER and not network.path.compute_weights
    trial = Trial(network, Batch(*clusters(6)))
    trial.seconds(FAST)
    assert not torch.equal(next(trial.network.parameters()), next(network.parameters()))  # the copy is trained
    assert network.settings.device.compile == "auto"


OF_ANOTHER_CASE = '{"case": {}, "measurement": {"eager_seconds": 1e-9}}'


@pytest.mark.parametrize("content", ["", "{", "[]", '{"case": {}, "measurement": {"eager_seconds": -1}}', OF_ANOTHER_CASE, None])
def test_a_cache_that_can_not_be_read_or_written_is_no_error(
    content: str | None, on: Callable[..., Machine], tmp_path: Path
) -> None:
    machine, folder = on(), tmp_path / "cache" / measurements.FOLDER
    kernels_of(network_for(1000))
    (file,) = folder.iterdir()
    if content is None:  # a file in place of the folder
        file.unlink()
        folder.rmdir()
        folder.write_text("")
    else:
        file.write_text(content)
    chosen, _, (line,) = kernels_of(network_for(1000))
    assert chosen and machine.compilations == 2
    assert line.endswith("(measured)" if content is None else "(measured; remembered for this machine)")


def test_what_changes_the_time_is_measured_anew(on: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    machine = on(1.0, 2.0)
    variants: list[dict[str, Any]] = [
        {}, {"hidden_sizes": [9, 5]}, {"label_timesteps": 4}, {"batch_size": 7}, {"precision": "bfloat16"}, {"dropout": 0.1},
        {"optimizer": "adam"}, {"residual_connections": [[4, 1]]}, {"objective": "pairwise"}, {"hard_example_fraction": 0.5},
    ]  # fmt: skip
    for count, options in enumerate(variants, start=1):
        kernels_of(network_for(10_000, **options))
        assert machine.compilations == count, options
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    kernels_of(network_for(10_000))
    monkeypatch.setattr(torch, "__version__", "3.1")
    kernels_of(network_for(10_000))
    assert machine.compilations == len(variants) + 2


def test_a_batch_of_a_loader_has_the_size_that_the_loader_gives_it(on: Callable[..., Machine], tmp_path: Path) -> None:
    on()
    order = torch.Generator().manual_seed(3)
    pairs = torch.utils.data.TensorDataset(*clusters(60))
    train = LoaderDataset(torch.utils.data.DataLoader(pairs, 20, shuffle=True, generator=order))
    before = order.get_state()
    assert choose(network_for(1_000_000), train, TrainingGroup()).measured and torch.equal(order.get_state(), before)
    (file,) = (tmp_path / "cache" / measurements.FOLDER).iterdir()
    assert f'"inputs":[20,{DATA_SIZE}]' in file.read_text().replace(" ", "").replace("\n", "")


def test_a_continuation_has_the_kernels_of_its_run(
    on: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on(40.0, 20.0)
    monkeypatch.setattr(compile_choice, "longest_seconds", lambda network, batches: 1e6)
    folder = RunFolder(tmp_path)
    network = rff.build(small_settings(epochs=1, train_accuracy_samples=0))

    def trainer() -> Trainer:
        return Trainer(network, Splits(DATA), default_callbacks(network.settings, folder))

    first = trainer()
    assert first.settings.device.compile == "auto" and first.progress.is_initial
    run_training(first, folder)
    assert first.progress.compiled is True and "compile = true" in folder.config.read_text()
    machine = on(1000.0, 2000.0)
    for file in (tmp_path / "cache" / measurements.FOLDER).iterdir():
        file.unlink()
    for recorded in (True, False):
        resumed = trainer()
        resumed.resume(folder.last)
        assert resumed.progress.compiled is True
        resumed.progress.compiled = recorded
        resumed.compile()
        assert isinstance(network.path, FusedPath) and (network.path.kernels is FAST) is recorded
        assert resumed.settings.device.compile is recorded and resumed.state_dict()["progress"]["compiled"] is recorded
    assert machine.batches == 0 and network.settings.device.compile == "auto"
    new = trainer()
    new.compile()  # and another run measures anew
    assert machine.batches > 0 and new.progress.compiled is False and new.progress.is_initial
    assert "(measured; remembered for this machine)" in capsys.readouterr().out


class SecondProcess(TrainingGroup):
    """The second of two processes. The first one has chosen compiled kernels, and has compiled them, or has failed to."""

    is_first = False

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def of_first(self, make: Callable[[], Any]) -> Any:
        return compile_choice.Choice(True, ": twice as fast", 5.0)

    def summed(self, counts: torch.Tensor) -> torch.Tensor:
        return counts + self.failures


@pytest.mark.parametrize("failures", [0, 1])
def test_all_processes_do_what_the_first_one_has_chosen(failures: int, on: Callable[..., Machine]) -> None:
    machine, network = on(), network_for(10)
    lines: list[str] = []
    found = set_kernels(network, network.settings, DATA, SecondProcess(failures), None, lines.append)
    assert len(lines) == 1 and ("it has failed in another process" in lines[0]) == bool(failures)
    assert found == (not failures, not failures) and (machine.batches, machine.compilations) == (0, 1)
    assert isinstance(network.path, FusedPath) and (network.path.kernels is EAGER) == bool(failures)


def test_the_first_process_measures_nothing_for_which_the_others_would_not_wait(on: Callable[..., Machine]) -> None:
    class FirstOfTwo(TrainingGroup):
        count = 2

    for timeout, measured in ((70.0, False), (150.0, True)):
        machine, network = on(20.0, 10.0), network_for(100, distributed={"mode": "data", "timeout": timeout})
        assert bool(choose(network, DATA, FirstOfTwo()).measured) == measured == bool(machine.compilations)


def test_layers_of_other_processes_make_a_training_shorter(on: Callable[..., Machine]) -> None:
    class HalfOfTheLayers(TrainingGroup):
        layer_parts = 2

    on(1.0, 0.6)
    chosen = [choose(network_for(200), DATA, group).compile for group in (TrainingGroup(), HalfOfTheLayers())]
    assert chosen == [True, False]


def test_what_another_program_has_measured_meanwhile_is_taken(
    on: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(1.0, 0.6)
    compared, network = compile_choice.compared, network_for(1000)
    theirs: list[measurements.Measurement] = []

    def slowly(trial: Trial, known: measurements.Measurement) -> measurements.Measurement:
        own = compared(trial, known)
        theirs.append(own.model_copy(update={"ratio": 0.5}))
        measurements.write(measurements.case_of(network, trial.batch, str(TrainingGroup())), theirs[-1])
        return own

    monkeypatch.setattr(compile_choice, "compared", slowly)
    choice = choose(network, DATA, TrainingGroup())
    assert theirs and not choice.compile and "0.50 times as fast" in choice.measured


def trained_on_a_machine(cache: Path) -> tuple[bool, bool, int]:
    """Train in each process. Returns if the kernels are compiled, if the settings record it, and the number of measurements."""
    network = rff.build(small_settings(epochs=1, distributed={"mode": "data"}))
    trainer = Trainer(network, Splits(DATA))
    trainer.compile()
    assert isinstance(network.path, FusedPath) and trainer.fit()
    return network.path.kernels is FAST, trainer.settings.device.compile is True, len(list(cache.iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="the processes are forked")
def test_two_processes_choose_together(on: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on(40.0, 20.0)
    monkeypatch.setattr(compile_choice, "longest_seconds", lambda network, batches: 1e6)
    assert in_processes(2, trained_on_a_machine, tmp_path / "cache" / measurements.FOLDER) == [(True, True, 1)] * 2


def test_a_compiler_that_fails_is_named_and_nothing_is_remembered(
    on: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(network: Network) -> None:
        raise RuntimeError("no compiler found\nand more")

    on()
    monkeypatch.setattr(compiling, "warm_up", fail)
    for _ in range(2):
        chosen, measured, (line,) = kernels_of(network_for(1000))
        assert (chosen, measured) == (False, None)
        assert line == "compiled    no, training is slower (no compiler found); device.compile = false skips compiling"


def test_an_explicit_setting_measures_nothing(on: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    machine = on()
    for value, before in itertools.product((True, False), (None, True, False)):
        assert kernels_of(network_for(1000, compile=value), before)[:2] == (value, None)
    assert machine.batches == 0
    monkeypatch.setattr(compile_choice, "device_memory", lambda device: 1)
    assert kernels_of(network_for(1000)) == (False, False, [])  # no memory for a copy


def test_operations_are_counted() -> None:
    network = rff.build(small_settings(hidden_sizes=[9], prelabel_timesteps=2, label_timesteps=3))
    weights = 9 * (DATA_SIZE + 9 + CLASSES)
    assert operations(network, 500) == 2 * weights * (2 + 3 * 2 * 2) * 500
