"""The registry of components: what a configuration names, and what a program may pass as an object.

A component is a frozen dataclass whose fields are its options. It is registered under a kind and a name:

    @register("objective", "hinge")
    @dataclass(frozen=True)
    class Hinge(Objective):
        margin: Annotated[float, Field(gt=0)] = 0.5

A configuration then has `[objective] name = "hinge"`, with `margin = 1.0` below it. A component that is only passed as an
object, as in `rff.fit(network, data, objective=Hinge(margin=1.0))`, need not be registered.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError, create_model
from pydantic_core import PydanticCustomError, core_schema

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import in_words, nearest, shown
from RecurrentFF.options import Section, as_tuple
from RecurrentFF.values import require_values

HOMES = {
    "objective": "RecurrentFF.model",
    "negatives": "RecurrentFF.model",
    "generative": "RecurrentFF.model",
    "activation": "RecurrentFF.model",
    "connection": "RecurrentFF.model",
    "black_box": "RecurrentFF.model",
    "optimizer": "RecurrentFF.model",
    "schedule": "RecurrentFF.training.schedules",
    "data": "RecurrentFF.data",
    "transform": "RecurrentFF.data",
}
"""The kinds of components. Each has the package or module of the built-in ones, which is imported when the kind is first used."""

WORDS = {"black_box": "function of a black box", "generative": "generative circuit", "data": "data set"}
"""The name of a kind in messages, where it is not the kind itself."""

Class = TypeVar("Class", bound=type)

_classes: dict[str, dict[str, type[Component]]] = {kind: {} for kind in HOMES}
_bases: dict[str, type[Component]] = {}


class Component:
    """The base class of all components. The base class of a kind is declared as `class Objective(Component, kind="objective")`.

    The options of a component are checked when it is made: their types, and their ranges, which are written as
    `Annotated[float, pydantic.Field(ge=0)]`.

    Raises:
        SettingsError: an option has a wrong type, or a value out of range.
    """

    kind: ClassVar[str]
    """The kind of the component, a key of `HOMES`."""
    also_from: ClassVar[str] = ""
    """The values that `from_value` converts, for messages: empty, or words such as "a Python callable, "."""

    def __init_subclass__(cls, kind: str | None = None, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if kind is not None:
            cls.kind = kind
            _bases[kind] = cls

    def __post_init__(self) -> None:
        cls: Any = type(self)
        name = cls.__name__
        given = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        values = _validated(cls, given, name)
        for key, value in values.items():
            if value is None and schema(cls).model_fields[key].get_default() is not None:
                raise SettingsError(
                    f"{name}.{key} = None: a configuration has no None, and it would get the default; use a number"
                )
            object.__setattr__(self, key, value)
        try:
            self.check()
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from None

    def check(self) -> None:
        """Check the options against each other; raise ValueError if they don't fit. Called when the component is made."""

    @classmethod
    def from_value(cls, value: object) -> Component | None:
        """Convert a value of another kind to a component of this kind; None if that is not possible. For base classes."""
        return None


class ComponentOf:
    """The annotation of an option that is itself a component, as in `Annotated[Optimizer, ComponentOf("optimizer")]`.

    Args:
        kind: the kind of the component.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._made)

    def _made(self, value: object) -> Any:
        """The component. A None, which has no place of its own, is left to pydantic, which knows the name of the option."""
        if value is None:
            raise PydanticCustomError("component", _expected(_base(self.kind)))
        return make(self.kind, value, self.kind)


def register(kind: str, name: str) -> Callable[[Class], Class]:
    """Register a component class, as a decorator above `@dataclass(frozen=True)`.

    Args:
        kind: a key of `HOMES`.
        name: the name in configurations. A class that is defined again, as in a notebook, replaces the former one.

    Raises:
        SettingsError: there is no such kind, or the name belongs to another class.
    """
    if kind not in HOMES:
        raise SettingsError(f"register: unknown kind '{kind}'{nearest(kind, HOMES)}")

    def add(cls: Class) -> Class:
        if is_dataclass(cls):
            _require_option_names(cls)
        is_component = issubclass(cls, Component) and getattr(cls, "kind", None) == kind
        if not is_component or "__dataclass_fields__" not in vars(cls):
            base = _base(kind).__name__
            raise SettingsError(
                f"register: {cls.__name__} must be a subclass of {base} and a dataclass to be of kind '{kind}'; "
                f"write @dataclass(frozen=True) above class {cls.__name__}({base})"
            )
        former = _classes[kind].get(name)
        if former is not None and (former.__module__, former.__qualname__) != (cls.__module__, cls.__qualname__):
            raise SettingsError(f"register: the {kind} '{name}' is {former.__module__}.{former.__qualname__} already")
        _classes[kind][name] = cls
        return cls

    return add


def names(kind: str) -> list[str]:
    """The registered names of a kind."""
    _import_built_in(HOMES[kind])
    return list(_classes[kind])


def component_class(kind: str, name: str) -> type[Component]:
    """The class of a registered component.

    Raises:
        KeyError: there is none of this name.
    """
    _import_built_in(HOMES[kind])
    return _classes[kind][name]


def make(kind: str, value: object, place: str) -> Any:
    """Make a component from what a configuration or a program says.

    Args:
        kind: the kind of the component.
        value: a component, a registered name, or a mapping of a "name" and options.
        place: the path of the value in the configuration, for error messages.

    Raises:
        SettingsError: the name is unknown, or an option is unknown or invalid.
    """
    base = _base(kind)
    if isinstance(value, base):
        return value
    converted = base.from_value(value)
    if converted is not None:
        return converted
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{place} = {shown(value)}: {_expected(base)}", place)
    options: dict[str, Any] = {str(key): option for key, option in value.items()}
    if "name" not in options:
        raise SettingsError(f"{place}: has no name; set {place}.name to one of {', '.join(sorted(names(kind)))}", place)
    name = options.pop("name")
    if name not in names(kind):
        raise SettingsError(f"{place}.name = {shown(name)}: {_unknown(kind, name, place)}", f"{place}.name")
    cls: Any = _classes[kind][name]
    options = _validated(cls, options, place)
    defaults = {key: field.get_default() for key, field in schema(cls).model_fields.items() if not field.is_required()}
    # A configuration can't write None, so that it means the default where there is another one.
    options = {key: defaults.get(key) if option is None else option for key, option in options.items()}
    try:
        return cls(**options)
    except SettingsError as error:
        raise SettingsError(f"{place}: {str(error).removeprefix(f'{cls.__name__}: ')}", place) from None


def name_of(component: Component) -> str:
    """The registered name of a component's class; that of the Python class, with its module, if it is not registered."""
    cls = type(component)
    own = cls.__module__, cls.__qualname__  # a class that is defined again, as in a notebook, is the same
    registered = (name for name, other in _classes[cls.kind].items() if (other.__module__, other.__qualname__) == own)
    return next(registered, ".".join(own))


def tree_of(value: Any) -> Any:
    """A component, section or value as nested dictionaries, lists and plain values; options without a value are left out."""
    if isinstance(value, Component):
        options: dict[str, Any] = (
            {field.name: getattr(value, field.name) for field in fields(value)} if is_dataclass(value) else {}
        )
        return {"name": name_of(value)} | tree_of(options)
    if isinstance(value, BaseModel):
        return tree_of({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, Mapping):
        return {key: tree_of(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [tree_of(item) for item in value]
    return value


def make_components(hints: Mapping[str, Any], values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Replace the values that describe components by the components.

    Args:
        hints: the annotation of each option.
        values: the value of some options.
        place: the path of the options in the configuration, for error messages.

    Raises:
        SettingsError: a component can't be made.
    """
    made = dict(values)
    for key in values.keys() & hints.keys():
        path = f"{place}.{key}" if place else key
        kind, many = _component_kind(hints[key])
        if kind is not None and many and isinstance(values[key], list | tuple):
            made[key] = tuple(make(kind, item, f"{path}[{index}]") for index, item in enumerate(values[key]))
        elif kind is not None and not many and values[key] is not None:
            made[key] = make(kind, values[key], path)
    return made


@cache
def schema(cls: type[Any]) -> type[Section]:
    """The pydantic model of a component's options."""
    _require_option_names(cls)
    hints = get_type_hints(cls, include_extras=True)
    options: dict[str, Any] = {}
    for field in fields(cls):
        default = ... if field.default is MISSING else field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        options[field.name] = (hints[field.name], default)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about names that methods of pydantic have, too
        return create_model(cls.__name__, __base__=_Options, **options)


def _require_option_names(cls: type[Any]) -> None:
    """Raise SettingsError if an option has a name that has another meaning, or can't be set."""
    for field in fields(cls):
        if field.name in ("name", "kind") or field.name.startswith(("_", "model_")):
            raise SettingsError(f"{cls.__name__}.{field.name}: this name has another meaning; give the option another name")
        if not field.init:
            raise SettingsError(f"{cls.__name__}.{field.name}: an option can't have init=False; use a property")


class _Options(Section):
    """Options of a component. They may have types that pydantic does not know, of which the value must be an instance."""

    model_config = Section.model_config | {"arbitrary_types_allowed": True, "protected_namespaces": ()}


def _validated(cls: Any, options: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Check the options of a component, and fill in defaults."""
    model = schema(cls)
    hints = {name: field.rebuild_annotation() for name, field in model.model_fields.items()}
    require_values(options, place)
    made = make_components(hints, options, place)
    values = {key: value if _is_list(hints.get(key)) else as_tuple(value) for key, value in made.items()}
    try:
        checked = model.model_validate(values)
    except ValidationError as error:
        path = ".".join([place, *(str(step) for step in error.errors()[0]["loc"])])
        raise SettingsError(in_words(error, model, place), path) from None
    return {name: getattr(checked, name) for name in model.model_fields}


def _is_list(hint: Any) -> bool:
    """True for an annotation of a list; the list of a configuration becomes a tuple for others."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_origin(hint) is list or hint is list


def _component_kind(hint: Any) -> tuple[str | None, bool]:
    """The kind of component that an annotation asks for, None for another type; and whether it asks for a tuple of them."""
    if get_origin(hint) is Annotated:
        markers = [marker for marker in get_args(hint) if isinstance(marker, ComponentOf)]
        if markers:
            return markers[0].kind, False
        return _component_kind(get_args(hint)[0])
    found = [_component_kind(argument)[0] for argument in get_args(hint) if argument is not type(None)]
    kinds = [kind for kind in found if kind is not None]
    return (kinds[0], get_origin(hint) is tuple) if kinds else (None, False)


def _base(kind: str) -> type[Component]:
    _import_built_in(HOMES[kind])
    return _bases[kind]


@cache
def _import_built_in(home: str) -> None:
    """Import a module, or all modules of a package, so that their components are registered."""
    package = importlib.import_module(home)
    for module in pkgutil.iter_modules(getattr(package, "__path__", ()), f"{home}."):
        importlib.import_module(module.name)


def _expected(base: type[Component]) -> str:
    """The forms that a value may have, for messages."""
    return f"expected a name, a section, {base.also_from}or a {base.__name__}"


def _unknown(kind: str, name: object, place: str) -> str:
    """The rest of the message about a name that is not registered."""
    if isinstance(name, str) and "." in name:
        argument = place.removeprefix("network.").partition(".")[0].partition("[")[0]
        if kind == "black_box":  # the name of a class or of a Python callable, which can't be registered
            return f"a function that was passed as an object; pass it again, as {argument}=…"
        return f"a class that was passed as an object; pass it again, as {argument}=…, or register it and import its module"
    known = nearest(str(name), names(kind)).removeprefix("; ")
    word = WORDS.get(kind, kind)
    return f'there is no such {word}; {known}; one of your own must be imported first, for instance by plugins = ["module"]'
