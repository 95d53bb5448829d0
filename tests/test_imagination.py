"""What a network with a generative circuit imagines: reconstructions, completions and generated samples."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal

from RecurrentFF.model.generative import LatentReconstruction, Reconstruction
from RecurrentFF.model.generative.latent import PATTERN_NOISE
from RecurrentFF.model.network import Network
from tests.circuit_oracle import ImaginationOracle, circuit_of, give_statistics, latent_of
from tests.helpers import CLASSES, class_numbers, float64_network, generator, video

LEVELS = ["h1", "h2", "h3", "latent"]
SMALL: dict[str, Any] = {"name": "reconstruction", "latent_size": 3}


def imaginative(*, fused: bool = True, **arguments: Any) -> Network:
    """A float64 network whose circuit has large random weights, and has seen all classes."""
    network = float64_network(fused=fused, **({"generative": SMALL} | arguments))
    source = generator(4)
    for module in circuit_of(network):
        for parameter in module.parameters():
            parameter.normal_(std=0.5, generator=source)
    give_statistics(network)
    return network


def static(inputs: Tensor, network: Network) -> Tensor:
    """The same inputs (batch, features) at all timesteps."""
    return inputs.expand(network.settings.timesteps, -1, -1)


# ---------------------------------------------------------------- reconstruction


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("labeled", [False, True], ids=["label_free", "labeled"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("options", [{}, {"activation": "tanh", "prediction_batch_size": 2}], ids=["default", "in_parts"])
def test_a_reconstruction_is_the_projection_of_the_activity(
    options: dict[str, Any], level: str, labeled: bool, fused: bool
) -> None:
    network = imaginative(fused=fused, **options)
    oracle, labels = ImaginationOracle(network), class_numbers(5) if labeled else None
    images, frames = video(1, 5)[0], video(network.settings.timesteps, 5, seed=3)
    expected = oracle.reconstructions(static(images, network), labels, level)[-1]
    torch.testing.assert_close(network.reconstruct(images, labels, level), expected, rtol=1e-10, atol=1e-10)
    predicted = network.reconstruct(frames, labels, level)
    assert predicted.shape == (network.settings.timesteps if labeled else 2, 5, 7)
    torch.testing.assert_close(predicted, torch.stack(oracle.reconstructions(frames, labels, level)), rtol=1e-10, atol=1e-10)


def fit_exactly(network: Network, patterns: dict[str, Tensor], x: Tensor) -> None:
    """Give a circuit weights that predict all blocks of a few samples exactly, by least squares.

    Args:
        network: its activation is tanh, and it has as many units as samples in every layer.
        patterns: the pattern of each hidden layer, (batch, units), scaled so that tanh can give it.
        x: (batch, features).
    """
    blocks = {"x": x} | patterns
    for module in circuit_of(network)[1:]:
        target, source = blocks[module.target], blocks[module.source]
        z = target if module.target == "x" else torch.atanh(target / 4)  # a pattern is normalized, whatever its scale
        ones = torch.ones(len(source), 1, dtype=source.dtype)
        solution = torch.linalg.lstsq(torch.cat([source, ones], 1), z).solution
        assert isinstance(module, Reconstruction)
        module.weight.copy_(solution[:-1].T)
        module.bias.copy_(solution[-1])
    latent = latent_of(network)
    latent.weight.copy_(1e5 * torch.eye(latent.units, latent.size, dtype=x.dtype))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), samples=st.integers(1, 5), labeled=st.booleans(), level=st.sampled_from(LEVELS))
def test_a_perfect_circuit_reconstructs(seed: int, samples: int, labeled: bool, level: str) -> None:
    options: dict[str, Any] = {"hidden_sizes": [9, 6, 8], "activation": "tanh", "prelabel_timesteps": 4}
    network = float64_network(generative=SMALL | {"latent_size": 8}, **options)
    x, labels = video(1, samples, seed=seed)[0], class_numbers(samples, seed=seed) if labeled else None
    patterns = ImaginationOracle(network).activity(static(x, network), labels)[-1]
    fit_exactly(network, patterns, x)
    torch.testing.assert_close(network.reconstruct(x, labels, level), x, rtol=1e-6, atol=1e-6)


def test_a_reconstruction_from_an_activity_depends_on_the_label_only_if_it_is_shown() -> None:
    network = imaginative(label_timesteps=4)
    images = video(1, 5)[0]
    free, zeros, ones = (network.reconstruct(images, label) for label in (None, 0, 1))
    assert not torch.equal(zeros, ones) and not torch.equal(free, zeros)
    assert torch.equal(zeros, network.reconstruct(images, torch.zeros(5, dtype=torch.long)))


# ---------------------------------------------------------------- completion


def likely_code(network: Network, pattern: Tensor, codes: Tensor) -> Tensor:
    """The code of the highest posterior density, (size,), of a pattern (units,): by Newton's method on the density itself.

    Args:
        network: its latent code.
        pattern: of the top layer.
        codes: (samples, size), whose Gaussian distribution is the prior.
    """
    latent = latent_of(network)
    covariance = codes.T.cov(correction=0)
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(latent.size, dtype=torch.float64)
    prior = MultivariateNormal(codes.mean(0), covariance)

    def energy(code: Tensor) -> Tensor:
        error = pattern - latent.weight @ code - latent.bias
        density: Tensor = prior.log_prob(code)  # type: ignore[no-untyped-call]
        return (error**2).sum() / (2 * PATTERN_NOISE) - density

    start = torch.zeros(latent.size, dtype=torch.float64)
    gradient, curvature = torch.func.grad(energy)(start), torch.func.hessian(energy)(start)
    change: Tensor = torch.linalg.solve(curvature, gradient)
    return start - change


def completed_by_hand(
    network: Network, x: Tensor, seen: Tensor, steps: int, labels: Tensor | None, start: Tensor | None = None
) -> Tensor:
    """The completion of inputs (batch, features) of which a part is seen, by the float64 reference, from a first guess."""
    oracle, codes = ImaginationOracle(network), give_statistics(copy.deepcopy(network))
    completed = torch.where(seen, x, oracle.bias["predict_x"].detach() if start is None else start)
    for _ in range(steps):
        patterns = oracle.activity(static(completed, network), None)[-1][network.hidden_layers()[-1].name]
        priors = [torch.cat(codes) if labels is None else codes[label] for label in ([0] * len(x) if labels is None else labels)]
        found = torch.stack([likely_code(network, *pair) for pair in zip(patterns, priors, strict=True)])
        completed = torch.where(seen, x, oracle.project(found, "latent"))
    return completed


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("labeled", [False, True])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_a_completion_repeats_the_likeliest_prediction_of_what_is_hidden(fused: bool, labeled: bool, steps: int) -> None:
    network = imaginative(fused=fused, prediction_batch_size=2, prelabel_timesteps=4)
    labels = class_numbers(5) if labeled else None
    x, seen = video(1, 5)[0], torch.rand(5, 7, generator=generator()) < 0.5
    found = network.complete(x, seen, steps, labels)
    torch.testing.assert_close(found, completed_by_hand(network, x, seen, steps, labels), rtol=1e-8, atol=1e-8)
    assert torch.equal(network.complete(x, seen, label=labels), network.complete(x, seen, 10, labels))


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_generated_samples_are_read_and_generated_again_from_the_likeliest_codes(fused: bool) -> None:
    network, labels = imaginative(fused=fused, prelabel_timesteps=4), torch.tensor([0, 0, 3, 4])
    first = network.generate([0, 0, 3, 4], seed=2, steps=0)
    for steps in (1, 2):
        expected = completed_by_hand(network, first, torch.zeros(7, dtype=torch.bool), steps, labels, first)
        torch.testing.assert_close(network.generate([0, 0, 3, 4], seed=2, steps=steps), expected, rtol=1e-8, atol=1e-8)
    assert torch.equal(network.generate([0, 3], 2, 5), network.generate([0, 3], 2, 5, steps=1))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), visible=st.floats(0, 1), single=st.booleans(), labeled=st.booleans())
def test_a_completion_leaves_what_is_visible_and_depends_on_nothing_else(
    seed: int, visible: float, single: bool, labeled: bool
) -> None:
    network, labels = imaginative(prelabel_timesteps=4), class_numbers(4, seed=seed) if labeled else None
    x, other = video(2, 4, seed=seed).unbind()
    seen = torch.rand(1 if single else 4, 7, generator=generator(seed)) < visible
    completed = network.complete(x, seen[0] if single else seen, 2, labels)
    assert torch.equal(completed[seen.expand(4, -1)], x[seen.expand(4, -1)])
    mixed = torch.where(seen, x, other)
    assert torch.equal(network.complete(mixed, seen[0] if single else seen, 2, labels), completed)


def test_a_completion_of_what_is_all_visible_is_the_sample_itself_and_changes_no_argument() -> None:
    network, x = imaginative(), video(1, 4)[0]
    kept, mask = x.clone(), torch.ones(7, dtype=torch.bool)
    assert torch.equal(network.complete(x, mask), x)
    assert not torch.equal(network.complete(x, ~mask), x)
    assert torch.equal(x, kept) and mask.all()


# ---------------------------------------------------------------- generation


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_a_generated_sample_of_no_temperature_is_the_projection_of_the_mean_code(fused: bool) -> None:
    network = imaginative(fused=fused)
    codes = give_statistics(copy.deepcopy(network))
    expected = torch.cat([ImaginationOracle(network).project(code.mean(0, keepdim=True), "latent") for code in codes])
    found = network.generate(range(CLASSES), temperature=0, steps=0)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def noise_of(latent: LatentReconstruction, count: int, seed: int = 0) -> Tensor:
    """Numbers from the standard normal distribution for this many codes, (size, count)."""
    return torch.randn(latent.size, count, dtype=latent.bias.dtype, generator=generator(seed))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_codes_have_the_mean_and_the_covariance_of_their_class(temperature: float) -> None:
    network = imaginative()
    latent, codes = latent_of(network), give_statistics(copy.deepcopy(network))
    for number, seen in enumerate(codes):
        drawn = latent.sample(number, noise_of(latent, 40_000, number), temperature)[:, 0]
        scale = float(seen.var(0).max()) ** 0.5
        torch.testing.assert_close(drawn.mean(1), seen.mean(0), rtol=0, atol=0.03 * scale)
        covariance = temperature**2 * seen.T.cov(correction=0)
        torch.testing.assert_close(drawn.cov(), covariance, rtol=0, atol=0.05 * scale**2)


def test_codes_are_the_symmetric_root_of_the_covariance_times_noise() -> None:
    """There is only one such root, so that all machines generate the same samples, up to rounding."""
    latent = latent_of(imaginative())
    mean, covariance = latent.distribution(1)
    noise = noise_of(latent, 8, seed=5)
    deviations = latent.sample(1, noise, 1.0)[:, 0] - mean[:, None]
    root = deviations @ torch.linalg.pinv(noise)
    torch.testing.assert_close(root, root.T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(root @ root, covariance, rtol=1e-9, atol=1e-9)
    assert torch.linalg.eigvalsh(root).min() > 0


def test_the_temperature_is_a_factor_of_the_deviation_from_the_mean() -> None:
    latent = latent_of(imaginative())
    mean, one, half = (latent.sample(2, noise_of(latent, 7, seed=1), temperature) for temperature in (0.0, 1.0, 0.5))
    torch.testing.assert_close(half - mean, (one - mean) / 2, rtol=1e-10, atol=1e-10)
    assert (mean == mean[..., :1]).all() and mean.shape == (3, 1, 7)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    labels=st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=4),
    n=st.integers(1, 3),
    seed=st.integers(0, 2**63 - 1),
    global_seed=st.integers(0, 100),
    temperature=st.floats(0, 3),
)
def test_generation_is_a_pure_function_of_its_arguments(
    labels: list[int], n: int, seed: int, global_seed: int, temperature: float
) -> None:
    network = imaginative()
    first = network.generate(labels, n, seed, temperature)
    network.generate([1], 3, seed + 1 if seed < 100 else 0)
    torch.manual_seed(global_seed)
    state, weights = torch.get_rng_state(), copy.deepcopy(network.state_dict())
    again = imaginative().generate(torch.tensor(labels), n, seed, temperature)
    assert torch.equal(first, network.generate(labels, n, seed, temperature)) and torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state) and first.shape == (n * len(labels), 7)
    assert all(torch.equal(weight, weights[name]) for name, weight in network.state_dict().items())


def test_samples_come_in_the_order_of_the_labels_and_those_of_a_label_together() -> None:
    network = imaginative()
    zero, three = (network.generate(label, temperature=0) for label in (0, 3))
    assert zero.shape == (1, 7) and not torch.allclose(zero, three)
    expected = torch.cat([three, three, zero, zero, three, three])
    torch.testing.assert_close(network.generate([3, 0, 3], n=2, temperature=0), expected, rtol=1e-12, atol=1e-12)
    for steps in (0, 1):
        forward, backward = (network.generate(labels, n=2, seed=5, steps=steps) for labels in ([0, 3], [3, 0]))
        torch.testing.assert_close(backward, torch.cat([forward[2:], forward[:2]]), rtol=1e-12, atol=1e-12)


def test_another_seed_or_label_gives_other_samples_and_samples_of_a_label_differ() -> None:
    network = imaginative()
    found = [network.generate(label, n=2, seed=seed, steps=0) for label, seed in ((1, 0), (1, 1), (2, 0), (2, 2**63 - 1))]
    rows = torch.cat(found)
    assert len({tuple(row) for row in rows.tolist()}) == len(rows) == 8


@pytest.mark.parametrize("seed", range(4))
def test_a_class_of_one_sample_is_generated_as_it_was(seed: int) -> None:
    """Its covariance is zero, up to rounding, which must not matter in float32 either."""
    network = imaginative().float()
    latent = latent_of(network)
    for buffer in latent.buffers():
        buffer.zero_()
    code = 100 * torch.randn(3, 1, generator=generator(seed))
    for _ in range(7):
        latent.track(code, torch.eye(CLASSES)[:, :1])
    drawn = latent.sample(0, noise_of(latent, 50), 1.0)
    torch.testing.assert_close(drawn[:, 0], code.expand(-1, 50), rtol=1e-2, atol=0.5)
    assert network.generate(0, n=3).isfinite().all()


# ---------------------------------------------------------------- copies and types


def test_copies_generate_the_same() -> None:
    network = imaginative()
    expected = network.generate([1, 2], n=2, seed=3)
    assert torch.equal(copy.deepcopy(network).generate([1, 2], n=2, seed=3), expected)
    pickled = pickle.loads(pickle.dumps(network))
    assert torch.equal(pickled.generate([1, 2], n=2, seed=3), expected)
    same = imaginative(seed=5)
    same.load_state_dict(network.state_dict())
    assert torch.equal(same.generate([1, 2], n=2, seed=3), expected)


def test_a_network_of_another_type_imagines_nearly_the_same() -> None:
    network = imaginative()
    images, mask = video(1, 4)[0], torch.arange(7) < 4
    single = copy.deepcopy(network).float()
    calls: list[Callable[[Network], Tensor]] = [
        lambda net: net.reconstruct(images, 1, "latent"),
        lambda net: net.complete(images, mask, 2),
        lambda net: net.generate([1, 2], 2, temperature=0),
    ]
    for call in calls:
        found = call(single)
        assert found.dtype == torch.float32 and call(single.double()).dtype == torch.float64
        torch.testing.assert_close(found.double(), call(network), rtol=1e-3, atol=1e-3)
        single.float()
