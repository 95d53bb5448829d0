"""Where the time of a run goes: what is imported late, what is not measured, and the line that says it."""

import ast
import gc
import inspect
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.late_imports import lasting_imports
from RecurrentFF.model.optimizers import Adam, Optimizer, RMSprop, Torch, without_compiler
from RecurrentFF.training import stopwatch
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.run import finish_run
from RecurrentFF.training.stopwatch import Stopwatch, TimeOfParts
from RecurrentFF.training.summary import _line_of_parts
from tests.test_prediction_in_training import make_trainer

PACKAGE = Path(rff.__file__).parent
LATE = (
    "torch._dynamo",
    "torch._inductor",
    "torch.fx",
    "sympy",
    "matplotlib",
    "scipy",
    "sklearn",
    "torchvision",
    "pandas",
    "wandb",
)
"""Modules that take long to import, and are not needed for a training as such."""


# ---------------------------------------------------------------- imports


def test_no_module_imports_the_compiler_or_matplotlib_at_once() -> None:
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            late = [name for name in names if f"{name}.".startswith(tuple(f"{module}." for module in LATE))]
            found += [(str(file.relative_to(PACKAGE)), name) for name in late]
    assert {file for file, _ in found} <= {"estimator.py"}, found  # which is for scikit-learn


@pytest.mark.parametrize("kind", [Adam(), RMSprop(momentum=0.5), Torch(optimizer="NAdam")], ids=["adam", "rmsprop", "torch"])
def test_an_optimizer_does_not_import_the_compiler(kind: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):  # which may have imported it for other tests
        monkeypatch.delattr(inspect.unwrap(getattr(torch.optim.Optimizer, name)), "__dynamo_disable", raising=False)
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    parameter, other = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = kind.make([parameter])
    optimizer.add_param_group({"params": [other]})
    parameter.grad = torch.ones(3)
    optimizer.step()
    state = optimizer.state_dict()
    optimizer.zero_grad()
    optimizer.load_state_dict(state)
    assert parameter.grad is None and set(state["state"]) == {0}
    assert isinstance(optimizer, getattr(torch.optim, type(optimizer).__name__))
    assert type(optimizer) is without_compiler(getattr(torch.optim, type(optimizer).__name__))
    with pytest.raises(ImportError):  # so that this test looks at the right methods
        torch.optim.SGD([parameter])


def test_what_is_imported_with_torch_is_not_searched_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    def within() -> tuple[bool, int]:
        with lasting_imports():
            return gc.isenabled(), gc.get_freeze_count()

    before = gc.get_freeze_count()
    assert within() == (True, before)  # torch is imported: the program may have objects of its own
    assert gc.get_freeze_count() == before
    monkeypatch.delitem(sys.modules, "torch")
    try:
        assert within() == (False, before)
        assert gc.isenabled() and gc.get_freeze_count() > before + 1000
        gc.disable()  # by the program itself
        assert within()[0] is False and not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


# ---------------------------------------------------------------- the time of each part


def test_a_part_within_another_counts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def later(seconds: float) -> None:
        now[0] += seconds

    clock = Stopwatch()
    later(2)
    parts = TimeOfParts(clock)
    later(1)
    with parts.part("evaluation"):
        later(3)
        with pytest.raises(ValueError), parts.part("saving"):
            later(5)
            raise ValueError
        later(4)
    with parts.part("saving"):
        later(0.5)
        assert list(parts.seconds().items()) == [("evaluation", 7.0), ("saving", 5.5), ("start", 2.0), ("other", 1.0)]
    assert sum(parts.seconds().values()) == now[0] - 100.0
    assert "start" not in TimeOfParts().seconds()


def test_the_line_has_the_parts_of_at_least_one_percent() -> None:
    parts = {"training": 80.0, "evaluation": 11.0, "start": 1.2, "saving": 0.8}
    assert _line_of_parts(parts) == ["            1 min 33 s in all: training 86 %, evaluation 12 %, start 1 %"]
    assert _line_of_parts({}) == _line_of_parts({"other": 0.0}) == []


def test_a_run_prints_and_keeps_the_time_of_its_parts(tmp_path: Path) -> None:
    printed: list[str] = []
    trainer = make_trainer(tmp_path / "run", epochs=1)
    trainer.console.log = printed.append  # type: ignore[method-assign, assignment]
    trainer.time = TimeOfParts(Stopwatch())
    assert trainer.fit()
    summary = finish_run(trainer, RunFolder(tmp_path / "run"))
    kept = json.loads((tmp_path / "run/summary.json").read_text())["seconds_by_part"]
    assert kept == summary.seconds_by_part
    assert {"training", "evaluation", "saving", "start", "methods of prediction", "other"} <= set(kept)
    (number,) = [number for number, line in enumerate(printed) if line.startswith("time ")]
    assert " s in all: " in printed[number + 1] and "pictures " in printed[number + 1]
