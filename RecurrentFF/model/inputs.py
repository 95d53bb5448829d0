"""The conversion of what users pass to what a network reads: the inputs of all timesteps, and which of them are valid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from RecurrentFF.errors import InputError
from RecurrentFF.layouts import time_first, warn_if_ambiguous
from RecurrentFF.tensors import as_inputs, as_mask, require_in_range, shape_error, without_invalid

if TYPE_CHECKING:  # the network imports this module
    from RecurrentFF.model.network import Network


def input_sequence(network: Network, inputs: Any, mask: Any = None, limit: float = math.inf) -> Tensor:
    """Inputs as the network reads them, on its device: (timesteps or 1, input_size, 1, batch), a view where possible.

    Args:
        network: the network.
        inputs: (batch, input_size), the same at all timesteps, or (timesteps, batch, input_size) with `settings.timesteps`
            timesteps, those before the label first.
        mask: see `valid_timesteps`. What is not finite where it is false does not matter, and becomes 0.
        limit: the largest magnitude of an input; by default it is enough that inputs are finite.

    Raises:
        InputError: the inputs are no dense floating-point numbers, have another shape, or none; the shape of the mask doesn't
            fit; or, on a CPU, an input is not finite or above the limit. (On a GPU that check would synchronize with the
            device; there, the check of the losses finds it.)
    """
    given, timesteps, size = as_inputs(inputs), network.settings.timesteps, network.input_size
    if given.dim() not in (2, 3) or given.shape[-1] != size or (given.dim() == 3 and len(given) != timesteps):
        raise InputError(shape_error(tuple(given.shape), timesteps, size))
    if 0 in given.shape:
        raise InputError("inputs of an empty batch: give at least one sample")
    given = given.to(network.device, network.dtype)
    if mask is not None:
        given = without_invalid(given, as_mask(mask, timesteps, given.shape[-2]))
    require_in_range(given, limit)
    sequence = given if given.dim() == 3 else given.unsqueeze(0)
    return sequence.transpose(1, 2).unsqueeze(2)


def valid_timesteps(network: Network, mask: Any, batch: int) -> Tensor:
    """The valid timesteps with the label, (label_timesteps, batch): 1, or 0 where a sequence has ended.

    Args:
        network: the network.
        mask: (timesteps, batch), true where an input is valid, the timesteps before the label first; None for all.
        batch: the number of samples.

    Raises:
        InputError: the shape doesn't fit.
    """
    like, settings = network.readout.bias, network.settings
    if mask is None:
        return torch.ones((), dtype=like.dtype, device=like.device).expand(settings.network.label_timesteps, batch)
    return as_mask(mask, settings.timesteps, batch)[settings.network.prelabel_timesteps :].to(like)


def prepared(network: Network, samples: Any, mask: Any, batch_first: bool | None) -> tuple[Tensor, Tensor | None]:
    """Samples as the network reads them, and the mask of their valid timesteps. See `Network.prepare`."""
    if batch_first:
        samples, mask = time_first(samples, mask)
    if network.task is not None:
        given = network.task.prepare(samples, network.settings.timesteps, mask)
        samples, mask = given.inputs, given.mask if mask is None else mask
    elif isinstance(samples, Tensor):
        warn_if_ambiguous(samples, batch_first)
    return network.input_sequence(samples, mask), mask


def training_mask(network: Network, mask: Any, batch: int) -> Tensor | None:
    """The valid timesteps of a training batch, (timesteps, batch), true or false; None for None.

    Raises:
        InputError: the mask has another shape; or the network normalizes batches, and a sequence ends before the last timestep.
    """
    if mask is None:
        return None
    valid = as_mask(mask, network.settings.timesteps, batch)
    if network.settings.network.batch_normalization and not valid.all():
        raise InputError(
            "mask: with network.batch_normalization, all sequences of a batch must be valid to the last timestep, since what "
            "follows their end would count in the statistics; set it to false"
        )
    return valid
