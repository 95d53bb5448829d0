"""The configuration: every key has a default, what is written is read again, and each mistake is named in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from RecurrentFF.data.image_transforms import OrientedGradients, Pixels
from RecurrentFF.data.mnist import Mnist
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.activations import LeakyReLU, ReLU
from RecurrentFF.model.negatives import ReadoutNegatives, UniformNegatives
from RecurrentFF.model.objectives import Pairwise, Sum, Threshold
from RecurrentFF.model.optimizers import Adam, RMSprop
from RecurrentFF.settings import NetworkSettings, Settings, TrainingSettings
from RecurrentFF.settings.sections import SECTIONS
from RecurrentFF.training.schedules import Cosine
from tests.helpers import TEXT, all_settings

RECIPES = Path(__file__).parents[1] / "RecurrentFF" / "recipes"


# ---------------------------------------------------------------- reading and writing


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(all_settings())
def test_writing_and_reading_gives_the_same_settings(written: Settings) -> None:
    text = written.to_toml()
    assert Settings.from_toml(text) == written == Settings.from_dict(written.to_tree())
    assert Settings.from_toml(text).to_toml() == text
    assert written.with_arguments() == written == written.override([])


@given(TEXT, TEXT)
def test_any_text_is_written_and_read(one: str, other: str) -> None:
    written = Settings.from_arguments(weights=one, data=Mnist(data_dir=other), plugins=[one, other])
    assert Settings.from_toml(written.to_toml()) == written


def test_an_empty_file_has_the_defaults_and_the_tutorial_network_has_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    settings = Settings.from_file(tmp_path / "empty.toml")
    assert settings == Settings() and settings.objective == Threshold(theta=1.5) and settings.optimizer == RMSprop()
    assert settings.negatives == UniformNegatives() and settings.transform is None
    tutorial = Settings.from_file(RECIPES / "tutorial.toml")
    for key in ("hidden_sizes", "prelabel_timesteps", "damping_factor", "epsilon", "activation"):
        assert getattr(settings.network, key) == getattr(tutorial.network, key), key
    assert tutorial.objective == Threshold(theta=1.5, beta=4.0)


def test_keys_without_a_value_are_left_out() -> None:
    assert "transform" not in Settings().to_tree() and "input_size" not in Settings().to_tree()["network"]
    tree = Settings.from_arguments(transform="pixels").to_tree()["transform"]
    assert tree == {"name": "pixels", "deskew": False, "size_normalization": 0.0}


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.name)
def test_committed_configurations_load(file: Path) -> None:
    loaded = Settings.from_file(file)
    assert Settings.from_toml(loaded.to_toml()) == loaded


@pytest.mark.parametrize(("timesteps", "window"), [(10, (4, 6)), (6, (3, 3)), (20, (8, 12)), (1, (0, 0))])
def test_the_default_prediction_window_is_around_the_middle(timesteps: int, window: tuple[int, int]) -> None:
    assert Settings.from_arguments(label_timesteps=timesteps).prediction_window == window


# ---------------------------------------------------------------- components in it


def test_a_component_is_a_name_a_section_or_an_object() -> None:
    expected = Settings.from_arguments(objective=Pairwise(alpha=3.0))
    for value in ({"name": "pairwise", "alpha": 3}, {"name": "pairwise", "alpha": 3.0}):
        assert Settings.from_arguments(objective=value) == expected == Settings(objective=value)
    assert Settings.from_toml("[objective]\nname = 'pairwise'\nalpha = 3") == expected
    assert Settings.from_toml("objective = 'pairwise'") == Settings.from_arguments(objective=Pairwise())
    assert Settings.from_toml("[network]\nactivation = 'relu'").network.activation == ReLU()
    assert Settings.from_toml(
        "[network]\nactivation = { name = 'leaky_relu', negative_slope = 1 }"
    ).network.activation == LeakyReLU(1.0)


def test_a_section_without_a_name_has_the_default_component() -> None:
    assert Settings.from_toml("[objective]\ntheta = 3").objective == Threshold(theta=3.0)
    assert Settings.from_toml("[optimizer]\nmomentum = 0.5").optimizer == RMSprop(momentum=0.5)
    given = Settings.from_toml("[data]\nname = 'mnist'\n[transform]\ndeskew = true").transform
    assert given == Pixels(deskew=True)  # the data set's own


def test_nested_components_are_made_too() -> None:
    text = """
    [negatives]
    name = "readout"
    [negatives.optimizer]
    name = "adam"
    learning_rate = 0.1
    [[objective.objectives]]
    name = "pairwise"
    alpha = 2
    [[objective.objectives]]
    name = "threshold"
    [objective]
    name = "sum"
    """
    found = Settings.from_toml(text)
    assert found.negatives == ReadoutNegatives(optimizer=Adam(learning_rate=0.1))
    assert found.objective == Sum((Pairwise(alpha=2.0), Threshold()))


def test_another_name_replaces_a_component_and_the_same_one_keeps_its_options() -> None:
    settings = Settings.from_arguments(objective=Pairwise(alpha=3.0), optimizer=Adam(learning_rate=0.1, weight_decay=0.2))
    assert settings.override(["objective.alpha=4"]).objective == Pairwise(alpha=4.0)
    assert settings.override(["objective.name=threshold"]).objective == Threshold()
    assert settings.override(["objective=threshold"]).objective == Threshold()
    assert settings.override(["objective.name=threshold", "objective.theta=2"]).objective == Threshold(theta=2.0)
    assert settings.override(["optimizer.name=adam", "optimizer.learning_rate=1"]).optimizer == Adam(1.0, 0.2)
    assert settings.with_arguments(optimizer={"learning_rate": 1}).optimizer == Adam(1.0, 0.2)
    assert settings.with_arguments(optimizer=Adam(1.0)).optimizer == Adam(1.0, 0.0)
    assert settings.with_arguments(optimizer="adam").optimizer == Adam(0.1, 0.2)
    assert settings.override(["transform.name=oriented_gradients", "transform.directions=4"]).transform == OrientedGradients(
        directions=4
    )
    assert settings.override(["network.activation=relu"]).network.activation == ReLU()
    assert settings.override(["network.activation.negative_slope=0.5"]).network.activation == LeakyReLU(0.5)


def test_an_option_of_an_objects_nested_component_may_be_unregistered() -> None:
    class Halved(Adam):
        """An optimizer that is not registered."""

    settings = Settings.from_arguments(negatives=ReadoutNegatives(optimizer=Halved()))
    changed = settings.override(["negatives.count=2"]).negatives
    assert isinstance(changed, ReadoutNegatives) and changed.count == 2 and type(changed.optimizer) is Halved


# ---------------------------------------------------------------- overrides and arguments


def test_overrides_take_precedence_and_need_no_quotes(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[training]\nepochs = 5\n[network]\nhidden_sizes = [10]\n")
    overrides = ["training.epochs=3", "device.device=cuda:1", "optimizer.learning_rate=2e-3", "network.hidden_sizes=[4, 5]"]
    settings = Settings.from_file(file).override([*overrides, "training.epochs=4"])
    assert (settings.training.epochs, settings.device.device) == (4, "cuda:1")
    assert (settings.optimizer.learning_rate, settings.network.hidden_sizes) == (2e-3, (4, 5))


def test_arguments_find_their_section() -> None:
    settings = Settings.from_arguments(
        hidden_sizes=[3], device="cpu", label_timesteps=7, seed=4, optimizer={"learning_rate": 0.5}, wandb=True, schedule="cosine"
    )
    assert settings.network.hidden_sizes == (3,) and settings.device.device == "cpu" and settings.tracking.wandb
    assert settings.network.label_timesteps == 7 and settings.training.seed == 4
    assert settings.optimizer == RMSprop(learning_rate=0.5) and settings.schedule == Cosine()


def test_no_two_sections_share_a_key_and_none_has_the_name_of_a_section() -> None:
    keys = [key for section in SECTIONS.values() for key in section.model_fields]
    assert len(set(keys)) == len(keys)
    assert set(keys) & set(Settings.model_fields) == {"device"}


def test_whole_sections_are_arguments_too() -> None:
    for section in ({"seed": 1}, TrainingSettings(seed=1)):
        assert Settings.from_arguments(training=section, epochs=2).training == TrainingSettings(seed=1, epochs=2)
    assert Settings.from_arguments(epochs=2, training={"seed": 1}).training == TrainingSettings(seed=1, epochs=2)
    assert Settings.from_arguments(network=NetworkSettings(epsilon=0.5)).network.epsilon == 0.5
    assert Settings.from_arguments(device={"device": "cpu"}, precision="float32").device.precision == "float32"


def test_arguments_override_settings_and_change_nothing_else() -> None:
    before = Settings.from_arguments(hidden_sizes=[3, 3])
    after = before.with_arguments(input_size=7, num_classes=3)
    assert after.network.hidden_sizes == (3, 3) and after.network.input_size == 7 and before.network.input_size is None


OVERRIDE_MISTAKES = {
    "epochs=3": r"section\.key=value",
    "training.epochs": r"section\.key=value",
    "training.epocs=3": r"unknown key 'training\.epocs'; did you mean 'epochs'",
    "trainings.epochs=3": r"no section 'trainings'; did you mean 'training'",
    "training.epochs.x=3": r"training\.epochs = \{'x': 3\}: expected a whole number",
    "training.epochs=many": r"training\.epochs = 'many'",
    "network.hidden_sizes=[500,500": r"network\.hidden_sizes = '\[500,500': expected a list",
    "tracking.wandb=True": r"tracking\.wandb = 'True': expected true or false",
    "objective.alpha=3": r"unknown key 'objective\.alpha'; known: beta, theta",
    "objective=unknown_one": r"objective\.name = 'unknown_one': there is no such objective",
    "objective.name=pairwise2": r"objective\.name = 'pairwise2': there is no such objective; did you mean 'pairwise'",
    "objective.theta=low": r"objective\.theta = 'low': expected a number",
    "negatives.optimizer.momentum=3": r"unknown key 'negatives\.optimizer'; known: count",
    "network.activation.negative_slope=-1": r"network\.activation\.negative_slope = -1: ",
    'network.connections=[{name="dense",layers=[7]}]': r"network\.connections\[0\]\.layers: \[7\] must name layers from 1 to 3",
    "data.train_samples=-1": r"data\.train_samples = -1",
    "transform.deskew=maybe": r"transform\.deskew = 'maybe': expected true or false|transform: has no name",
}


@pytest.mark.parametrize("override", OVERRIDE_MISTAKES)
def test_a_mistaken_override_is_named(override: str) -> None:
    with pytest.raises(SettingsError, match=OVERRIDE_MISTAKES[override]) as caught:
        Settings().override(["training.seed=1", override])
    assert str(caught.value).startswith(f"--set {override}: ") and "\n" not in str(caught.value)


def test_of_several_overrides_those_at_fault_are_named() -> None:
    with pytest.raises(SettingsError, match=r"^--epochs 0: training\.epochs = 0"):
        Settings().override(["network.dropout=0.5", "training.epochs=0"], ["--set network.dropout=0.5", "--epochs 0"])
    with pytest.raises(SettingsError, match=r"^--set network\.label_timesteps=2(?: --seed 1)?: network\.prediction_window"):
        window = Settings.from_arguments(prediction_window=[2, 3])
        window.override(["network.label_timesteps=2", "training.seed=1"], ["--set network.label_timesteps=2", "--seed 1"])


ARGUMENT_MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"hidden_size": [3]}, "unknown key 'hidden_size'; did you mean 'hidden_sizes'"),
    "type of object": ({"objective": Adam()}, r"objective = Adam\(.*\): expected a name, a section, or a Objective"),
    "class": ({"objective": Pairwise}, "objective = .*: expected a name, a section, or a Objective"),
    "number": ({"optimizer": 3}, "optimizer = 3: expected a name, a section, or a Optimizer"),
    "list": ({"connections": 3}, r"connections = 3: expected a list"),
    "option": ({"negatives": {"name": "readout", "optimizer": {"name": "adm"}}}, r"negatives\.optimizer\.name = 'adm': .*'adam'"),
    "name": ({"schedule": {"name": ["step"]}}, r"schedule\.name = \['step'\]: there is no such schedule"),
    "no name": (
        {"connections": [{"layers": [1]}]},
        r"connections\[0\]: has no name; set network.connections\[0\].name to one of",
    ),
    "classes": ({"num_classes": 3, "negatives": {"count": 3}}, "negatives.count = 3: an input of 3 classes has only 2 wrong"),
    "prelabel": ({"negatives": "readout", "prelabel_timesteps": 0}, r"network\.prelabel_timesteps = 0: .*at least 1"),
}


@pytest.mark.parametrize("case", ARGUMENT_MISTAKES)
def test_a_mistaken_argument_is_named(case: str) -> None:
    arguments, message = ARGUMENT_MISTAKES[case]
    with pytest.raises(SettingsError, match=message) as caught:
        Settings.from_arguments(**arguments)
    assert str(caught.value).startswith("arguments: ") and "\n" not in str(caught.value)


def mistake(call: Callable[..., object], *positional: object, **named: object) -> str:
    """The message of a SettingsError; empty if there is none."""
    try:
        call(*positional, **named)
    except SettingsError as error:
        return str(error)
    return ""


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "alpha", "x"]), inner, max_size=2),
    max_leaves=4,
)
PLACES = [
    *Settings.model_fields,
    *(f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields),
]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.sampled_from(PLACES), JUNK)
def test_junk_in_any_place_is_accepted_or_named_in_one_line(place: str, junk: object) -> None:
    section, _, key = place.partition(".")
    tree = {section: {key: junk} if key else junk}
    for message in (mistake(Settings.from_dict, tree), mistake(Settings.from_arguments, **{key or section: junk})):
        assert message == "" or ("\n" not in message and (key or section) in message), message
