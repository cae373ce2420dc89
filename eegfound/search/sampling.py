"""Samplers and pruners by name, and seeds that survive an interruption."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from eegfound.base import SpecError
from eegfound.search.workers import PLACE, free_place

SAMPLERS = ("tpe", "random", "gp")
PRUNERS = ("median",)


class PlacedSampler(BaseSampler):
    """A sampler that is seeded anew for each trial, by the trial's place.

    Optuna's samplers draw from one stream of random numbers: a search that
    goes on after an interruption starts the stream again and suggests what it
    has suggested before. Here the numbers depend on the seed and the trial's
    place in the study only, so that an interrupted search suggests what an
    uninterrupted one does.

    Parameters
    ----------
    name : {"tpe", "random", "gp"}
        Tree-structured Parzen estimator, random search, Gaussian process.
    seed : int
        Seed of the search.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self._inner = self._make(seed)

    def _make(self, seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self.name == "tpe":
                # Counts on running trials of other workers, so that two
                # workers do not try the same thing.
                return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            if self.name == "gp":
                return optuna.samplers.GPSampler(seed=seed)
            return optuna.samplers.RandomSampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Seed the sampler for a trial."""
        place = free_place(trial.number, study.get_trials(deepcopy=False))
        study._storage.set_trial_user_attr(trial._trial_id, PLACE, place)
        own = np.random.SeedSequence([self.seed, place]).generate_state(1)[0]
        self._inner = self._make(int(own))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Ask the sampler."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the sampler."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Ask the sampler."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any
    ) -> None:
        """Tell the sampler."""
        self._inner.after_trial(study, trial, state, values)


def make_sampler(given: Any, seed: int) -> BaseSampler:
    """Return the sampler that a parameter stands for.

    Parameters
    ----------
    given : None | str | optuna.samplers.BaseSampler
        None is ``"tpe"``. Objects are copied and keep their own seed.
    seed : int
        For samplers by name.

    Returns
    -------
    optuna.samplers.BaseSampler
        Not shared with anybody.
    """
    if given is None:
        given = "tpe"
    if isinstance(given, BaseSampler):
        return copy.deepcopy(given)
    if given not in SAMPLERS:
        raise SpecError(f"sampler={given!r} is not one of {SAMPLERS} nor a sampler of Optuna.")
    return PlacedSampler(given, seed)


def make_pruner(given: Any) -> optuna.pruners.BasePruner:
    """Return the pruner that a parameter stands for.

    Parameters
    ----------
    given : None | "median" | optuna.pruners.BasePruner
        None never prunes.

    Returns
    -------
    optuna.pruners.BasePruner
        Not shared with anybody.
    """
    if given is None:
        return optuna.pruners.NopPruner()
    if isinstance(given, optuna.pruners.BasePruner):
        return copy.deepcopy(given)
    if given != "median":
        raise SpecError(f"pruner={given!r} is not one of {PRUNERS} nor a pruner of Optuna.")
    return optuna.pruners.MedianPruner(n_startup_trials=5)
