"""Signals and encoders of the toy model."""

from __future__ import annotations

import numpy as np

import eegfound as ef
from eegfound.estimators import FoundationTransformer

NAMES = ("Fp1", "C3", "Cz", "C4", "O1")


def info(sfreq=100.0, names=NAMES):
    return ef.ChannelInfo(names, sfreq)


def eeg(n=6, n_channels=5, n_times=200, seed=0):
    """Numbers the size of EEG in volts."""
    return 1e-5 * np.random.default_rng(seed).standard_normal((n, n_channels, n_times))


def encoder(**params):
    return FoundationTransformer(**({"model": "toy", "checkpoint": None, "info": info()} | params))
