r"""Batch normalization of a layer's drive (Ioffe and Szegedy 2015, arXiv:1502.03167).

The sum of a layer's drives, s, is normalized for each unit, or for each channel of a plane, and then scaled and shifted:

    ŝ = (s − m) / sqrt(v + ε)            z = gain·ŝ + b

In training, m and v are the mean and the variance of s over the samples, candidates and positions of the batch. In a prediction
they are running averages of these. Each timestep has averages of its own, since activity changes over the timesteps of a sequence
(Cooijmans et al. 2017, arXiv:1603.09025, section 3). A layer still learns from its own activity alone; but a sample's activity
depends on the other samples of its training batch, and so does its gradient:

    ∂loss/∂s = gain / sqrt(v + ε) · (g − mean(g) − ŝ · mean(g·ŝ))           g = ∂loss/∂z
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

EPSILON = 1e-5
"""The constant ε that is added to the variance."""
DECAY = 0.99
"""The fraction of its previous value that a running mean or variance keeps at a batch.

It is lower at the beginning, (1 + n) / (10 + n) after n batches, so that the initial values are soon forgotten.
"""


class Normalized(NamedTuple):
    """A normalized drive, and what its gradient needs."""

    drive: Tensor
    """The normalized drive ŝ, (units, candidates or 1, batch)."""
    variance: Tensor
    """The variance v of each channel, (channels,)."""


class BatchNormalization(nn.Module):
    """The normalization of one layer's drive.

    Args:
        channels: the number of channels, or of units in a layer without a plane.
        positions: the number of units of a channel.
        timesteps: the number of timesteps that have statistics of their own. Later ones have those of the last.
        dtype: the type of the gain and of the statistics.

    Attributes:
        gain: (channels,) parameter, 1 at first.
        mean, variance: (timesteps, channels) running statistics, by which a prediction normalizes.
        updates: (timesteps,) the number of batches that are in the running statistics.
    """

    mean: Tensor
    variance: Tensor
    updates: Tensor

    def __init__(self, channels: int, positions: int = 1, timesteps: int = 1, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.positions = positions
        self.gain = nn.Parameter(torch.ones(channels, dtype=dtype), requires_grad=False)
        self.register_buffer("mean", torch.zeros(timesteps, channels, dtype=dtype))
        self.register_buffer("variance", torch.ones(timesteps, channels, dtype=dtype))
        self.register_buffer("updates", torch.zeros(timesteps, dtype=dtype))

    def normalize(self, drive: Tensor, timestep: int = 0, *, is_training: bool) -> Normalized:
        """Normalize a drive by the statistics of the batch, which are added to the running ones; or by the running ones.

        Args:
            drive: (units, candidates or 1, batch).
            timestep: the number of the timestep in the sequence, from 0.
            is_training: true for the statistics of the batch.
        """
        channels, t = self._by_channel(drive), min(timestep, len(self.updates) - 1)
        mean, variance = self.mean[t], self.variance[t]
        if is_training:
            variance, mean = torch.var_mean(channels, 1, correction=0)
            if channels.shape[1] > 1:  # a single value has no variance
                self._track(t, mean, variance)
        scaled = (channels - mean[:, None]) * torch.rsqrt(variance + EPSILON)[:, None]
        return Normalized(scaled.view(drive.shape), variance)

    def pre_activation(self, normalized: Normalized, bias: Tensor) -> Tensor:
        """z = gain·ŝ + b, of the shape of ŝ; the bias is that of each channel, (channels,)."""
        channels = self._by_channel(normalized.drive)
        return torch.addcmul(bias[:, None], channels, self.gain[:, None]).view(normalized.drive.shape)

    def drive_gradient(self, grad_z: Tensor, normalized: Normalized) -> Tensor:
        """∂loss/∂s from ∂loss/∂z, of the same shape."""
        grad, scaled = self._by_channel(grad_z), self._by_channel(normalized.drive)
        centered = grad - grad.mean(1, keepdim=True) - scaled * (grad * scaled).mean(1, keepdim=True)
        return ((self.gain * torch.rsqrt(normalized.variance + EPSILON))[:, None] * centered).view(grad_z.shape)

    def gain_gradient(self, grad_z: Tensor, normalized: Normalized) -> Tensor:
        """∂loss/∂gain, (channels,)."""
        return (self._by_channel(grad_z) * self._by_channel(normalized.drive)).sum(1)

    def _track(self, timestep: int, mean: Tensor, variance: Tensor) -> None:
        """Add the statistics of a batch to the running ones of a timestep."""
        updates = self.updates[timestep]
        rate = 1 - ((1 + updates) / (10 + updates)).clamp(max=DECAY)
        self.mean[timestep].lerp_(mean, rate)
        self.variance[timestep].lerp_(variance, rate)
        updates += 1

    def extra_repr(self) -> str:
        """The number of channels."""
        return f"channels={len(self.gain)}"

    def _by_channel(self, units: Tensor) -> Tensor:
        """(units, candidates, batch) → (channels, positions · candidates · batch)."""
        return units.reshape(len(self.gain), -1)
