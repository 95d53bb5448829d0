"""The randomness of loaders: a look at their batches that changes nothing, and an order that follows the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from RecurrentFF.data.random_bits import random_bits


@contextmanager
def kept_randomness(loader: Any) -> Iterator[None]:
    """Restore all sources of randomness at the end: those of torch on the CPU, numpy, Python, and the loader's own generators."""
    owners = [loader, getattr(loader, "sampler", None), getattr(getattr(loader, "batch_sampler", None), "sampler", None)]
    generators = [own for owner in owners if isinstance(own := getattr(owner, "generator", None), torch.Generator)]
    states = [generator.get_state() for generator in generators]
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


@contextmanager
def seeded_order(loader: Any, seed: int | None, epoch: int) -> Iterator[None]:
    """Let a sampler that draws from the global generator, such as that of DataLoader(shuffle=True), draw from the seed instead.

    Args:
        loader: a loader. One without such a sampler is left alone.
        seed: the seed of the training; None to leave every loader alone.
        epoch: the number of the epoch, from 0.
    """
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", getattr(loader, "sampler", None))
    if seed is None or not isinstance(sampler, torch.utils.data.Sampler) or getattr(sampler, "generator", sampler) is not None:
        yield
        return
    bits = int(random_bits(seed, "loader", torch.zeros(1), epoch)[0])
    sampler.generator = torch.Generator().manual_seed(bits)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        sampler.generator = None  # type: ignore[attr-defined]
