"""Pixels as a program passes them: the check of their range, their scale, and their statistics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from RecurrentFF.errors import InputError

CHUNK_SIZE = 5000
"""Number of images that are processed at once, because its intermediate results are larger than the images."""


def checked_pixels(samples: Tensor) -> Tensor:
    """Check the range of pixels.

    Args:
        samples: pixels as integers in 0..255, as floating-point numbers in 0..1, or as truth values.

    Returns:
        The pixels as uint8 or as float32.

    Raises:
        InputError: pixels are out of range.
    """
    if samples.dtype == torch.uint8:
        return samples
    if samples.dtype == torch.bool:
        return samples.float()
    if samples.numel() == 0:
        return samples.float()
    low, high = float(samples.min()), float(samples.max())
    if not samples.is_floating_point():
        if low < 0 or high > 255:
            raise InputError(f"pixels from {low:g} to {high:g}: expected integers in 0..255, or floating-point numbers in 0..1")
        return samples.to(torch.uint8)
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        hint = _how_to_scale(high) if low >= 0 else "don't standardize them, the transform does"
        raise InputError(f"pixels from {low:g} to {high:g}: expected floating-point numbers in 0..1, or uint8; {hint}")
    return samples.float()


def _how_to_scale(high: float) -> str:
    """Return the advice about pixels up to a number above 1, which are bytes if that is near 255."""
    return "divide by 255, or give uint8" if 128 <= high <= 255 else f"divide by {high:g}, or by the largest that there can be"


def scaled_pixels(samples: Tensor) -> Tensor:
    """Convert pixels to float32 in 0..1. The argument and the errors are those of `checked_pixels`."""
    pixels = checked_pixels(samples)
    return pixels.float().mul_(1 / 255) if pixels.dtype == torch.uint8 else pixels


def mean_and_std(samples: Tensor) -> tuple[float, float]:
    """Compute the mean and the standard deviation of all pixels, scaled to 0..1. A deviation of 0 is returned as 1."""
    total = squares = 0.0
    for chunk in torch.split(samples, CHUNK_SIZE):
        pixels = scaled_pixels(chunk).double()
        total, squares = total + float(pixels.sum()), squares + float(pixels.square().sum())
    mean = total / samples.numel()
    std = math.sqrt(max(0.0, squares / samples.numel() - mean**2))
    return mean, std if std > 1e-6 else 1.0
