"""Small networks, data and strategies that many tests share."""

import math
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import torch
from annotated_types import Len, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from torch import Tensor

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.connections import Dense
from RecurrentFF.model.draws import BatchDraws
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.network import Network
from RecurrentFF.registry import Component, ComponentOf, component_class, make, names, schema
from RecurrentFF.settings import Settings

CLASSES = 5
DATA_SIZE = 7


def small_settings(**arguments: Any) -> Settings:
    """A network of unequal widths over a few timesteps."""
    defaults: dict[str, Any] = {
        "input_size": DATA_SIZE,
        "num_classes": CLASSES,
        "hidden_sizes": [9, 5, 8],
        "prelabel_timesteps": 2,
        "label_timesteps": 3,
        "batch_size": 6,
        "device": "cpu",
        "precision": "float32",
    }
    return Settings.from_arguments(**(defaults | arguments))


def float64_network(*, fused: bool = True, **arguments: Any) -> Network:
    """A float64 network with biases that are not zero, so that they matter."""
    network = Network(small_settings(**arguments), dtype=torch.float64, fused=fused)
    generator = torch.Generator().manual_seed(5)
    for layer in hidden_layers(network):
        layer.bias.normal_(std=0.1, generator=generator)
    return network


def generator(seed: int = 0) -> torch.Generator:
    """A new source of randomness."""
    return torch.Generator().manual_seed(seed)


def batch_draws(batch: int, seed: int = 0, first: int = 0) -> BatchDraws:
    """The random numbers of a training batch in the first epoch, whose first sample has this number."""
    return BatchDraws(seed, 0, torch.arange(first, first + batch))


def hidden_layers(network: Network) -> list[Layer]:
    """The hidden layers of a network, bottom to top."""
    layers = []
    for module in network.hidden_layers():
        assert isinstance(module, Layer)
        layers.append(module)
    return layers


def dense(layer: Layer) -> Dense:
    """The first connection of a layer, which is the only one of the default network."""
    connection = layer.connections[0]
    assert isinstance(connection, Dense)
    return connection


def video(timesteps: int, batch: int = 6, seed: int = 0, input_size: int = DATA_SIZE) -> Tensor:
    """(timesteps, batch, input_size), every frame another, float64."""
    return torch.randn(timesteps, batch, input_size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def class_numbers(*shape: int, seed: int = 1, classes: int = CLASSES) -> Tensor:
    """Random labels."""
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def clusters(samples: int, noise: float = 0.3, seed: int = 2) -> tuple[Tensor, Tensor]:
    """A classification problem that can be learned in seconds: inputs (samples, DATA_SIZE), labels (samples,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    centers = torch.randn(CLASSES, DATA_SIZE, generator=torch.Generator().manual_seed(99))
    return centers[labels] + noise * torch.randn(samples, DATA_SIZE, generator=generator), labels


# ---------------------------------------------------------------- strategies for hypothesis

HARD_CHARACTERS = "\\\"'#=[]\n\r\t\b\0\x1b\x7f\x80\x85\x9f\xa0\xad\u2028\u2029\ufeff\uffff\U0001f600"
"""Characters that a file of TOML escapes, that other software takes for line ends or spaces, or that are written as two."""

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(HARD_CHARACTERS), max_size=8)
"""Any text that UTF-8 has, often with characters that are hard to write."""


def values_of(annotation: Any, constraints: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values of an option, from its annotation: plain ones, sections and components, within their ranges."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kinds = [marker.kind for marker in arguments[1:] if isinstance(marker, ComponentOf)]
        if kinds:
            return components(kinds[0])
        inner = [each for marker in arguments[1:] for each in (marker.metadata if isinstance(marker, FieldInfo) else [marker])]
        return values_of(arguments[0], (*constraints, *inner))
    if origin in (Union, UnionType):
        return st.one_of(*(values_of(argument, constraints) for argument in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        least = max([each.min_length for each in constraints if isinstance(each, MinLen | Len)], default=0)
        most = min([each.max_length for each in constraints if isinstance(each, MaxLen | Len) and each.max_length], default=3)
        return st.lists(values_of(arguments[0]), min_size=least, max_size=most).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _of_fields(annotation)
    return _plain(annotation, constraints)


def _plain(annotation: Any, constraints: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    limits = {name: getattr(each, name) for each in constraints for name in ("gt", "ge", "lt", "le") if hasattr(each, name)}
    if annotation is float:
        low = math.nextafter(limits["gt"], math.inf) if "gt" in limits else limits.get("ge", -1e3)
        high = math.nextafter(limits["lt"], -math.inf) if "lt" in limits else limits.get("le", 1e3)
        return st.floats(low, high)
    if annotation is int:
        low = limits["gt"] + 1 if "gt" in limits else limits.get("ge", -50)
        high = limits["lt"] - 1 if "lt" in limits else limits.get("le", 50)
        return st.integers(low, high)
    return {bool: st.booleans(), str: TEXT, NoneType: st.none()}.get(annotation, TEXT)


def _of_fields(section: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Some keys of a section, with values in their ranges; cross-checks may refuse them."""
    return st.fixed_dictionaries(
        {}, optional={name: values_of(field.rebuild_annotation()) for name, field in section.model_fields.items()}
    )


def package_names(kind: str) -> list[str]:
    """The names of the package's own components of a kind, without those that tests register."""
    return [name for name in names(kind) if component_class(kind, name).__module__.startswith("RecurrentFF.")]


def components(kind: str) -> st.SearchStrategy[Component]:
    """All registered components of a kind, with all their options."""

    def made(name: str) -> st.SearchStrategy[Any]:
        cls: Any = component_class(kind, name)
        return _of_fields(schema(cls)).map(lambda options: _made(kind, name, options))

    return st.deferred(lambda: st.sampled_from(package_names(kind)).flatmap(made).filter(lambda component: component is not None))


def _made(kind: str, name: str, options: dict[str, Any]) -> Any:
    try:
        return make(kind, {"name": name} | options, kind)
    except SettingsError:  # options that contradict each other
        return None


def all_settings() -> st.SearchStrategy[Settings]:
    """Any settings, with components of all kinds that are registered."""
    fields = {name: values_of(field.rebuild_annotation()) for name, field in Settings.model_fields.items()}
    network = {"network": fields.pop("network")}  # which seldom agrees with the rest
    return st.fixed_dictionaries(fields, optional=network).map(_settings).filter(lambda settings: settings is not None)


def _settings(sections: dict[str, Any]) -> Any:
    try:
        return Settings(**sections)
    except SettingsError:
        return None
