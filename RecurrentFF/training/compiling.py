"""Compiling a layer's timestep, where that pays and can be done."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable

import torch

from RecurrentFF.errors import RecurrentFFError
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.step import EAGER, compiled
from RecurrentFF.training.devices import has_matrix_units
from RecurrentFF.training.timing import Stopwatch

WORTH_COMPILING = 1e14
"""Multiplications and additions of a training from which "auto" compiles: some minutes of two processor cores' time."""


def resolve(network: Network, training_samples: int) -> bool:
    """Whether to compile, as the settings say; "auto" depends on the device and the length of the training alone, so that a run
    and its repetition do the same. Where matrix products are not much faster than the rest, compiling the rest gains nothing."""
    wanted = network.settings.device.compile
    if wanted != "auto":
        return bool(wanted)
    return has_matrix_units(network.device) and operations(network, training_samples) >= WORTH_COMPILING


def operations(network: Network, training_samples: int) -> float:
    """About how many multiplications and additions the training takes."""
    model, data = network.settings.model, network.settings.data_config
    weights = sum(layer.weight.numel() for layer in network.hidden_layers())
    products = model.prelabel_timesteps + 4 * data.iterations  # two labels, forward and for the gradient
    return 2.0 * weights * products * training_samples * model.epochs


def prepare(network: Network, say: Callable[[str], None]) -> None:
    """Compile the layers' timestep, and tell the user how long it took, or why it can't be done."""
    clock = Stopwatch()
    network.use_steps(compiled())
    try:
        _warm_up(network)
    except RecurrentFFError:
        raise
    except Exception as error:  # whatever a compiler may stumble over, eager code does the same
        network.use_steps(EAGER)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        say(f"compiled    not, and slower for it ({reason}); device.compile = false says so from the start")
        return
    say(f"compiled    the layers' timestep, in {clock.seconds:.0f} s")


def _warm_up(network: Network) -> None:
    """Let a copy of the network train and predict a little, on inputs that change and on inputs that don't."""
    # Sizes of one have graphs of their own: the hardest share of the batch, too, is to be of two or more.
    twin, enough = copy.deepcopy(network), math.ceil(2 / network.settings.model.hard_share)
    batch = max(4, min(enough, network.settings.data_config.train_batch_size))
    twin.use_steps(compiled())
    learner = Learner(twin)
    inputs = torch.zeros(network.settings.timesteps, batch, network.topology.widths[0], device=network.device)
    # The compiler's notes about devices that are not there are not for the user.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for shown in (inputs, inputs[0]):
            learner.train_batch(shown, torch.zeros(batch, dtype=torch.long))
            twin.predict(shown)
