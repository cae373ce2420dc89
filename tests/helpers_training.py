"""A task the toy model can learn, and estimators of it."""

from __future__ import annotations

import numpy as np
from skorch.callbacks import Callback

import eegfound as ef
from eegfound.estimators import FoundationClassifier, FoundationRegressor

INFO = ef.ChannelInfo(("Fp1", "C3", "Cz", "C4", "O1"), 100.0)


def task(n=60, n_times=200, seed=0):
    """Two classes told apart by a rhythm at C3; six subjects."""
    rng = np.random.default_rng(seed)
    y = np.tile([0, 1], n // 2)
    X = 1e-5 * rng.standard_normal((n, 5, n_times))
    wave = np.sin(2 * np.pi * 8 * np.arange(n_times) / 100)
    X[y == 1, 1] += 3e-5 * wave
    return X, np.array(["rest", "task"])[y], np.arange(n) // (n // 6)


def classifier(**params):
    return FoundationClassifier(**({"model": "toy", "checkpoint": None, "info": INFO} | params))


def regressor(**params):
    return FoundationRegressor(**({"model": "toy", "checkpoint": None, "info": INFO} | params))


class Rates(Callback):
    """Learning rates of all steps."""

    def __init__(self):
        self.seen = []

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.seen.append([group["lr"] for group in net.optimizer_.param_groups])
