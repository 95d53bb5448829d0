"""Functions of black boxes: their values, what is refused, and what a configuration and a checkpoint hold of them."""

import copy
import functools
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF import registry
from RecurrentFF.errors import BlackBoxError, CheckpointError, SettingsError
from RecurrentFF.model.black_box_functions import (
    BlackBoxFunction,
    Draws,
    Noise,
    PythonFunction,
    Quantization,
    Spikes,
    Table,
    python_function,
)
from RecurrentFF.model.black_boxes import BlackBox, BlackBoxKind
from RecurrentFF.model.connections import Dense
from RecurrentFF.settings import Settings
from tests.helpers import CLASSES, batch_draws, clusters, generator

VALUES = torch.tensor([-9.0, -0.2, 0.2, 0.9, 1.1, 2.0, 9.0])


def applied(function: BlackBoxFunction, values: Tensor = VALUES) -> Tensor:
    """The function of some values, each of one unit."""
    return function.apply(values.view(-1, 1, 1), Draws(batch_draws(1))).flatten()


# ---------------------------------------------------------------- values


def test_quantization_gives_the_nearest_of_its_values() -> None:
    assert applied(Quantization(bits=1)).tolist() == [0, 0, 0, 0, 2, 2, 2]
    assert applied(Quantization(bits=2, low=-1.0, high=2.0)).tolist() == [-1, 0, 0, 1, 1, 2, 2]
    assert len(set(applied(Quantization(bits=4), torch.linspace(-1, 3, 1000)).tolist())) == 16


def test_a_table_has_equal_sections() -> None:
    table = Table(values=(5.0, -1.0, 3.0, 7.0), low=-1.0, high=1.0)
    assert applied(table).tolist() == [5, -1, 3, 7, 7, 7, 7]
    assert applied(table, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])).tolist() == [5, -1, 3, 7, 7]
    assert applied(table, torch.tensor([torch.inf, -torch.inf])).tolist() == [7, 5]


def test_spikes_have_the_activity_as_their_mean() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 1.5, 3.0]).view(-1, 1, 1).expand(-1, 1, 20_000)
    spikes = Spikes(scale=0.5).apply(values, Draws(batch_draws(20_000)))
    assert set(spikes.flatten().tolist()) == {0, 2}
    torch.testing.assert_close(spikes.mean(2).flatten(), torch.tensor([0.0, 0.0, 0.5, 1.5, 2.0]), rtol=0, atol=0.03)


def test_noise_has_its_standard_deviation() -> None:
    noise = Noise(std=0.3).apply(torch.ones(3, 1, 20_000), Draws(batch_draws(20_000)))
    torch.testing.assert_close(noise.mean(2).flatten(), torch.ones(3), rtol=0, atol=0.01)
    torch.testing.assert_close(noise.std(2).flatten(), torch.full((3,), 0.3), rtol=0, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("function", [Spikes(), Noise(), Quantization(), Table(), python_function(torch.sign)])
def test_a_function_keeps_type_and_shape_and_does_not_change_its_argument(function: BlackBoxFunction, dtype: torch.dtype) -> None:
    values = torch.randn(5, 2, 3, generator=generator()).to(dtype)
    before = values.clone()
    found = function.apply(values, Draws(None))
    assert (found.dtype, found.shape) == (dtype, values.shape) and torch.equal(values, before)


def test_the_draws_of_a_prediction_are_the_same_for_all_samples_and_others_for_another_seed() -> None:
    values = torch.zeros(5, 2, 3)
    first, again, other = (Draws(None, seed).normal(values) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and first.shape == (5, 1, 1)
    torch.set_default_dtype(torch.float64)
    try:
        draws = (Draws(None, 1), Draws(batch_draws(3), 1))
        assert {drawn.dtype for each in draws for drawn in (each.normal(values), each.uniform(values))} == {torch.float32}
        assert torch.equal(Draws(None, 1).normal(values), first)
    finally:
        torch.set_default_dtype(torch.float32)
    assert Draws(batch_draws(3)).uniform(values).shape == Draws(batch_draws(3)).normal(values).shape == (5, 1, 3)


# ---------------------------------------------------------------- Python callables


def half(rows: Tensor) -> Tensor:
    return (rows > 0.5).to(rows.dtype)


class Scale:
    """A callable object."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, rows: Tensor) -> Tensor:
        return self.factor * rows


def test_a_callable_sees_one_row_for_each_sample_and_candidate() -> None:
    seen: list[Tensor] = []
    function = python_function(lambda rows: seen.append(rows) or rows + 1)  # type: ignore[func-returns-value]
    values = torch.arange(12.0).view(2, 3, 2)  # two units, three candidates, two samples
    assert torch.equal(function.apply(values, Draws(None)), values + 1)
    assert seen[0].tolist() == [[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11]]
    function.apply(values.bfloat16(), Draws(None))
    assert seen[1].dtype == torch.float32


RESULTS: dict[str, tuple[Any, str]] = {
    "another shape": (lambda rows: rows[:, :1], r"returned \(4, 1\) float32, expected .* its argument, \(4, 3\)$"),
    "a number": (lambda rows: 1.0, r"returned \(\) float32"),
    "complex numbers": (lambda rows: rows * 1j, r"returned \(4, 3\) complex64, expected real numbers"),
    "not a number": (lambda rows: rows / 0 * 0, "NaN or infinite"),
    "infinity": (lambda rows: rows.fill_(torch.inf), "NaN or infinite"),
    "text": (lambda rows: "much", r"expected a tensor or an array of numbers \("),
    "nothing": (lambda rows: None, "returned None, expected a tensor or an array of numbers"),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_wrong_result_of_a_callable_is_refused_in_one_line(case: str) -> None:
    function, message = RESULTS[case]
    with pytest.raises(BlackBoxError, match=message) as caught:
        python_function(function).apply(torch.randn(3, 1, 4), Draws(None))
    assert str(caught.value).startswith("black box ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("convert", [lambda rows: rows > 0, lambda rows: (rows > 0).numpy(), lambda rows: (rows > 0).tolist()])
def test_a_callable_may_return_booleans_arrays_and_lists(convert: Any) -> None:
    values = torch.randn(3, 1, 4)
    assert torch.equal(python_function(convert).apply(values, Draws(None)), (values > 0).float())
    assert python_function(lambda rows: np.sign(rows.numpy())).apply(values.double(), Draws(None)).dtype == torch.float64


def test_what_is_not_finite_before_the_function_is_no_mistake_of_the_function() -> None:
    values = torch.full((3, 1, 4), torch.nan)
    assert python_function(half).apply(values, Draws(None)).isfinite().all()
    assert python_function(Scale(2)).apply(values, Draws(None)).isnan().all()


def test_functions_are_equal_if_their_callables_are_and_can_be_copied() -> None:
    assert python_function(half) == python_function(half) != python_function(Scale(1)) and half != python_function(half)
    for other in (pickle.loads(pickle.dumps(python_function(half))), copy.deepcopy(python_function(half))):
        assert other == python_function(half) and hash(other) == hash(python_function(half))


# ---------------------------------------------------------------- configurations and checkpoints


def network_of(function: Any) -> rff.Network:
    return rff.build(
        input_size=7, num_classes=CLASSES, hidden_sizes=[6, 5], connections=[BlackBoxKind(function=function)], device="cpu"
    )


def test_a_configuration_names_a_function_with_options_or_without() -> None:
    (spikes,) = Settings.from_toml('[[network.connections]]\nname = "black_box"\nfunction = "spikes"').network.connections
    assert spikes == BlackBoxKind() == BlackBoxKind(function=Spikes())
    text = '[[network.connections]]\nname = "black_box"\nlayers = [2]\nsources = ["forward"]\nfunction = {name = "table"}'
    (table,) = Settings.from_toml(text).network.connections
    assert table == BlackBoxKind(layers=(2,), sources=("forward",), function=Table())
    assert Settings.from_toml(Settings.from_toml(text).to_toml()) == Settings.from_toml(text)


def untyped(value: Any) -> Any:
    """A value that no type checker checks."""
    return value


MISTAKES: dict[str, tuple[Any, str]] = {
    "unknown": ("spike", r"there is no such function of a black box; did you mean 'spikes'"),
    "class": (Spikes, r"expected a name, a section, a Python callable \(not a class\), or a BlackBoxFunction"),
    "bits": ({"name": "quantization", "bits": 5}, "bits = 5: expected at most 4"),
    "range": ({"name": "table", "low": 1.0, "high": 1.0}, r"low = 1, high = 1: expected a range, with low below high"),
    "no values": ({"name": "table", "values": []}, "values"),
    "scale": ({"name": "spikes", "scale": 0.0}, r"scale = 0\.0: expected a number above 0"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_refused_in_one_line(case: str) -> None:
    function, message = MISTAKES[case]
    with pytest.raises(SettingsError, match=message) as caught:
        BlackBoxKind(function=function)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [Spikes(scale=0.3), Noise(std=0.1), Quantization(bits=3), Table(values=(1.0, 2.0))])
def test_a_checkpoint_has_the_function(function: BlackBoxFunction, tmp_path: Path) -> None:
    network, inputs = network_of(function), clusters(5)[0]
    rff.save(network, tmp_path / "network.safetensors")
    loaded = rff.load(tmp_path / "network.safetensors", "cpu")
    assert torch.equal(loaded.badness(inputs), network.badness(inputs))
    assert loaded.settings.network.connections == (BlackBoxKind(function=function),)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (half, r"tests\.test_black_box_functions\.half"),
        (Scale(2.0), r"tests\.test_black_box_functions\.Scale"),
        (functools.partial(torch.mul, other=2), r"functools\.partial"),
        (torch.sign, r"torch\.\w+\.sign"),
        (np.sign, r"numpy\.(ufunc|sign)"),
    ],
)
def test_a_checkpoint_names_a_callable_which_must_be_passed_again(function: Any, name: str, tmp_path: Path) -> None:
    path, inputs, network = tmp_path / "network.safetensors", clusters(5)[0], network_of(function)
    rff.save(network, path)
    with pytest.raises(CheckpointError, match=rf"function\.name = '{name}': a function that .*pass it again, as connections=…$"):
        rff.load(path, "cpu")
    loaded = rff.load(path, "cpu", connections=[BlackBoxKind(function=function)])
    assert torch.equal(loaded.badness(inputs), network.badness(inputs))
    changed = loaded.settings.with_arguments(epochs=7).network.connections[0]  # the object stays what it is
    assert changed == BlackBoxKind(function=function)


def test_a_function_of_ones_own_can_be_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._classes, "black_box", dict(registry._classes["black_box"]))

    @rff.register("black_box", "floor")
    @dataclass(frozen=True)
    class Floor(BlackBoxFunction):
        step: float = 1.0

        def apply(self, values: Tensor, draws: Draws) -> Tensor:
            return (values / self.step).floor() * self.step

    network = network_of({"name": "floor", "step": 0.5})
    rff.save(network, tmp_path / "network.safetensors")
    (kind,) = rff.load(tmp_path / "network.safetensors", "cpu").settings.network.connections
    assert kind == BlackBoxKind(function=Floor(step=0.5))


def test_a_connection_takes_a_name_or_a_callable() -> None:
    inner = Dense({"h1": 5}, 4)
    assert BlackBox(inner, "noise").function == Noise() and "Noise(std=0.5)" in repr(BlackBox(inner, "noise"))
    assert isinstance(BlackBox(inner, half).function, PythonFunction)
    with pytest.raises(SettingsError, match="there is no such function of a black box"):
        BlackBox(inner, "nothing")
