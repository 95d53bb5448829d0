"""The choice between eager and compiled kernels: with compile = "auto", by a measurement that the user's cache remembers.

Compiling costs some seconds at the start of a training. "auto" therefore

1. takes eager kernels for a training that can't win that time back, by the time of a batch with eager kernels;
2. else takes the ratio of the two times that was measured before in the same case, or measures it;
3. takes compiled kernels if they save more than compiling costs.

Each step depends on nothing but the number of batches and what the cache has. A repetition on the same machine therefore
chooses alike: a training that ends at step 1 is not measured, and another one is measured once.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from RecurrentFF.data.dataset import Batch, Dataset, LoaderDataset, require_batch
from RecurrentFF.data.loading import kept_randomness
from RecurrentFF.errors import first_line
from RecurrentFF.model.fused import EAGER, FusedPath, Kernels, compiled
from RecurrentFF.model.learner import Learner
from RecurrentFF.model.network import Network
from RecurrentFF.settings import Settings
from RecurrentFF.training import compiling, measurements
from RecurrentFF.training.group import TrainingGroup
from RecurrentFF.training.measurements import Case, Measurement
from RecurrentFF.training.memory import device_memory, required_memory
from RecurrentFF.training.stopwatch import Stopwatch

COMPILE_SECONDS = 20.0
"""The time of compiling that is expected at least. It takes less where torch has the code in its own cache."""

GAIN = 0.15
"""The fraction of a training's time that compiling is expected to save, before that is measured. The most measured is 0.39."""

WORTH_SECONDS = COMPILE_SECONDS / GAIN
"""The time of a training, with eager kernels, from which compiling may pay."""

LEAST_RATIO = 1.03
"""The least ratio for which compiled kernels are taken. A smaller difference may be one of the measurement."""

MEASURED_SECONDS = 2.0
"""The time for which compiled and eager kernels are compared, if a batch of each is not longer."""

SLOWEST = 1e10
"""The multiplications and additions in a second that any machine makes."""

SLOWEST_TIMESTEP = 2e-3
"""The seconds that a timestep of a small layer takes at most."""


class Choice(NamedTuple):
    """The choice of kernels for a training."""

    compile: bool
    """True for compiled kernels."""
    measured: str = ""
    """The measured speed of compiled kernels, for the user; empty if it was not measured."""
    seconds: float | None = None
    """The time that the first process has just taken to compile; None if it has not compiled yet."""
    failure: str = ""
    """The reason why compiling has failed; empty if it has not."""


def set_kernels(
    network: Network,
    settings: Settings,
    train: Dataset,
    group: TrainingGroup,
    before: bool | None,
    log: Callable[[str], object],
) -> tuple[bool, bool | None]:
    """Compile a network's timestep, if `device.compile` asks for it, or if "auto" finds that this saves time.

    All processes of a training must call it. With "auto", they do what the first one chooses.

    Args:
        network: changed in place.
        settings: the configuration of the training.
        train: the training samples.
        group: the processes of the training.
        before: the choice of the run that this training continues; None if there is none.
        log: prints a line for the user.

    Returns:
        True if the kernels are compiled; and the same again if that was the choice of "auto", else None.
    """
    own = settings.device.compile
    is_auto = own == "auto"

    def choose_first() -> Choice:
        if not is_auto:
            return Choice(bool(own))
        return choose(network, train, group) if before is None else Choice(before)

    of_first = group.of_first(choose_first)  # all processes take part, whatever their own settings are
    choice = of_first if is_auto else Choice(bool(own))
    lines: list[str] = []
    seconds = choice.seconds if group.is_first else None
    compiled = choice.compile and compiling.prepare(network, lines.append, choice.measured, seconds)
    if of_first.compile and int(group.summed(torch.tensor([choice.compile and not compiled])).item()):
        if compiled:
            lines = [compiling.failure_line("it has failed in another process")]
        compiled = False  # it has failed in one process, and all shall round alike
    for line in lines:
        log(line)
    if not compiled and isinstance(network.path, FusedPath):
        network.path.kernels = EAGER
    if choice.failure:
        log(compiling.failure_line(choice.failure))
    elif choice.measured and not choice.compile:
        log(f"compiled    no{choice.measured}")
    return compiled, compiled if is_auto and not choice.failure else None


@torch.inference_mode(False)
def choose(network: Network, train: Dataset, group: TrainingGroup) -> Choice:
    """Choose the kernels of a training as compile = "auto" does. The network and all sources of randomness stay unchanged.

    Workers of a loader that stay alive (persistent_workers) keep what the look at the first batch has drawn.

    Args:
        network: the network to train.
        train: the training samples.
        group: the processes of the training.
    """
    options = network.settings.training
    batches = train.batch_count(options.batch_size) * options.epochs
    if not isinstance(network.path, FusedPath) or longest_seconds(network, batches) < WORTH_SECONDS or _is_large(network):
        return Choice(False)
    try:
        with kept_randomness(None):
            batch = group.own_part(_first_batch(train, options.batch_size))
            case = measurements.case_of(network, batch, str(group))
            patience = network.settings.distributed.timeout if group.count > 1 else math.inf
            return _choose_in(case, network, batch, batches / group.layer_parts, patience)
    except Exception:  # the training itself meets what is wrong with the network or the data, and reports it
        return Choice(False)


def _choose_in(case: Case, network: Network, batch: Batch, batches: float, patience: float) -> Choice:
    """Choose kernels by what was measured in a case, or is measured now.

    Args:
        case: the case.
        network: the network.
        batch: the first batch.
        batches: the number of batches of the training, divided by the number of processes that share each of them.
        patience: the seconds for which other processes wait for this one.
    """
    known, trial = measurements.read(case), None
    if known is None:
        trial = Trial(network, batch)
        known = measured_eager(trial, batches)
        measurements.write(case, known)
    source = "measured before"
    seconds = None
    if known.ratio is None and batches * known.eager_seconds >= WORTH_SECONDS:
        if 4 * known.eager_seconds + 3 * COMPILE_SECONDS > patience:
            return Choice(False)
        try:
            known = compared(trial or Trial(network, batch), known)
        except Exception as error:  # a compiler can fail in many ways; eager code computes the same
            return Choice(False, failure=first_line(error))
        other = measurements.read(case)  # of another program that has measured meanwhile
        known = known if other is None or other.ratio is None else other
        source = "measured; remembered for this machine" if measurements.write(case, known) else "measured"
        seconds = known.compile_seconds
    return chosen(known, batches, source, seconds)


def chosen(known: Measurement, batches: float, source: str, seconds: float | None = None) -> Choice:
    """Choose kernels by the measured times.

    Args:
        known: the measured times.
        batches: the number of batches of the training.
        source: where the measurement is from, for the user.
        seconds: the time that compiling has just taken; None if nothing is compiled yet.
    """
    total = batches * known.eager_seconds
    if total < WORTH_SECONDS or known.ratio is None:
        return Choice(False)
    words = f": {known.ratio:.2f} times as fast as eager code ({source})"
    if known.ratio < LEAST_RATIO:
        return Choice(False, words)
    if total * (1 - 1 / known.ratio) <= max(known.compile_seconds, COMPILE_SECONDS):
        return Choice(False, f"{words}, too little for a training of this length")
    return Choice(True, words, seconds)


# ---------------------------------------------------------------- measuring


class Trial:
    """A copy of a network, whose training batches are timed.

    On a CPU, the time is that for which the main thread computes, so that other programs on the machine hardly change it. The
    main thread takes part in every operation, whatever the number of threads.

    Args:
        network: the network, which stays unchanged.
        batch: the batch.
    """

    def __init__(self, network: Network, batch: Batch) -> None:
        self.network = copy.deepcopy(network)
        self.learner = Learner(self.network)
        self.batch = batch

    def seconds(self, kernels: Kernels) -> float:
        """Train on the batch, and return the time of that."""
        assert isinstance(self.network.path, FusedPath)
        self.network.path.kernels = kernels
        is_cpu = self.network.device.type == "cpu" and sys.platform != "win32"  # where this clock has a resolution of 16 ms
        clock = time.thread_time if is_cpu else time.perf_counter
        start = clock()
        self.learner.train_batch(*self.batch)
        next(self.network.parameters()).flatten()[0].item()  # wait until the device has finished its work
        return clock() - start


def measured_eager(trial: Trial, batches: float) -> Measurement:
    """Measure a training batch with eager kernels: the shortest of some, or the first one if more would tell nothing new.

    Args:
        trial: the network and the batch.
        batches: the number of batches of the training.
    """
    first = trial.seconds(EAGER)  # it also allocates memory, and takes longer than later ones
    if first * batches < WORTH_SECONDS or first > MEASURED_SECONDS / 4:
        return Measurement(eager_seconds=first)
    times: list[float] = []
    while sum(times) < MEASURED_SECONDS / 4:
        times.append(trial.seconds(EAGER))
    return Measurement(eager_seconds=min(times))


def compared(trial: Trial, known: Measurement) -> Measurement:
    """Measure training batches with compiled and eager kernels, in turns: the shortest of each.

    Args:
        trial: the network and the batch.
        known: the measurement with eager kernels.
    """
    clock = Stopwatch()
    kernels = compiled()
    compiling.warm_up(trial.network)
    trial.seconds(kernels)
    compile_seconds = clock.seconds
    times: list[tuple[float, float]] = []
    while sum(map(sum, times)) < MEASURED_SECONDS:
        times.append((trial.seconds(kernels), trial.seconds(EAGER)))
    fast, eager = map(min, zip(*times, strict=True))
    return Measurement(eager_seconds=min(known.eager_seconds, eager), ratio=eager / fast, compile_seconds=compile_seconds)


def operations(network: Network, samples: float) -> float:
    """Estimate the number of multiplications and additions of a training with `samples` samples in all epochs together."""
    options = network.settings.network
    weights = sum(layer.weight_vector().numel() for layer in network.hidden_layers())
    products = options.prelabel_timesteps + 4 * options.label_timesteps  # forward and gradient, under two labels
    return 2.0 * weights * products * samples


def longest_seconds(network: Network, batches: float) -> float:
    """The time of a training on a slow machine. A training for which it is short is short on any machine."""
    options = network.settings.network
    timesteps = options.prelabel_timesteps + options.label_timesteps
    samples = batches * network.settings.training.batch_size
    return operations(network, samples) / SLOWEST + batches * timesteps * len(network.local_modules) * SLOWEST_TIMESTEP


def _is_large(network: Network) -> bool:
    """True if the device may lack the memory for a copy of the network that is trained beside it."""
    available = device_memory(network.device)
    return available is not None and 3 * sum(required_memory(network.settings).values()) > available


def _first_batch(train: Dataset, size: int) -> Batch:
    """The first training batch. A loader yields it as it will in the training."""
    if isinstance(train, LoaderDataset):
        return next(train.looked_at())
    return require_batch(next(iter(train.batches(size, torch.arange(min(size, len(train)))))))
