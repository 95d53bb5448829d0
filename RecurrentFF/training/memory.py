"""Check before a run that its configuration fits into the memory of the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from operator import mul
from pathlib import Path

import torch

from RecurrentFF.errors import SettingsError
from RecurrentFF.model.assembly import block_sizes, direction, sources_of_layers
from RecurrentFF.model.connection_kinds import ConnectionKind
from RecurrentFF.settings import Settings


def require_memory(settings: Settings, device: torch.device) -> None:
    """Check that training can fit into the memory of a device. Does nothing if the size of that memory is unknown.

    Raises:
        SettingsError: training needs more memory than the device has.
    """
    available = device_memory(device)
    required = required_memory(settings)
    if available is None or sum(required.values()) <= available:
        return
    largest = max(required, key=lambda key: required[key])
    raise SettingsError(
        f"training needs at least {_in_gib(sum(required.values()))} GiB, but {device} has {_in_gib(available)}; "
        f"most of it is for {largest}, make that smaller"
    )


def required_memory(settings: Settings) -> dict[str, float]:
    """A lower bound of the memory of training, in bytes, by what each term depends on most, in the words of an error.

    All terms are finite, since whole numbers of a configuration have 64 bits.
    """
    network = settings.network
    sizes = block_sizes(settings)
    weights = sum(
        sizes[layer] * sizes[source] * (1 if kind is None else kind.weights_per_value)
        for layer, source, kind in _connected(settings)
        if kind is None or not kind.shares_weights  # those of a convolution's kernel are few
    )
    samples = min(settings.training.batch_size, settings.data.train_samples or settings.training.batch_size)
    candidates = float(1 + settings.negatives.count) * samples
    units = sum(network.hidden_sizes) + sizes["y"]
    required = {
        "network.hidden_sizes": 12.0 * weights,  # weight, gradient and one moment
        # z, h, and two copies of the state in bfloat16 (4 bytes more in float32)
        "training.batch_size": 12.0 * (samples if network.class_groups else candidates) * units,
        "network.label_timesteps": 4.0
        * candidates
        * len(network.hidden_sizes)
        * network.label_timesteps,  # the badness at every timestep
    }
    required |= _of_circuit(settings) | _of_connections(settings, samples)
    if settings.data.gives_sequences or (settings.transform is not None and settings.transform.gives_sequences):
        words = f"the inputs of a batch, {settings.timesteps:,} timesteps × {samples:,} samples × {sizes['x']:,} features"
        required[words] = 4.0 * settings.timesteps * samples * sizes["x"]
    return required


def _connected(settings: Settings) -> Iterator[tuple[str, str, ConnectionKind | None]]:
    """All pairs of a hidden layer and a source, with the kind that connects them; None for the dense one."""
    names = list(block_sizes(settings))
    for number, (layer, sources) in enumerate(sources_of_layers(settings).items(), start=1):
        for source in sources:
            kind = direction(source, layer, names)
            yield layer, source, next((each for each in settings.network.connections if each.serves(number, kind)), None)


def _of_connections(settings: Settings, samples: int) -> dict[str, float]:
    """The term of what connections keep of a sequence, in bfloat16 and for one candidate: the fewest that there can be."""
    sizes, timesteps = block_sizes(settings), settings.timesteps
    kept = sum(kind.values_kept(sizes[source], timesteps) for _, source, kind in _connected(settings) if kind is not None)
    words = f"what network.connections keep of {timesteps:,} timesteps × {samples:,} samples"
    return {words: 2.0 * kept * samples} if kept else {}


def _of_circuit(settings: Settings) -> dict[str, float]:
    """The terms of the generative circuit: its maps, and the code with its distribution in each class.

    Only a circuit with the options of "reconstruction" is counted; the size of another one is unknown.
    """
    size = getattr(settings.generative, "latent_size", None)
    if not isinstance(size, int):
        return {}
    sizes = list(block_sizes(settings).items())
    blocks = [float(units) for name, units in sizes if name != "y"]
    classes = float(dict(sizes)["y"])
    return {
        "network.hidden_sizes, which the maps of the generative circuit connect": 12 * sum(map(mul, blocks, blocks[1:])),
        "generative.latent_size": 12 * blocks[-1] * size + 4 * classes * size * size,
    }


def device_memory(device: torch.device) -> int | None:
    """The size in bytes of the memory that this process may use on a device, None if it is unknown.

    That of the CPU is the least of the machine's memory and the limits of the process and of its container.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return min((limit for limit in [_physical_memory(), _process_limit(), *container_limits()] if limit), default=None)


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def _process_limit() -> int | None:
    """The limit of the address space of this process, as set by `ulimit -v`; None if there is none."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def container_limits(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """The limits in bytes of the control groups that this process is in, which containers and job schedulers set.

    Args:
        groups: the file of Linux with the groups of this process, one a line: "number:controllers:path".
        mounted: the folder of all groups, of version 2, or of version 1 with the controller "memory" in a folder of its own.
    """
    for line in _text(groups).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        folder = mounted / "memory" if controllers else mounted
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = Path(path.lstrip("/"))
        for place in (group, *group.parents):  # a group has the limits of those that it is in
            limit = _text(folder / place / name).strip()
            if limit.isdecimal():
                yield int(limit)


def _text(file: Path) -> str:
    """The content of a file of the system; empty if there is none."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def _in_gib(size: float) -> str:
    gib = size / 2**30
    return f"{gib:,.0f}" if gib >= 10 else f"{gib:,.1f}"
