"""Former configurations: those of the original project, and of this one before it had components."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

import RecurrentFF as rff
from RecurrentFF.data.augment import Augmentation
from RecurrentFF.data.image_transforms import OrientedGradients, Pixels
from RecurrentFF.data.mnist import Mnist
from RecurrentFF.data.moving_mnist import MovingMnist
from RecurrentFF.data.pen_strokes import PenStrokes
from RecurrentFF.data.seq_mnist import SeqMnist
from RecurrentFF.data.source import Own
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.activations import ReLU
from RecurrentFF.model.convolutions import ConvolutionKind
from RecurrentFF.model.negatives import BadnessNegatives, NegativeSource, ReadoutNegatives, UniformNegatives
from RecurrentFF.model.objectives import Objective, Pairwise, Sum, Threshold
from RecurrentFF.model.optimizers import Adadelta, Adam, Optimizer, RMSprop
from RecurrentFF.model.receptive_fields import ReceptiveField
from RecurrentFF.settings import Settings, former_keys
from RecurrentFF.training.schedules import Cosine, Schedule, Step

FORMER = Path(__file__).parent / "fixtures" / "former"

ORIGINAL = """
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
interconnect_density = 1.0

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


def test_a_file_of_the_original_project_is_translated() -> None:
    assert Settings.from_toml(ORIGINAL) == Settings.from_arguments(
        input_size=784,
        num_classes=10,
        hidden_sizes=[2000, 2000],
        prelabel_timesteps=10,
        label_timesteps=20,
        activation=ReLU(),
        objective=Threshold(theta=1),
        negatives=ReadoutNegatives(optimizer=Adam(learning_rate=0.002)),
        optimizer=Adadelta(learning_rate=0.1),
        schedule=Step(step_size=5, gamma=0.9),
        data=Mnist(),
        epochs=30,
        batch_size=400,
        prediction_batch_size=1000,
        test_every_epoch=True,
        device="cuda",
    )


def test_sparse_connections_of_the_original_project_are_refused() -> None:
    message = r"^settings: model.interconnect_density = 0.5: layers are fully connected here; set it to 1 or leave it out$"
    with pytest.raises(SettingsError, match=message):
        Settings.from_toml("[model]\ninterconnect_density = 0.5")
    assert Settings.from_toml("[model]\ninterconnect_density = 1").network == Settings().network


COMMON: dict[str, Any] = {
    "objective": Pairwise(alpha=16.0),
    "negatives": ReadoutNegatives(optimizer=Adam()),
    "optimizer": Adam(),
    "schedule": Cosine(),
    "weight_averaging": 0.99,
    "hidden_sizes": [1000, 500],
    "prelabel_timesteps": 2,
}
LABEL_TO_FIRST = {"residual_connections": [[3, 1]], "label_timesteps": 2}

FILES: dict[str, dict[str, Any]] = {
    "mnist": COMMON
    | LABEL_TO_FIRST
    | {
        "activity_dropout": 0.5,
        "input_dropout": 0.2,
        "prediction_window": [1, 1],
        "epochs": 12,
        "data": Mnist(),
        "transform": OrientedGradients(deskew=True, size_normalization=1.0),
    },
    "mnist_best": COMMON
    | LABEL_TO_FIRST
    | {
        "activity_dropout": 0.25,
        "prediction_window": [0, 1],
        "epochs": 50,
        "data": Mnist(augmentation=Augmentation(rotation=10.0, elastic=1.5)),
        "transform": OrientedGradients(deskew=True, size_normalization=0.5, grid_size=14),
    },
    "mnist_conv": COMMON
    | {
        "hidden_sizes": [3136, 500],
        "label_timesteps": 3,
        "prediction_window": [1, 2],
        "epochs": 6,
        "connections": [ConvolutionKind()],
        "data": Mnist(),
    },
    "mnist_fast": COMMON
    | {
        "label_timesteps": 3,
        "prediction_window": [1, 2],
        "epochs": 6,
        "data": Mnist(augmentation=Augmentation(translate=1, rotation=10.0, scale=0.1)),
        "transform": OrientedGradients(),
    },
    "mnist_raw": COMMON
    | LABEL_TO_FIRST
    | {"activity_dropout": 0.5, "input_dropout": 0.2, "prediction_window": [1, 1], "epochs": 60, "data": Mnist()},
    "moving_mnist": COMMON
    | {
        "objective": Pairwise(),
        "prelabel_timesteps": 4,
        "label_timesteps": 8,
        "prediction_window": [1, 6],
        "epochs": 16,
        "weight_averaging": 0.0,
        "data": MovingMnist(fresh_velocities=True),
    },
    "seq_mnist": COMMON
    | {
        "objective": Pairwise(),
        "hidden_sizes": [500, 500],
        "label_timesteps": 11,
        "prediction_window": [0, 10],
        "epochs": 20,
        "data": SeqMnist(),
        "transform": PenStrokes(moves_per_timestep=4, delay_line=32),
    },
    "smoke": {
        "objective": Pairwise(),
        "negatives": ReadoutNegatives(),
        "optimizer": Adam(),
        "hidden_sizes": [32, 32],
        "epochs": 2,
        "batch_size": 200,
        "train_accuracy_samples": 500,
        "test_every_epoch": True,
        "data": Mnist(train_samples=2000, validation_samples=500, test_samples=500),
    },
    "tutorial": {
        "negatives": ReadoutNegatives(),
        "schedule": Step(step_size=2, gamma=0.7),
        "input_size": 784,
        "num_classes": 10,
        "data": Mnist(),
    },
}
"""All configurations that this library had before components, and what they mean."""


@pytest.mark.parametrize("name", FILES)
def test_a_former_configuration_has_the_intended_components(name: str) -> None:
    data = name if name in ("moving_mnist", "seq_mnist") else "mnist"
    assert Settings.from_file(FORMER / f"{name}.toml", data=data) == Settings.from_arguments(**FILES[name])


def test_all_former_configurations_are_tested() -> None:
    assert {path.stem for path in FORMER.glob("*.toml")} == set(FILES)


# ---------------------------------------------------------------- any valid former configuration

probability, rate = st.floats(0, 0.9), st.floats(1e-6, 1.0)
optimizers = st.sampled_from(["rmsprop", "adam", "adadelta"])
rmsprop = st.fixed_dictionaries({}, optional={"learning_rate": rate, "momentum": probability})
adam = st.fixed_dictionaries({}, optional={"learning_rate": rate, "weight_decay": probability})
adadelta = st.fixed_dictionaries({}, optional={"learning_rate": rate})
flag = st.one_of(st.booleans(), st.integers(0, 1))

MODEL = st.fixed_dictionaries(
    {},
    optional={
        "hidden_sizes": st.lists(st.integers(1, 50), min_size=1, max_size=3),
        "ff_activation": st.sampled_from(["leaky_relu", "relu", "elu", "gelu", "silu", "tanh"]),
        "damping_factor": st.floats(0.1, 1),
        "epsilon": st.floats(1e-12, 1),
        "dropout": probability,
        "activity_dropout": probability,
        "input_dropout": probability,
        "hard_share": st.floats(0.1, 1),
        "receptive_field": st.integers(0, 5),
        "lateral_field": st.integers(0, 5),
        "prelabel_timesteps": st.integers(1, 5),
        "badness": st.sampled_from(["mean", "sum"]),
        "objective": st.sampled_from(["threshold", "pairwise", "sum"]),
        "loss_threshold": st.floats(-5, 5),
        "pairwise_alpha": st.floats(0.1, 50),
        "should_replace_neg_data": flag,
        "negatives_from": st.sampled_from(["classifier", "badness"]),
        "negative_temperature": st.floats(0.1, 10),
        "negatives": st.integers(1, 4),
        "straight_through": flag,
        "peer_normalisation": probability,
        "epochs": st.integers(1, 9),
        "ff_optimizer": optimizers,
        "ff_rmsprop": rmsprop,
        "ff_adam": adam,
        "ff_adadelta": adadelta,
        "classifier_optimizer": optimizers,
        "classifier_rmsprop": rmsprop,
        "classifier_adam": adam,
        "classifier_adadelta": adadelta,
        "lr_schedule": st.sampled_from(["step", "cosine"]),
        "lr_step_size": st.integers(1, 9),
        "lr_gamma": st.floats(0.1, 1),
        "lr_warmup_epochs": st.floats(0, 3),
        "weight_averaging": probability,
        "should_log_metrics": flag,
        "skip_profiling": flag,
        "interconnect_density": st.sampled_from([1, 1.0]),
    },
)
DATA = st.fixed_dictionaries(
    {},
    optional={
        "data_size": st.integers(1, 900),
        "num_classes": st.integers(5, 10),
        "iterations": st.integers(1, 9),
        "train_batch_size": st.integers(1, 900),
        "test_batch_size": st.integers(1, 900),
        "train_samples": st.integers(0, 900),
        "validation_samples": st.integers(0, 900),
        "test_samples": st.integers(0, 900),
    },
)
OF_MNIST = st.fixed_dictionaries(
    {},
    optional={
        "data_dir": st.just("somewhere"),
        "shift": st.integers(0, 27),
        "rotation": st.floats(0, 180),
        "scaling": probability,
        "bending": st.floats(0, 27),
        "cutout": st.integers(0, 28),
        "deskew": flag,
        "size_normalisation": st.floats(0, 1),
        "edge_directions": st.sampled_from([0, 4, 8]),
        "edge_places": st.integers(1, 28),
    },
)
OF_MOVING_MNIST = st.fixed_dictionaries({}, optional={"fresh_velocities": flag})
OF_SEQ_MNIST = st.fixed_dictionaries(
    {},
    optional={
        "moves_per_timestep": st.integers(1, 4),
        "delay_line": st.integers(4, 40),
        "repeat_strokes": flag,
    },
)


def _united(parts: Any) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


TREES = st.one_of(
    st.fixed_dictionaries({"model": MODEL, "data_config": DATA}),
    *(
        st.fixed_dictionaries(
            {
                "model": MODEL.map(lambda model: {key: value for key, value in model.items() if not key.endswith("_field")}),
                "data_config": st.tuples(DATA, own, st.sampled_from(names).map(lambda name: {"dataset": name})).map(_united),
            }
        )
        for own, names in (
            (OF_MNIST, ["MNIST", "mnist"]),
            (OF_MOVING_MNIST, ["Moving MNIST", "moving mnist"]),
            (OF_SEQ_MNIST, ["Seq MNIST"]),
        )
    ),
)
"""Valid former configurations: without a data set, or of each of three."""


def optimizer_of(model: dict[str, Any], owner: str, rmsprop_rate: float) -> Optimizer:
    name = model.get(f"{owner}_optimizer", "rmsprop")
    options = model.get(f"{owner}_{name}", {})
    if name == "rmsprop":
        return RMSprop(**({"learning_rate": rmsprop_rate} | options))
    return Adam(**options) if name == "adam" else Adadelta(**options)


def objective_of(model: dict[str, Any]) -> Objective:
    threshold, pairwise = Threshold(theta=model.get("loss_threshold", 1.5)), Pairwise(alpha=model.get("pairwise_alpha", 8.0))
    kinds: dict[str, Objective] = {"threshold": threshold, "pairwise": pairwise, "sum": Sum((threshold, pairwise))}
    return kinds[model.get("objective", "threshold")]


def negatives_of(model: dict[str, Any]) -> NegativeSource:
    count, temperature = model.get("negatives", 1), model.get("negative_temperature", 1.0)
    if not model.get("should_replace_neg_data"):
        return UniformNegatives(count)
    if model.get("negatives_from") == "badness":
        return BadnessNegatives(count, temperature)
    return ReadoutNegatives(count, temperature, optimizer_of(model, "classifier", 1e-3))


def schedule_of(model: dict[str, Any]) -> Schedule:
    warmup = model.get("lr_warmup_epochs", 0.0)
    if model.get("lr_schedule") == "cosine":
        return Cosine(warmup)
    return Step(warmup, model.get("lr_step_size", 1), model.get("lr_gamma", 1.0))


def data_of(data: dict[str, Any]) -> dict[str, Any]:
    """The data set and the transform."""
    counts = {name: data[name] for name in ("train_samples", "validation_samples", "test_samples") if name in data}
    name = data.get("dataset", "").lower()
    if name == "mnist":
        new_names = {"shift": "translate", "rotation": "rotation", "scaling": "scale", "bending": "elastic", "cutout": "cutout"}
        augmentation = {new: data[former] for former, new in new_names.items() if former in data}
        chosen: dict[str, Any] = {
            "data": Mnist(**counts, data_dir=data.get("data_dir"), augmentation=Augmentation(**augmentation))
        }
        if set(data) & {"deskew", "size_normalisation", "edge_directions", "edge_places"}:
            normalization = {
                "deskew": bool(data.get("deskew")),
                "size_normalization": data.get("size_normalisation", 0.0),
            }
            directions = data.get("edge_directions", 0)
            chosen["transform"] = (
                OrientedGradients(directions=directions, grid_size=data.get("edge_places", 7), **normalization)
                if directions
                else Pixels(**normalization)
            )
        return chosen
    if name == "moving mnist":
        return {"data": MovingMnist(**counts, fresh_velocities=bool(data.get("fresh_velocities", True)))}
    if name == "seq mnist":
        names = {"moves_per_timestep": "moves_per_timestep", "delay_line": "delay_line", "repeat_strokes": "repeat"}
        options = {new: data[former] for former, new in names.items() if former in data}
        return {"data": SeqMnist(**counts)} | ({"transform": PenStrokes(**options)} if options else {})
    return {"data": Own(**counts)}


def intended(tree: dict[str, Any]) -> Settings:
    """What a former configuration means, from components."""
    model, data = tree["model"], tree["data_config"]
    side = model.get("receptive_field", 0)
    names = {
        "ff_activation": "activation",
        "hard_share": "hard_example_fraction",
        "peer_normalisation": "peer_normalization",
        "data_size": "input_size",
        "iterations": "label_timesteps",
        "train_batch_size": "batch_size",
        "test_batch_size": "prediction_batch_size",
        "should_log_metrics": "wandb",
    }
    same = """hidden_sizes damping_factor epsilon dropout activity_dropout input_dropout prelabel_timesteps badness
        straight_through epochs weight_averaging num_classes"""
    keys = names | {key: key for key in same.split()}
    return Settings.from_arguments(
        **{keys[key]: value for key, value in (model | data).items() if key in keys},
        objective=objective_of(model),
        negatives=negatives_of(model),
        optimizer=optimizer_of(model, "ff", 5e-5),
        schedule=schedule_of(model),
        connections=[ReceptiveField(side=side, lateral=model.get("lateral_field", 0))] if side else [],
        profile=not model.get("skip_profiling", True),
        test_every_epoch=True,
        **data_of(data),
    )


@settings(max_examples=400, deadline=None, derandomize=True)
@given(TREES)
def test_any_valid_former_configuration_means_what_it_meant(tree: dict[str, Any]) -> None:
    translated = Settings.from_dict(tree)
    assert translated == intended(tree)
    assert Settings.from_toml(tomli_w.dumps(tree)) == translated == Settings.from_toml(translated.to_toml())


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TREES)
def test_the_same_overrides_one_by_one_and_arguments_mean_the_same(tree: dict[str, Any]) -> None:
    expected = Settings.from_dict(tree).with_arguments(test_every_epoch=False)
    data = [("data_config", key) for key in sorted(tree["data_config"], key=lambda key: key != "dataset")]
    keys = [*data, *(("model", key) for key in tree["model"])]
    overrides = []
    for section, key in keys:
        value = tree[section][key]
        options = {f"{key}.{option}": each for option, each in value.items()} if isinstance(value, dict) else {key: value}
        overrides += [f"{section}.{name}={tomli_w.dumps({'v': each})[4:].strip()}" for name, each in options.items()]
    assert Settings().override(overrides) == expected
    assert Settings.from_arguments(**{key: tree[section][key] for section, key in keys}) == expected


# ---------------------------------------------------------------- parts of one


def test_former_overrides_change_present_settings() -> None:
    settings = Settings.from_file(FORMER / "mnist_fast.toml", data="mnist")
    assert settings.override(["model.epochs=3", "model.ff_adam.learning_rate=0.01"]) == settings.with_arguments(
        epochs=3, optimizer=Adam(learning_rate=0.01)
    )
    assert settings.override(["model.pairwise_alpha=4"]).objective == Pairwise(alpha=4.0)
    assert settings.override(["model.objective=threshold"]).objective == Threshold()
    assert settings.override(["model.negatives=3"]).negatives == ReadoutNegatives(count=3, optimizer=Adam())
    assert settings.override(["model.should_replace_neg_data=0"]).negatives == UniformNegatives()
    assert settings.override(["model.lr_schedule=step", "model.lr_gamma=0.5"]).schedule == Step(gamma=0.5)
    assert settings.override(["data_config.edge_places=5"]).transform == OrientedGradients(grid_size=5)
    assert settings.override(["data_config.edge_directions=0"]).transform == Pixels()
    augmented = Mnist(augmentation=Augmentation(translate=3, rotation=10.0, scale=0.1))
    for override in ("data_config.shift=3", "data.augmentation.translate=3"):
        assert settings.override([override]).data == augmented
    assert settings.with_arguments(data={"augmentation": {"translate": 3}}).data == augmented
    assert settings.override(["data_config.dataset=fashion_mnist"]).data.title == "Fashion-MNIST"
    with pytest.raises(SettingsError, match=r"used by the seq_mnist benchmark only, and this is mnist"):
        settings.override(["data_config.delay_line=8"])


def test_a_former_override_of_a_field_keeps_other_connections() -> None:
    dense = {"name": "dense", "layers": [2]}
    settings = Settings.from_arguments(connections=[{"name": "receptive_field", "side": 5}, dense])
    changed = settings.override(["model.lateral_field=3"]).to_tree()["network"]["connections"]
    assert [(entry["name"], entry.get("side"), entry.get("lateral")) for entry in changed] == [
        ("receptive_field", 5, 3),
        ("dense", None, None),
    ]


@pytest.mark.parametrize("former", ["MNIST", "mnist", "fashion_mnist", "Moving MNIST", "Seq MNIST", "SEQ mnist"])
def test_the_former_names_of_data_sets(former: str) -> None:
    data = Settings.from_toml(f"[data_config]\ndataset = {former!r}").to_tree()["data"]["name"]
    assert data == former.lower().replace(" ", "_")


def test_a_data_set_is_found_by_the_keys_that_only_it_has() -> None:
    for keys, data in (("rotation = 5", "mnist"), ("fresh_velocities = false", "moving_mnist"), ("delay_line = 40", "seq_mnist")):
        assert Settings.from_toml(f"[data_config]\n{keys}").to_tree()["data"]["name"] == data
    assert Settings.from_toml("[data_config]\nrotation = 0.0\ndelay_line = 32").data == Own()  # both are defaults


FOREIGN = {
    "edge_directions = 8": ("seq_mnist", "edge_directions = 8: used by the mnist benchmark only, and this is seq_mnist"),
    "shift = 1": (
        "moving_mnist",
        "shift = 1: used by the mnist benchmark only, and this is moving_mnist; leave it out or set it to 0",
    ),
    "fresh_velocities = false": (
        "mnist",
        "fresh_velocities = false: used by .*, and this is mnist; leave it out or set it to true",
    ),
    "repeat_strokes = true": ("moving_mnist", "repeat_strokes = true: used by the seq_mnist benchmark only"),
    "delay_line = 2": ("fashion_mnist", "delay_line = 2: used by the seq_mnist benchmark only, and this is fashion_mnist"),
}


@pytest.mark.parametrize("key", FOREIGN)
def test_a_key_of_another_data_set_is_refused_where_the_data_set_is_known_beforehand(key: str) -> None:
    data, message = FOREIGN[key]
    with pytest.raises(SettingsError, match=f"data_config.{message}"):
        Settings.from_toml(f"[data_config]\n{key}", data=data)
    name = key.partition(" ")[0]
    default = next(defaults[name] for defaults in former_keys.BENCHMARK_KEYS.values() if name in defaults)
    assert Settings.from_dict({"data_config": {name: default}}, data=data).transform is None


MISTAKES = {
    "[model]\nepocs = 3": r"unknown key 'model\.epocs'; did you mean 'epochs'",
    "[data_config]\nepochs = 3": r"unknown key 'data_config\.epochs'; known: bending",
    "[model.ff_adam]\nlearningrate = 3": r"unknown key 'model\.ff_adam\.learningrate'; did you mean 'learning_rate'",
    "[model]\nepochs = 0": r"expected at least 1 \(the former model\.epochs\)",
    "[model]\nhard_share = 2": r"\(the former model\.hard_share\)",
    "[model]\nepochs = '3'": r"expected a whole number \(the former model\.epochs\)",
    "[model]\nff_adam = 3": r"model\.ff_adam = 3: expected a section",
    "[model]\nobjective = 'hinge'": r"model\.objective = 'hinge': there is no such objective; known: pairwise, sum, threshold",
    "[model]\nobjective = []": r"model\.objective = \[\]: there is no such objective",
    "[model]\nff_optimizer = 'sgd'": r"model\.ff_optimizer = 'sgd': there is no such optimizer; known: adadelta, adam, rmsprop",
    "[model]\nloss_threshold = nan": r"model\.loss_threshold = nan: expected a finite number",
    "[model.classifier_adam]\nlearning_rate = -1.0": r"model\.classifier_adam\.learning_rate = -1\.0: expected a number above 0",
    "[model]\nnegatives_from = 'readout'": r"model\.negatives_from = 'readout': expected 'classifier' or 'badness'",
    "[model]\nshould_replace_neg_data = 2": r"model\.should_replace_neg_data = 2: expected true or false",
    "[model]\nshould_load_weights = 2": r"model\.should_load_weights = 2: expected true or false",
    "[model]\nskip_profiling = 'no'": r"model\.skip_profiling = 'no': expected true or false",
    "[model]\nlr_schedule = 'linear'": r"model\.lr_schedule = 'linear': expected 'step' or 'cosine'",
    "[model]\nlr_gamma = 1.5": r"model\.lr_gamma = 1\.5: expected at most 1",
    "[model]\nreceptive_field = -1": r"model\.receptive_field = -1: expected a whole number, at least 0",
    "[model]\nreceptive_field = 3\n[model.convolution]": r"model\.receptive_field = 3: a convolution has receptive fields of",
    "[model.convolution]\nlateral_kernel_size = 2": r"expected an odd number, for instance 3 \(the former model\.convolution\)",
    "[model]\nconvolution = 3": r"model\.convolution = 3: expected a section",
    "[model]\nff_activation = 'step'": r"there is no such activation; .* \(the former model\.ff_activation\)",
    "[model]\nnegatives = 10\n[data_config]\nnum_classes = 10": r"has only 9 wrong labels \(the former model\.negatives\)",
    "[data_config]\ndataset = 'CIFAR'": r"data_config\.dataset = 'CIFAR': there is no such data set; known: fashion_mnist, mnist",
    "[data_config]\nedge_directions = 3\ndataset = 'MNIST'": r"data_config\.edge_directions = 3: expected 0 \(none\) or 4 to 64",
    "[data_config]\nedge_directions = 4\nedge_places = 40": r"\(the former data_config\.edge_places\)",
    "[data_config]\nshift = 28": r"\(the former data_config\.shift\)",
    "[data_config]\ndelay_line = 2": r"must be at least moves_per_timestep = 4.* \(the former data_config\.delay_line\)",
    "[data_config]\nsize_normalization = 0.5\n size_normalisation = 0.5": r"are two names of one key; remove one",
    "[model]\nhard_share = 0.5\nhard_example_fraction = 0.5": r"model\.hard_example_fraction and model\.hard_share are two names",
    "[model]\ndropout = 0.5\n[network]\ndropout = 0.1": r"model\.dropout and network\.dropout are two names of one key",
    "[model]\nff_optimizer = 'adam'\n[optimizer]": r"model\.ff_optimizer and optimizer are two names of one key",
    "[model]\nreceptive_field = 3\n[[network.connections]]\nname = 'dense'": r"and network\.connections are two names",
    "[data_config]\ndataset = 'MNIST'\n[data]\nname = 'mnist'": r"data_config\.dataset and data\.name are two names",
    "[data_config]\nedge_directions = 4\n[transform]\nname = 'pixels'": r"edge_directions and transform are two names",
    "model = 3": r"model = 3: expected a section with keys of its own",
    "training = 3\n[model]": r"training = 3: expected a section with keys of its own",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_by_the_former_key(text: str) -> None:
    with pytest.raises(SettingsError, match=MISTAKES[text]) as caught:
        Settings.from_toml(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ") and "\n" not in str(caught.value)


STRANGE = [None, -1, 2.5, "x", [], [[1]], {}, {"x": 1}, float("nan"), 10**30]


@pytest.mark.parametrize("path", former_keys.known_paths())
def test_a_strange_value_of_any_former_key_is_accepted_or_named(path: str) -> None:
    section, _, key = path.partition(".")
    datasets: list[dict[str, Any]] = [{}, {"dataset": "MNIST"}, {"dataset": "Seq MNIST"}]
    for value in STRANGE:
        for dataset in datasets:
            tree: dict[str, dict[str, Any]] = {"data_config": dict(dataset)}
            tree.setdefault(section, {})[key] = value
            try:
                Settings.from_dict(tree)
            except SettingsError as error:
                assert "\n" not in str(error) and (path in str(error) or value is None), error


def test_of_several_former_overrides_the_one_at_fault_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^--epochs 0: training\.epochs = 0"):
        Settings().override(["model.dropout=0.5", "model.epochs=0"], ["--set model.dropout=0.5", "--epochs 0"])
    with pytest.raises(SettingsError, match=r"^--set model\.hard_share=2: .*expected at most 1"):
        Settings().override(["model.epochs=2", "model.hard_share=2"])


ALIASES = {
    "hard_share": ("model", "hard_example_fraction", "network", 0.5),
    "peer_normalisation": ("model", "peer_normalization", "network", 0.25),
    "size_normalisation": ("data_config", "size_normalization", "transform", 0.75),
}


@pytest.mark.parametrize("alias", ALIASES)
def test_an_older_name_of_a_key_is_accepted_and_the_present_name_is_written(alias: str) -> None:
    section, name, now, value = ALIASES[alias]
    base = Settings.from_arguments(data="mnist")
    for key in (alias, name):
        for found in (
            Settings.from_toml(f"[{section}]\n{key} = {value}", data="mnist").with_arguments(test_every_epoch=False),
            base.override([f"{section}.{key}={value}"]),
            base.with_arguments(**{key: value}),
            base.override([f"{section}.{key}=1.0", f"{section}.{alias}={value}"]),
            base.override([f"{section}.{key}=1.0", f"{section}.{name}={value}"]),
        ):
            assert found.to_tree()[now][name] == value
            assert f"{name} = {value}" in found.to_toml() and alias not in found.to_toml()


def test_former_arguments_of_a_program_mean_what_they_meant() -> None:
    found = rff.build(
        data_size=7,
        num_classes=5,
        hidden_sizes=[4],
        objective="pairwise",
        pairwise_alpha=16.0,
        ff_optimizer="adam",
        ff_adam={"learning_rate": 0.01},
        negatives=2,
        iterations=4,
        device="cpu",
    ).settings
    assert (found.objective, found.optimizer, found.negatives) == (Pairwise(16.0), Adam(0.01), UniformNegatives(2))
    assert found.network.input_size == 7 and found.network.label_timesteps == 4


def test_weights_are_loaded_if_the_former_switch_says_so() -> None:
    for switch, expected in (("true", "a.pt"), ("false", None), ("1", "a.pt"), ("0", None)):
        settings = Settings.from_toml(f"[model]\nshould_load_weights = {switch}\n[training]\nweights = 'a.pt'")
        assert settings.training.weights == expected
    assert Settings.from_toml("[model]\nshould_load_weights = true").training.weights == ""  # --weights FILE names it


@pytest.mark.parametrize(("model", "weights"), [({"epochs": 3}, None), ({"should_load_weights": True}, "a.pt")])
def test_weights_of_a_former_file_count_only_if_it_loads_them(model: dict[str, Any], weights: str | None) -> None:
    settings = Settings.from_dict({"model": model, "training": {"weights": "a.pt"}})
    assert settings.training.weights == weights
