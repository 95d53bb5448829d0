"""Which device computes, and in which precision its matrix products run."""

from __future__ import annotations

import torch

from RecurrentFF.errors import DeviceError
from RecurrentFF.settings import DeviceSettings


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" takes cuda, then mps, then cpu.

    Raises:
        DeviceError: this machine does not have it; the message names those it has.
    """
    present = available_devices()
    if name == "auto":
        name = next((kind for kind in ("cuda", "mps") if kind in present), "cpu")
    if name not in present:
        raise DeviceError(f"device '{name}' is not there; this machine has: {', '.join(present)}")
    return torch.device(name)


def available_devices() -> list[str]:
    """Names of this machine's devices, as the configuration takes them."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ["cpu"] + (["cuda"] if gpus else []) + [f"cuda:{index}" for index in range(gpus)]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def multiplies_bfloat16_fast(device: torch.device) -> bool:
    """Whether the hardware has matrix products in bfloat16 that are faster than those in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # These queries have no leading underscore in newer releases only, and not all releases have them.
        queries = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, query, lambda: False)() for query in queries)
    return False


def has_matrix_units(device: torch.device) -> bool:
    """Whether the hardware has units for matrix products, which leave the element-wise work behind: a GPU, or a CPU with AMX."""
    if device.type == "cpu":
        return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
    return device.type == "cuda"


def resolve(settings: DeviceSettings) -> DeviceSettings:
    """The same settings with device and precision "auto" replaced by what they mean on this machine. Raises DeviceError."""
    device = resolve_device(settings.device)
    precision = settings.precision
    if precision == "auto":
        precision = "bfloat16" if multiplies_bfloat16_fast(device) else "float32"
    return settings.model_copy(update={"device": str(device), "precision": precision})


def operand_dtype(settings: DeviceSettings) -> torch.dtype:
    """The type of the matrix products' operands that resolved settings name."""
    return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
