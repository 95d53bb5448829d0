"""Mistakes in components of one's own, and components that Python gives in unusual ways: one line, or the right thing."""

import functools
import warnings
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF.data.image_transforms import Pixels
from RecurrentFF.errors import CheckpointError, DataError, InputError, SettingsError
from RecurrentFF.model.objectives import Objective, Pairwise, Threshold
from RecurrentFF.model.optimizers import Adam, Optimizer, RMSprop, Torch
from RecurrentFF.registry import make, register
from RecurrentFF.settings import Settings
from RecurrentFF.training.schedules import Cosine


@dataclass(frozen=True)
class Shifted(Objective):
    """An objective with an option that only a program can give."""

    shift: Any = 0.0
    limit: float | None = 3.0

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        return positive - negative + float(self.shift)


def test_a_name_and_then_an_option_of_it_give_that_component() -> None:
    assert Settings().override(["optimizer=adam", "optimizer.learning_rate=3e-3"]).optimizer == Adam(learning_rate=3e-3)
    assert Settings().override(["schedule=cosine", "schedule.warmup_epochs=1.0"]).schedule == Cosine(warmup_epochs=1.0)
    assert Settings().override(["objective=pairwise", "objective.alpha=16"]).objective == Pairwise(alpha=16)
    assert Settings().override(["optimizer=adam", "model.ff_adam.learning_rate=3e-3"]).optimizer == Adam(learning_rate=3e-3)
    network = Settings().override(["network.activation=leaky_relu", "network.activation.negative_slope=0.1"]).network
    assert network.activation == make("activation", {"name": "leaky_relu", "negative_slope": 0.1}, "activation")


def test_a_name_alone_keeps_the_options_of_the_same_component() -> None:
    settings = Settings.from_arguments(optimizer=Adam(learning_rate=0.5))
    assert settings.with_arguments(optimizer="adam") == settings.with_arguments(optimizer={"name": "adam"}) == settings
    assert settings.with_arguments(optimizer="rmsprop").optimizer == RMSprop()


def test_former_options_of_a_data_set_need_its_name() -> None:
    with pytest.raises(SettingsError, match=r"deskew: an option of the data set mnist; name it too, as data = 'mnist'"):
        Settings.from_arguments(deskew=True)
    assert Settings.from_arguments(data="mnist", deskew=True).to_tree()["transform"]["deskew"]


class SGD(torch.optim.Adam):
    """An optimizer that has the name of another one."""


@pytest.mark.parametrize("optimizer", [SGD, functools.partial(SGD, lr=1.0), functools.partial(torch.optim.SGD, [])])
def test_only_the_classes_of_torch_are_taken_by_their_name(optimizer: Any) -> None:
    with pytest.raises(SettingsError, match=r"must be a class of torch\.optim"):
        Settings.from_arguments(optimizer=optimizer)


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, torch.optim.SparseAdam])
def test_an_optimizer_that_can_not_make_an_ordinary_step_is_refused(optimizer: Any) -> None:
    with pytest.raises(SettingsError, match="refuses these options"):
        Settings.from_arguments(optimizer=optimizer)


def test_options_without_a_value_are_left_out() -> None:
    optimizer = Settings.from_arguments(optimizer=functools.partial(torch.optim.SGD, lr=0.1, foreach=None)).optimizer
    assert optimizer == Torch(optimizer="SGD", learning_rate=0.1)


def test_an_option_that_a_file_can_not_hold_is_refused_before_training() -> None:
    with pytest.raises(SettingsError, match=r"objective\.shift: a configuration can't hold a Tensor"):
        Settings.from_arguments(objective=Shifted(shift=torch.ones(2)))
    with pytest.raises(SettingsError, match=r"Shifted\.limit = None: a configuration has no None"):
        Shifted(limit=None)


def make_class(name: str, /, **options: Any) -> type[Objective]:
    namespace = {"__annotations__": dict.fromkeys(options, float), "loss": Shifted.loss, **options}
    return dataclass(frozen=True)(type(name, (Objective,), namespace))


@pytest.mark.parametrize("name", ["name", "kind", "model_config", "_x"])
def test_an_option_with_a_name_of_another_meaning_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: this name has another meaning"):
        register("objective", "odd")(make_class("Odd", **{name: 1.0}))


def test_an_option_that_can_not_be_set_is_refused() -> None:
    with pytest.raises(SettingsError, match="can't have init=False"):
        register("objective", "odd")(make_class("Odd", x=field(default=1.0, init=False)))


def test_a_forgotten_dataclass_is_named() -> None:
    with pytest.raises(SettingsError, match=r"write @dataclass\(frozen=True\) above class Wider"):

        @register("objective", "wider")
        class Wider(Threshold):
            theta: float = 5.0


def test_a_class_that_is_defined_again_has_the_same_name(tmp_path: Any) -> None:
    first = register("objective", "again")(make_class("Again", x=1.0))
    network = rff.build(input_size=3, num_classes=2, hidden_sizes=[4], objective=first(x=2.0), device="cpu")  # type: ignore[call-arg]
    second = register("objective", "again")(make_class("Again", x=1.0))
    rff.save(network, tmp_path / "network.pt")
    assert rff.load(tmp_path / "network.pt", "cpu").settings.objective == second(x=2.0)  # type: ignore[call-arg]


def test_a_list_stays_a_list_where_one_is_asked_for() -> None:
    @register("optimizer", "listed")
    @dataclass(frozen=True)
    class Listed(Optimizer):
        learning_rate: float = 1.0
        parts: list[int] = field(default_factory=list)

        def make(self, parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters)

    assert make("optimizer", {"name": "listed", "parts": [1, 2]}, "optimizer").parts == [1, 2]


@pytest.mark.parametrize("arguments", [{"hidden_sizes": torch.ones(3, 3)}, {"objective": torch.ones(3, 3)}])
def test_a_value_of_several_lines_is_shown_in_one(arguments: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_arguments(**arguments)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_the_hint_about_an_unregistered_connection_names_the_argument(tmp_path: Any) -> None:
    network = rff.build(input_size=3, num_classes=2, hidden_sizes=[4], connections=[Unregistered()], device="cpu")
    rff.save(network, tmp_path / "network.pt")
    with pytest.raises(CheckpointError, match=r"pass it again, as connections=…"):
        rff.load(tmp_path / "network.pt", "cpu")
    assert rff.load(tmp_path / "network.pt", "cpu", connections=[Unregistered()]).settings.network.connections == (
        Unregistered(),
    )
    with pytest.raises(CheckpointError, match=r"no component 'connection'; did you mean 'connections'"):
        rff.load(tmp_path / "network.pt", "cpu", connection=Unregistered())


@dataclass(frozen=True)
class Unregistered(rff.ConnectionKind):
    """The dense kind under another name."""

    def make(self, place: Any) -> list[Any]:
        options: dict[str, Any] = {"name": "dense"}
        made: list[Any] = make("connection", options, "connection").make(place)
        return made


def test_an_unknown_argument_that_a_component_has_is_led_to_it() -> None:
    with pytest.raises(SettingsError, match=r"'learning_rate'; it is an option of optimizer: optimizer=\{'name': 'rmsprop', 'le"):
        Settings.from_arguments(learning_rate=1e-3)


def test_a_recipe_can_be_named_and_a_similar_name_is_suggested() -> None:
    assert Settings.from_file("mnist_fast").network.hidden_sizes == (1000, 500)
    with pytest.raises(SettingsError, match=r"mnist_fats: no such configuration file, and no recipe .*did you mean 'mnist_fast'"):
        Settings.from_file("mnist_fats")


class Stepped(Objective):
    """An objective without a gradient."""

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        return (positive > negative).float()


def test_an_objective_without_a_gradient_is_refused() -> None:
    network = rff.build(input_size=3, num_classes=2, hidden_sizes=[4], device="cpu")
    with pytest.raises(InputError, match=r"Stepped\.loss: has no gradient"):
        rff.Learner(network, objective=Stepped())


class Misspelled(rff.Callback):
    """A callback with an event that is not there."""

    def on_epoch_ends(self, trainer: Any) -> None:
        return


def test_observers_and_callbacks_that_can_not_be_called_are_refused() -> None:
    network = rff.build(input_size=3, num_classes=2, hidden_sizes=[4], device="cpu")
    data = (torch.randn(8, 3), torch.arange(8) % 2)
    with pytest.raises(InputError, match=r"observers: Observer is not an object"):
        rff.fit(network, data, observers=[rff.Observer], quiet=True)  # type: ignore[list-item]
    with pytest.raises(SettingsError, match=r"Misspelled\.on_epoch_ends is no event; did you mean 'on_epoch_end'"):
        rff.fit(network, data, callbacks=[Misspelled()], quiet=True)


def test_hidden_folders_are_no_classes(tmp_path: Any) -> None:
    from PIL import Image

    for name in ("a", "b", ".git"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        Image.new("L", (4, 4), 200).save(tmp_path / name / "1.png")
    assert rff.ImageFolderTask(tmp_path, validation=None).classes == ("a", "b")


def test_numbers_of_numpy_are_numbers() -> None:
    settings = Settings.from_arguments(input_size=np.int64(4), hidden_sizes=[np.int64(8)], dropout=np.float32(0.5))
    assert settings == Settings.from_arguments(input_size=4, hidden_sizes=[8], dropout=0.5)


def test_network_inputs_may_be_arrays_and_what_is_none_is_refused_in_one_line() -> None:
    network = rff.build(input_size=3, num_classes=2, hidden_sizes=[4], device="cpu")
    inputs = np.ones((2, 3), np.float32)
    assert network.predict(inputs).tolist() == network.predict(torch.ones(2, 3)).tolist()
    with pytest.raises(InputError, match=r"inputs of type object: expected a tensor or an array of numbers"):
        network.predict(object())


# ---------------------------------------------------------------- what mutations of the code have shown to be untested


def test_nothing_as_an_option_of_a_configuration_means_its_default() -> None:
    register("objective", "shifted")(Shifted)
    assert make("objective", {"name": "shifted", "limit": None}, "objective") == Shifted(limit=3.0)


def test_a_list_stays_a_list_however_it_is_annotated() -> None:
    @register("optimizer", "listed_in_several_ways")
    @dataclass(frozen=True)
    class ListedInSeveralWays(Optimizer):
        learning_rate: float = 1.0
        bare: list = field(default_factory=list)  # type: ignore[type-arg]
        limited: Annotated[list[int], Field(max_length=3)] = field(default_factory=list)
        several: tuple[int, ...] = ()

        def make(self, parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters)

    options = {"name": "listed_in_several_ways", "bare": [1], "limited": [1, 2], "several": [3]}
    made = make("optimizer", options, "optimizer")
    assert (made.bare, made.limited, made.several) == ([1], [1, 2], (3,))


def test_an_option_may_have_the_name_of_a_method_of_pydantic() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shadowing = register("objective", "shadowing")(make_class("Shadowing", copy=2.0, schema=1.0))
        assert make("objective", {"name": "shadowing", "copy": 3.0}, "objective") == shadowing(copy=3.0)  # type: ignore[call-arg]


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(SettingsError, match="…") as value:
        Settings.from_arguments(hidden_sizes=torch.ones(30, 30))
    with pytest.raises(SettingsError, match="…") as override:
        Settings().override(["training.epochs=" + "x\n" * 500])
    assert all("\n" not in str(caught.value) and len(str(caught.value)) < 400 for caught in (value, override))


def test_an_upper_limit_that_is_not_allowed_itself_is_named() -> None:
    with pytest.raises(SettingsError, match=r"network\.dropout = 1\.0: expected a number below 1$"):
        Settings.from_arguments(dropout=1.0)


def test_an_item_of_a_list_that_a_file_can_not_hold_is_named() -> None:
    with pytest.raises(SettingsError, match=r"objective\.shift\[1\]: a configuration can't hold a Tensor"):
        Settings.from_arguments(objective=Shifted(shift=[1.0, torch.ones(2)]))


def test_an_unknown_argument_that_the_transform_has_is_led_to_it() -> None:
    settings = Settings.from_arguments(transform="oriented_gradients")
    with pytest.raises(SettingsError, match=r"an option of transform: .*'oriented_gradients', 'directions': …\}"):
        settings.with_arguments(directions=4)
    with pytest.raises(SettingsError, match="unknown key 'name'") as caught:
        settings.with_arguments(name="mine")
    assert "an option of" not in str(caught.value)


def test_the_name_of_a_transform_alone_keeps_its_options() -> None:
    settings = Settings.from_arguments(transform=Pixels(mean=0.5, std=0.25))
    assert settings.with_arguments(transform="pixels") == settings.override(["transform=pixels"]) == settings


def test_numbers_of_numpy_in_a_tuple_are_numbers_and_an_array_is_no_list() -> None:
    assert Settings.from_arguments(hidden_sizes=(np.int64(8), 4)).network.hidden_sizes == (8, 4)
    with pytest.raises(SettingsError, match=r"network\.hidden_sizes = array\(\[8, 4\]\): expected a list"):
        Settings.from_arguments(hidden_sizes=np.array([8, 4]))


class WithGradients(Stepped):
    """An objective whose gradients are not those of its loss."""

    def gradients(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(positive + negative), -torch.ones_like(positive + negative)


@pytest.mark.parametrize("objective", [WithGradients(), Shifted()])
def test_an_objective_is_checked_for_its_gradient_as_training_takes_it(objective: Objective) -> None:
    network = rff.build(input_size=3, num_classes=2, hidden_sizes=[4], device="cpu")
    with torch.no_grad():
        assert rff.Learner(network, objective=objective).objective is objective


def test_network_inputs_may_be_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    network = rff.build(input_size=3, num_classes=2, hidden_sizes=[4], device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # about an array that can't be written
        found = network.predict(pandas.DataFrame(np.ones((2, 3), np.float32)))
    assert found.tolist() == network.predict(torch.ones(2, 3)).tolist()


def test_a_folder_without_class_folders_is_refused(tmp_path: Any) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(DataError, match=r"expected one folder of images for each class \(no class folder in "):
        rff.ImageFolderTask(tmp_path)
