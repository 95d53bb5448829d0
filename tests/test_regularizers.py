"""Noise along the gradient of the input."""

from typing import Any

import pytest
import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model import functional
from RecurrentFF.model.learner import Learner
from tests.helpers import batch_draws, class_numbers, float64_network, generator, video


def test_input_noise_has_the_configured_size_and_both_signs_for_any_size_of_the_gradient() -> None:
    gradient = torch.randn(400, 30, generator=generator()) * torch.logspace(-40, 3, 400).unsqueeze(1)
    gradient[0] = 0
    signs = batch_draws(400).chosen("signs", 0.5, 1)
    noise = functional.signed_gradient_noise(gradient.T.unsqueeze(1), 0.7, signs)[:, 0].T
    assert noise[0].eq(0).all()
    torch.testing.assert_close(noise[1:].square().mean(1).sqrt(), torch.full((399,), 0.7))
    cosine = torch.nn.functional.cosine_similarity(noise.double(), gradient.double(), eps=1e-60)[1:]
    torch.testing.assert_close(cosine.abs(), torch.ones_like(cosine), rtol=0, atol=1e-4)
    assert 160 < (cosine > 0).sum() < 240 and torch.equal(cosine > 0, signs[0, 1:])


@pytest.mark.parametrize(
    ("iterations", "options"),
    [
        (4, {"objective": "pairwise"}),
        (2, {"objective": "pairwise", "residual_connections": [[4, 1]]}),
        (2, {"objective": "pairwise", "residual_connections": [[0, 3]]}),
        (3, {"objective": "pairwise", "residual_connections": [[3, 1]]}),
        (2, {"objective": "pairwise", "peer_normalization": 0.1}),
        (2, {"objective": "threshold"}),
    ],
)
def test_the_smallest_allowed_number_of_timesteps_perturbs_an_input_once(
    iterations: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    perturbed: list[torch.Tensor] = []

    def noise(gradient: torch.Tensor, size: float, signs: torch.Tensor) -> torch.Tensor:
        perturbed.append(gradient)
        return 0 * gradient

    monkeypatch.setattr("RecurrentFF.model.functional.signed_gradient_noise", noise)
    shape = {"hidden_sizes": [4, 4, 4], "adversarial_noise": 0.1, **options}
    network = float64_network(label_timesteps=iterations, **shape)
    Learner(network).train_batch(video(1)[0], class_numbers(6))
    assert len(perturbed) == 1
    with pytest.raises(SettingsError, match="adversarial_noise perturbs inputs only after"):
        float64_network(label_timesteps=iterations - 1, **shape)
