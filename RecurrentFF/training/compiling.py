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
from RecurrentFF.training.devices import has_tensor_cores
from RecurrentFF.training.stopwatch import Stopwatch

WORTH_COMPILING = 1e14
"""Number of multiplications and additions in a training from which compile = "auto" compiles: some minutes on two CPU cores."""


def resolve(network: Network, training_samples: int) -> bool:
    """Decide whether to compile, by `device.compile` of the network's settings.

    "auto" depends only on the device and the length of the training. A repetition of a run therefore decides in the same way.
    Compiling speeds up only the element-wise operations. On a device without fast matrix products that gains nothing.

    Args:
        network: the network to train.
        training_samples: number of samples in an epoch.
    """
    setting = network.settings.device.compile
    if setting != "auto":
        return bool(setting)
    fused = isinstance(network.path, FusedPath)
    return fused and has_tensor_cores(network.device) and operations(network, training_samples) >= WORTH_COMPILING


def operations(network: Network, training_samples: int) -> float:
    """Estimate the number of multiplications and additions of a whole training, with `training_samples` samples an epoch."""
    options = network.settings.network
    weights = sum(layer.weight_vector().numel() for layer in network.hidden_layers())
    products = options.prelabel_timesteps + 4 * options.label_timesteps  # forward and gradient, under two labels
    return 2.0 * weights * products * training_samples * network.settings.training.epochs


def prepare(network: Network, log: Callable[[str], object]) -> None:
    """Compile the layers' timestep, or fall back to eager mode if that fails.

    Args:
        network: changed in place.
        log: prints a line for the user: the duration, or the reason of the failure.
    """
    clock, path = Stopwatch(), network.path
    if not isinstance(path, FusedPath):
        log("compiled    no, only networks of fully connected layers are compiled; device.compile = false hides this line")
        return
    path.kernels = compiled()
    try:
        _warm_up(network)
    except RecurrentFFError:
        raise
    except Exception as error:  # a compiler can fail in many ways; eager code computes the same
        path.kernels = EAGER
        reason = first_line(error)
        log(f"compiled    no, training is slower ({reason}); device.compile = false skips compiling")
        return
    log(f"compiled    the layers' timestep, in {clock.seconds:.0f} s")


def share_kernels(network: Network, other: Network) -> None:
    """Let another network of the same architecture compute with the kernels of the first, compiled or not."""
    if isinstance(network.path, FusedPath) and isinstance(other.path, FusedPath):
        other.path.kernels = network.path.kernels


def _hard_example_fraction(network: Network) -> float:
    """The smallest fraction of a batch that a layer computes gradients from."""
    return min(layer.hard_example_fraction for layer in network.hidden_layers() if isinstance(layer, Layer))


def _warm_up(network: Network) -> None:
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
