"""The samplers and the pruners of a search, by name. This module imports Optuna."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, constant_liar=True),  # workers at the same time do not propose the same
    "random": lambda seed: RandomSampler(seed=seed),
}
"""The samplers by name. "random" is the random search of the original project, the baseline of "tpe"."""

PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "median": lambda epochs: MedianPruner(),
    "hyperband": lambda epochs: HyperbandPruner(min_resource=1, max_resource=epochs),
    "none": lambda epochs: NopPruner(),
}
"""The pruners by name, made for the highest number of epochs."""


class SeededSampler(BaseSampler):
    """A sampler that is seeded anew for each trial, by a seed and the number of the trial.

    So a study that is resumed continues like one that was never interrupted, and workers on one study draw different values.

    Args:
        make: makes the sampler from a seed.
        seed: the seed of the study.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._sampler = make(0)  # until the first trial

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the sampler for a trial."""
        self._sampler = self._make(int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what the sampler returns."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Return what the sampler returns."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Return what the sampler returns."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Tell the sampler the result of a trial."""
        self._sampler.after_trial(study, trial, state, values)


def make_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler of a name.

    Args:
        name: a key of `SAMPLERS`.
        seed: the seed, at least 0.

    Raises:
        SettingsError: there is none of this name.
    """
    if not isinstance(name, str) or name not in SAMPLERS:
        raise SettingsError(f"sampler {name!r}: there is no such sampler{nearest(str(name), SAMPLERS)}")
    return SeededSampler(SAMPLERS[name], seed)


def make_pruner(name: str, epochs: int) -> BasePruner:
    """The pruner of a name.

    Args:
        name: a key of `PRUNERS`.
        epochs: the highest number of epochs of a trial.

    Raises:
        SettingsError: there is none of this name.
    """
    if not isinstance(name, str) or name not in PRUNERS:
        raise SettingsError(f"pruner {name!r}: there is no such pruner{nearest(str(name), PRUNERS)}")
    return PRUNERS[name](epochs)
