"""Inputs that a network with a generative circuit imagines: it reconstructs, completes and generates them.

All of it is a projection down to the input, see `projection`: of the activity that an input leads to, repeatedly of that of an
input of which a part is hidden, or of a code that is drawn from the distribution of a class.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from RecurrentFF.errors import DivergenceError, InputError
from RecurrentFF.messages import shown
from RecurrentFF.model.generative import Reconstruction
from RecurrentFF.model.projection import LATENT, clipped, latent_of, levels, project_code, projected_in_parts, require_circuit
from RecurrentFF.tensors import as_labels, as_numbers, check_labels, errors_at
from RecurrentFF.values import of_python

if TYPE_CHECKING:  # the network imports this module
    from RecurrentFF.model.network import Network

MAX_COUNT, MAX_STEPS = 1_000_000, 10_000
"""The most samples of a label that are generated at once, and the most steps of a generation or a completion."""
MAX_TEMPERATURE = 1e6
"""The highest temperature: far above it, what is generated is no longer finite."""

# ---------------------------------------------------------------- the three uses


@torch.no_grad()
def reconstruct(network: Network, samples: Any, label: Any = None, level: str = "h1") -> Tensor:
    """Reconstruct samples, see `Network.reconstruct`."""
    require_circuit(network, "reconstruct")
    _require_level(network, level, "reconstruct")
    x, _ = network.prepare(samples)
    labels = _labels_of(network, label, x.shape[3], "reconstruct")
    projected = _finite(projected_in_parts(network, x, labels, level), "reconstruct")
    return as_samples(network, projected, static=len(x) == 1)


@torch.no_grad()
def complete(network: Network, samples: Any, visible: Any, steps: int = 10, label: Any = None) -> Tensor:
    """Complete samples, see `Network.complete`."""
    _require_code(network, "complete")
    if network.settings.network.prelabel_timesteps == 0:
        raise InputError("complete: network.prelabel_timesteps = 0: there is no activity before the label, which is read")
    steps = _whole_number(steps, "complete: steps", 1, MAX_STEPS)
    x, _ = network.prepare(samples)
    if len(x) > 1:
        raise InputError("complete: the inputs change over time; only inputs that stay the same can be completed")
    numbers = None if label is None else _class_numbers(network, label, x.shape[3], "complete")
    seen, size = _visible(network, visible, x.shape[3]), network.settings.training.prediction_batch_size
    starts = range(0, x.shape[3], size)
    parts = [
        completed_inputs(
            network,
            x[..., i : i + size],
            seen if seen.shape[2] == 1 else seen[..., i : i + size],
            steps,
            None if numbers is None else numbers[i : i + size],
        )
        for i in starts
    ]
    return as_samples(network, _finite(torch.cat(parts, 3), "complete"))


@torch.no_grad()
def completed_inputs(network: Network, x: Tensor, visible: Tensor, steps: int, numbers: Tensor | None = None) -> Tensor:
    """Complete network inputs.

    Args:
        network: a network with a circuit.
        x: (1, features, 1, batch).
        visible: (features, 1, batch or 1), true where an input stays unchanged.
        steps: how often the others are predicted.
        numbers: class numbers, (batch,); None if they are unknown.

    Returns:
        (1, features, 1, batch).

    Raises:
        InputError: the circuit has not learned a class.
    """
    completed = torch.where(visible, x, cast(Reconstruction, network.layers["predict_x"]).bias.to(x)[:, None, None])
    for _ in range(steps):
        codes = _likely_codes(network, completed, numbers)
        completed = torch.where(visible, x, clipped(network, project_code(network, codes)))
    return completed


def _likely_codes(network: Network, x: Tensor, numbers: Tensor | None) -> Tensor:
    """The likeliest codes of inputs, (size, 1, batch), by the distribution of the codes of their classes, or of all classes.

    Args:
        network: a network with a circuit.
        x: (1, features, 1, batch).
        numbers: class numbers, (batch,); None if they are unknown.

    Raises:
        InputError: the circuit has not learned a class.
    """
    state = network.path.new_state(1, x.shape[3])
    network.settle(state, x)
    pattern = state.patterns[network.hidden_layers()[-1].name][:, :1]
    latent = latent_of(network)
    if numbers is None:
        _require_learned(network, None)
        return latent.likely_code(pattern, None)
    codes = torch.empty(latent.size, 1, len(numbers), dtype=network.dtype, device=network.device)
    for number in sorted(set(numbers.tolist())):
        _require_learned(network, number)
        chosen = numbers == number
        codes[..., chosen] = latent.likely_code(pattern[..., chosen], number)
    return codes


@torch.no_grad()
def generate(network: Network, labels: Any, n: int = 1, seed: int = 0, temperature: float = 1.0, steps: int = 1) -> Tensor:
    """Generate samples, see `Network.generate`."""
    _require_code(network, "generate")
    task = network.task
    gives_sequences = network.settings.data.gives_sequences or (task is not None and task.transform.gives_sequences)
    if gives_sequences or bool(latent_of(network).saw_sequences):
        raise InputError("generate: the inputs change over time; only inputs that stay the same can be generated")
    n, seed = _whole_number(n, "generate: n", 1, MAX_COUNT), _whole_number(seed, "generate: seed")
    steps = _whole_number(steps, "generate: steps", 0, MAX_STEPS)
    given = of_python(temperature)
    if type(given) not in (int, float) or not 0 <= given <= MAX_TEMPERATURE:
        raise InputError(f"generate: temperature = {shown(temperature)}: expected a number from 0 to {MAX_TEMPERATURE:g}")
    numbers = _class_numbers(network, labels, None, "generate")
    numbers = numbers.repeat_interleave(n)
    generated = generated_inputs(network, numbers, drawn_noise(network, numbers, seed), given, steps)
    return as_samples(network, generated[None])


def learned_classes(network: Network) -> list[int]:
    """The numbers of the classes that the circuit has seen in training, and so can generate; none without a latent code."""
    weights = latent_of(network).class_weight.tolist() if LATENT in levels(network) else []
    return [number for number, weight in enumerate(weights) if weight > 0]


def drawn_noise(network: Network, numbers: Tensor, seed: int) -> Tensor:
    """The noise of generated samples of given classes, (n,), from the standard normal distribution: (size of the code, n).

    It is drawn class by class, so that the samples of a class do not depend on the order of the classes.
    """
    generator = torch.Generator(device=network.device).manual_seed(seed)
    noise = torch.empty(latent_of(network).size, len(numbers), dtype=network.dtype, device=network.device)
    for number in sorted(set(numbers.tolist())):
        chosen = numbers == number
        noise[:, chosen] = torch.empty_like(noise[:, chosen]).normal_(generator=generator)
    return noise


@torch.no_grad()
def generated_inputs(network: Network, numbers: Tensor, noise: Tensor, temperature: float = 1.0, steps: int = 0) -> Tensor:
    """Generate network inputs of given classes.

    Args:
        network: a network with a circuit.
        numbers: class numbers, (n,).
        noise: numbers from the standard normal distribution, (size of the code, n).
        temperature: the factor of the standard deviation of the codes.
        steps: how often the network reads what was generated, to generate it again from the likeliest code of its class.

    Returns:
        (features, 1, n).

    Raises:
        InputError: the circuit has not learned a class.
        DivergenceError: codes or weights of the circuit are not finite.
    """
    latent = latent_of(network)
    for statistics in latent.buffers():
        _finite(statistics, "generate")
    codes = torch.empty(latent.size, 1, len(numbers), dtype=network.dtype, device=network.device)
    for number in sorted(set(numbers.tolist())):
        chosen = numbers == number
        _require_learned(network, number)
        codes[..., chosen] = latent.sample(number, noise[:, chosen], temperature)
    inputs = clipped(network, project_code(network, codes))
    for _ in range(steps):
        inputs = clipped(network, project_code(network, _likely_codes(network, inputs[None], numbers)))
    return _finite(inputs, "generate")


def _finite(values: Tensor, what: str) -> Tensor:
    """The values themselves. Raises DivergenceError if one is NaN or infinite."""
    if not bool(values.isfinite().all()):
        raise DivergenceError(
            f"{what}: what the circuit has learned is not finite, since a training has diverged; train it again"
        )
    return values


# ---------------------------------------------------------------- between samples and network inputs


def as_samples(network: Network, inputs: Tensor, *, static: bool = True) -> Tensor:
    """Network inputs (timesteps or 1, features, 1, n) as samples of the task, see `Task.samples_of`.

    Without a task they are (n, features). Static inputs, of a single timestep, have no axis for it. A warning points at the
    caller of the network's method.
    """
    flat = clipped(network, inputs)[:, :, 0].transpose(1, 2).to(network.dtype)
    flat = flat[0] if static else flat
    return flat if network.task is None else network.task.samples_of(flat, stacklevel=6)


def _labels_of(network: Network, label: Any, samples: int, what: str) -> Tensor | None:
    """The class numbers to show, (samples,); None for no label.

    Raises:
        InputError: there is no such class, not as many labels as samples, or nothing to read without a label.
    """
    if label is not None:
        return _class_numbers(network, label, samples, what)
    if network.settings.network.prelabel_timesteps == 0:
        raise InputError(f"{what}: network.prelabel_timesteps = 0: without a label the network computes nothing; give label=…")
    return None


def _class_numbers(network: Network, label: Any, samples: int | None, what: str) -> Tensor:
    """Labels as class numbers, (n,), on the network's device: one for each sample, or a single one for all.

    Raises:
        InputError: there is no such class, or there are not as many labels as samples.
    """
    label = of_python(label)
    single = isinstance(label, str | int | float)
    given = [label] if single else label
    with errors_at(what):
        numbers = as_labels(given).cpu() if network.task is None else network.task.class_numbers(given)
        count = 1 if single else len(numbers) if samples is None else samples
        numbers = check_labels(numbers, count, network.num_classes).to(network.device)
        if len(numbers) == 0:
            raise InputError("labels: none are given")
    return numbers.expand(samples) if single and samples is not None else numbers


def _whole_number(value: Any, name: str, lowest: int = 0, highest: int = 2**63 - 1) -> int:
    """A whole number as Python's own. Raises InputError if it is none, or out of range."""
    number = of_python(value)
    if type(number) is not int or not lowest <= number <= highest:
        limit = f"from {lowest} to {highest:,}" if type(number) is int and number > highest else f"of at least {lowest}"
        raise InputError(f"{name} = {shown(value)}: expected a whole number {limit}")
    return number


def _require_code(network: Network, what: str) -> None:
    """Raise InputError if a network has no circuit, or one without a code above the top layer."""
    require_circuit(network, what)
    if LATENT not in levels(network):
        raise InputError(f"{what}: the circuit has no code above the top layer (LatentReconstruction)")


def _require_learned(network: Network, number: int | None) -> None:
    """Raise InputError if the circuit has seen no sample of a class in training; None for any class."""
    weight = latent_of(network).class_weight
    if (weight.sum() if number is None else weight[number]) > 0:
        return
    name = "" if number is None else f" of class {number if network.task is None else network.task.classes[number]!r}"
    raise InputError(f"the generative circuit has seen no sample{name} in training; train it first")


def _require_level(network: Network, level: object, what: str) -> None:
    if level not in levels(network):
        raise InputError(f"{what}: level = {shown(level)}: expected one of {', '.join(map(repr, levels(network)))}")


def _visible(network: Network, visible: Any, batch: int) -> Tensor:
    """The visible inputs, (features, 1, batch or 1), true or false.

    Raises:
        InputError: the mask has the shape of neither one sample nor all of them, or values other than 0 and 1.
    """
    mask, size = as_numbers(visible, "complete: visible_mask"), network.input_size
    shape = (size,) if network.task is None else network.task.input_shape
    shape = shape if math.prod(shape) == size else (size,)  # a transform may give more features than samples have values
    one = [(size,), shape, (1, *shape), *([shape[1:]] if len(shape) == 3 else [])]  # a mask may be the same for all channels
    if tuple(mask.shape) not in [*one, *((batch, *each) for each in one)]:
        raise InputError(
            f"complete: visible_mask of shape {tuple(mask.shape)}: expected that of a sample, {shape}, or of all {batch}, "
            "true where an input is visible"
        )
    if len(shape) == 3 and tuple(mask.shape) == shape[1:]:
        mask = mask.expand(shape)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError("complete: visible_mask with values other than 0 and 1: expected true where an input is visible")
    return mask.bool().reshape(-1, size).T.unsqueeze(1).to(network.device)
