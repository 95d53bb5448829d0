"""The check of memory before a training: what is counted, and the limits of the machine, the process and its container."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import RecurrentFF as rff
from RecurrentFF.data.moving_mnist import MovingMnist
from RecurrentFF.errors import SettingsError
from RecurrentFF.settings import Settings
from RecurrentFF.training import memory
from RecurrentFF.training.memory import container_limits, required_memory
from tests.helpers import small_settings

EVERY_SIZE = st.integers(1, 2**63 - 1) | st.just(2**63 - 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(EVERY_SIZE, min_size=1, max_size=3), EVERY_SIZE, st.integers(2, 2**63 - 1), EVERY_SIZE, EVERY_SIZE, EVERY_SIZE)
def test_no_size_is_too_large_to_be_counted(
    hidden: list[int], inputs: int, classes: int, batch: int, label_timesteps: int, prelabel: int
) -> None:
    sizes = {"hidden_sizes": hidden, "input_size": inputs, "num_classes": classes, "batch_size": batch}
    given = Settings.from_arguments(**sizes, label_timesteps=label_timesteps, prelabel_timesteps=prelabel, data="moving_mnist")
    required = required_memory(given)
    assert len(required) == 4 and all(0 < size < float("inf") for size in required.values())


def test_the_largest_sizes_are_refused_and_not_tried() -> None:
    largest = 2**63 - 1
    cases: list[dict[str, Any]] = [{key: largest} for key in ("batch_size", "input_size", "num_classes")]
    for sizes in (*cases, {"hidden_sizes": [largest] * 1000}):
        with pytest.raises(
            SettingsError, match=r"^training needs at least [\d,]+ GiB, but cpu has [\d,.]+; most of it is for \S+,"
        ):
            small: dict[str, Any] = {"input_size": 4, "num_classes": 2, "device": "cpu"}
            rff.build(**(small | sizes))


def test_a_thousand_layers_are_possible_and_more_are_not() -> None:
    assert sum(required_memory(small_settings(hidden_sizes=[1] * 1000)).values()) > 0
    with pytest.raises(SettingsError, match=r"network\.hidden_sizes = \[1, 1, .*: expected a shorter list"):
        small_settings(hidden_sizes=[1] * 1001)


def test_long_sequences_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "device_memory", lambda device: 2**33)
    with pytest.raises(SettingsError) as caught:
        rff.build(data=MovingMnist(), prelabel_timesteps=3000, batch_size=500, hidden_sizes=[20], device="cpu")
    assert str(caught.value) == (
        "training needs at least 23 GiB, but cpu has 8.0; most of it is for the inputs of a batch, 3,010 timesteps × 500 samples "
        "× 4,096 features, make that smaller"
    )
    rff.build(data=MovingMnist(), prelabel_timesteps=30, batch_size=500, hidden_sizes=[20], device="cpu")
    strokes = {"name": "pen_strokes", "moves_per_timestep": 100_000, "delay_line": 100_000}
    with pytest.raises(SettingsError, match="13 timesteps × 500 samples × 400,000 features"):
        rff.build(data="seq_mnist", transform=strokes, hidden_sizes=[20], device="cpu")
    rff.build(data=MovingMnist(train_samples=10), prelabel_timesteps=3000, hidden_sizes=[20], device="cpu")  # a batch has 10


def test_static_inputs_take_no_memory_over_time() -> None:
    few, many = (required_memory(small_settings(prelabel_timesteps=timesteps)) for timesteps in (3, 10**9))
    assert few == many


def groups(folder: Path, lines: str, limits: dict[str, str]) -> list[int]:
    """The limits of a process in control groups, from the files of a pretended system."""
    for name, limit in limits.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(limit)
    (folder / "cgroup").write_text(lines)
    return list(container_limits(folder / "cgroup", folder))


def test_the_limits_of_a_container_are_those_of_all_its_groups(tmp_path: Path) -> None:
    limits = {"memory.max": "3000\n", "jobs/memory.max": "max\n", "jobs/one/memory.max": "1000\n"}
    assert groups(tmp_path / "nested", "0::/jobs/one\n", limits) == [1000, 3000]
    assert groups(tmp_path / "root", "0::/\n", {"memory.max": "2000\n"}) == [2000]
    assert groups(tmp_path / "elsewhere", "0::/../other\n", {"memory.max": "2000\n"}) == [2000]
    first = {"memory/memory.limit_in_bytes": "5000\n", "memory/docker/memory.limit_in_bytes": "4000\n", "memory.max": "1\n"}
    assert groups(tmp_path / "first", "9:cpu,memory:/docker\n8:cpuset:/docker\n", first) == [4000, 5000]


@pytest.mark.parametrize("lines", ["", "\n", "nonsense", "0::", "0::/\0", "1:memory", "0::/" + "a/" * 3000, "\xff:::::"])
def test_a_file_of_groups_that_is_not_understood_sets_no_limit(lines: str, tmp_path: Path) -> None:
    assert groups(tmp_path, lines, {"memory.max": "max\n", "memory/memory.limit_in_bytes": "many\n"}) == []
    assert list(container_limits(tmp_path / "absent", tmp_path)) == []


def test_the_least_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for physical, process, container, least in ((9, 8, [7, 6], 6), (9, None, [], 9), (None, 8, [], 8), (None, None, [], None)):
        monkeypatch.setattr(memory, "_physical_memory", lambda size=physical: size)
        monkeypatch.setattr(memory, "_process_limit", lambda size=process: size)
        monkeypatch.setattr(memory, "container_limits", lambda sizes=container: iter(sizes))
        assert memory.device_memory(torch.device("cpu")) == least


def test_the_limit_of_the_process_is_found() -> None:
    pytest.importorskip("resource", reason="Windows has no limits of processes")
    program = (
        "import resource, torch; from RecurrentFF.training.memory import device_memory;"
        "hard = resource.getrlimit(resource.RLIMIT_AS)[1]; resource.setrlimit(resource.RLIMIT_AS, (2**28, hard));"
        "print(device_memory(torch.device('cpu')))"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.split() == [str(2**28)]
