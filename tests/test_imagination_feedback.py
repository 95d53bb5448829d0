"""The feedback of the circuit into predictions, against the float64 reference."""

from typing import Any

import pytest
import torch
from torch import Tensor

from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.data.task import Task
from RecurrentFF.model.network import Network
from tests.circuit_oracle import ImaginationOracle
from tests.helpers import CLASSES, float64_network, generator, small_settings, video
from tests.test_circuit_beside import require_same, train
from tests.test_circuit_options import FirstLayer
from tests.test_imagination import imaginative, static
from tests.test_oracle import PATHS, ends

SMALL: dict[str, Any] = {"name": "reconstruction", "latent_size": 3}


def with_feedback(feedback: float = 0.7, **arguments: Any) -> Network:
    options: dict[str, Any] = {"generative": SMALL | {"feedback": feedback}, "label_timesteps": 4}
    return imaginative(**(options | arguments))


class FeedbackOracle(ImaginationOracle):
    """The reference with the feedback, from a level of the circuit."""

    limits: tuple[float, float] = (-float("inf"), float("inf"))
    level: str = "latent"

    @torch.no_grad()
    def badness_over_time(self, inputs: Tensor) -> Tensor:
        """The badness with every label, (label timesteps, batch, classes)."""
        reference, network, by_label = self.reference, self.settings.network, []
        for label in range(reference.sizes["y"]):
            (h,) = reference.settle([inputs])
            by_timestep, y = [], reference.one_hot(torch.full(inputs.shape[1:2], label), torch.float64)
            for x in inputs[network.prelabel_timesteps :]:
                patterns = {name: reference.pattern(name, activity) for name, activity in h.items()}
                pattern = self.code(self.names[0], patterns, None) if self.level == "latent" else patterns[self.level]
                assert pattern is not None
                error = x - self.project(pattern, self.level).clamp(*self.limits)
                h = reference.timestep(x + self.options.feedback * error, y, h, network.damping_factor)  # type: ignore[union-attr]
                by_timestep.append(torch.stack([reference.badness(h[name], y) for name in reference.predicting]).mean(0))
            by_label.append(torch.stack(by_timestep))
        return torch.stack(by_label, 2)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["video", "static"])
@pytest.mark.parametrize("options", [{}, {"prediction_window": [1, 2], "activation": "tanh"}, {"hidden_sizes": [6]}], ids=str)
def test_a_prediction_with_feedback_agrees_with_the_reference(options: dict[str, Any], kind: str, path: str) -> None:
    network = with_feedback(fused=path == "fused", **options)
    frames = video(network.settings.timesteps, 5)
    frames = static(frames[0], network) if kind == "static" else frames
    given = frames[0] if kind == "static" else frames
    expected = FeedbackOracle(network).badness_over_time(frames)
    torch.testing.assert_close(network.badness_over_time(given).mean(1), expected, rtol=1e-10, atol=1e-10)
    first, last = network.settings.prediction_window
    averaged = expected[first : last + 1].mean(0)
    torch.testing.assert_close(network.badness(given), averaged, rtol=1e-10, atol=1e-10)
    assert torch.equal(network.predict(given), averaged.argmin(1))
    without = imaginative(**({"label_timesteps": 4} | options))
    assert not torch.allclose(without.badness(given), averaged, rtol=1e-3)


def test_the_prediction_is_cut_to_the_range_of_the_task() -> None:
    network = with_feedback(input_size=12)
    network.task = Task("images", (4, 3), tuple(range(CLASSES)), Pixels(mean=0.4, std=0.3))
    images = torch.rand(5, 4, 3, generator=generator())
    oracle = FeedbackOracle(network)
    oracle.limits = (-0.4 / 0.3, 0.6 / 0.3)
    inputs = network.task.inputs(images).double()
    expected = oracle.badness_over_time(static(inputs, network))
    torch.testing.assert_close(network.badness_over_time(images).mean(1), expected, rtol=1e-9, atol=1e-9)


def test_masked_timesteps_do_not_matter_with_feedback() -> None:
    network = with_feedback()
    frames = video(network.settings.timesteps, 6)
    mask = ends(*frames.shape[:2])
    other = torch.where(mask.unsqueeze(2), frames, 3 * frames + 1)
    start = network.settings.network.prelabel_timesteps + network.settings.prediction_window[0]
    chosen = mask[start]  # the samples of which a timestep of the window is valid
    assert 0 < chosen.sum() < 6
    assert torch.equal(network.badness(frames, mask)[chosen], network.badness(other, mask)[chosen])


def test_all_methods_that_try_labels_use_the_feedback() -> None:
    network = with_feedback(negatives="readout", proposals=CLASSES)
    images = video(1, 6)[0]
    network.readout.weight.normal_(generator=generator())
    expected = network.badness(images)
    assert torch.equal(network.predict(images, method="propose_and_verify"), expected.argmin(1))
    assert torch.equal(network.predict(images, method="badness"), expected.argmin(1))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("negatives", ["uniform", "readout"])
def test_training_does_not_use_the_feedback(negatives: str, path: str) -> None:
    networks = [
        Network(small_settings(negatives=negatives, generative=SMALL | {"feedback": feedback}), fused=path == "fused")
        for feedback in (0.0, 2.0)
    ]
    for network in networks:
        train(network)
    require_same(networks[0].state_dict(), networks[1].state_dict())
    images = video(1, 6)[0].float()
    assert not torch.equal(networks[0].badness(images), networks[1].badness(images))


def test_no_feedback_is_exactly_no_circuit() -> None:
    network, without = imaginative(generative=SMALL | {"feedback": 0.0}), float64_network()
    images = video(1, 6)[0]
    assert torch.equal(network.badness(images), without.badness(images))


def test_a_circuit_without_a_code_gives_the_feedback_of_its_highest_level() -> None:
    class Strong(FirstLayer):
        """The circuit of the first layer, with feedback."""

        feedback = 0.5

    network = float64_network(generative=Strong())
    oracle, frames = FeedbackOracle.__new__(FeedbackOracle), static(video(1, 5)[0], network)
    network.layers["predict_x"].state_dict()["weight"].normal_(generator=generator())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FirstLayer, "optimizer", network.settings.optimizer, raising=False)
        FeedbackOracle.__init__(oracle, network)
    oracle.names, oracle.level = ["none", "predict_x"], "h1"
    expected = oracle.badness_over_time(frames)
    torch.testing.assert_close(network.badness_over_time(frames[0]).mean(1), expected, rtol=1e-10, atol=1e-10)


def test_feedback_of_layers_that_have_no_circuit_is_none() -> None:
    configured = small_settings(generative=SMALL | {"feedback": 0.5})
    plain = Network(small_settings())
    network = Network(configured, modules=Network(small_settings()).hidden_layers())
    images = video(1, 6)[0].float()
    assert torch.equal(network.badness(images), plain.badness(images))
