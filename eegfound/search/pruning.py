"""Stopping bad trials early: after a fold, and after an epoch of training.

Two kinds of values are reported, and a pruner compares like with like:

* after fold ``k`` (counted from 0) the mean score of the folds so far, at the
  step ``FOLD * (k + 1)``;
* after an epoch of the nets trained in the first fold, a value from the net's
  history, at the number of the epoch (counted from 0, through all nets). A net
  that goes on with a training reports the epochs it had before as well.

The pruner sees one kind at a time, with steps counted from 0.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import optuna
from optuna.trial import FrozenTrial

#: Distance of two folds in the steps of a study; more than a fold has epochs.
FOLD = 100_000


class _View:
    """A study of which only the values of one kind are seen."""

    def __init__(self, study: optuna.Study, folds: bool) -> None:
        self._study, self._folds = study, folds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """Return the trials with the values of that kind."""
        return [self.of(t) for t in self._study.get_trials(deepcopy=False, states=states)]

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials."""
        return self.get_trials()

    def of(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a copy of a trial with the values of that kind."""
        own = copy.copy(trial)
        own.intermediate_values = {
            step // FOLD - 1 if self._folds else step: value
            for step, value in trial.intermediate_values.items()
            if (step >= FOLD) == self._folds
        }
        return own


class Judge:
    """Reports a trial's values and asks the pruner.

    Parameters
    ----------
    study : optuna.Study
        With a pruner.
    trial : optuna.Trial
        The running trial.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self.study, self.trial = study, trial
        self.pruned = False
        self._net: Any = None
        self._epoch = 0
        self._earlier = 0

    @property
    def active(self) -> bool:
        """Whether there is a pruner at all."""
        return not isinstance(self.study.pruner, optuna.pruners.NopPruner)

    def after_fold(self, fold: int, mean: float) -> bool:
        """Report the mean score of the folds so far; True if the trial should stop."""
        self._net = None  # it must not outlive its fold
        return self._report(FOLD * (fold + 1), mean, folds=True)

    def after_epoch(self, net: Any, epoch: int, value: float) -> None:
        """Report an epoch of training.

        Parameters
        ----------
        net : object
            Which net. Several nets of one fold are counted through.
        epoch : int
            Its epoch, from 1; the same one is reported once.
        value : float
            Greater is better.

        Raises
        ------
        optuna.TrialPruned
            If the trial should stop.
        """
        if net is not self._net:
            self._earlier += self._epoch
            self._net, self._epoch = net, 0
        if epoch <= self._epoch:
            return
        self._epoch = epoch
        step = self._earlier + epoch - 1
        if step < FOLD and self._report(step, value, folds=False):
            self.pruned = True  # scikit-learn takes what follows for an error of fit
            raise optuna.TrialPruned(f"Trial {self.trial.number} is worse than others so far.")

    def _report(self, step: int, value: float, *, folds: bool) -> bool:
        if not self.active or math.isnan(value):
            return False
        self.trial.report(float(value), step)
        view = _View(self.study, folds)
        numbers = [
            t for t in self.study.get_trials(deepcopy=False) if t.number == self.trial.number
        ]
        return bool(self.study.pruner.prune(view, view.of(numbers[0])))  # type: ignore[arg-type]


_JUDGE: ContextVar[Judge | None] = ContextVar("eegfound_judge", default=None)


def current_judge() -> Judge | None:
    """Return who judges the fold that is being fitted; None outside a search."""
    return _JUDGE.get()


@contextmanager
def judged_by(judge: Judge) -> Iterator[None]:
    """Let nets that are trained in the block report their epochs."""
    token = _JUDGE.set(judge)
    try:
        yield
    finally:
        _JUDGE.reset(token)
