"""Measured times of eager and compiled kernels, and the user's cache, which keeps them for later trainings of the same form."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import zlib
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from RecurrentFF.atomic_files import write_text
from RecurrentFF.data.cache import cache_folder
from RecurrentFF.data.dataset import Batch
from RecurrentFF.data.files import read_data_file
from RecurrentFF.errors import RecurrentFFError
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.network import Network
from RecurrentFF.registry import name_of

FOLDER = "compiling"
"""The name of the folder below the user's cache folder."""

Case = dict[str, Any]
"""All that the times depend on, as values of JSON: the machine, the versions, and the form of a training batch."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_MAX_BYTES = 1_000_000
"""The largest size of a file of the cache. One has some 1 KB, and more for very many layers."""

_OF_A_PROCESSOR = {"vendor_id", "model name", "cpu family", "model", "stepping", "flags", "Features", "CPU part"}
"""The lines of /proc/cpuinfo that distinguish processors."""


class Measurement(BaseModel):
    """The measured times of a training batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eager_seconds: Seconds
    """The time of a training batch with eager kernels."""
    ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The time of a batch with eager kernels, divided by that with compiled ones; None if these have not been measured."""
    compile_seconds: Seconds = 0.0
    """The time of compiling, when the ratio was measured."""


class _File(BaseModel):
    """The content of a file of the cache."""

    case: Case
    measurement: Measurement


def case_of(network: Network, batch: Batch, processes: str) -> Case:
    """The form of a training batch on this machine.

    Options that change no time, such as learning rates, are left out.

    Args:
        network: the network.
        batch: the batch, or the part of it that this process has.
        processes: the number of processes, and what is divided among them.
    """
    from RecurrentFF import __version__

    settings, options = network.settings, network.settings.network
    chances = {"dropout", "activity_dropout", "input_dropout", "input_noise", "adversarial_noise", "peer_normalization"}
    case = {
        "machine": _machine(network.device),
        "versions": {"RecurrentFF": __version__, "torch": torch.__version__, "Python": platform.python_version()},
        "processes": processes,
        "inputs": list(batch.inputs.shape),
        "labels": list(batch.labels.shape),
        "mask": batch.mask is not None,
        "classes": network.num_classes,
        "candidates": 1 + settings.negatives.count,
        "timesteps": [options.prelabel_timesteps, options.label_timesteps],
        "types": [str(network.dtype), str(network.compute_dtype)],
        "layers": [_layer(module) for module in network.local_modules],
        "objective": name_of(settings.objective),
        "negatives": name_of(settings.negatives),
        "optimizer": name_of(settings.optimizer),
        "generative": None if settings.generative is None else name_of(settings.generative),
        "label_free": settings.training.label_free,
        "options": sorted(name for name in chances if getattr(options, name) > 0),
    }
    return json.loads(json.dumps(case))  # type: ignore[no-any-return]


def read(case: Case) -> Measurement | None:
    """Read what was measured in a case; None if that is nothing, or can't be read."""
    try:
        file = _file(case)
        if file is None:
            return None
        found = _File.model_validate_json(read_data_file(file, _MAX_BYTES))
    except (RecurrentFFError, ValidationError, OSError):  # a cache that is damaged, or not readable for this user
        return None
    return found.measurement if found.case == case else None


def write(case: Case, measurement: Measurement) -> bool:
    """Keep what was measured in a case.

    Returns:
        False if it can't be written. No error is raised.
    """
    with contextlib.suppress(RecurrentFFError, OSError):
        file = _file(case)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, _File(case=case, measurement=measurement).model_dump_json(indent=2) + "\n")
            return True
    return False


def _file(case: Case) -> Path | None:
    folder = cache_folder(FOLDER)
    key = hashlib.sha256(json.dumps(case, sort_keys=True).encode()).hexdigest()[:24]
    return None if folder is None else folder / f"{key}.json"


def _layer(module: Any) -> list[Any]:
    """A local module: its name, class, units, sources, and what else changes its kernels."""
    own = [module.name, type(module).__name__, module.units, list(module.sources)]
    return [*own, type(module.activation).__name__, module.hard_example_fraction] if isinstance(module, Layer) else own


def _machine(device: torch.device) -> dict[str, Any]:
    """The processor and the number of its cores and threads, and the GPU, if that is the device."""
    affinity = getattr(os, "sched_getaffinity", None)
    machine: dict[str, Any] = {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(affinity(0)) if affinity is not None else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }
    if device.type == "cuda":
        machine["GPU"] = torch.cuda.get_device_name(device)
    return machine


def _processor() -> str:
    """The name of the processor, and on Linux a checksum of its model and its flags."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:  # not on Linux
        return f"{platform.machine()} {platform.processor()}"
    pairs = [[part.strip() for part in line.partition(":")[::2]] for line in first.splitlines()]
    known = {name: value for name, value in pairs if name in _OF_A_PROCESSOR}
    return f"{known.get('model name', platform.machine())} {zlib.crc32(json.dumps(known, sort_keys=True).encode()):08x}"
