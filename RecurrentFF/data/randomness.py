"""Random numbers that are pure functions of what they are for: the same on every machine and device and in any order."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor


def random_bits(seed: int, purpose: str, samples: Tensor, epoch: int = 0) -> Tensor:
    """64 random bits for each sample, (n,) int64, a pure function of the arguments.

    Args:
        samples: (n,) sample numbers.
    """
    key = mix(mix(mix(torch.tensor(seed)) ^ zlib.crc32(purpose.encode())) ^ epoch)
    return mix(samples.long() ^ key.to(samples.device))


def random_numbers(seed: int, purpose: str, samples: Tensor, epoch: int, count: int) -> Tensor:
    """`count` numbers for each sample, (n, count) float32, uniform in −1..1, a pure function of the arguments."""
    bits = random_bits(seed, purpose, samples, epoch).unsqueeze(1)
    each = mix(bits ^ mix(torch.arange(count, device=samples.device)))
    return (each >> 40).float() / 2**23  # the upper 24 bits, with their sign


def mix(x: Tensor) -> Tensor:
    """A bijection of 64-bit integers that looks random (splitmix64's finaliser; integer products wrap around)."""

    def shifted(value: Tensor, bits: int) -> Tensor:
        return torch.bitwise_and(value >> bits, 2 ** (64 - bits) - 1)  # without the sign's bits

    x = x + (0x9E3779B97F4A7C15 - 2**64)
    x = (x ^ shifted(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ shifted(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ shifted(x, 31)
