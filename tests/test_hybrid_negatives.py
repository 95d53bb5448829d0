"""Hybrid negatives: patches of two samples of the batch."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.data.image_transforms import OrientedGradients
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.hybrids import HybridNegatives, random_partners, random_patches
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.negatives import NegativeSource
from RecurrentFF.model.optimizers import Adam, RMSprop
from RecurrentFF.settings import Settings
from tests.given_negatives import PIXELS, SIZE, context, image_network, image_task, require_agreement
from tests.helpers import batch_draws, class_numbers, small_settings, video
from tests.refusals import refusal

SEEDS = st.integers(0, 2**63 - 1)
SIZES = st.integers(1, 9)


def hybrids(source: NegativeSource, inputs: Tensor, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The inputs of a batch as the network reads them, and the hybrids of a source."""
    network = image_network(input_size=inputs.shape[-1])
    network.task = image_task(*shape)
    given_ = context(network, inputs, seed=seed)
    negatives = source.sample(given_)
    assert negatives.labels is None and negatives.readout_loss is None and negatives.inputs is not None
    return given_.inputs, negatives.inputs


@settings(deadline=None)
@given(
    count=st.integers(1, 3), batch=SIZES, height=SIZES, width=SIZES, channels=st.integers(1, 3), sequence=st.booleans(),
    blur=st.integers(0, 20), mask=st.sampled_from(["image", "features"]), seed=SEEDS,
)  # fmt: skip
def test_a_hybrid_is_an_exact_mixture_of_a_sample_and_a_partner(
    count: int, batch: int, height: int, width: int, channels: int, sequence: bool, blur: int, mask: Any, seed: int
) -> None:
    """Every pixel equals that of one of the two, with the same choice in all channels and at all timesteps."""
    pixels = channels * height * width
    inputs = video(5 if sequence else 1, batch, input_size=pixels)
    inputs = inputs if sequence else inputs[0]
    source = HybridNegatives(count, blur, mask)
    x, found = hybrids(source, inputs, channels, height, width, seed=seed)
    assert found.shape == (len(x), pixels, count, batch)
    equal = (found == x).view(len(x), channels, height * width, count, batch)  # the samples themselves, by pixel
    own = equal[0] if mask == "features" else equal[:1, :1].expand_as(equal)[0]
    assert torch.equal(equal, own.unsqueeze(0).expand_as(equal))
    whole = own.reshape(1, pixels, count, batch)
    for k in range(count):
        for sample in range(batch):
            others = [other for other in range(batch) if other != sample] or [sample]
            mixed = [torch.where(whole[:, :, k, sample], x[:, :, 0, sample], x[:, :, 0, other]) for other in others]
            assert any(torch.equal(found[:, :, k, sample], each) for each in mixed)


@settings(deadline=None)
@given(count=st.integers(1, 5), batch=st.integers(1, 9), seed=SEEDS)
def test_partners_are_other_samples_and_as_many_different_ones_as_there_are(count: int, batch: int, seed: int) -> None:
    partners = random_partners(count, batch_draws(batch, seed))
    assert partners.shape == (count, batch)
    for sample, chosen in enumerate(partners.T.tolist()):
        assert batch == 1 or sample not in chosen
        assert len(set(chosen)) == max(1, min(count, batch - 1))
    assert (partners.sort(1).values == torch.arange(batch)).all()  # each sample is as often a partner as the others


def test_partners_are_uniform() -> None:
    drawn = torch.stack([random_partners(2, batch_draws(4, seed))[:, 0] for seed in range(6000)])
    counts = torch.stack([column.bincount(minlength=4) for column in drawn.T])
    assert counts[:, 0].sum() == 0 and (counts[:, 1:] - 2000).abs().max() < 200  # the standard deviation is 37


@pytest.mark.parametrize("blur", [0, 3, 10])
def test_about_half_of_a_mask_is_true_everywhere(blur: int) -> None:
    patches = random_patches(2, 9, 12, blur, batch_draws(1000)).float()
    assert patches.shape == (2, 9, 12, 1000) and 0.49 < patches.mean() < 0.51
    places = patches.mean((0, 3))  # also at the border and in the corners
    assert places.min() > 0.44 and places.max() < 0.56  # the standard deviation is 0.011
    assert abs(float((patches[0] * patches[1]).mean()) - 0.25) < 0.02  # masks of different negatives are independent


def blurred(bits: Tensor) -> Tensor:
    """A bit image that is blurred once with [1/4, 1/2, 1/4] in both directions."""
    for axis in (0, 1):
        first, last = bits.narrow(axis, 0, 1), bits.narrow(axis, -1, 1)
        longer = torch.cat([first, bits, last], axis)
        size = bits.shape[axis]
        bits = longer.narrow(axis, 0, size) / 4 + bits / 2 + longer.narrow(axis, 2, size) / 4
    return bits


@pytest.mark.parametrize("blur", [0, 1, 2, 7])
def test_a_mask_is_a_thresholded_bit_image_that_is_blurred_repeatedly(blur: int) -> None:
    found, drawn = random_patches(1, 6, 9, blur, batch_draws(20, 3))[0], batch_draws(20, 3).chosen("patches", 0.5, 6, 9)
    for mask, bits in zip(found.unbind(2), drawn.double().unbind(2), strict=True):
        for _ in range(blur):
            bits = blurred(bits)
        clear = (bits - 0.5).abs() > 1e-6  # rounding decides the others
        assert clear.float().mean() > 0.5 and torch.equal(mask[clear], (bits > 0.5)[clear])


def test_patches_grow_with_the_blur() -> None:
    """The number of borders that a line of pixels crosses falls with the root of the blur."""
    for blur in (4, 16):
        patches = random_patches(1, 40, 40, blur, batch_draws(300))[0]
        crossings = (patches[:, 1:] != patches[:, :-1]).float().mean()
        assert crossings == pytest.approx(1 / (torch.pi * blur**0.5), rel=0.15)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, count=st.integers(1, 3))
def test_hybrids_are_a_pure_function_of_the_seed_and_do_not_depend_on_labels(seed: int, count: int) -> None:
    network, inputs, found = image_network(), video(1, 8, input_size=PIXELS)[0], []
    for shift in (0, 0, 3):
        labels = class_numbers(8).roll(shift)
        sampled = HybridNegatives(count).for_network(network).sample(context(network, inputs, labels, seed)).inputs
        assert sampled is not None
        found.append(sampled)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("path", ["fused", "plain"])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"negatives": {"name": "readout", "count": 2, "optimizer": "adam"}, "objective": "pairwise", "dropout": 0.2},
        {"input_dropout": 0.3, "activity_dropout": 0.2, "peer_normalization": 0.5, "residual_connections": [[4, 1]]},
    ],
    ids=str,
)
def test_training_with_hybrids_agrees_with_autograd(options: dict[str, Any], static: bool, path: str) -> None:
    """The readout is trained as with the negatives that it draws."""
    network = image_network(fused=path == "fused", **({"negatives": "readout"} | options))
    count, optimizer = network.settings.negatives.count, Adam() if "negatives" in options else RMSprop(1e-3)
    require_agreement(network, HybridNegatives(count, blur=2, optimizer=optimizer), static=static)


def test_hybrids_do_not_train_the_readout_if_they_are_told_so() -> None:
    network = image_network(negatives="uniform")
    source = HybridNegatives(trains_readout=False)
    assert not source.reads_activity and source.state_dict() == {} and source.for_network(network) is source
    require_agreement(network, source)
    assert not network.readout.weight.any()


def test_readout_and_hybrid_negatives_train_the_readout_alike() -> None:
    losses = []
    for negatives in ("readout", "hybrid"):
        network = image_network(negatives=negatives)
        learner = Learner(network)
        metrics = learner.train_batch(video(1, input_size=PIXELS)[0], class_numbers(6))
        losses.append([metrics.readout_loss, *network.readout.parameters()])
        assert learner.state_dict()["negatives"]["state"][0]["step"] == 1
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True)) and losses[0][0] > 0


def test_hybrids_of_what_is_no_image_are_refused() -> None:
    message = refusal(lambda: Learner(rff.build(small_settings(negatives="hybrid"))), SettingsError)
    assert "the network has no task, which would name their shape" in message and 'negatives.mask = "features"' in message
    network = rff.build(small_settings(negatives="hybrid"))
    network.task = image_task(*SIZE, 1, 1)
    assert "those of drawings are none" in refusal(lambda: Learner(network), SettingsError)
    message = refusal(lambda: Settings.from_arguments(negatives="hybrid", transform=OrientedGradients()), SettingsError)
    assert "negatives: these need pixels, but the transform gives features that are no image" in message
    features = {"name": "hybrid", "mask": "features"}
    Settings.from_arguments(negatives=features, transform=OrientedGradients())
    Learner(rff.build(small_settings(negatives=features))).train_batch(torch.rand(6, 7), class_numbers(6))


def test_what_hybrids_need_is_checked() -> None:
    message = refusal(lambda: small_settings(negatives="hybrid", prelabel_timesteps=0), SettingsError)
    assert "network.prelabel_timesteps = 0: these negatives need at least 1" in message
    small_settings(negatives={"name": "hybrid", "trains_readout": False}, prelabel_timesteps=0)
    assert "HybridNegatives.blur = -1" in refusal(lambda: HybridNegatives(blur=-1), SettingsError)
