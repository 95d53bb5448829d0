"""Stateless random numbers: pure functions of a seed and a purpose, equal on every machine and device and in any order."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor


def random_bits(seed: int, purpose: str, samples: Tensor, epoch: int = 0) -> Tensor:
    """Draw 64 random bits for each sample, a pure function of the arguments.

    Args:
        seed: the seed of the run.
        purpose: a name that makes draws for different uses independent of each other.
        samples: (n,) sample numbers.
        epoch: the epoch number, from 0.

    Returns:
        (n,) int64.
    """
    key = mix(mix(mix(torch.tensor(seed)) ^ zlib.crc32(purpose.encode())) ^ epoch)
    return mix(samples.long() ^ key.to(samples.device))


def random_numbers(seed: int, purpose: str, samples: Tensor, epoch: int, count: int) -> Tensor:
    """Draw `count` numbers for each sample, uniform in −1..1, a pure function of the arguments.

    Args:
        seed, purpose, samples, epoch: as for `random_bits`.
        count: numbers for each sample.

    Returns:
        (n, count) float32.
    """
    bits = random_bits(seed, purpose, samples, epoch).unsqueeze(1)
    bits = mix(bits ^ mix(torch.arange(count, device=samples.device)))
    return (bits >> 40).float() / 2**23  # the upper 24 bits, with their sign


def mix(x: Tensor) -> Tensor:
    """Map 64-bit integers to random-looking ones, bijectively (the finalizer of splitmix64; integer products wrap around)."""

    def shifted(value: Tensor, bits: int) -> Tensor:
        return torch.bitwise_and(value >> bits, 2 ** (64 - bits) - 1)  # a logical shift: clears the copies of the sign bit

    x = x + (0x9E3779B97F4A7C15 - 2**64)
    x = (x ^ shifted(x, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    x = (x ^ shifted(x, 27)) * (0x94D049BB133111EB - 2**64)
    return x ^ shifted(x, 31)
