"""What a review of the prediction methods, the negatives and the generative circuit found."""

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import RecurrentFF as rff
from RecurrentFF import streams
from RecurrentFF.data.dataset import TensorDataset
from RecurrentFF.errors import CheckpointError, InputError, SettingsError
from RecurrentFF.model import prediction
from RecurrentFF.model.hybrids import HybridNegatives
from RecurrentFF.model.negatives import UniformNegatives
from RecurrentFF.settings import Settings
from RecurrentFF.settings.network import METHODS
from RecurrentFF.training import memory
from RecurrentFF.training.callbacks import EarlyStopping
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.methods import compare_methods, reported_accuracy
from RecurrentFF.training.progress import Progress
from RecurrentFF.training.run import finish_run
from tests.helpers import CLASSES, clusters, small_settings
from tests.test_prediction_in_training import make_trainer
from tests.test_prediction_methods import predicting_network
from tools.fuzz import checkpoints

PROPOSES: dict[str, Any] = {"prediction": "propose_and_verify", "proposals": 3}


@pytest.fixture(autouse=True)
def _nothing_was_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_noted", set[str]())


# ---------------------------------------------------------------- proposals without a readout


@pytest.mark.parametrize(
    "assignment", ["model.should_replace_neg_data=false", "negatives=uniform", "negatives=badness", "network.num_classes=2"]
)
def test_the_fast_recipe_takes_other_negatives_and_fewer_classes(assignment: str) -> None:
    settings = Settings.from_file("mnist_fast").override([assignment])
    assert settings.network.prediction == "propose_and_verify" and settings.network.proposals == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"negatives": "readout"}, "its readout was never trained"),
        ({"negatives": "uniform"}, "these negatives do not train the readout"),
        ({"negatives": "uniform", "prelabel_timesteps": 0}, "these negatives do not train the readout"),
    ],
)
def test_without_a_trained_readout_the_proposals_are_all_labels(
    arguments: dict[str, Any], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network, (inputs, labels) = rff.build(small_settings(**PROPOSES | arguments)), clusters(20)
    expected, probabilities = network.predict(inputs, method="badness"), network.predict_proba(inputs, method="badness")
    assert capsys.readouterr().err == ""
    methods: tuple[Any, ...] = (None, "propose_and_verify")
    for method in methods:
        assert torch.equal(network.predict(inputs, method=method), expected)
        assert torch.equal(network.predict_proba(inputs, method=method), probabilities)
        assert rff.evaluate(network, (inputs, labels), method=method).method == "badness"
    assert torch.equal(network.predict_inputs(inputs), expected) and prediction.usable_methods(network) == ["badness"]
    notes = capsys.readouterr().err.splitlines()
    assert f'note: the prediction is by "badness" in place of "propose_and_verify": {reason}' in notes[0] and len(notes) <= 2


def test_a_readout_that_the_negatives_leave_behind_does_not_propose() -> None:
    network, inputs = predicting_network(**PROPOSES), clusters(30)[0]
    assert prediction.default_method(network) == "propose_and_verify"
    network.settings = network.settings.with_arguments(negatives="badness")
    assert prediction.default_method(network) == "badness"
    assert torch.equal(network.predict(inputs), network.predict(inputs, method="badness"))
    assert torch.equal(network.predict_inputs(inputs), network.predict(inputs, method="badness"))


@pytest.mark.parametrize("negatives", ["badness", "uniform"])
def test_a_training_says_what_predicted(negatives: str, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", negatives=negatives, **PROPOSES)
    assert trainer.fit()
    summary = finish_run(trainer, RunFolder(tmp_path / "run"))
    assert summary.prediction == "badness" and list(summary.predictions) == ["badness"]
    assert summary.test_accuracy == summary.predictions["badness"].test_accuracy


def test_a_network_can_be_trained_on_with_other_negatives() -> None:
    network = rff.build(small_settings(negatives="readout", hidden_sizes=[9], **PROPOSES))
    data = clusters(60)
    rff.fit(network, data, epochs=1, quiet=True)
    assert prediction.default_method(network) == "propose_and_verify"
    for source in ("badness", "uniform", UniformNegatives(2)):
        rff.fit(network, data, negatives=source, epochs=1, quiet=True)
        assert prediction.default_method(network) == "badness"
        assert reported_accuracy(network, TensorDataset(*data)) >= 0
        assert next(iter(compare_methods(network, make_splits(data), None))) == "badness"


def make_splits(data: Any) -> Any:
    return SimpleNamespace(validation=TensorDataset(*data), test=None)


@pytest.mark.parametrize("proposals", [CLASSES, CLASSES + 1, 2**40])
@pytest.mark.parametrize("fused", [True, False])
def test_more_proposals_than_classes_are_all_classes(proposals: int, fused: bool) -> None:
    network, inputs = predicting_network(proposals=proposals, fused=fused), clusters(12)[0].double()
    x, _ = network.prepare(inputs)
    scores = prediction.checked_scores(network, x, None, "propose_and_verify")
    assert scores.badness is not None and torch.equal(scores.badness, network.badness(inputs))
    assert torch.equal(network.predict(inputs, method="propose_and_verify"), network.predict(inputs, method="badness"))


# ---------------------------------------------------------------- arguments of predictions


@pytest.mark.parametrize("scale", [0, -1, -0.0, torch.nan, torch.inf, "a", True, [1.0], np.ones(2), 10**400])
def test_a_scale_that_is_no_positive_number_is_refused(scale: Any) -> None:
    with pytest.raises(InputError, match=r"^scale = .*: expected a finite number above 0, or None for that of the objective$"):
        predicting_network().predict_proba(clusters(3)[0], scale=scale)


@pytest.mark.parametrize("scale", [2, np.float32(2), np.int8(2), torch.tensor(2.0), np.array(2)])
def test_a_scale_is_a_number_of_any_library(scale: Any) -> None:
    network, inputs = predicting_network(), clusters(9)[0].double()
    for method in METHODS:
        expected = network.predict_proba(inputs, method=method, scale=2.0)
        assert torch.equal(network.predict_proba(inputs, method=method, scale=scale), expected)


@pytest.mark.parametrize("scale", [1e-300, 1e38, 1e300])
def test_an_extreme_scale_gives_probabilities_of_the_prediction(scale: float) -> None:
    network = rff.build(small_settings(negatives="readout", proposals=3))
    network.readout.weight.normal_(generator=torch.Generator().manual_seed(1))
    inputs = 1e3 * clusters(30)[0]
    for method in METHODS:
        found = network.predict_proba(inputs, method=method, scale=scale)
        torch.testing.assert_close(found.sum(1), torch.ones(30))
        if scale > 1:
            assert torch.equal(found.argmax(1), network.predict(inputs, method=method))


# ---------------------------------------------------------------- the end of a training


@pytest.mark.parametrize(
    ("readout_epochs", "patience", "best", "expected"), [(0, 2, 3, 5), (4, 2, 3, 8), (4, 2, 7, 9), (4, 1, 10, 0), (1, 2, 1, 0)]
)
def test_early_stopping_leaves_the_readout_its_epochs(readout_epochs: int, patience: int, best: int, expected: int) -> None:
    """The training has 10 epochs. It is stopped after the expected one, and not at all for 0."""
    schedule = {"name": "cosine", "readout_epochs": readout_epochs}
    settings = small_settings(negatives="readout", schedule=schedule, epochs=10)
    stopped: list[int] = []
    metrics: Any = None
    for epoch in range(1, 11):
        progress = Progress(epoch=epoch, best_epoch=min(epoch, best))
        trainer: Any = SimpleNamespace(progress=progress, settings=settings, stop=lambda _, epoch=epoch: stopped.append(epoch))
        EarlyStopping(patience).on_epoch_end(trainer, metrics)
    assert min(stopped, default=0) == expected


# ---------------------------------------------------------------- settings of the circuit


def test_the_memory_of_a_circuit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = {"name": "reconstruction", "latent_size": 10}
    without, required = (memory.required_memory(small_settings(**given)) for given in ({}, {"generative": circuit}))
    added = {name: size for name, size in required.items() if name not in without}
    assert list(added.values()) == [12 * (7 * 9 + 9 * 5 + 5 * 8), 12 * 8 * 10 + 4 * CLASSES * 10**2]
    assert {name: size for name, size in required.items() if name in without} == without
    monkeypatch.setattr(memory, "device_memory", lambda device: 16 * 2**30)
    with pytest.raises(SettingsError, match=r"^training needs at least 37 GiB, .*it is for generative\.latent_size, make"):
        rff.build(small_settings(num_classes=100, generative=circuit | {"latent_size": 10_000}))


@pytest.mark.parametrize("count", [CLASSES, CLASSES + 3])
def test_more_generated_negatives_than_wrong_classes_are_refused(count: int) -> None:
    generated = {"name": "generated", "count": count}
    for negatives in (generated, {"name": "mixture", "sources": [generated]}):
        with pytest.raises(SettingsError, match=f"negatives.count = {count}: an input of 5 classes has only 4 wrong classes"):
            small_settings(generative="reconstruction", negatives=negatives)
    small_settings(generative="reconstruction", negatives=generated | {"count": CLASSES - 1})


def test_the_circuit_of_a_recipe_can_be_switched_off() -> None:
    recipe = Settings.from_file("mnist_generative")
    assert recipe.generative is not None
    for settings in (
        recipe.override(["generative=none"]),
        recipe.override(['generative="none"']),
        recipe.override(["generative.name=none"]),
        recipe.with_arguments(generative="none"),
        recipe.with_arguments(generative=None),
        Settings(generative="none"),
        Settings(generative=None),
        Settings.from_toml('generative = "none"'),
        Settings.from_toml('[generative]\nname = "none"'),
    ):
        assert settings.generative is None and "generative" not in settings.to_tree()
        assert Settings.from_toml(settings.to_toml()) == settings
    assert recipe.override(["generative=none", "generative=reconstruction"]).generative is not None


@pytest.mark.parametrize("given", ["None", "NONE", "", {"name": "none", "latent_size": 3}, np.array([1, 2]), ["none"], 0])
def test_other_words_for_no_circuit_are_refused(given: Any) -> None:
    with pytest.raises(SettingsError, match="generative"):
        Settings(generative=given)


def test_the_options_of_a_readout_are_those_of_all_sources_of_inputs() -> None:
    source = HybridNegatives(2, 3, "features", trains_readout=False)
    assert (source.count, source.blur, source.mask, source.reads_activity) == (2, 3, "features", False)
    assert HybridNegatives().reads_activity and HybridNegatives().gives_inputs


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("place", ["totals.sums", "totals.weights_before", "history", "history.1.layer_loss"])
def test_a_tensor_in_place_of_a_list_is_refused(place: str) -> None:
    training = copy.deepcopy(checkpoints.contents()[3]["training"])
    *branches, key = [int(step) if step.isdecimal() else step for step in place.split(".")]
    branch = training
    for step in branches:
        branch = branch[step]
    branch[key] = torch.zeros(9)
    file = checkpoints.write(checkpoints.packed(checkpoints.contents()[3] | {"training": training}))
    with pytest.raises(CheckpointError, match=rf"training\.{re.escape(place)}: .*expected a list, not a Tensor"):
        rff.load(file, "cpu")
