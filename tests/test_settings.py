"""The configuration: old files load, every key has a default, and each mistake is named in one line."""

from pathlib import Path
from typing import Any

import pytest
import toml
from hypothesis import given
from hypothesis import strategies as st

from RecurrentFF.errors import SettingsError
from RecurrentFF.settings import Settings

CONFIGS = Path(__file__).parents[1] / "configs"

OLD_FILE = """
[device]
device = "cuda"

[model]
hidden_sizes = [2000, 2000]
epochs = 30
prelabel_timesteps = 10
loss_threshold = 1
damping_factor = 0.7
epsilon = 1e-8
skip_profiling = 1
should_log_metrics = 0
should_replace_neg_data = true
should_load_weights = false
dropout = 0.0
lr_step_size = 5
lr_gamma = 0.9
ff_activation = "relu"
ff_optimizer = "adadelta"
classifier_optimizer = "adam"

[model.ff_rmsprop]
momentum = 0.9
learning_rate = 0.0001
[model.ff_adam]
learning_rate = 0.0001
[model.ff_adadelta]
learning_rate = 0.1
[model.classifier_rmsprop]
momentum = 0.0
learning_rate = 0.0001
[model.classifier_adam]
learning_rate = 0.002
[model.classifier_adadelta]
learning_rate = 0.001

[data_config]
data_size = 784
num_classes = 10
train_batch_size = 400
test_batch_size = 1000
iterations = 20
dataset = "MNIST"
"""


def test_a_file_of_the_original_project_loads_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(OLD_FILE)
    settings = Settings.from_file(file)
    for section, keys in toml.loads(OLD_FILE).items():
        loaded = getattr(settings, section).model_dump(mode="json")
        for key, value in keys.items():
            expected = loaded[key] | value if isinstance(value, dict) else value  # new keys have their defaults
            assert loaded[key] == expected
    assert settings.model.objective == "threshold"


def test_the_defaults_are_those_of_the_tutorial_network(tmp_path: Path) -> None:
    file = tmp_path / "empty.toml"
    file.write_text("")
    settings = Settings.from_file(file)
    assert settings == Settings()
    tutorial = Settings.from_file(CONFIGS / "tutorial.toml")
    for key in ("hidden_sizes", "prelabel_timesteps", "loss_threshold", "damping_factor", "epsilon", "ff_rmsprop", "objective"):
        assert getattr(settings.model, key) == getattr(tutorial.model, key), key


def test_overrides_take_precedence_and_need_no_quotes(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[model]\nepochs = 5\nhidden_sizes = [10]\n")
    overrides = ["model.epochs=3", "device.device=cuda:1", "model.ff_adam.learning_rate=2e-3", "model.hidden_sizes=[4, 5]"]
    settings = Settings.from_file(file).override(overrides)
    assert (settings.model.epochs, settings.device.device) == (3, "cuda:1")
    assert (settings.model.ff_adam.learning_rate, settings.model.hidden_sizes) == (2e-3, (4, 5))


def test_arguments_find_their_section() -> None:
    settings = Settings.from_arguments(hidden_sizes=[3], device="cpu", iterations=7, seed=4, ff_adam={"learning_rate": 0.5})
    assert settings.model.hidden_sizes == (3,) and settings.device.device == "cpu"
    assert settings.data_config.iterations == 7 and settings.training.seed == 4
    assert settings.model.ff_adam.learning_rate == 0.5


@pytest.mark.parametrize(("iterations", "window"), [(10, (4, 6)), (6, (3, 3)), (20, (8, 12)), (1, (0, 0))])
def test_the_default_prediction_window_is_around_the_middle(iterations: int, window: tuple[int, int]) -> None:
    assert Settings.from_arguments(iterations=iterations).prediction_window == window


@given(
    hidden_sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=6),
    learning_rate=st.floats(1e-12, 10),
    epsilon=st.floats(1e-30, 1),
    dropout=st.floats(0, 0.99),
    seed=st.integers(0, 2**63 - 1),
    objective=st.sampled_from(["threshold", "pairwise"]),
    dynamic=st.booleans(),
)
def test_writing_and_reading_gives_the_same_settings(learning_rate: float, dynamic: bool, **arguments: Any) -> None:
    settings = Settings.from_arguments(
        **arguments, ff_rmsprop={"learning_rate": learning_rate}, should_replace_neg_data=dynamic, residual_connections=[]
    )
    assert Settings.from_toml(settings.to_toml()) == settings


def test_residual_connections_are_written_and_read() -> None:
    settings = Settings.from_arguments(residual_connections=[[0, 2], [4, 1]])
    assert Settings.from_toml(settings.to_toml()) == settings


OVERRIDE_MISTAKES = {
    "epochs=3": r"section\.key=value",
    "model.epochs": r"section\.key=value",
    "model.epocs=3": r"did you mean 'epochs'",
    "modle.epochs=3": r"no section 'modle'; did you mean 'model'",
    "model.epochs.x=3": r"no section 'model\.epochs'",
    "model.epochs=many": r"model\.epochs = 'many'",
    "model.hidden_sizes=[500,500": r"model\.hidden_sizes = '\[500,500': expected a list",
    "model.should_log_metrics=True": r"model\.should_log_metrics = 'True': expected true or false",
}


@pytest.mark.parametrize("override", OVERRIDE_MISTAKES)
def test_a_mistaken_override_is_named(override: str) -> None:
    with pytest.raises(SettingsError, match=OVERRIDE_MISTAKES[override]) as caught:
        Settings().override([override])
    assert str(caught.value).startswith(f"--set {override}")


def test_of_several_overrides_the_one_at_fault_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^--epochs 0: model\.epochs = 0"):
        Settings().override(["model.dropout=0.5", "model.epochs=0"], ["--set model.dropout=0.5", "--epochs 0"])
    with pytest.raises(SettingsError, match=r"^--set data_config\.iterations=2 --seed 1: model\.prediction_window"):
        window = Settings.from_arguments(prediction_window=[2, 3])
        window.override(["data_config.iterations=2", "training.seed=1"], ["--set data_config.iterations=2", "--seed 1"])


def test_arguments_override_settings() -> None:
    settings = Settings.from_arguments(hidden_sizes=[3, 3]).with_arguments(data_size=7, num_classes=3)
    assert settings.model.hidden_sizes == (3, 3) and settings.data_config.data_size == 7


def test_an_unknown_argument_is_named() -> None:
    with pytest.raises(SettingsError, match="unknown key 'hidden_size'; did you mean 'hidden_sizes'"):
        Settings.from_arguments(hidden_size=[3])


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda file: file.name)
def test_committed_configurations_load(file: Path) -> None:
    Settings.from_file(file)


def test_the_default_configuration_of_mnist_is_mnist_fast() -> None:
    from RecurrentFF.benchmarks.mnist.mnist import MNIST

    assert Settings.from_file(MNIST.default_config) == Settings.from_file(CONFIGS / "mnist_fast.toml")


ALIASES = [
    ("model", "hard_share", "hard_example_fraction", 0.5),
    ("model", "peer_normalisation", "peer_normalization", 0.25),
    ("data_config", "size_normalisation", "size_normalization", 0.75),
]


@pytest.mark.parametrize(("section", "alias", "name", "value"), ALIASES)
def test_an_older_name_of_a_key_is_accepted_and_the_current_name_is_written(
    section: str, alias: str, name: str, value: float
) -> None:
    expected = Settings.from_arguments(**{name: value})
    assert getattr(getattr(expected, section), name) == value
    assert Settings.from_toml(f"[{section}]\n{alias} = {value}") == expected
    assert Settings().override([f"{section}.{alias}={value}"]) == expected
    assert Settings.from_arguments(**{alias: value}) == expected
    assert Settings(**{section: {alias: value}}) == expected
    assert f"{name} = {value}" in expected.to_toml() and alias not in expected.to_toml()


@pytest.mark.parametrize(("section", "alias", "name", "value"), ALIASES)
def test_an_older_name_overrides_a_value_that_was_set_before(section: str, alias: str, name: str, value: float) -> None:
    for first, second in ((alias, name), (name, alias)):
        settings = Settings.from_toml(f"[{section}]\n{first} = 1.0")
        expected = settings.with_arguments(**{name: value})
        assert settings.override([f"{section}.{second}={value}"]) == expected
        assert settings.with_arguments(**{second: value}) == expected


@pytest.mark.parametrize(("section", "alias", "name", "value"), ALIASES)
def test_both_names_of_a_key_at_once_are_refused_in_one_line(section: str, alias: str, name: str, value: float) -> None:
    message = f"{alias} is an older name of {name}, and both are set; remove {alias}"
    for first, second in ((alias, name), (name, alias)):
        with pytest.raises(SettingsError) as in_file:
            Settings.from_toml(f"[{section}]\n{first} = {value}\n{second} = {value}")
        assert str(in_file.value) == f"settings: {message}"
        with pytest.raises(SettingsError) as in_overrides:
            Settings().override([f"{section}.{first}={value}", f"{section}.{second}={value}"])
        assert str(in_overrides.value) == f"--set {section}.{first}={value} --set {section}.{second}={value}: {message}"
        with pytest.raises(SettingsError) as in_arguments:
            Settings.from_arguments(**{first: value, second: value})
        assert str(in_arguments.value) == f"arguments: {message}"


def test_a_mistake_in_an_older_name_is_named_as_it_was_written() -> None:
    with pytest.raises(SettingsError, match=r"^--set model\.hard_share=2: model\.hard_share = 2: .*less than or equal to 1"):
        Settings().override(["model.epochs=2", "model.hard_share=2"])
