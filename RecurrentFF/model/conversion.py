"""The type and the device of a network's weights, and their change by `to`, `double`, `cuda` and the like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from RecurrentFF.errors import DeviceError, InputError, first_line
from RecurrentFF.model.paths import ComputePath
from RecurrentFF.model.readout import Readout

Self = TypeVar("Self", bound="ConvertibleModule")


class ConvertibleModule(nn.Module):
    """A module whose weights have one type, float32 or float64, and are on one device.

    Attributes:
        dtype: the type of weights, activity and gradients.
        compute_dtype: the type of the patterns and of the weights in matrix products.
        path: the way in which timesteps are computed, see `paths`.
        readout: the linear classifier that proposes negative labels.
    """

    dtype: torch.dtype
    compute_dtype: torch.dtype
    path: ComputePath
    readout: Readout

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.readout.bias.device

    @torch.inference_mode(False)  # weights that are made in it could never be trained
    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert all weights, as `to`, `double`, `cuda` and `share_memory` do. A new type is that of matrix products, too.

        A `Learner` is made after that.

        Raises:
            InputError: the weights can't have the type. Nothing has changed then.
            DeviceError: this machine does not have the device.
        """
        try:
            dtype = fn(torch.empty(0, dtype=self.dtype, device=self.device)).dtype
        except (AssertionError, RuntimeError) as error:
            reason = first_line(error)
            raise DeviceError(f"the network can't be moved there ({reason})") from None
        require_weight_type(dtype)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if dtype != self.dtype:
            self.dtype = self.compute_dtype = self.path.compute_dtype = dtype
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights, see `nn.Module.load_state_dict`. The network keeps its own type, also with `assign`."""
        result = super().load_state_dict(state_dict, strict, assign)
        if assign:
            self.to(self.dtype)
        return result


def require_weight_type(dtype: torch.dtype) -> None:
    """Raise InputError if weights can't have a type."""
    if dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"a network of type {dtype}: weights must be float32 or float64 to learn; for fast matrix products, build the "
            'network with precision = "bfloat16"'
        )
