"""A task on electrodes that the toy does not know, and a classifier that adapts to them."""

from __future__ import annotations

import numpy as np

import eegfound as ef
from eegfound.estimators import FoundationClassifier

STRANGE = ef.ChannelInfo(("left", "E300", "my electrode", "X7", "O1"), 128.0)


def task(n=36, n_channels=5, n_times=256, sfreq=128.0, seed=0):
    """Two classes told apart by a rhythm in the second channel; six subjects."""
    rng = np.random.default_rng(seed)
    y = np.tile([0, 1], n // 2)
    X = 1e-5 * rng.standard_normal((n, n_channels, n_times))
    wave = np.sin(2 * np.pi * 8 * np.arange(n_times) / sfreq)
    X[y == 1, min(1, n_channels - 1)] += 4e-5 * wave
    return X, np.array(["rest", "task"])[y], np.arange(n) // (n // 6)


def classifier(**params):
    given = {
        "model": "toy", "checkpoint": None, "info": STRANGE, "tuning": "conv_linear",
        "lr": 1e-2, "max_epochs": 12,
    }  # fmt: skip
    return FoundationClassifier(**(given | params))
