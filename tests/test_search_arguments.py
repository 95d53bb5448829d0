"""The arguments of a search: values of wrong types, checkpoints that do not fit, and studies of other data."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.data.dataset import Batch, LoaderDataset, Splits, TensorDataset
from RecurrentFF.data.tensor_task import TensorTask
from RecurrentFF.data.transforms import Identity
from RecurrentFF.errors import CheckpointError, SettingsError
from RecurrentFF.search import Categorical
from RecurrentFF.search.data_marks import marks_of
from RecurrentFF.search.objective import outcome_of
from tests.helpers import clusters
from tests.refusals import refusal
from tests.search_helpers import SPACE, settings, task, tiny_search


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trials": 0}, "trials = 0: expected at least 1"),
        ({"trials": "3"}, "trials = '3': expected a whole number"),
        ({"trials": 2.5}, "trials = 2.5: expected a whole number"),
        ({"trials": True}, "trials = true: expected a whole number"),
        ({"seed": -1}, "seed = -1: expected at least 0"),
        ({"seed": "a"}, "seed = 'a': expected a whole number"),
        ({"seed": 1.5}, "seed = 1.5: expected a whole number"),
        ({"storage": 3}, "storage = 3: expected a URL"),
        ({"study": 3}, "study = 3: expected text"),
        ({"study": "a/b"}, "study 'a/b': a name has letters"),
        ({"given": {"epochs": 1}}, "expected Settings, the path of a TOML file, or the name of a recipe"),
        ({"sampler": 3}, "sampler 3: there is no such sampler"),
        ({"sampler": ["tpe"]}, "sampler ['tpe']: there is no such sampler"),
        ({"pruner": ["none"]}, "pruner ['none']: there is no such pruner"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, Any], words: str) -> None:
    assert words in refusal(lambda: tiny_search(**arguments), SettingsError)


def test_whole_numbers_of_other_types_are_taken() -> None:
    result = tiny_search(trials=np.int64(2), seed=torch.tensor(2**40))
    assert len(result.study.trials) == 2


@pytest.mark.parametrize(
    ("given", "space"),
    [({}, {"training.weights": Categorical(choices=["no-file"])}), ({"weights": "no-file"}, SPACE)],
)
def test_checkpoints_that_do_not_exist_are_refused_before_the_first_trial(
    given: dict[str, Any], space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("RecurrentFF.search.objective.load_splits", None)
    message = refusal(lambda: tiny_search(settings(**given), space), CheckpointError)
    assert message.startswith("training.weights: ") and message.endswith("no-file: no such checkpoint")


def test_a_checkpoint_that_does_not_fit_a_trial_refuses_that_trial(tmp_path: Path) -> None:
    rff.save(rff.build(settings(), task=task()), tmp_path / "start.pt")
    space = {"network.hidden_sizes": Categorical(choices=[[6], [7]])}
    study = tiny_search(settings(weights=str(tmp_path / "start.pt")), space, trials=8).study
    sizes = [(trial.params["network.hidden_sizes"], outcome_of(trial)) for trial in study.trials]
    assert set(sizes) == {("[6]", "complete"), ("[7]", "refused")}


def test_a_study_of_other_data_is_refused() -> None:
    storage, (samples, labels) = optuna.storages.InMemoryStorage(), clusters(40)
    tiny_search(trials=1, storage=storage)
    tiny_search(trials=2, storage=storage)

    def other(words: str, *train: Any, **arguments: Any) -> None:
        options: dict[str, Any] = {"validation": clusters(30, seed=3), "transform": Identity(), **arguments}
        given = TensorTask(*train or (samples, labels), **options)
        message = refusal(lambda: tiny_search(trials=3, storage=storage, task=given), SettingsError)
        assert f"study 'tiny': was made with other data ({words}); choose another name" in message

    other("40 training samples, now 20", samples[:20], labels[:20])
    other("30 validation samples, now 12", validation=clusters(12, seed=3))
    other("other training labels", samples, labels.flip(0))
    other("other training inputs", samples + 1, labels)
    other("other validation inputs", validation=(clusters(30, seed=3)[0] + 1, clusters(30, seed=3)[1]))


def test_data_that_differ_from_one_reading_to_the_next_have_no_marks_but_their_number() -> None:
    class Random(TensorDataset):
        def batches(self, size: int, order: Any = None, epoch: int = 0) -> Iterator[Batch]:
            shift = next(shifts)
            yield from (Batch(batch.inputs + shift, batch.labels) for batch in super().batches(size, order, epoch))

    shifts, before = itertools.count(), torch.random.get_rng_state()
    known, loader = TensorDataset(*clusters(10)), LoaderDataset([clusters(10)])
    marks = marks_of(Splits(Random(*clusters(10)), known, None, None))
    assert marks["training"].keys() == {"samples", "labels"} and len(marks["validation"]["inputs"]) > 9
    assert marks_of(Splits(known, loader, None, None))["validation"] == {"samples": 10}
    assert torch.equal(torch.random.get_rng_state(), before)
