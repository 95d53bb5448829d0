"""The registry of components: what a name, an object and a class of one's own may be, and what is refused in one line."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from torch import Tensor

import RecurrentFF as rff
from RecurrentFF import registry
from RecurrentFF.errors import CheckpointError, SettingsError
from RecurrentFF.model.activations import Activation, LeakyReLU, ReLU, StraightThrough, Tanh
from RecurrentFF.model.negatives import ReadoutNegatives
from RecurrentFF.model.objectives import Objective, Pairwise, Sum, Threshold
from RecurrentFF.model.optimizers import Adam, RMSprop
from RecurrentFF.registry import Component, ComponentOf, component_class, make, name_of, names, register, schema, tree_of
from RecurrentFF.settings import Settings
from tests.helpers import clusters, package_names, small_settings


@pytest.fixture(autouse=True)
def _registered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the components of the package only, and forget what a test registers."""
    own = {kind: {name: component_class(kind, name) for name in package_names(kind)} for kind in registry.HOMES}
    monkeypatch.setattr(registry, "_classes", own)


@dataclass(frozen=True)
class Hinge(Objective):
    """An objective of one's own, which is not registered."""

    margin: Annotated[float, Field(ge=0)] = 1.0
    """The margin."""
    ranks_only = True

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        return (self.margin + positive - negative).clamp(min=0)


@dataclass(frozen=True)
class Chain(Activation):
    """An activation of several others, with an option that pydantic does not know."""

    parts: tuple[Annotated[Activation, ComponentOf("activation")], ...] = (LeakyReLU(),)
    """The functions, in this order."""
    shift: torch.Tensor | None = field(default=None, compare=False)
    """What is added."""

    def apply(self, z: Tensor) -> Tensor:
        for part in self.parts:
            z = part.apply(z)
        return z


def untyped(value: Any) -> Any:
    """A class, whose arguments no type checker checks."""
    return value


# ---------------------------------------------------------------- making components


def test_every_built_in_component_is_made_from_its_name_and_from_its_tree() -> None:
    for kind in registry.HOMES:
        assert names(kind)
        for name in names(kind):
            made = make(kind, name, kind)
            assert type(made) is component_class(kind, name) and name_of(made) == name
            assert make(kind, tree_of(made), kind) == made == make(kind, {"name": name}, kind)
            assert make(kind, made, kind) is made


def test_every_option_of_every_component_has_a_docstring_and_a_default() -> None:
    import ast
    import inspect

    for kind in registry.HOMES:
        for cls in (component_class(kind, name) for name in names(kind)):
            documented: set[str] = set()
            for parent in cls.__mro__[:-1]:
                body = ast.parse(inspect.cleandoc("\n" + inspect.getsource(parent))).body[0]
                assert isinstance(body, ast.ClassDef)
                for key, text in zip(body.body, body.body[1:], strict=False):
                    if isinstance(key, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                        documented.add(ast.unparse(key.target))
            assert {each.name for each in fields(cls)} <= documented, cls  # type: ignore[arg-type]
            assert not any(option.is_required() for option in schema(untyped(cls)).model_fields.values()), cls


MAKE_MISTAKES: dict[str, tuple[object, str]] = {
    "unknown name": (
        "pairwize",
        r"^place\.name = 'pairwize': there is no such objective; did you mean 'pairwise'\?; one of your own",
    ),
    "unlike any": (
        "hinge",
        r"there is no such objective; known: .*pairwise, reversed, softmax, sum, threshold; one .* imported first, .* plugins = ",
    ),
    "empty name": ("", r"place\.name = '': there is no such objective"),
    "a class's name": ("my.module.Hinge", r"a class that was passed as an object; pass it again, as place=…, or register it"),
    "no name": ({"alpha": 3.0}, r"^place: has no name; set place\.name to one of .*pairwise, reversed, softmax, sum, threshold"),
    "unknown option": ({"name": "pairwise", "alfa": 3.0}, r"^unknown key 'place\.alfa'; did you mean 'alpha'\?"),
    "option of another": ({"name": "pairwise", "theta": 3.0}, r"^unknown key 'place\.theta'; known: alpha"),
    "range": ({"name": "pairwise", "alpha": 0}, r"^place\.alpha = 0: expected a number above 0"),
    "not finite": ({"name": "pairwise", "alpha": float("inf")}, r"^place\.alpha = inf: expected a finite number"),
    "type": ({"name": "pairwise", "alpha": "3"}, r"^place\.alpha = '3': expected a number"),
    "bool": ({"name": "pairwise", "alpha": True}, r"^place\.alpha = true: expected a number"),
    "two mistakes": ({"name": "pairwise", "alpha": "3", "beta": 1}, r"place\..* \(and 1 more\)$"),
    "nested": ({"name": "sum", "objectives": [{"name": "pairwise", "alpha": 0}]}, r"^place\.objectives\[0\]\.alpha = 0: "),
    "nested name": ({"name": "sum", "objectives": ["pairwise", "x"]}, r"^place\.objectives\[1\]\.name = 'x': "),
    "empty tuple": (
        {"name": "sum", "objectives": []},
        r"^place\.objectives = \[\]: expected a longer list, of at least 1 entry instead of 0",
    ),
    "object of another kind": (Adam(), r"^place = Adam\(.*\): expected a name, a section, or a Objective"),
    "nested object of another kind": ({"name": "sum", "objectives": [Adam()]}, r"^place\.objectives\[0\] = Adam\(.*\): expected"),
    "a class": (Pairwise, r"^place = .*Pairwise.*: expected a name, a section, or a Objective"),
    "none": (None, r"^place = None: expected a name"),
}


@pytest.mark.parametrize("case", MAKE_MISTAKES)
def test_a_mistake_is_named_in_one_line(case: str) -> None:
    value, message = MAKE_MISTAKES[case]
    with pytest.raises(SettingsError, match=message) as caught:
        make("objective", value, "place")
    assert "\n" not in str(caught.value) and caught.value.place.startswith("place")


def test_options_are_checked_when_a_program_makes_a_component() -> None:
    for call, message in (
        (lambda: Pairwise(alpha=-1.0), r"^Pairwise\.alpha = -1\.0: expected a number above 0$"),
        (lambda: untyped(Pairwise)(alpha="x"), r"^Pairwise\.alpha = 'x': expected a number$"),
        (lambda: Hinge(margin=-1.0), r"^Hinge\.margin = -1\.0: expected at least 0$"),
        (
            lambda: untyped(ReadoutNegatives)(optimizer=Pairwise()),
            r"^ReadoutNegatives\.optimizer = Pairwise\(alpha=8\.0\): expected a name",
        ),
        (lambda: Sum(objectives=()), r"^Sum\.objectives = \[\]: expected a longer list, of at least 1 entry instead of 0$"),
        (lambda: untyped(Chain)(shift=3), r"^Chain\.shift = 3: "),
    ):
        with pytest.raises(SettingsError, match=message):
            call()
    assert Pairwise(alpha=3).alpha == 3.0 and isinstance(Pairwise(alpha=3).alpha, float)


def test_options_are_converted_when_a_program_makes_a_component() -> None:
    assert untyped(ReadoutNegatives)(optimizer="adam") == ReadoutNegatives(optimizer=Adam())
    parts = ["pairwise", {"name": "threshold", "theta": 3}]
    assert untyped(Sum)(objectives=parts) == Sum((Pairwise(), Threshold(theta=3.0)))
    chain = untyped(Chain)(parts=("relu", StraightThrough(LeakyReLU())), shift=torch.ones(1))
    assert chain.parts == (ReLU(), StraightThrough(LeakyReLU()))


def test_components_are_values() -> None:
    assert Pairwise(3.0) == Pairwise(3.0) != Pairwise(4.0) and hash(Pairwise(3.0)) == hash(Pairwise(3.0))
    with pytest.raises(FrozenInstanceError):
        Pairwise().alpha = 3.0  # type: ignore[misc]


# ---------------------------------------------------------------- registering


def test_a_registered_class_can_be_named_and_is_written_by_its_name() -> None:
    register("objective", "hinge")(Hinge)
    settings = Settings.from_toml("[objective]\nname = 'hinge'\nmargin = 2")
    assert settings.objective == Hinge(margin=2.0)
    assert Settings.from_toml(settings.to_toml()) == settings and 'name = "hinge"' in settings.to_toml()


def test_a_class_that_is_defined_again_replaces_the_former_one() -> None:
    def define() -> type[Component]:
        @register("objective", "again")
        @dataclass(frozen=True)
        class Again(Objective):
            """One cell of a notebook, executed twice."""

            margin: float = 1.0

            def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
                return positive - negative

        return Again

    first, second = define(), define()
    assert first is not second and component_class("objective", "again") is second
    assert type(make("objective", "again", "")) is second


@dataclass(frozen=True)
class _NotOfTheKind(Activation):
    """An activation."""

    def apply(self, z: Tensor) -> Tensor:
        return z


class _NoDataclass(Activation):
    """A class that only inherits from a component."""

    def apply(self, z: Tensor) -> Tensor:
        return z


def test_what_can_not_be_registered_is_refused() -> None:
    for call, message in (
        (lambda: register("objektive", "x"), "register: unknown kind 'objektive'; did you mean 'objective'"),
        (
            lambda: register("objective", "pairwise")(Hinge),
            "the objective 'pairwise' is RecurrentFF.model.objectives.Pairwise already",
        ),
        (lambda: register("objective", "x")(_NotOfTheKind), "_NotOfTheKind must be a subclass of Objective and a dataclass"),
        (
            lambda: register("objective", "x")(int),
            "int must be a subclass of Objective and a dataclass to be of kind 'objective'",
        ),
        (lambda: register("activation", "x")(_NoDataclass), "_NoDataclass must be a subclass of Activation and a dataclass"),
    ):
        with pytest.raises(SettingsError, match=message):
            call()
    assert "x" not in names("objective") and component_class("objective", "pairwise") is Pairwise


# ---------------------------------------------------------------- classes that are not registered


def test_an_object_of_a_class_that_is_not_registered_works_and_is_refused_on_load_with_what_to_pass(tmp_path: Path) -> None:
    chain = Chain((Tanh(),))
    network = rff.build(small_settings(objective=Hinge(margin=0.5), activation=chain))
    rff.fit(network, clusters(30), quiet=True, epochs=1)
    assert network.settings.with_arguments(epochs=2).objective == Hinge(margin=0.5)
    assert network.settings.override(["training.epochs=2"]).objective == Hinge(margin=0.5)
    assert "tests.test_registry.Hinge" in network.settings.to_toml()
    path = tmp_path / "network.pt"
    rff.save(network, path)
    with pytest.raises(
        CheckpointError, match=r"'tests.test_registry.\w+': a class that was passed as an object; pass it again"
    ) as caught:
        rff.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"tests.test_registry.Chain.*; pass it again, as activation=…"):
        rff.load(path, objective=Hinge(margin=0.5))
    with pytest.raises(CheckpointError, match=r"tests.test_registry.Hinge.*; pass it again, as objective=…"):
        rff.load(path, activation=chain)
    loaded = rff.load(path, objective=Hinge(margin=0.5), activation=chain)
    inputs = clusters(5)[0]
    assert torch.equal(loaded.badness(inputs), network.badness(inputs)) and loaded.settings.objective == Hinge(margin=0.5)
    register("objective", "hinge")(Hinge)
    register("activation", "chain")(Chain)
    rff.save(network, path)
    assert torch.equal(rff.load(path).badness(inputs), network.badness(inputs))


# ---------------------------------------------------------------- plugins

PLUGIN = '''
from dataclasses import dataclass
from RecurrentFF.model.objectives import Objective
from RecurrentFF.registry import register

@register("objective", "{name}")
@dataclass(frozen=True)
class Linear(Objective):
    """A linear loss."""

    factor: float = 1.0
    """The factor."""

    def loss(self, positive, negative):
        return self.factor * (positive - negative)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that registers the objective "linear_of_a_plugin"."""
    (tmp_path / "rff_test_plugin.py").write_text(PLUGIN.format(name="linear_of_a_plugin"))
    (tmp_path / "rff_broken_plugin.py").write_text("raise RuntimeError('out of order\\nand more')")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "rff_test_plugin"
    sys.modules.pop("rff_test_plugin", None)


def test_a_plugin_is_imported_by_from_file_only(plugin: str, tmp_path: Path) -> None:
    text = f"plugins = ['{plugin}']\n[objective]\nname = 'linear_of_a_plugin'\n factor = 2"
    file = tmp_path / "mine.toml"
    file.write_text(text)
    calls: list[Callable[[], object]] = [
        lambda: Settings.from_toml(text),
        lambda: Settings.from_dict({"plugins": [plugin], "objective": "linear_of_a_plugin"}),
        lambda: Settings.from_file(file, import_plugins=False),
        lambda: Settings.from_arguments(plugins=[plugin], objective="linear_of_a_plugin"),
    ]
    for call in calls:
        with pytest.raises(SettingsError, match=r"there is no such objective; .*must be imported first"):
            call()
    assert plugin not in sys.modules
    settings = Settings.from_file(file)
    assert tree_of(settings.objective) == {"name": "linear_of_a_plugin", "factor": 2.0} and plugin in sys.modules
    assert settings.plugins == (plugin,) and Settings.from_toml(settings.to_toml()) == settings


def test_a_plugin_that_a_checkpoint_names_is_not_imported(plugin: str, tmp_path: Path) -> None:
    file, path = tmp_path / "mine.toml", tmp_path / "network.pt"
    file.write_text(f"plugins = ['{plugin}']\n[objective]\nname = 'linear_of_a_plugin'")
    rff.save(rff.build(file, input_size=7, num_classes=5, hidden_sizes=[4], device="cpu"), path)
    del sys.modules[plugin], registry._classes["objective"]["linear_of_a_plugin"]
    with pytest.raises(CheckpointError, match="there is no such objective"):
        rff.load(path)
    assert plugin not in sys.modules
    loaded = rff.load(path, objective="pairwise")
    assert loaded.settings.plugins == (plugin,) and plugin not in sys.modules


def test_a_plugin_that_can_not_be_imported_is_named(plugin: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for name, message in (
        (
            "no_such_plugin",
            r"plugins: no_such_plugin can't be imported \(No module named 'no_such_plugin'\); "
            r"run rff in the folder that contains no_such_plugin.py, or add it to PYTHONPATH",
        ),
        ("rff_broken_plugin", r"plugins: rff_broken_plugin can't be imported \(out of order\); correct the name or the module"),
        ("no_package.part", r"run rff in the folder that contains the folder no_package, or add it"),
        ("", r"plugins: .*can't be imported"),
    ):
        file.write_text(f"plugins = ['{name}']")
        with pytest.raises(SettingsError, match=message) as caught:
            Settings.from_file(file)
        assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)
    for value in ("3", "[3]", "{ a = 1 }"):
        file.write_text(f"plugins = {value}")
        with pytest.raises(SettingsError, match="plugins"):
            Settings.from_file(file)


def test_trees_leave_out_what_has_no_value_and_hold_only_plain_values() -> None:
    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        return all(map(plain, value)) if isinstance(value, list) else isinstance(value, bool | int | float | str)

    for kind in registry.HOMES:
        for name in names(kind):
            assert plain(tree_of(make(kind, name, kind)))
    assert tree_of(Settings()) == Settings().to_tree() and plain(Settings().to_tree())
    assert tree_of(ReadoutNegatives(optimizer=RMSprop(0.5)))["optimizer"] == {
        "name": "rmsprop",
        "learning_rate": 0.5,
        "momentum": 0.0,
    }


def test_the_plugin_is_to_be_corrected_if_it_is_another_module_that_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rff_needs_another.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.toml").write_text("plugins = ['rff_needs_another']")
    with pytest.raises(SettingsError, match=r"\(No module named 'no_such_dependency'\); correct the name or the module$"):
        Settings.from_file(tmp_path / "mine.toml")
