"""The target "calls": the methods of a network that was loaded from a checkpoint, with arguments of any kind."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import Any

from hypothesis import strategies as st

import RecurrentFF as rff
from RecurrentFF.settings.network import METHODS
from tools.fuzz import checkpoints
from tools.fuzz.contract import answer
from tools.fuzz.mutations import among
from tools.fuzz.target import Target
from tools.fuzz.trees import values
from tools.fuzz.uses import USES, needed

LARGE = 50
"""The largest number of samples or steps that is asked for. More are no mistake, but take time and memory."""


def check(example: bytes) -> None:
    """Call a method of a network with the arguments that are given, and valid ones for others that it needs."""
    given = json.loads(example)
    arguments, use, network = given["arguments"], given["use"], networks()[given["network"]]
    if not any(LARGE < number < 2**63 for number in (arguments.get("n"), arguments.get("steps")) if type(number) in (int, float)):
        answer(partial(getattr(network, use), **needed(network, use) | arguments))


@cache
def networks() -> list[rff.Network]:
    """The networks of the valid checkpoints."""
    return [rff.load(checkpoints.write(content), device="cpu") for content in checkpoints.valid_files()]


def value_of(name: str) -> st.SearchStrategy[Any]:
    """Values of an argument: valid ones, and any others."""
    valid = {
        "method": among(METHODS),
        "level": among(["h1", "h2", "latent", "x"]),
        "scale": st.floats(),
        "temperature": st.floats(0, 10),
        "mask": st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=5, max_size=5),
        "batch_first": st.booleans(),
    }
    usual = valid.get(name, st.integers(0, 4))
    return st.one_of(usual, usual, usual, st.lists(st.integers(-1, 5), max_size=4), values())


def examples() -> st.SearchStrategy[bytes]:
    """A network, one of its methods, and some of the arguments of that."""
    return among(list(USES)).flatmap(_calls_of)


def _calls_of(use: str) -> st.SearchStrategy[bytes]:
    few = st.lists(among(USES[use]), max_size=2, unique=True)
    arguments = few.flatmap(lambda chosen: st.fixed_dictionaries({name: value_of(name) for name in chosen}))
    return st.builds(partial(_packed, use), st.integers(0, len(networks()) - 1), arguments)


def _packed(use: str, network: int, arguments: dict[str, Any]) -> bytes:
    try:
        text = json.dumps({"use": use, "network": network, "arguments": arguments})
        json.loads(text)
    except ValueError:  # a number of too many digits
        return _packed(use, network, {})
    return text.encode()


TARGETS = [Target("calls", examples, check)]
