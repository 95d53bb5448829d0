"""The agreement of all processes of a training: the same versions, the same configuration, the same network and data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from RecurrentFF import toml
from RecurrentFF.errors import SettingsError

if TYPE_CHECKING:
    from RecurrentFF.model.network import Network
    from RecurrentFF.settings import Settings

Facts = Mapping[str, Mapping[str, Any]]
"""Facts that must be the same in all processes: "versions", "settings" by key, "data", and the "weights" by name."""

OF_A_HOST = ("data.data_dir", "training.weights", "device.compile", "tracking.")
"""The beginnings of the keys that may be different on each host: paths, and what does not change the result."""

TOLERANCE = 1e-4
"""The relative difference of the weights that random generators on different processors may have."""


def facts_of(network: Network, settings: Settings, data: Mapping[str, int]) -> Facts:
    """The facts about this process.

    Args:
        network: the network.
        settings: the configuration of the training.
        data: numbers of samples, and checksums, by their names.
    """
    from RecurrentFF import __version__

    flat = _flat(toml.loads(settings.to_toml()))
    device = str(flat.get("device.device", "")).partition(":")[0]  # without the number of a GPU
    return {
        "versions": {"RecurrentFF": __version__, "torch": torch.__version__},
        "settings": {key: value for key, value in flat.items() if not key.startswith(OF_A_HOST)} | {"device.device": device},
        "data": dict(data),
        "weights": {
            name: (list(tensor.shape), float(tensor.detach().double().norm()), float(tensor.detach().double().sum()))
            for name, tensor in network.named_parameters()
        },
    }


def require_agreement(facts_of_all: Sequence[Facts]) -> None:
    """Check that all processes agree.

    Args:
        facts_of_all: the facts about each process.

    Raises:
        SettingsError: they don't. It is the same in all processes.
    """
    first = facts_of_all[0]
    for rank, other in enumerate(facts_of_all):
        for name, version in first["versions"].items():
            if other["versions"].get(name) != version:
                raise SettingsError(
                    f"process {rank} has {name} {other['versions'].get(name)}, but process 0 has {version}; install the same "
                    "version for all processes"
                )
        key = _first_difference(first["settings"], other["settings"])
        if key is not None:
            theirs, ours = (_shown(facts["settings"].get(key)) for facts in (other, first))
            raise SettingsError(
                f"process {rank} has {key} = {theirs}, but process 0 has {ours}; start all processes with the same configuration",
                key,
            )
        part = _first_difference(first["data"], other["data"])
        if part is not None:
            found = f"has other {part} than process 0"
            if "samples" in part:
                found = f"has {other['data'].get(part, 0):,} {part}, but process 0 has {first['data'].get(part, 0):,}"
            raise SettingsError(f"process {rank} {found}; give all processes the same data in the same order")
        _require_weights(rank, first["weights"], other["weights"])


def _require_weights(rank: int, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    for name in {**ours, **theirs}:
        if name in ours and name in theirs and ours[name][0] == theirs[name][0]:
            (_, norm, total), (_, other_norm, other_total) = ours[name], theirs[name]
            limit = TOLERANCE * max(abs(norm), abs(other_norm))
            near = math.isclose(norm, other_norm, abs_tol=limit) and math.isclose(total, other_total, abs_tol=limit)
            if near or not all(map(math.isfinite, (norm, total, other_norm, other_total))):
                continue
        raise SettingsError(
            f"process {rank} has other weights of {name} than process 0; make the network from the same seed, or the same "
            "weights, in all processes"
        )


def _first_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    return next((key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)), None)


def _flat(tree: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """The values of a tree by keys such as "section.key"."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{place}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def _shown(value: Any) -> str:
    return "no value" if value is None else f'"{value}"' if isinstance(value, str) else str(value)
