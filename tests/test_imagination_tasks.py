"""What a network imagines in the terms of its task: samples of its own shape and scale, class names, and refusals."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from RecurrentFF.data.image_transforms import Frames, OrientedGradients, Pixels
from RecurrentFF.data.pen_strokes import PenStrokes
from RecurrentFF.data.task import Task
from RecurrentFF.data.transforms import Identity, Standardize, Transform
from RecurrentFF.errors import DivergenceError, InputError
from RecurrentFF.model.generative import LatentReconstruction
from RecurrentFF.model.network import Network
from RecurrentFF.model.state import State
from tests.circuit_oracle import circuit_of, give_statistics
from tests.helpers import CLASSES, float64_network, generator, small_settings
from tests.refusals import refusal
from tests.test_imagination import imaginative

SIZE = (4, 3)
NAMES = ("ant", "bee", "cat", "dog", "eel")
TABLE = Standardize(mean=tuple(range(12)), std=tuple(range(1, 13)))

TRANSFORMS: dict[str, tuple[Transform, tuple[int, ...]]] = {
    "pixels": (Pixels(mean=0.3, std=0.4), SIZE),
    "color": (Pixels(mean=0.2, std=0.5), (3, *SIZE)),
    "frames": (Frames(rms=0.5), SIZE),
    "standardize": (TABLE, (12,)),
    "identity": (Identity(), SIZE),
}


def with_task(transform: Transform, shape: tuple[int, ...], classes: tuple[Any, ...] = tuple(range(CLASSES))) -> Network:
    """A network of a task, whose circuit has large random weights and has seen all classes."""
    task = Task("things", shape, classes, transform)
    network = imaginative(input_size=task.input_size)
    network.task = task
    return network


def raw(shape: tuple[int, ...], samples: int = 4) -> Tensor:
    """Samples from 0 to 1, with some at the limits."""
    return (1.4 * torch.rand(samples, *shape, generator=generator()) - 0.2).clamp(0, 1)


# ---------------------------------------------------------------- samples of the task


@pytest.mark.parametrize("case", TRANSFORMS)
def test_samples_have_the_shape_and_the_scale_of_the_task(case: str) -> None:
    transform, shape = TRANSFORMS[case]
    network = with_task(transform, shape)
    samples, mask = raw(shape), torch.rand(shape, generator=generator(2)) < 0.6
    inputs = transform(samples).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [network.reconstruct(samples, 2), network.complete(samples, mask, 2), network.generate([1, 2, 3, 0])]
        completed, single = found[1], network.generate(4)
    assert all(each.shape == samples.shape for each in found) and single.shape == (1, *shape)
    assert network.reconstruct(samples.flatten(1)).shape == samples.shape
    if case in ("pixels", "color", "frames"):
        assert all(each.min() >= 0 and each.max() <= 1 and each.min() < each.max() for each in found)
    torch.testing.assert_close(completed[:, mask], samples[:, mask].double(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(network.complete(samples, torch.ones(shape)), samples.double(), rtol=1e-6, atol=1e-6)
    network.task = None
    parts = network.reconstruct(inputs, 2), network.complete(inputs, mask.flatten(), 2), network.generate([1, 2, 3, 0])
    for sample, part in zip((found[0], found[2]), (parts[0], parts[2]), strict=True):
        values = part * torch.tensor(TABLE.std or ()) + torch.tensor(TABLE.mean or ()) if case == "standardize" else part
        values = values * 0.4 + 0.3 if case == "pixels" else values * 0.5 + 0.2 * (case == "color") if shape != (12,) else values
        values = part if case == "identity" else values
        limits = (0, 1) if case in ("pixels", "color", "frames") else (-1e9, 1e9)
        torch.testing.assert_close(sample, values.clamp(*limits).view(4, *shape), rtol=1e-5, atol=1e-5)


def test_hidden_inputs_are_cut_to_the_range_of_pixels_before_they_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network = with_task(Pixels(mean=0.5, std=0.5), SIZE)
    network.layers["predict_x"].state_dict()["bias"].fill_(50.0)
    network.layers["predict_x"].state_dict()["weight"].zero_()
    read: list[Tensor] = []
    settle = network.settle

    def settle_noting(state: State, x: Tensor, *arguments: Any, **options: Any) -> None:
        read.append(x)
        settle(state, x, *arguments, **options)

    monkeypatch.setattr(network, "settle", settle_noting)
    assert (network.complete(raw(SIZE), torch.zeros(SIZE), steps=2) == 1).all()
    assert len(read) == 2 and (read[1] == 1.0).all()


def test_visible_network_inputs_are_exact_and_nothing_hidden_is_read_with_a_task() -> None:
    network = with_task(Pixels(mean=0.3, std=0.4), SIZE)
    samples, mask = raw(SIZE), torch.rand(4, *SIZE, generator=generator(2)) < 0.6
    found = network.complete(samples, mask)
    other = torch.where(mask, samples, torch.rand(4, *SIZE))
    assert torch.equal(found, network.complete(other, mask))
    for form in (mask.flatten(1), mask.numpy(), mask.long(), mask.tolist(), mask.float(), mask.unsqueeze(1)):
        assert torch.equal(network.complete(samples, form), found)
    first = mask[0]
    expected = network.complete(samples, first)
    for form in (first.flatten(), first.numpy().astype(np.uint8), first.tolist(), first.unsqueeze(0), first.expand(4, *SIZE)):
        assert torch.equal(network.complete(samples, form), expected)


@pytest.mark.parametrize("call", ["reconstruct", "complete", "generate"])
def test_what_no_sample_can_be_made_of_comes_as_network_inputs_with_one_warning(call: str) -> None:
    network = with_task(OrientedGradients(mean=0.1, std=0.3, directions=4, grid_size=3), (9, 9))
    assert network.input_size == 36
    images, mask = raw((9, 9)), torch.arange(36) < 20
    with pytest.warns(UserWarning, match="'oriented_gradients' can't be undone: these are network inputs, 36 features") as noted:
        if call == "reconstruct":
            found = network.reconstruct(images)
        elif call == "complete":
            found = network.complete(images, mask)
        else:
            found = network.generate([1, 2, 3, 4])
    assert found.shape == (4, 36) and len(noted) == 1 and noted[0].filename == __file__
    if call == "complete":
        torch.testing.assert_close(found[:, mask].float(), network.task.inputs(images)[:, mask])  # type: ignore[union-attr]


def test_a_warning_points_at_the_caller_of_the_task_too() -> None:
    task = Task("images", (9, 9), NAMES, OrientedGradients(mean=0.1, std=0.3, directions=4, grid_size=3))
    with pytest.warns(UserWarning, match="can't be undone") as noted:
        assert task.samples_of(torch.ones(2, 36)).shape == (2, 36)
    assert noted[0].filename == __file__


@pytest.mark.parametrize("transform", [Pixels(mean=0.3, std=0.4), Frames(rms=0.5)], ids=str)
def test_pixels_are_in_range_whatever_they_are_made_of(transform: Transform) -> None:
    low, high = transform.limits or (0.0, 0.0)
    assert transform.inverse(torch.tensor([[low - 5, low, high, high + 5]])).tolist() == [[0, 0, 1, 1]]  # type: ignore[union-attr]
    torch.testing.assert_close(transform(torch.tensor([[[0.0, 1.0]]])), torch.tensor([[low, high]]))


def test_a_transform_of_ones_own_is_not_undone_unless_it_says_how() -> None:
    class Doubled(Transform):
        def __call__(self, samples: Tensor) -> Tensor:
            return 2 * samples.flatten(1)

    class Halved(Doubled):
        def inverse(self, inputs: Tensor) -> Tensor:
            return inputs / 2

    assert Doubled().inverse(torch.ones(1, 2)) is None and Doubled().limits is None
    network = with_task(Halved(), SIZE)
    samples = raw(SIZE)
    torch.testing.assert_close(network.complete(samples, torch.ones(SIZE)), samples.double())


def test_videos_are_reconstructed_frame_by_frame_and_neither_completed_nor_generated_as_one() -> None:
    network = with_task(Frames(rms=0.5), SIZE)
    videos = raw((4, *SIZE), network.settings.timesteps)
    assert network.reconstruct(videos).shape == (network.settings.network.prelabel_timesteps, 4, *SIZE)
    assert network.reconstruct(videos, 1).shape == videos.shape
    assert refusal(lambda: network.complete(videos, torch.ones(SIZE))).startswith("complete: the inputs change over time")
    settings = small_settings(input_size=12, data="moving_mnist", generative="reconstruction")
    moving = Network(settings)
    give_statistics(moving)
    assert refusal(lambda: moving.generate(1)).startswith("generate: the inputs change over time")
    strokes = imaginative()
    strokes.task = Task("strokes", (28, 28), tuple(range(CLASSES)), PenStrokes())
    assert refusal(lambda: strokes.generate(1)).startswith("generate: the inputs change over time")


# ---------------------------------------------------------------- labels


def test_labels_are_class_names_in_any_form() -> None:
    network = with_task(Pixels(mean=0.3, std=0.4), SIZE, NAMES)
    expected = network.generate(["bee", "dog"], n=2, seed=5)
    for labels in (("bee", "dog"), np.array(["bee", "dog"]), np.array([["bee"], ["dog"]], dtype=object)):
        assert torch.equal(network.generate(labels, n=2, seed=5), expected)
    assert torch.equal(network.generate("dog", seed=1), network.generate(["dog"], seed=1))
    assert torch.equal(network.generate(np.str_("dog"), seed=1), network.generate(["dog"], seed=1))
    samples = raw(SIZE)
    assert torch.equal(network.reconstruct(samples, "bee"), network.reconstruct(samples, ["bee"] * 4))
    with pytest.warns(UserWarning, match="classes are texts"):
        assert torch.equal(network.generate([1, 3], n=2, seed=5), expected)


@pytest.mark.parametrize("with_names", [False, True])
def test_numbers_of_classes_may_be_of_any_type(with_names: bool) -> None:
    network = with_task(TABLE, (12,), (10, 20, 30, 40, 50)) if with_names else imaginative()
    one, two = (20, 30) if with_names else (1, 2)
    expected = network.generate([one, two], n=3)
    counts: dict[str, Any] = {"n": np.int64(3), "seed": np.uint8(0)}
    numbers: dict[str, Any] = {"n": torch.tensor(2), "temperature": np.float32(1)}
    for labels in (
        torch.tensor([one, two]),
        np.array([one, two], dtype=np.uint8),
        (one, two),
        [[one], [two]],
        range(one, two + 1, two - one),
    ):
        assert torch.equal(network.generate(labels, **counts), expected)
    for label in (np.int16(two), torch.tensor(two), np.array(two), [two], torch.tensor([two])):
        assert torch.equal(network.generate(label, **numbers), network.generate(two, n=2))


# ---------------------------------------------------------------- refusals

SAMPLES = torch.rand(4, 7, dtype=torch.float64)
MASK = torch.ones(7, dtype=torch.bool)

REFUSED: dict[str, tuple[Callable[[Network], Any], str]] = {
    "level": (
        lambda net: net.reconstruct(SAMPLES, level="h4"),
        "reconstruct: level = 'h4': expected one of 'h1', 'h2', 'h3', 'latent'",
    ),
    "level of the input": (lambda net: net.reconstruct(SAMPLES, level="x"), "reconstruct: level = 'x': expected one of"),
    "level of another type": (lambda net: net.reconstruct(SAMPLES, level=[1]), "reconstruct: level = [1]: expected one of"),  # type: ignore[arg-type]
    "label": (lambda net: net.reconstruct(SAMPLES, 5), "reconstruct: labels run from 5 to 5; expected 0 to 4"),
    "label in time": (lambda net: net.reconstruct(SAMPLES, torch.ones(3, 4).long()), "reconstruct: labels of shape (3, 4)"),
    "labels too few": (lambda net: net.reconstruct(SAMPLES, [1, 2]), "reconstruct: 4 inputs but 2 labels"),
    "one label in a list": (lambda net: net.complete(SAMPLES, MASK, label=[1]), "complete: 4 inputs but 1 labels"),
    "one-hot": (lambda net: net.generate(torch.eye(CLASSES).long()), "generate: labels of shape (5, 5): one-hot?"),
    "text": (lambda net: net.generate("three"), "generate: labels of type list such as 'three': expected class numbers"),
    "fraction": (lambda net: net.generate(1.5), "generate: labels of type torch.float64: expected integer class numbers"),
    "negative label": (lambda net: net.generate([-1]), "generate: labels run from -1 to -1; expected 0 to 4"),
    "no label": (lambda net: net.generate([]), "generate: labels"),
    "None": (lambda net: net.generate(None), "generate: labels of type NoneType"),
    "n = 0": (lambda net: net.generate(1, n=0), "generate: n = 0: expected a whole number of at least 1"),
    "n = true": (lambda net: net.generate(1, n=True), "generate: n = true: expected a whole number of at least 1"),
    "n = 2.0": (lambda net: net.generate(1, n=2.0), "generate: n = 2.0: expected a whole number"),  # type: ignore[arg-type]
    "seed = -1": (lambda net: net.generate(1, seed=-1), "generate: seed = -1: expected a whole number of at least 0"),
    "seed too large": (lambda net: net.generate(1, seed=2**63), "generate: seed = 9223372036854775808: expected a whole number"),
    "no seed": (lambda net: net.generate(1, seed=None), "generate: seed = None: expected a whole number"),  # type: ignore[arg-type]
    "temperature": (
        lambda net: net.generate(1, temperature=-0.1),
        "generate: temperature = -0.1: expected a number from 0 to 1e+06",
    ),
    "NaN": (lambda net: net.generate(1, temperature=float("nan")), "generate: temperature = nan: expected a number"),
    "infinite": (lambda net: net.generate(1, temperature=float("inf")), "generate: temperature = inf: expected a number"),
    "warm": (lambda net: net.generate(1, temperature="warm"), "generate: temperature = 'warm': expected a number"),  # type: ignore[arg-type]
    "true": (lambda net: net.generate(1, temperature=True), "generate: temperature = true: expected a number"),
    "steps": (lambda net: net.complete(SAMPLES, MASK, 0), "complete: steps = 0: expected a whole number of at least 1"),
    "steps = true": (lambda net: net.complete(SAMPLES, MASK, True), "complete: steps = true: expected a whole number"),
    "mask": (
        lambda net: net.complete(SAMPLES, MASK[:6]),
        "complete: visible_mask of shape (6,): expected that of a sample, (7,), or of all 4",
    ),
    "turned mask": (
        lambda net: net.complete(SAMPLES, torch.ones(7, 4)),
        "complete: visible_mask of shape (7, 4): expected that of a",
    ),
    "mask of fractions": (
        lambda net: net.complete(SAMPLES, torch.full((7,), 0.5)),
        "complete: visible_mask with values other than 0",
    ),
    "mask of NaN": (
        lambda net: net.complete(SAMPLES, torch.full((7,), float("nan"))),
        "complete: visible_mask with values other",
    ),
    "no mask": (lambda net: net.complete(SAMPLES, None), "complete: visible_mask of type NoneType"),
    "mask of text": (lambda net: net.complete(SAMPLES, ["yes"] * 7), "complete: visible_mask of type list"),
    "samples": (lambda net: net.reconstruct(SAMPLES[:, :6]), "inputs of shape (4, 6): expected (batch, 7)"),
    "frames": (lambda net: net.complete(SAMPLES.expand(5, 4, 7), MASK), "complete: the inputs change over time"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_refused_in_one_line(case: str) -> None:
    call, message = REFUSED[case]
    network = imaginative()
    assert refusal(lambda: call(network)).startswith(message)


@pytest.mark.parametrize("call", ["reconstruct", "complete", "generate"])
def test_a_network_without_a_circuit_says_how_to_get_one(call: str) -> None:
    network = float64_network()
    arguments = {"reconstruct": (SAMPLES,), "complete": (SAMPLES, MASK), "generate": (1,)}
    message = refusal(lambda: getattr(network, call)(*arguments[call]))
    assert message.startswith(f'{call}: the network has no generative circuit; build it with generative="reconstruction"')


def test_a_class_that_was_not_seen_is_named() -> None:
    network = with_task(Pixels(mean=0.3, std=0.4), SIZE, NAMES)
    for buffer in circuit_of(network)[0].buffers():
        if buffer.dim():
            buffer[3] = 0
    assert network.generate("cat").isfinite().all()
    assert refusal(lambda: network.generate(["cat", "dog"])).startswith(
        "the generative circuit has seen no sample of class 'dog' in"
    )
    untrained = float64_network(generative="reconstruction")
    assert refusal(lambda: untrained.generate(2)).startswith("the generative circuit has seen no sample of class 2 in training")


@pytest.mark.parametrize("name", ["predict_x.weight", "predict_h3.class_products", "h1.bias"])
def test_a_circuit_that_has_diverged_is_no_crash(name: str) -> None:
    network = imaginative(prelabel_timesteps=4)
    network.layers.state_dict()[name].fill_(float("nan"))
    calls: list[Callable[[], Any]] = [lambda: network.generate([1, 2])] if "h1" not in name else []
    calls += [] if "class" in name else [lambda: network.reconstruct(SAMPLES), lambda: network.complete(SAMPLES, ~MASK)]
    for call in calls:
        assert refusal(call, DivergenceError).endswith("is not finite, since a training has diverged; train it again")


def test_without_timesteps_before_the_label_a_label_is_needed() -> None:
    whole = imaginative()
    settings = whole.settings.with_arguments(generative=None, prelabel_timesteps=0)
    network = Network(settings, torch.float64, modules=[*whole.hidden_layers(), *circuit_of(whole)])
    network.task = whole.task
    assert "network.prelabel_timesteps = 0: without a label" in refusal(lambda: network.reconstruct(SAMPLES))
    assert network.reconstruct(SAMPLES, 1).shape == SAMPLES.shape
    for label in (None, 1):
        message = refusal(lambda label=label: network.complete(SAMPLES, MASK, label=label))  # type: ignore[misc]
        assert message.startswith("complete: network.prelabel_timesteps = 0: there is no activity before the label")


def test_a_circuit_without_some_of_its_modules_does_what_is_left() -> None:
    whole = imaginative(generative={"name": "reconstruction", "latent_size": 3})
    layers, circuit = whole.hidden_layers(), circuit_of(whole)

    def of(*targets: str) -> Network:
        modules = [m for m in circuit if m.target in targets and not isinstance(m, LatentReconstruction)]
        return Network(whole.settings.with_arguments(generative=None), torch.float64, modules=[*layers, *modules])

    network = of("x", "h1")
    assert torch.equal(network.reconstruct(SAMPLES, level="h2"), whole.reconstruct(SAMPLES, level="h2"))
    assert refusal(lambda: network.reconstruct(SAMPLES, level="h3")).endswith("expected one of 'h1', 'h2'")
    assert refusal(lambda: network.complete(SAMPLES, MASK)).startswith("complete: the circuit has no code above the top layer")
    assert refusal(lambda: network.generate(1)).startswith("generate: the circuit has no code above the top layer")
    with pytest.raises(InputError, match="no generative circuit"):
        of("h1", "h2").reconstruct(SAMPLES)
