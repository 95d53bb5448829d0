"""The random numbers of a training batch: pure functions of the seed, a purpose, the epoch and the number of the sample.

What is drawn for a sample depends on no other sample, on no other purpose and on no earlier batch. So a batch may be divided
among processes, a layer may be left out, and a training may be resumed: every sample gets the same numbers.
"""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor

from RecurrentFF.random_bits import mix, random_bits


class BatchDraws:
    """The random numbers of a batch. Calls with the same purpose and shapes give new numbers each time.

    Args:
        seed: the seed of the training.
        epoch: the number of the epoch, from 0.
        samples: the number of each sample in its epoch, (n,), on the device of the draws.
        part: the samples of the batch that this process has; all of them by default.

    Attributes:
        part: the samples of the whole batch that this process has.
        samples: the numbers of this process's samples, (batch,).
        whole: the draws for all samples of the batch, also those of other processes.

    Examples:
        >>> draws = BatchDraws(seed=0, epoch=0, samples=torch.arange(500))
        >>> draws.uniform("my negatives", 10).shape
        torch.Size([10, 500])
    """

    def __init__(self, seed: int, epoch: int, samples: Tensor, part: slice | None = None) -> None:
        self.seed = seed
        self.epoch = epoch
        self.part = slice(None) if part is None else part
        self.whole = self if part is None else BatchDraws(seed, epoch, samples)
        self.samples = samples[self.part]
        self._calls: Counter[str] = Counter()

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Numbers between 0 and 1, both excluded, (*shape, batch) float32.

        Args:
            purpose: a name that makes draws for different uses independent of each other.
            shape: the shape of the numbers of one sample.
        """
        lanes = self._lanes(purpose, math.prod(shape), torch.int32)
        numbers: Tensor = lanes.bitwise_right_shift_(9).add_(2**22).float().add_(0.5).div_(2**23)
        return numbers.view(*shape, len(self.samples))

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Numbers from the standard normal distribution, (*shape, batch) float32. Arguments as for `uniform`."""
        radius, angle = self.uniform(purpose, 2, *shape)
        drawn: Tensor = radius.log_().mul_(-2).sqrt_().mul_(angle.mul_(2 * math.pi).cos_())  # Box and Muller 1958
        return drawn

    def chosen(self, purpose: str, probability: float, *shape: int) -> Tensor:
        """True with a probability, to 16 bits, else false: (*shape, batch). Other arguments as for `uniform`."""
        limit = round(probability * 2**16) - 2**15
        lanes = self._lanes(purpose, math.prod(shape), torch.int16)
        chosen = lanes <= limit - 1 if limit > -(2**15) else torch.zeros_like(lanes, dtype=torch.bool)
        return chosen.view(*shape, len(self.samples))

    def dropout(self, purpose: str, probability: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Dropout factors: 0 with a probability below 1, else 1/(1 − probability), (*shape, batch) of type `dtype`."""
        keep = 1 - probability
        return self.chosen(purpose, keep, *shape).to(dtype).div_(keep)

    def generator(self, purpose: str) -> torch.Generator:
        """A generator for draws that are not made sample by sample, on the device of the samples.

        With several processes, each has other numbers: a training then differs from that of one process.
        """
        first = int(self._keys(purpose)[0]) if len(self.samples) else 0
        return torch.Generator(device=self.samples.device).manual_seed(first & (2**63 - 1))

    def _keys(self, purpose: str) -> Tensor:
        """64 random bits of each sample for the next call with a purpose, (batch,) int64."""
        self._calls[purpose] += 1
        return random_bits(self.seed, f"{purpose} {self._calls[purpose]}", self.samples, self.epoch)

    def _lanes(self, purpose: str, count: int, dtype: torch.dtype) -> Tensor:
        """Random integers of 16 or 32 bits, cut from numbers of 64 bits, (count, batch)."""
        each = torch.int64.itemsize // dtype.itemsize
        elements = mix(torch.arange(-(-count // each), device=self.samples.device)).unsqueeze(1)
        lanes = mix(elements ^ self._keys(purpose)).view(dtype)
        batch = len(self.samples)
        return lanes.view(len(elements), batch, each).transpose(1, 2).reshape(len(elements) * each, batch)[:count]
