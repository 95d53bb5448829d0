"""Stateless random numbers: pure functions of a seed and a purpose, equal on every machine and device and in any order."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

_MASK = 2**64 - 1
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


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
    key = _mixed(_mixed(_mixed(seed) ^ zlib.crc32(purpose.encode())) ^ epoch)
    return mix(samples.long() ^ _signed(key))


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
    x = x + _signed(_STEP)
    shifted = torch.empty_like(x)
    for bits, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
        torch.bitwise_right_shift(x, bits, out=shifted)
        x.bitwise_xor_(shifted.bitwise_and_(2 ** (64 - bits) - 1))  # a logical shift: without the copies of the sign bit
        if factor != 1:
            x.mul_(_signed(factor))
    return x


def _mixed(number: int) -> int:
    """`mix` of one number, of which the lowest 64 bits count: from 0 to 2^64 − 1."""
    x = (number + _STEP) & _MASK
    x = ((x ^ x >> 30) * _FIRST) & _MASK
    x = ((x ^ x >> 27) * _SECOND) & _MASK
    return x ^ x >> 31


def _signed(number: int) -> int:
    """A number of 64 bits as torch has it, with a sign."""
    return number - 2**64 if number >= 2**63 else number
