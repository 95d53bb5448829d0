"""The randomness of loaders: a look at their batches that changes nothing, and an order that follows the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from RecurrentFF.errors import InputError
from RecurrentFF.random_bits import random_bits


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


MAX_LENGTH = 10**9
"""The maximum number of batches of a loader, and of samples of a data set. A larger one is a mistake."""


def length_of(source: Any) -> int:
    """Return the number of batches of a loader, or of samples of a data set or a sampler.

    Raises:
        InputError: it is not known, negative, 0 or above `MAX_LENGTH`; or these are samples without labels.
    """
    kind = type(source).__name__
    if isinstance(source, torch.Tensor | np.ndarray) or hasattr(source, "to_numpy"):
        raise InputError(f"data of type {kind} have no labels; give the pair (samples, labels)")
    try:
        length = -1 if isinstance(source, str | bytes | Mapping | Set) else len(source)
    except (TypeError, ValueError, OverflowError, NotImplementedError):
        length = -1
    if length < 0:
        raise InputError(
            f"a {kind} is neither (inputs, labels) nor a loader that knows its number of batches; give "
            "tensors, a DataLoader over a data set of known size, or a list of batches"
        )
    if length == 0:
        raise InputError("the loader is empty; give at least one batch")
    if length > MAX_LENGTH:
        raise InputError(f"a {kind} of the length {length:,}: expected at most {MAX_LENGTH:,} batches and samples")
    return length


def require_readable_again(loader: Any, batches: Iterator[Any]) -> None:
    """Check that a loader gives its batches anew in every epoch. One of torch does; another one is started for this.

    Args:
        loader: the loader.
        batches: an iterator that the loader has just given.

    Raises:
        InputError: it would give the same iterator again.
    """
    if not hasattr(loader, "sampler") and (batches is loader or iter(loader) is batches):
        raise InputError("the loader can be read only once; give a DataLoader or a list, which can be read in every epoch")


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
