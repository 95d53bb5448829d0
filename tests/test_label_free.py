"""Label-free training: the layers never see a label, and the readout predicts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import RecurrentFF as rff
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.errors import InputError, SettingsError
from RecurrentFF.model.hybrids import HybridNegatives
from RecurrentFF.model.learner import Learner, Observer
from RecurrentFF.model.mixtures import MixtureNegatives
from RecurrentFF.model.negatives import NegativeSource, UniformNegatives
from RecurrentFF.model.network import Network
from RecurrentFF.model.objectives import Objective, Pairwise, Sum, Threshold
from RecurrentFF.model.optimizers import Adam
from RecurrentFF.model.reversed_objective import Reversed
from RecurrentFF.model.state import State
from RecurrentFF.settings import Settings
from RecurrentFF.training.callbacks import default_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.files import RunFolder
from RecurrentFF.training.run import run_training
from RecurrentFF.training.trainer import Trainer
from tests.given_negatives import image_network, require_agreement
from tests.helpers import CLASSES, class_numbers, clusters, dense, generator, hidden_layers, small_settings, video
from tests.refusals import refusal

FEATURES: dict[str, Any] = {"name": "hybrid", "mask": "features"}
LABEL_FREE: dict[str, Any] = {"label_free": True, "prediction": "readout"}


def label_free_settings(**arguments: Any) -> Settings:
    return small_settings(**(LABEL_FREE | {"negatives": FEATURES} | arguments))


class Clamped(Observer):
    """Notes the label that the layers see at each timestep."""

    def __init__(self) -> None:
        self.labels: list[torch.Tensor] = []

    def on_label_free_timestep(self, state: State) -> None:
        self.labels.append(state.patterns["y"].clone())

    def on_timestep(self, timestep: int, state: State) -> None:
        self.on_label_free_timestep(state)


@pytest.mark.parametrize("path", ["fused", "plain"])
@pytest.mark.parametrize("changing", [False, True])
def test_every_candidate_sees_the_uniform_label_at_all_timesteps(changing: bool, path: str) -> None:
    network = Network(label_free_settings(negatives=FEATURES | {"count": 2}), fused=path == "fused")
    clamped = Clamped()
    learner = Learner(network, observers=[clamped])
    metrics = learner.train_batch(torch.rand(6, 7), class_numbers(3, 6) if changing else class_numbers(6))
    assert len(clamped.labels) == network.settings.timesteps
    assert all(torch.equal(y, torch.full((CLASSES, 1, 6), 1 / CLASSES)) for y in clamped.labels)
    assert metrics.readout_loss > 0 and 0 <= metrics.pairwise_accuracy <= 1
    assert not torch.equal(metrics.badness_pos, metrics.badness_neg)


def trained(labels: torch.Tensor, **arguments: Any) -> Network:
    """A network after three epochs of label-free training on images with these labels."""
    task = TensorTask(torch.rand(50, 4, 3, generator=generator()), labels, validation=None, classes=CLASSES)
    negatives = {"name": "hybrid", "blur": 2, "count": 2}
    defaults: dict[str, Any] = {"input_size": None, "num_classes": None, "epochs": 3, "batch_size": 10, "schedule": "cosine"}
    options = small_settings(**(LABEL_FREE | defaults | {"negatives": negatives} | arguments))
    network = rff.build(options, task=task)
    assert Trainer(network, task, default_callbacks(options), console=Console(quiet=True)).fit()
    return network


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "pairwise", "dropout": 0.2, "input_dropout": 0.2, "activity_dropout": 0.2, "optimizer": "adam"},
        {"peer_normalization": 0.5, "adversarial_noise": 0.3, "hard_example_fraction": 0.5, "residual_connections": [[4, 1]]},
        {"negatives": MixtureNegatives((HybridNegatives(), HybridNegatives(blur=1, trains_readout=False)))},
    ],
    ids=str,
)
def test_the_layers_do_not_depend_on_the_labels(options: dict[str, Any]) -> None:
    """Bit for bit, whatever labels the samples have; only the readout learns from them."""
    labels = torch.arange(50) % CLASSES
    first, second = trained(labels, **options), trained(labels.flip(0).roll(1), **options)
    assert first.layers.state_dict().keys() and not torch.equal(first.readout.weight, second.readout.weight)
    for name, weight in first.layers.state_dict().items():
        assert torch.equal(weight, second.layers.state_dict()[name]), name


def test_with_labels_the_layers_depend_on_them() -> None:
    """The counterpart of the test before, without which it would prove nothing."""
    labels, options = torch.arange(50) % CLASSES, {"label_free": False, "residual_connections": [[4, 1]]}
    first, second = (dense(hidden_layers(trained(each, **options))[0]) for each in (labels, labels.flip(0).roll(1)))
    assert not torch.equal(first.weight, second.weight)


@pytest.mark.parametrize("path", ["fused", "plain"])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    "source",
    [
        HybridNegatives(2, blur=1),
        MixtureNegatives((HybridNegatives(2), HybridNegatives(2, mask="features", trains_readout=False))),
    ],
    ids=["hybrid", "mixture"],
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "pairwise", "adversarial_noise": 0.3, "dropout": 0.1, "residual_connections": [[4, 1]]},
        {"objective": Reversed(Pairwise(1.0)), "peer_normalization": 1.0, "activity_dropout": 0.3},
        {"objective": Reversed(Threshold(0.5)), "hard_example_fraction": 0.5},
    ],
    ids=str,
)
def test_label_free_training_agrees_with_autograd(
    options: dict[str, Any], source: NegativeSource, static: bool, path: str
) -> None:
    """The reference trains the readout with the negatives of the same name, and then takes those of the source."""
    objective = options.get("objective", Threshold())
    others = {key: option for key, option in options.items() if option is not objective}
    network = image_network(fused=path == "fused", negatives={"name": "readout", "count": 2}, **others)
    training = network.settings.training.model_copy(update={"label_free": True})
    changes = {"training": training} | ({"objective": objective} if isinstance(objective, Reversed) else {})
    network.settings = network.settings.model_copy(update=changes)
    require_agreement(network, source, static=static)
    assert network.readout.weight.any()


def make_trainer(folder: Path, **arguments: Any) -> Trainer:
    """A label-free training with all kinds of state."""
    options = label_free_settings(
        **({"epochs": 3, "batch_size": 20, "optimizer": "adam", "schedule": "cosine", "weight_averaging": 0.8} | arguments)
    )
    splits = Splits(*(TensorDataset(*clusters(samples, seed=seed)) for samples, seed in ((200, 2), (60, 3), (60, 4), (60, 2))))
    folder.mkdir(exist_ok=True)
    return Trainer(rff.build(options), splits, default_callbacks(options, RunFolder(folder)), console=Console(quiet=True))


MIXTURE = MixtureNegatives(
    (HybridNegatives(mask="features", optimizer=Adam()), HybridNegatives(mask="features", trains_readout=False))
)


@pytest.mark.parametrize("negatives", [FEATURES, MIXTURE], ids=["hybrid", "mixture"])
def test_a_resumed_run_is_bit_for_bit_an_uninterrupted_one(negatives: Any, tmp_path: Path) -> None:
    whole = make_trainer(tmp_path / "whole", negatives=negatives)
    assert whole.fit()
    killed = make_trainer(tmp_path / "killed", negatives=negatives)
    batches, train = iter(range(100)), killed.learner.train_batch

    class Killed(Exception):
        """The end of the process."""

    def train_batch(*batch: Any) -> Any:
        if next(batches) == 13:  # in the middle of the second epoch
            raise Killed
        return train(*batch)

    killed.learner.train_batch = train_batch  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        killed.fit()
    resumed = make_trainer(tmp_path / "killed", negatives=negatives)
    resumed.resume(RunFolder(tmp_path / "killed").last)
    assert resumed.progress.epoch == 1 and resumed.fit()
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name]), name
    assert whole.network.readout.weight.any()


def test_what_label_free_training_needs_is_checked() -> None:
    for arguments, message in (
        ({"negatives": "readout"}, "these negatives are wrong labels, which would not be shown"),
        ({"negatives": MixtureNegatives((UniformNegatives(), HybridNegatives(mask="features")))}, "use some that give inputs"),
        ({"prediction": "badness"}, 'badness depends on no label; set network.prediction = "readout"'),
        ({"prediction": "propose_and_verify"}, 'badness depends on no label; set network.prediction = "readout"'),
        ({"negatives": FEATURES | {"trains_readout": False}}, "these negatives do not train the readout"),
        ({"objective": "reversed", "label_free": False}, "it gives real data high badness"),
        ({"objective": Sum((Reversed(),)), "label_free": False}, "it gives real data high badness"),
    ):
        assert message in refusal(lambda arguments=arguments: label_free_settings(**arguments), SettingsError)  # type: ignore[misc]


def test_negatives_without_inputs_are_refused_where_they_are_passed_to_the_learner() -> None:
    learner = Learner(Network(label_free_settings()), negatives=UniformNegatives())
    message = refusal(lambda: learner.train_batch(torch.rand(6, 7), class_numbers(6)), InputError)
    assert message == "training.label_free = true: UniformNegatives gives no inputs, so negatives would equal the positive"


@given(seed=st.integers(0, 2**32), count=st.integers(1, 3), batch=st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_a_reversed_objective_exchanges_the_roles_of_positive_and_negative_data(seed: int, count: int, batch: int) -> None:
    positive, negative = (torch.rand(n, batch, dtype=torch.float64, generator=generator(seed + n)) for n in (1, count))
    for inner in (Pairwise(3.0), Threshold(0.4), Sum((Pairwise(2.0), Threshold()))):
        objective = Reversed(inner)
        expected = torch.cat([inner.loss(each, positive) for each in negative.unsqueeze(1)])
        torch.testing.assert_close(objective.loss(positive, negative), expected)
        found, by_autograd = objective.gradients(positive, negative), Objective.gradients(objective, positive, negative)
        for mine, theirs in zip(found, by_autograd, strict=True):
            torch.testing.assert_close(mine, theirs)
        assert objective.ranks_only == inner.ranks_only and not objective.real_is_low and inner.real_is_low
        assert objective.probability_scale == inner.probability_scale


def test_the_pairwise_accuracy_of_a_reversed_objective_counts_higher_badness() -> None:
    accuracies = []
    for objective in (Pairwise(), Reversed(Pairwise())):
        learner = Learner(Network(label_free_settings(objective=objective, optimizer={"name": "adam", "learning_rate": 3e-3})))
        for _ in range(100):
            metrics = learner.train_batch(*clusters(50))
        assert ((metrics.badness_pos < metrics.badness_neg) == objective.real_is_low).all()
        accuracies.append(float(metrics.pairwise_accuracy))
    assert min(accuracies) > 0.7


def test_adversarial_noise_needs_no_label_that_travels() -> None:
    """A layer that has hybrids learns at every timestep, also where the objective only ranks."""
    options: dict[str, Any] = {"adversarial_noise": 0.5, "objective": "pairwise", "label_timesteps": 2}
    assert "adversarial_noise" in refusal(lambda: small_settings(**options), SettingsError)
    free = label_free_settings(**options)
    assert not free.learning_needs_label
    metrics = Learner(Network(free)).train_batch(video(1)[0].float(), class_numbers(6))
    assert (metrics.loss > 0).all()


def test_a_label_free_run_draws_no_badness_of_labels_and_predicts_by_the_readout(tmp_path: Path) -> None:
    trainer, folder = make_trainer(tmp_path, epochs=10, early_stopping=0), RunFolder(tmp_path)
    with folder.lock():
        assert run_training(trainer, folder)
    assert folder.curves.exists() and not folder.timesteps.exists()
    summary = json.loads(folder.summary.read_text())
    assert list(summary["predictions"]) == ["readout"] and summary["test_accuracy"] > 0.6  # of five classes
