"""Values of other types than Python's own, as programs pass them: numbers and texts of numpy, paths, members of enumerations."""

import enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import RecurrentFF as rff
from RecurrentFF.data.mnist import Mnist
from RecurrentFF.errors import SettingsError
from RecurrentFF.model.activations import LeakyReLU
from RecurrentFF.model.negatives import UniformNegatives
from RecurrentFF.model.objectives import Threshold
from RecurrentFF.settings import NetworkSettings, Settings, TrainingSettings

WHOLE = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.intp, np.longlong]


class Size(enum.IntEnum):
    """A whole number with a name."""

    SMALL = 4


class Name(str, enum.Enum):
    """A text with a name."""

    ADAM = "adam"


@pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: kind.__name__)
def test_a_whole_number_of_any_kind_is_one_everywhere(kind: Any) -> None:
    four = kind(4)
    expected = {"num_classes": 4, "input_size": 4, "hidden_sizes": [4, 4], "epochs": 4, "seed": 4, "prediction_window": [4, 4]}
    given: dict[str, Any] = {
        **dict.fromkeys(("num_classes", "input_size", "epochs", "seed"), four),
        "hidden_sizes": [four, four],
        "prediction_window": (four, four),
        "negatives": {"name": "uniform", "count": kind(2)},
    }
    settings = Settings.from_arguments(**given)
    assert settings == Settings.from_arguments(**expected, negatives=UniformNegatives(2))
    assert Settings.from_toml(settings.to_toml()) == settings
    assert Settings(training={"epochs": four}) == Settings.from_dict({"training": {"epochs": four}})
    assert UniformNegatives(kind(2)) == UniformNegatives(2) and type(UniformNegatives(kind(2)).count) is int
    assert type(TrainingSettings(epochs=four).epochs) is int
    assert Settings.from_arguments(negatives=kind(3)).negatives == UniformNegatives(3)  # a former key
    assert rff.build(input_size=four, num_classes=four, hidden_sizes=[four], device="cpu").num_classes == 4


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble], ids=lambda kind: kind.__name__)
def test_a_number_of_any_kind_is_one_everywhere(kind: Any) -> None:
    settings = Settings.from_arguments(dropout=kind(0.5), objective={"theta": kind(0.25)}, optimizer={"learning_rate": kind(0.5)})
    assert (settings.network.dropout, settings.objective) == (0.5, Threshold(0.25))
    assert type(Threshold(kind(0.25)).theta) is float and type(LeakyReLU(kind(0.5)).negative_slope) is float
    assert Settings.from_toml(settings.to_toml()) == settings
    with pytest.raises(SettingsError, match=r"training\.epochs = 2\.0: expected a whole number"):
        Settings.from_arguments(epochs=kind(2))
    assert Threshold(theta=Fraction(1, 4)) == Threshold(0.25)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"Threshold\.theta = Fraction.*: expected a number"):
        Threshold(theta=Fraction(10**400))  # type: ignore[arg-type]


def test_flags_texts_and_paths_of_other_types_are_accepted() -> None:
    settings = Settings.from_arguments(
        straight_through=np.bool_(True),
        wandb=np.int64(0),
        device=np.str_("cpu"),
        badness=np.str_("sum"),
        weights=Path("some") / "file",
        optimizer=Name.ADAM,
        hidden_sizes=[Size.SMALL, np.array(5)],
        data={"name": np.str_("mnist"), "data_dir": Path("folder")},
    )
    text = settings.to_toml()
    assert Settings.from_toml(text) == settings and settings.network.hidden_sizes == (4, 5)
    assert settings.network.straight_through is True and settings.tracking.wandb is False
    assert settings.training.weights == str(Path("some/file")) and settings.data == Mnist(data_dir="folder")
    assert Mnist(data_dir=Path("folder")) == Mnist(data_dir="folder")  # type: ignore[arg-type]
    assert NetworkSettings(badness=np.str_("sum")).badness == "sum"  # type: ignore[arg-type]


def test_what_is_no_number_is_refused_in_one_line() -> None:
    for value in (np.array([8, 4]), torch.ones(3), torch.eye(3).to_sparse(), torch.ones(2, device="meta"), np.datetime64("2020"),
                  np.complex64(1), b"8", {8}, object(), torch.ones(1).expand(10**6, 10**6)):  # fmt: skip
        for key in ("hidden_sizes", "epochs", "dropout", "weights", "wandb", "optimizer", "network"):
            with pytest.raises(SettingsError) as caught:
                Settings.from_arguments(**{key: value})
            assert str(caught.value).isprintable() and len(str(caught.value)) < 500
