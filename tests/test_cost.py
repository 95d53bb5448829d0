"""The model of the cost of several processes: what it predicts is what is counted, and what follows from its assumptions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from RecurrentFF.benchmarks import many_processes, measured_processes, processes
from RecurrentFF.benchmarks import speed_measurements as speed
from RecurrentFF.benchmarks.measured_processes import Measured, Options
from RecurrentFF.distributed import Division, session
from RecurrentFF.distributed.cost import Machine, better_mode, bytes_sent, efficiency, loads, seconds
from RecurrentFF.distributed.workload import BlockWork, Workload
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.processes import BatchPlace
from RecurrentFF.settings import Settings
from tests.several_processes import in_processes

BASE: dict[str, Any] = {
    "input_size": 12, "num_classes": 3, "hidden_sizes": [8, 7, 6], "device": "cpu", "compile": False, "precision": "float32",
    "prelabel_timesteps": 3, "label_timesteps": 4, "prediction_window": (1, 3), "objective": "pairwise",
}  # fmt: skip
NETWORKS: dict[str, dict[str, Any]] = {
    "the label arrives layer by layer": {"residual_connections": [[4, 1], [1, 3]]},
    "all options that send": {
        "objective": "threshold", "negatives": {"name": "readout", "count": 2}, "dropout": 0.2, "input_dropout": 0.1,
    },
}  # fmt: skip
DIVISIONS: dict[str, tuple[int, dict[str, Any]]] = {
    "data": (2, {"mode": "data", "reduce_precision": "bfloat16"}),
    "layer": (2, {"mode": "layer"}),
    "mesh": (4, {"mode": "layer", "layer_processes": 2}),
}
BATCH = 9  # of two parts, one is larger


def counted(options: Mapping[str, Any], dtype: torch.dtype) -> tuple[dict[str, int], dict[str, int]]:
    """The bytes that this process sends for a batch, as they are counted and as they are predicted, by purpose."""
    settings = Settings.from_arguments(**options)
    network, joined = Network(settings, dtype), session()
    assert joined is not None
    network.processes = divided = joined.processes(network, settings)
    learner, part = Learner(network), divided.parts_of(BATCH)
    learner.place, before = BatchPlace(0, 0, BATCH, part.start), dict(joined.activity.sent)
    learner.train_batch(torch.rand(BATCH, 12, dtype=dtype)[part], (torch.arange(BATCH) % 3)[part])
    sent = {purpose: size - before.get(purpose, 0) for purpose, size in joined.activity.sent.items()}
    work = Workload.of(network, settings, BATCH)
    return {purpose: size for purpose, size in sent.items() if size}, bytes_sent(work, divided.division, divided.index)


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_bytes_that_are_sent_are_those_predicted(network: str, division: str) -> None:
    count, distributed = DIVISIONS[division]
    dtype = torch.float64 if division == "mesh" else torch.float32
    for sent, predicted in in_processes(count, counted, BASE | NETWORKS[network] | {"distributed": distributed}, dtype):
        assert sent and sent == predicted


def work(units: int = 3, learns_before_label: bool = True) -> Workload:
    """A chain of two layers, at one timestep without label and two with it."""
    first = BlockWork("h1", units, {"x": 5 * units, "h1": units**2, "h2": units**2}, (units * (5 + 2 * units), units))
    second = BlockWork("h2", units, {"h1": units**2, "h2": units**2, "y": 2 * units}, (units * (2 + 2 * units), units))
    return Workload((first, second), 2, 10, 1, 2, learns_before_label=learns_before_label)


def test_the_multiplications_are_those_of_the_speed_benchmark() -> None:
    for objective in ("pairwise", "threshold"):
        network = speed.new_network(6, "float32", "cpu", hidden_sizes=[6, 5, 4])
        network.settings = network.settings.with_arguments(objective=objective)
        (load,) = loads(Workload.of(network, network.settings, 7))
        assert 2 * load.multiplications == speed.operations(network, 7, 1)[0]
        parts = loads(Workload.of(network, network.settings, 7), Division(1, (("h1",), ("h2", "h3"))))
        assert parts[0].plus(*parts[1]) == load


def test_the_seconds_of_a_batch_follow_from_the_assumptions() -> None:
    # A second for each multiplication: 10 samples, and weights 15 + 9 + 9 and 9 + 9 + 6. Before the label, only x and y drive.
    settle, plain, arriving = (10 * 15, 10 * 6), (10 * 33, 10 * 24), (10 * (15 + 9 + 2 * 9), 10 * (9 + 2 * 9 + 2 * 6))
    second = (10 * 33, 10 * (9 + 9 + 2 * 6))  # the first timestep with the label, which is not yet at the layers
    free = Machine(1.0, 1e99, 1e99, 0.0)
    apart, together = Division(1, (("h1",), ("h2",))), Division(1, (("h1", "h2"),))
    assert sum(plain) == 10 * 57
    assert seconds(work(), together, free) == sum(settle) + 2 * sum(second) + 2 * sum(arriving)
    assert seconds(work(), apart, free) == max(settle) + 2 * max(second) + 2 * max(arriving)
    # The pattern of 3 units is sent after the layer's work: 120 bytes for each candidate, of which h2 has two before h1.
    sends = Machine(1.0, 1e99, 4.0, 7.0)
    assert sends.transfer(120) == 37
    last = max(2 * arriving[0] + 67, 2 * arriving[1] + 67)
    sums = sends.sum(4 * (3 * 2 * 2 + 10), 2)
    assert seconds(work(), apart, sends) == max(settle) + 37 + max(2 * second[0] + 37, 2 * second[1] + 67) + last + sums


def test_the_sum_of_gradients_travels_while_the_next_layer_computes() -> None:
    division, chain = Division(2, (("h1", "h2"),)), work()
    computing = seconds(chain, division, Machine(1.0, 1e99, 1e99, 0.0))
    hidden, shown = (seconds(chain, division, Machine(1.0, 1e99, 8.0, 0.0, overlaps=value)) for value in (True, False))
    gradients = [2 * 4 * sum(block.parameters) / 2 / 8 for block in chain.blocks]  # seconds of each at 8 bytes a second
    metrics = (3 * 2 * 2 + 2 + 2) * 4 / 8
    assert shown == pytest.approx(computing + 2 * sum(gradients) + metrics)
    assert hidden == pytest.approx(computing + 2 * gradients[1] + metrics)
    updates = [5 * 4 * sum(block.parameters) / 100 for block in chain.blocks]  # seconds of each at 100 bytes a second
    updated = seconds(chain, division, Machine(1.0, 100.0, 8.0, 0.0))  # the first one is made while the other sum travels
    assert updated == pytest.approx(computing + 2 * (gradients[1] + updates[1]) + metrics)
    slow = seconds(chain, division, Machine(1.0, 1e99, 8.0 / 100, 0.0))  # the sums wait for each other, and not for the layers
    first = 5 * (15 + 6) + 5 * 2 * (33 + 15 + 9 + 2 * 9)  # of the first layer, and of both before the label
    assert slow == pytest.approx(first + 2 * 100 * sum(gradients) + 100 * metrics)


def test_one_process_is_as_fast_as_itself() -> None:
    machine = Machine(1e9, 1e9, 1e9, 1e-3)
    assert efficiency(work(), Division(1, (("h1", "h2"),)), machine) == 1
    assert efficiency(work(), Division(1, (("h1",), ("h2",))), machine) < 1


def test_the_faster_mode_is_chosen_where_both_are_possible() -> None:
    def chosen(processes: int, **options: Any) -> str:
        settings = Settings.from_arguments(**BASE | options)
        return better_mode(Network(settings), settings, processes)

    assert chosen(3, hidden_sizes=[200, 200, 200], batch_size=50) == "layer"  # gradients have more elements than patterns
    assert chosen(2, hidden_sizes=[400, 5, 5], batch_size=5000, objective="threshold") == "data"  # one layer has all the work
    assert chosen(4, hidden_sizes=[200, 200, 200]) == "data"  # of too few layers
    assert chosen(2, generative={"name": "reconstruction", "feedback": 0.5}, negatives="badness") == "data"
    assert chosen(4, hidden_sizes=[400, 5, 5], distributed={"layer_processes": 2}) == "layer"


def test_a_predicted_network_is_one_that_is_built() -> None:
    settings = speed.new_settings(2000, "float32", "cpu", hidden_sizes=[9] * 4)
    built = Workload.of(Network(settings), settings, 500)
    assert many_processes.chain(4, 9, 500) == built
    lines = many_processes.predictions(Machine(4e10, 1e10, 2e9, 1e-4, overlaps=False))
    assert [line["processes"] for line in lines] == [8] * 3 + [64] * 3 + [1024] * 3
    assert all(0 < line[mode] <= 1 for line in lines for mode in ("layer", "data"))
    assert "64 × 16: 64×2000 units" in many_processes.markdown(lines)


def test_the_benchmark_measures_all_variants(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(options: Options) -> list[Measured]:
        return in_processes(options.processes, measured_processes.measure, options)

    monkeypatch.setattr(processes, "start", start)
    monkeypatch.setattr(measured_processes, "PINGS", {1: 2, 1000: 1})
    flags = ["--units", "6", "--layers", "2", "--batch", "5", "--timesteps", "2", "3", "--rounds", "1"]
    assert processes.main([*flags, "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [line["variant"] for line in found["table"]] == [
        "1 process × 1 thread", "1 process × 2 threads", "2 processes × 1 thread, data", "2 processes × 1 thread, layer",
    ]  # fmt: skip
    assert found["table"][0]["bytes_per_sample"] is None
    for line in found["table"][2:]:
        assert line["bytes_per_sample"] == line["predicted_bytes_per_sample"] > 0
        assert line["samples_per_second"] > 0 and line["predicted_ratio"] > 0
    assert "| 2×6 | 2 processes × 1 thread, layer |" in capsys.readouterr().out
    assert processes.main(["--processes", "5"]) == 2
    assert "5 for 4 layers" in capsys.readouterr().err
