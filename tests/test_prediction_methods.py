"""Prediction by badness, by the readout, and by both: against the float64 reference, and what is refused."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.errors import DivergenceError, InputError, SettingsError
from RecurrentFF.model import prediction
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Pairwise, Sum, Threshold
from RecurrentFF.model.processes import Processes
from RecurrentFF.model.state import State
from RecurrentFF.settings.network import METHODS
from tests.helpers import CLASSES, clusters, float64_network, generator, small_settings, video
from tests.oracle import Oracle
from tests.test_oracle import CASES, ends

CONVOLUTIONAL: dict[str, Any] = {
    "input_size": 36,
    "hidden_sizes": [32, 6],
    "connections": [{"name": "convolution", "layers": [1], "channels": 2, "kernel_size": 3}],
}
"""A network whose first layer is convolutional, which only the plain path computes."""


def predicting_network(**arguments: Any) -> Network:
    """A float64 network whose readout has weights, as if it were trained."""
    network = float64_network(**{"negatives": "readout", **arguments})
    network.readout.weight.normal_(std=0.5, generator=generator(4))
    network.readout.bias.normal_(std=0.1, generator=generator(5))
    return network


# ---------------------------------------------------------------- against the reference


@pytest.mark.parametrize("path", ["fused", "plain"])
@pytest.mark.parametrize("kind", ["video", "static", "masked"])
@pytest.mark.parametrize("proposals", [2, 3])
@pytest.mark.parametrize(
    "case", ["three_layers", "one_layer", "two_prediction_layers", "residual_apart", "pairwise_gelu", "dropout", "lateral_field"]
)
def test_all_methods_agree_with_the_reference(case: str, proposals: int, kind: str, path: str) -> None:
    arguments = {"proposals": proposals, "prediction_batch_size": 4, "prediction_window": [0, 1], **CASES[case]}
    network = predicting_network(fused=path == "fused", **arguments)
    oracle, masked = Oracle(network), kind == "masked"
    inputs = passed = video(network.settings.timesteps, batch=10, input_size=network.input_size)
    if kind == "static":
        passed, inputs = inputs[0], inputs[:1].repeat(len(inputs), 1, 1)
    mask = ends(*inputs.shape[:2]) if masked else torch.ones(inputs.shape[:2], dtype=torch.bool)
    given_mask = mask if masked else None
    badness = oracle.average_badness(inputs, mask)
    verified = badness + oracle.untried(inputs)
    scores = prediction.scores_of(network, *network.prepare(passed, given_mask), method="propose_and_verify")
    assert scores.badness is not None and (scores.badness.isfinite().sum(1) == proposals).all()
    torch.testing.assert_close(scores.badness, verified, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(network.logits(passed, given_mask), oracle.logits(inputs), rtol=1e-10, atol=1e-10)
    expected = {
        "badness": badness.argmin(1),
        "propose_and_verify": verified.argmin(1),
        "readout": oracle.logits(inputs).argmax(1),
    }
    for method in METHODS:
        assert network.predict(passed, given_mask, method=method).tolist() == expected[method].tolist()
        if not masked:
            assert oracle.predict(inputs, method).tolist() == expected[method].tolist()
    assert len({tuple(numbers.tolist()) for numbers in expected.values()}) > 1


def test_the_settings_name_the_method() -> None:
    inputs = video(5, batch=60)
    for method in METHODS:
        network = predicting_network(prediction=method)
        expected = network.predict(inputs, method=method).tolist()
        for found in (network.predict(inputs), network(inputs), network.predict_inputs(inputs)):
            assert found.tolist() == expected
    assert len({tuple(predicting_network(prediction=method).predict(inputs).tolist()) for method in METHODS}) == 3


def test_a_convolutional_network_predicts_by_all_methods() -> None:
    network = predicting_network(**CONVOLUTIONAL, proposals=3)
    x, _ = network.prepare(video(5, batch=9, input_size=36))
    full, scores = network.badness_of(x), prediction.scores_of(network, x, method="propose_and_verify")
    assert scores.badness is not None and scores.logits is not None
    tried = scores.badness.isfinite()
    assert (tried.sum(1) == 3).all()
    torch.testing.assert_close(scores.badness[tried], full[tried], rtol=1e-12, atol=1e-12)
    assert torch.equal(scores.logits, network.logits(video(5, batch=9, input_size=36)))


# ---------------------------------------------------------------- properties


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    classes=st.integers(2, 6),
    timesteps=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    fused=st.booleans(),
    static=st.booleans(),
    batch=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_with_all_classes_as_proposals_it_is_badness(
    sizes: list[int], classes: int, timesteps: tuple[int, int], fused: bool, static: bool, batch: int, seed: int
) -> None:
    prelabel, labeled = timesteps
    network = predicting_network(hidden_sizes=sizes, num_classes=classes, prelabel_timesteps=prelabel, label_timesteps=labeled,
                                 proposals=classes + seed % 3, fused=fused, prediction_batch_size=4, seed=seed)  # fmt: skip
    inputs = video(prelabel + labeled, batch, seed=seed)
    inputs = inputs[0] if static else inputs
    x, _ = network.prepare(inputs)
    scores = prediction.scores_of(network, x, method="propose_and_verify")
    assert scores.badness is not None and torch.equal(scores.badness, network.badness_of(x))
    assert torch.equal(network.predict(inputs, method="propose_and_verify"), network.predict(inputs, method="badness"))


@given(proposals=st.integers(2, CLASSES), fused=st.booleans(), seed=st.integers(0, 99), masked=st.booleans())
def test_the_proposals_have_the_badness_of_the_full_prediction(proposals: int, fused: bool, seed: int, masked: bool) -> None:
    network = predicting_network(proposals=proposals, fused=fused, prediction_layers=[1, 3], prediction_window=[1, 2])
    inputs = video(5, batch=7, seed=seed)
    x, mask = network.prepare(inputs, ends(5, 7) if masked else None)
    full, scores = network.badness_of(x, mask), prediction.scores_of(network, x, mask, "propose_and_verify")
    assert scores.badness is not None and scores.logits is not None
    tried = torch.zeros(7, CLASSES, dtype=torch.bool).scatter(1, scores.logits.topk(proposals, 1).indices, True)
    torch.testing.assert_close(scores.badness[tried], full[tried], rtol=1e-12, atol=1e-12)
    assert (scores.badness[~tried] == torch.inf).all()
    assert torch.equal(scores.numbers, full.masked_fill(~tried, torch.inf).argmin(1))


@pytest.mark.parametrize("fused", [True, False])
def test_the_label_free_activity_is_computed_once(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = predicting_network(fused=fused, prediction_batch_size=4)
    settle, settled = network.settle, []

    def counting(state: State, x: Tensor) -> None:
        settled.append(x.shape[3])
        settle(state, x)

    monkeypatch.setattr(network, "settle", counting)
    for method in METHODS:
        network.predict(video(5, batch=10), method=method)
        assert settled == [4, 4, 2]
        settled.clear()


def test_only_what_is_tried_needs_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = predicting_network(prediction_batch_size=100, proposals=2), video(5, batch=30)
    whole = {method: network.predict(inputs, method=method) for method in METHODS}
    new_state, sizes = network.path.new_state, []

    def recorded(candidates: int, batch: int, processes: Processes) -> State:
        sizes.append((candidates, batch))
        return new_state(candidates, batch, processes)

    monkeypatch.setattr(network.path, "new_state", recorded)
    of_a_candidate = (9 + 5 + 8 + CLASSES) * 4 * 8
    monkeypatch.setattr(prediction, "PREDICTION_MEMORY", 10 * of_a_candidate)
    for method, expected in zip(METHODS, [(CLASSES, 2), (2, 5), (1, 10)], strict=True):
        assert torch.equal(network.predict(inputs, method=method), whole[method])
        assert set(sizes) == {expected}
        sizes.clear()


@pytest.mark.parametrize("compute_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_low_precision_predicts_by_all_methods(compute_dtype: torch.dtype) -> None:
    network = Network(small_settings(negatives="readout", hidden_sizes=[40, 30]), compute_dtype=compute_dtype)
    network.readout.weight.normal_(generator=generator(3))
    inputs, exact = clusters(50)[0], float64_network(negatives="readout", hidden_sizes=[40, 30])
    exact.load_state_dict(network.state_dict())
    for method in METHODS:
        found = network.predict(inputs, method=method)
        assert (found == exact.predict(inputs.double(), method=method)).float().mean() > (0.8 if method == "badness" else 0.9)


# ---------------------------------------------------------------- probabilities


def test_the_probabilities_are_those_of_the_method() -> None:
    network, inputs = predicting_network(proposals=3, objective={"name": "pairwise", "alpha": 3.0}), video(5, batch=20)
    badness, logits = network.badness(inputs), network.logits(inputs)
    found = {method: network.predict_proba(inputs, method=method) for method in METHODS}
    for method, probabilities in found.items():
        torch.testing.assert_close(probabilities.sum(1), torch.ones(20).double())
        assert torch.equal(probabilities.argmax(1), network.predict(inputs, method=method))
    torch.testing.assert_close(found["badness"], torch.softmax(-3.0 * badness, 1))
    torch.testing.assert_close(found["readout"], torch.softmax(logits, 1))
    torch.testing.assert_close(network.predict_proba(inputs, method="badness", scale=0.5), torch.softmax(-0.5 * badness, 1))
    for sample in range(20):
        tried = logits[sample].topk(3).indices
        others = [label for label in range(CLASSES) if label not in tried.tolist()]
        by_readout, mixed = found["readout"][sample], found["propose_and_verify"][sample]
        torch.testing.assert_close(mixed[others], by_readout[others])
        torch.testing.assert_close(mixed[tried], by_readout[tried].sum() * torch.softmax(-3.0 * badness[sample][tried], 0))


def test_the_scale_is_that_of_the_objective() -> None:
    assert Threshold().probability_scale == 1 and Threshold(beta=3.0).probability_scale == 3
    assert Pairwise(alpha=5.0).probability_scale == 5
    assert Sum((Threshold(), Pairwise(alpha=0.5))).probability_scale == 1


# ---------------------------------------------------------------- what is refused


def test_settings_whose_readout_can_not_predict_are_refused() -> None:
    with pytest.raises(SettingsError, match=r'network\.prediction = "readout": these negatives do not train the readout; use'):
        small_settings(prediction="readout", negatives="uniform")
    for method in ("readout", "propose_and_verify"):
        with pytest.raises(SettingsError, match=r"network\.prelabel_timesteps = 0"):
            small_settings(prediction=method, negatives="readout", prelabel_timesteps=0)
        assert small_settings(prediction=method, negatives="readout").network.prediction == method


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"proposals": 1}, "network.proposals"),
        ({"prediction": "goodness"}, "network.prediction"),
    ],
)
def test_other_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        small_settings(negatives="readout", **arguments)


def test_a_network_whose_readout_can_not_predict_says_why() -> None:
    inputs = torch.zeros(3, 7)
    for network, reason in (
        (Network(small_settings(negatives="readout")), "its readout was never trained; use 'badness'"),
        (Network(small_settings()), r'its readout was never trained, as negatives such as \{name = "readout"\} do; use'),
        (Network(small_settings(prelabel_timesteps=0)), "its readout needs at least one timestep before the label"),
    ):
        for call in (network.predict, network.predict_proba):
            with pytest.raises(InputError, match=rf"^the network can't predict by 'readout': {reason}"):
                call(inputs, method="readout")
        with pytest.raises(InputError, match="can't predict by 'readout'"):
            network.logits(inputs)
        assert network.predict(inputs).shape == (3,)
    for method in METHODS:
        assert Network(small_settings(negatives="readout", prediction=method)).predict_inputs(inputs).shape == (3,)


@pytest.mark.parametrize("method", ["logits", 1, ["readout"], "Readout"])
def test_an_unknown_method_is_refused(method: Any) -> None:
    network = Network(small_settings())
    for call in (network.predict, network.predict_proba, network.predict_inputs):
        with pytest.raises(InputError, match=r"method = .*: expected one of 'badness', 'propose_and_verify', 'readout', or None"):
            call(torch.zeros(3, 7), method=method)


@pytest.mark.parametrize("method", ["badness", "propose_and_verify"])
def test_a_network_trained_without_labels_predicts_by_its_readout_alone(method: Any) -> None:
    settings = small_settings(
        negatives={"name": "hybrid", "mask": "features", "trains_readout": True}, label_free=True, prediction="readout"
    )
    network = Network(settings)
    network.readout.weight.normal_()
    assert network.predict(torch.ones(3, 7)).shape == (3,) and prediction.usable_methods(network) == ["readout"]
    with pytest.raises(InputError, match=rf"^the network can't predict by '{method}': it was trained without labels"):
        network.predict(torch.ones(3, 7), method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_errors(method: Any, bad: float) -> None:
    network, inputs = predicting_network(), video(5, batch=4)
    parameter = network.readout.bias if method == "readout" else rff.Network.hidden_layers(network)[0].bias
    assert isinstance(parameter, Tensor)
    parameter.data[0] = bad
    with pytest.raises(DivergenceError, match=r"of sample 0 is not finite: the weights .* are not finite"):
        network.predict(inputs, method=method)
    assert network.predict_inputs(inputs, method=method).shape == (4,)


@pytest.mark.parametrize("method", METHODS)
def test_inputs_that_are_too_large_are_errors(method: Any) -> None:
    network = Network(small_settings(negatives="readout"))
    network.readout.weight.normal_(generator=generator())
    inputs = torch.ones(4, 7)
    inputs[2] = 1e30
    for call in (network.predict, network.predict_inputs):
        with pytest.raises(InputError, match=r"of sample 2 is not finite: it has an input of 1e\+30"):
            call(inputs, method=method)
