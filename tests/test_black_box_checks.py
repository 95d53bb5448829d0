"""What a function of a black box returns is checked, and a message names the function, the layer and the source."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.errors import BlackBoxError, SettingsError
from RecurrentFF.model.black_box_functions import (
    AppliedFunction,
    BlackBoxFunction,
    ChildProcess,
    Draws,
    Noise,
    Quantization,
    Spikes,
    Table,
    python_function,
)
from RecurrentFF.model.black_boxes import BlackBox, BlackBoxKind
from RecurrentFF.model.connections import Dense
from RecurrentFF.model.convolutions import Conv2d
from RecurrentFF.model.recording import record
from tests.helpers import CLASSES, clusters, hidden_layers


def returning(result: Callable[[Tensor], Any]) -> BlackBoxFunction:
    """An object of a class whose `apply` returns what a Python function makes of the activity."""

    @dataclass(frozen=True)
    class Returns(BlackBoxFunction):
        def apply(self, values: Tensor, draws: Draws) -> Any:
            return result(values)

    Returns.__qualname__ = "Returns"
    return Returns()


def network_of(function: Any, **options: Any) -> rff.Network:
    kind = BlackBoxKind(layers=(2,), sources=("forward",), function=function)
    return rff.build(input_size=7, num_classes=CLASSES, hidden_sizes=[6, 5], connections=[kind], device="cpu", **options)


RESULTS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "another shape": (lambda n: n[:1], r"returned \(1, 1, 4\) b?float\d+, expected .* shape of its argument, \(6, 1, 4\)$"),
    "without candidates": (lambda n: n[:, 0], r"returned \(6, 4\) b?float\d+, expected"),
    "a number": (lambda n: 1.0, r"returned \(\) float32"),
    "nothing": (lambda n: None, r"returned None, expected a tensor or an array of numbers \("),
    "text": (lambda n: "much", r"returned str, expected a tensor or an array of numbers \("),
    "complex numbers": (lambda n: n.float() * 1j, r"returned \(6, 1, 4\) complex64, expected real numbers"),
    "not a number": (lambda n: n / 0 * 0, "returned numbers that are NaN or infinite$"),
    "infinity": (lambda n: torch.full_like(n, torch.inf), "returned numbers that are NaN or infinite$"),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_wrong_result_of_a_class_is_refused_in_one_line(case: str) -> None:
    result, message = RESULTS[case]
    with pytest.raises(BlackBoxError, match=message) as caught:
        network_of(returning(result)).predict(torch.randn(4, 7))
    assert str(caught.value).startswith("h2 from h1: black box Returns: returned ") and "\n" not in str(caught.value)


def test_a_wrong_result_ends_a_training_with_the_line_of_the_function() -> None:
    network = network_of(returning(lambda n: n.clone().fill_(torch.nan)), batch_size=10, epochs=1)
    with pytest.raises(BlackBoxError, match=r"^h2 from h1: black box Returns: returned numbers that are NaN or infinite$"):
        rff.fit(network, clusters(20), quiet=True)


@pytest.mark.parametrize("convert", [lambda n: n > 0, lambda n: (n > 0).double(), lambda n: np.asarray(n > 0)])
def test_the_result_of_a_class_gets_the_type_of_the_activity(convert: Any) -> None:
    read = torch.randn(5, 2, 3)
    _, memory = BlackBox(Dense({"h1": 5}, 4), returning(convert))([read])
    assert torch.equal(memory.outputs[0], (read > 0).float())


def test_an_exception_of_a_function_stays_as_it_is() -> None:
    def fails(values: Tensor) -> Tensor:
        raise LookupError("no device")

    for function in (returning(fails), fails):
        with pytest.raises(LookupError, match=r"^no device$"):
            network_of(function).predict(torch.randn(4, 7))


def test_what_is_not_finite_before_a_class_is_no_mistake_of_the_class() -> None:
    _, memory = BlackBox(Dense({"h1": 5}, 4), returning(torch.neg))([torch.full((5, 1, 2), torch.nan)])
    assert memory.outputs[0].isnan().all()


class OwnSpikes(Spikes):
    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        return values


class OwnProgram(ChildProcess):
    def for_connection(self) -> Any:
        return returning(torch.sign)


class Hushed(Noise):
    """A built-in function under another name."""


class Sure(BlackBoxFunction):
    always_finite = True

    def apply(self, values: Tensor, draws: Draws) -> Tensor:
        return values


def test_only_what_is_known_to_be_finite_is_not_checked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = (Spikes, Noise, Quantization, Table, ChildProcess, type(python_function(torch.sign)), Hushed, Sure)
    assert all(cls.always_finite for cls in known)
    assert not any(cls.always_finite for cls in (type(returning(torch.sign)), OwnSpikes, OwnProgram))
    calls: list[Tensor] = []
    isfinite = Tensor.isfinite
    monkeypatch.setattr(Tensor, "isfinite", lambda self: calls.append(self) or isfinite(self))  # type: ignore[func-returns-value]
    for function in (Spikes(), Noise(), Quantization(), Table()):
        BlackBox(Dense({"h1": 5}, 4), function)([torch.randn(5, 1, 2)])
    assert not calls  # nobody waits for a GPU
    BlackBox(Dense({"h1": 5}, 4), returning(torch.sign))([torch.randn(5, 1, 2)])
    assert calls


def test_a_function_may_keep_an_object_for_each_connection() -> None:
    class Late(BlackBoxFunction):
        def apply(self, values: Tensor, draws: Draws) -> Tensor:
            raise AssertionError

        def for_connection(self) -> AppliedFunction:
            return returning(lambda n: n[:2])

    late: Any = object.__new__(Late)
    with pytest.raises(BlackBoxError, match=r"^source h1: black box .*Late: returned \(2, 1, 2\) float32"):
        BlackBox(Dense({"h1": 5}, 4), late)([torch.randn(5, 1, 2)])


# ---------------------------------------------------------------- places


def test_a_message_about_a_callable_or_a_program_names_layer_and_source() -> None:
    with pytest.raises(BlackBoxError, match=r"^h2 from h1: black box test_.*<lambda>: returned \(4,\) float32") as caught:
        network_of(lambda rows: rows.sum(1)).predict(torch.randn(4, 7))
    assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))
    with pytest.raises(BlackBoxError, match=r"^h2 from h1: black box /nowhere/program: the program can't be started"):
        network_of(ChildProcess(command=("/nowhere/program",))).predict(torch.randn(4, 7))


@pytest.mark.parametrize("function", [7, None, Spikes])
def test_a_message_about_another_value_names_the_option_and_callables(function: Any) -> None:
    text = r"function = (7|None|<class .*Spikes'>): expected a name, a section, a Python callable \(not a class\), or a BlackBox"
    with pytest.raises(SettingsError, match=rf"^BlackBoxKind\.{text}Function$"):
        BlackBoxKind(function=function)
    with pytest.raises(SettingsError, match=rf"^{text}Function$"):
        BlackBox(Dense({"h1": 5}, 4), function)
    with pytest.raises(SettingsError, match=rf"network\.connections\[0\]\.{text}Function$"):
        rff.build(
            input_size=7, num_classes=3, hidden_sizes=[6], connections=[{"name": "black_box", "function": function}], device="cpu"
        )


# ---------------------------------------------------------------- weights


def test_the_weights_are_those_of_the_connection_behind_the_function() -> None:
    network = network_of(returning(torch.sign))
    boxed = next(connection for connection in hidden_layers(network)[1].connections if isinstance(connection, BlackBox))
    weights = boxed.weights()
    assert set(weights) == {"h1"} and torch.equal(weights["h1"], boxed.inner.weights()["h1"])  # type: ignore[operator]
    recorded = record(network, torch.randn(3, 7), torch.tensor([0, 1, 2]))
    assert weights["h1"].shape == (recorded.drives["h2"]["h1"].shape[1], 6)


def test_a_connection_without_such_weights_is_named() -> None:
    with pytest.raises(AttributeError, match="'Conv2d' object has no attribute 'weights'"):
        BlackBox(Conv2d("x", (1, 4, 4), 2, 3), "spikes").weights()
