"""Choose the device and the precision of matrix products."""

from __future__ import annotations

import torch

from RecurrentFF.errors import DeviceError
from RecurrentFF.settings import DeviceSettings


def resolve_device(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: a name from `available_devices`, or "auto" for the first available of cuda, mps and cpu.

    Raises:
        DeviceError: this machine does not have the device. The message names the devices that it has.
    """
    available = available_devices()
    if name == "auto":
        name = next((kind for kind in ("cuda", "mps") if kind in available), "cpu")
    if name not in available:
        raise DeviceError(f"device '{name}' is not available; this machine has: {', '.join(available)}")
    return torch.device(name)


def available_devices() -> list[str]:
    """Names of this machine's devices, as used in the configuration."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ["cpu"] + (["cuda"] if gpus else []) + [f"cuda:{index}" for index in range(gpus)]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def has_fast_bfloat16(device: torch.device) -> bool:
    """Check if matrix products on the device are faster in bfloat16 than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # Newer releases of torch have these functions without the underscore; some releases do not have them.
        queries = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, query, lambda: False)() for query in queries)
    return False


def resolve(settings: DeviceSettings) -> DeviceSettings:
    """Replace "auto" for device and precision by the choice for this machine.

    Returns:
        A copy of the settings.

    Raises:
        DeviceError: this machine does not have the device.
    """
    device = resolve_device(settings.device)
    precision = settings.precision
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16(device) else "float32"
    return settings.model_copy(update={"device": str(device), "precision": precision})


def compute_dtype(settings: DeviceSettings) -> torch.dtype:
    """The dtype in which matrix products are computed. The settings must come from `resolve`."""
    return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
