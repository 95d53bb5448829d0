"""Compile a layer's timestep with torch.compile, where that saves time and works."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable

import torch

from RecurrentFF.errors import RecurrentFFError, first_line
from RecurrentFF.model.fused import EAGER, FusedPath, compiled
from RecurrentFF.model.layers import Layer
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.training.stopwatch import Stopwatch


def prepare(network: Network, log: Callable[[str], object], measured: str = "", seconds: float | None = None) -> bool:
    """Compile the layers' timestep, or fall back to eager mode if that fails.

    Args:
        network: changed in place.
        log: prints a line for the user: the duration, or the reason of the failure.
        measured: the end of that line: how fast the compiled timestep is.
        seconds: the time that compiling took, if it is compiled already; None if it is not.

    Returns:
        True if the timestep is compiled.
    """
    clock, path = Stopwatch(), network.path
    if not isinstance(path, FusedPath):
        log("compiled    no, only networks of fully connected layers are compiled; device.compile = false hides this line")
        return False
    path.kernels = compiled()
    try:
        if seconds is None:
            warm_up(network)
    except RecurrentFFError:
        raise
    except Exception as error:  # a compiler can fail in many ways; eager code computes the same
        path.kernels = EAGER
        log(failure_line(first_line(error)))
        return False
    log(f"compiled    the layers' timestep, in {clock.seconds if seconds is None else seconds:.0f} s{measured}")
    return True


def failure_line(reason: str) -> str:
    """The line for the user about a failure of the compiler."""
    return f"compiled    no, training is slower ({reason}); device.compile = false skips compiling"


def share_kernels(network: Network, other: Network) -> None:
    """Let another network of the same architecture compute with the kernels of the first, compiled or not."""
    if isinstance(network.path, FusedPath) and isinstance(other.path, FusedPath):
        other.path.kernels = network.path.kernels


def _hard_example_fraction(network: Network) -> float:
    """The smallest fraction of a batch that a layer computes gradients from."""
    return min(layer.hard_example_fraction for layer in network.hidden_layers() if isinstance(layer, Layer))


def warm_up(network: Network) -> None:
    """Train and predict one batch with a copy of the network, once with static and once with time-varying inputs."""
    # torch.compile makes separate graphs for sizes of one. So at least two samples must be hard examples, too.
    replica, two_hard = copy.deepcopy(network), math.ceil(2 / _hard_example_fraction(network))
    batch = max(4, min(two_hard, network.settings.training.batch_size))
    assert isinstance(replica.path, FusedPath)
    replica.path.kernels = compiled()
    learner = Learner(replica)
    inputs = torch.zeros(network.settings.timesteps, batch, network.input_size, device=network.device)
    # Hide the compiler's warnings about devices that this machine does not have.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for batch_inputs in (inputs, inputs[0]):
            learner.train_batch(batch_inputs, torch.zeros(batch, dtype=torch.long))
            replica.predict_inputs(batch_inputs)
