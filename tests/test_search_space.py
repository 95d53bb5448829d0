"""The search space: what a file may say, what is refused, and how values reach the configuration."""

from pathlib import Path
from typing import Any

import pytest

from RecurrentFF.errors import SettingsError
from RecurrentFF.search import Categorical, Float, Int, Space
from RecurrentFF.settings import Settings, recipes
from tests.refusals import refusal

TEXT = """
[optimizer]
learning_rate = { type = "float", low = 1e-4, high = 1e-2, log = true }

["network.hidden_sizes"]
type = "categorical"
choices = [[20], [30, 20]]

[network]
label_timesteps = { type = "int", low = 4, high = 12, step = 4 }
"""


def rate(**changes: Any) -> dict[str, Any]:
    """The entry of a learning rate, with changes."""
    return {"optimizer.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2} | changes}


def test_keys_may_be_quoted_or_nested_and_a_space_is_read_back() -> None:
    space = Space.from_toml(TEXT)
    assert dict(space) == {
        "optimizer.learning_rate": Float(low=1e-4, high=1e-2, log=True),
        "network.hidden_sizes": Categorical(choices=[[20], [30, 20]]),
        "network.label_timesteps": Int(low=4, high=12, step=4),
    }
    assert dict(Space.from_toml(space.to_toml())) == dict(space)
    assert dict(Space({"optimizer": {"learning_rate": Float(low=1e-4, high=1e-2)}})) == dict(Space(rate()))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({}, "has no key to search"),
        ({"network": {}}, "network: has no type"),
        ({"optimizer.learning_rate": 0.1}, "optimizer.learning_rate = 0.1: expected a table"),
        ({"optimizer": {"learning_rate": {"low": 1}}}, 'optimizer.learning_rate: has no type; write type = "float"'),
        (rate(type="floatt"), "type = 'floatt': there is no such type; did you mean 'float'?"),
        ({"network.dropout": {"type": "float", "low": 0.0}}, "network.dropout: has no high"),
        (rate(hihg=1), "optimizer.learning_rate: unknown key 'hihg'; did you mean 'high'?"),
        (rate(low="a"), "optimizer.learning_rate: low = 'a': expected a number"),
        (rate(low=1.0), "low = 1.0, high = 0.01: low must be at most high"),
        (rate(low=0, log=True), "low = 0.0: expected a number above 0 with log = true"),
        (rate(log=True, step=1e-4), "step: leave it out with log = true"),
        (rate(low=0.1, high=1.0, step=0.4), "high = 1.0: must be low = 0.1 plus a multiple of step = 0.4"),
        ({"training.epochs": {"type": "int", "low": 1.5, "high": 3}}, "training.epochs: low = 1.5: expected a whole number"),
        ({"a.b": Categorical(choices=[1]), "a": {"b": {"type": "int", "low": 1, "high": 2}}}, "a.b: named twice"),
        ({"a.b": Categorical(choices=[1]), "a.b.c": Categorical(choices=[1])}, "a.b, a.b.c: the first key contains the second"),
        ({"a.b": {"type": "categorical", "choices": []}}, "a.b: choices = []: expected a longer list"),
        ({"a.b": {"type": "categorical", "choices": [[1], [1]]}}, "a.b: choices: '[1]' is listed twice"),
        ({"a.b": {"type": "categorical", "choices": [None]}}, "a.b: choices: a configuration can't hold a NoneType"),
        ([], "expected keys and their values, not a list"),
    ],
)  # fmt: skip
def test_wrong_entries_are_refused_in_one_line(entries: Any, words: str) -> None:
    message = refusal(lambda: Space(entries, "space.toml"), SettingsError)
    assert message.startswith("space.toml: ") and words in message


def test_files_that_are_no_space_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    assert f"{file}: can't be read (no such file)" in refusal(lambda: Space.from_file(file), SettingsError)
    file.write_text("a = [")
    assert f"{file}: not valid TOML" in refusal(lambda: Space.from_file(file), SettingsError)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"optimizer.learning_rat": Float(low=0.1, high=1)}, "unknown key 'optimizer.learning_rat'; did you mean"),
        ({"optimizers.learning_rate": Float(low=0.1, high=1)}, "there is no section 'optimizers'; did you mean 'optimizer'?"),
        (rate(low=0), "optimizer.learning_rate, low = 0.0: optimizer.learning_rate = 0.0: expected a number above 0"),
        ({"network.dropout": Float(low=0, high=1)}, "network.dropout, high = 1.0: network.dropout = 1.0: expected a number"),
        (rate() | {"network.dropout": Float(low=0, high=1)}, "network.dropout, high = 1.0"),
        ({"network.activation": Categorical(choices=["relu", "rleu"])}, "network.activation, choices[1] = 'rleu'"),
        ({"training.epochs": Float(low=2.5, high=3.5)}, "training.epochs, low = 2.5: training.epochs = 2.5: expected a whole"),
        ({"data.name": Categorical(choices=["mnist", "seq_mnist"])}, "data.name: may change the validation samples"),
        ({"data_config.dataset": Categorical(choices=["Seq MNIST"])}, "may change the validation samples"),
        ({"data.validation_samples": Int(low=1, high=2)}, "data.validation_samples: may change the validation samples"),
        ({"tracking.wandb": Categorical(choices=[True])}, "tracking.wandb: the trials of a search are not tracked"),
        ({"data.test_samples": Int(low=1, high=2)}, "data.test_samples: may change the validation samples"),
        ({"device.device": Categorical(choices=["cpu", "cuda"])}, "device.device: all trials of a worker have the device"),
        ({"distributed.mode": Categorical(choices=["data", "layer"])}, "distributed.mode: a search trains in one process"),
        ({"training.seed": Int(low=0, high=1)}, "training.seed: the seed is the same in all trials"),
        ({"plugins": Categorical(choices=[["module"]])}, "plugins are imported before a search"),
    ],
)  # fmt: skip
def test_values_that_a_configuration_refuses_are_named_before_a_search(entries: dict[str, Any], words: str) -> None:
    settings = Settings.from_file(recipes.path_of("mnist_raw"))
    message = refusal(lambda: Space(entries, "space.toml").require_accepted(settings), SettingsError)
    assert message.startswith("space.toml: ") and words in message


@pytest.mark.parametrize("key", ["data.pairs", "data.data_seed"])
def test_an_easier_task_is_no_better_trial(key: str) -> None:
    space, retrieval = Space({key: Int(low=1, high=4)}), Settings.from_arguments(data="associative_retrieval")
    assert f"{key}: may change the validation samples" in refusal(lambda: space.require_accepted(retrieval), SettingsError)


def test_of_the_data_only_what_changes_the_training_samples_alone_may_be_searched() -> None:
    images = {"data.train_samples": Int(low=10, high=20), "data.augmentation.rotation": Float(low=0, high=15)}
    Space(images).require_accepted(Settings.from_arguments(data="mnist"))
    videos = Space({"data.fresh_velocities": Categorical(choices=[True, False])})
    videos.require_accepted(Settings.from_arguments(data="moving_mnist"))


def test_a_key_that_needs_another_one_is_compared_too() -> None:
    space = Space({"data.pairs": Int(low=1, high=2), "data.name": Categorical(choices=["associative_retrieval"])})
    message = refusal(lambda: space.require_accepted(Settings()), SettingsError)
    assert "data.pairs: may change the validation samples" in message


def test_a_value_that_needs_another_one_is_accepted() -> None:
    settings = Settings.from_arguments(negatives="readout", epochs=2)
    epochs, readout_epochs = Int(low=2, high=8), Int(low=0, high=5)
    Space({"training.epochs": epochs, "schedule.readout_epochs": readout_epochs}).require_accepted(settings)
    alone = Space({"schedule.readout_epochs": readout_epochs})
    assert "readout_epochs = 5: must be below" in refusal(lambda: alone.require_accepted(settings), SettingsError)


def test_values_of_all_kinds_reach_the_configuration() -> None:
    space = Space(
        {
            "objective.alpha": Float(low=1, high=9),
            "objective.name": Categorical(choices=["pairwise"]),
            "network.hidden_sizes": Categorical(choices=[(20,), (30, 20)]),
            "network.straight_through": Categorical(choices=[True, False]),
            "negatives": Categorical(choices=[{"name": "readout", "count": 2}, {"name": "uniform"}]),
        }
    )
    parameters = {"objective.alpha": 4.0, "objective.name": "pairwise", "network.hidden_sizes": "[30, 20]",
                  "network.straight_through": True, "negatives": '{ name = "readout", count = 2 }'}  # fmt: skip
    settings = space.applied(Settings(), space.values_of(parameters))
    expected = Settings.from_arguments(
        objective={"name": "pairwise", "alpha": 4.0},
        hidden_sizes=[30, 20],
        straight_through=True,
        negatives={"name": "readout", "count": 2},
    )
    assert settings == expected
