"""Compiling a layer's timestep, where that pays and can be done."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable

from RecurrentFF.data.dataset import Batch, Dataset
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.model.step import EAGER, compiled
from RecurrentFF.training.timing import Stopwatch

WORTH_COMPILING = 5e13
"""Multiplications and additions of a training from which "auto" compiles: some minutes of two processor cores' time."""


def resolve(network: Network, training_samples: int) -> bool:
    """Whether to compile, as the settings say; "auto" depends on the device and the length of the training alone, so that a run
    and its repetition do the same."""
    wanted = network.settings.device.compile
    if wanted != "auto":
        return wanted
    return network.device.type in ("cpu", "cuda") and operations(network, training_samples) >= WORTH_COMPILING


def operations(network: Network, training_samples: int) -> float:
    """About how many multiplications and additions the training takes."""
    model, data = network.settings.model, network.settings.data_config
    weights = sum(layer.weight.numel() for layer in network.hidden_layers())
    products = model.prelabel_timesteps + 4 * data.iterations  # two labels, forward and for the gradient
    return 2.0 * weights * products * training_samples * model.epochs


def settle(network: Network, training_samples: int) -> None:
    """Put what comes of "auto" into the network's settings."""
    chosen = resolve(network, training_samples)
    device = network.settings.device.model_copy(update={"compile": chosen})
    network.settings = network.settings.model_copy(update={"device": device})


def prepare(network: Network, train: Dataset, say: Callable[[str], None]) -> None:
    """Compile the layers' timestep for training on such data, if the settled settings want it, and tell the user how long it
    took, or why it can't be done."""
    if network.settings.device.compile is not True:
        return
    clock = Stopwatch()
    network.use_steps(compiled())
    try:
        _warm_up(network, next(iter(train.batches(4))))
    except Exception as error:  # whatever a compiler may stumble over, eager code does the same
        network.use_steps(EAGER)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        say(f"compiled    not, and slower for it ({reason}); device.compile = false says so from the start")
        return
    say(f"compiled    the layers' timestep, in {clock.seconds:.0f} s")


def _warm_up(network: Network, batch: Batch) -> None:
    """Let a copy of the network train and predict a little. Sizes don't matter, the graphs are the same for all."""
    twin = copy.deepcopy(network)
    few = Batch(batch.inputs[..., :4, :], batch.labels[..., :4], None if batch.mask is None else batch.mask[:, :4])
    # The compiler's notes about devices that are not there are not for the user.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Learner(twin).train_batch(*few)
        twin.predict(few.inputs, few.mask)
