"""A search in a process of its own, which can be killed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from eegfound.search import OptunaSearchCV

X = np.random.default_rng(0).normal(size=(24, 2))
y = np.tile([0, 1], 12)


class Slow(ClassifierMixin, BaseEstimator):
    """Takes its time and writes each fit down, if the environment says so."""

    def __init__(self, a=0.5):
        self.a = a

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if "SLOW_LOG" in os.environ:
            with Path(os.environ["SLOW_LOG"]).open("a") as file:
                file.write(f"{self.a}\n")
        partner = os.environ.get("SLOW_PARTNER")
        while partner and not Path(partner).exists():  # two begin together, or not at all
            time.sleep(0.01)
        time.sleep(float(os.environ.get("SLOW_SECONDS", 0)))
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])

    def score(self, X, y):
        return 1 - abs(self.a - 0.3)


def make(storage, n_trials, **params):
    """Return a search for ``a``."""
    from optuna.distributions import FloatDistribution

    options = {"cv": 2, "study_name": "killed", "random_state": 0, "refit": False} | params
    return OptunaSearchCV(
        Slow(), {"a": FloatDistribution(0, 1)}, n_trials=n_trials, storage=storage, **options
    )


def main():
    make(sys.argv[1], int(sys.argv[2]), grace_period=3.0).fit(X, y)
