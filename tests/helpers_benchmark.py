"""Small data and comparisons for the tests of the benchmark."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pandas as pd

from eegfound.benchmark import run_benchmark


def by_value(name):
    """Let worker processes have what a test module defines; they cannot import it."""
    cloudpickle.register_pickle_by_value(sys.modules[name])


by_value(__name__)


def flatten(X):
    return X.reshape(len(X), -1)


def make_data():
    """Return 48 epochs of six subjects whose second channel tells the classes apart."""
    rng = np.random.default_rng(0)
    n_subjects, n = 6, 8
    y = np.array(["left", "right"] * (n_subjects * n // 2))
    groups = np.repeat(np.arange(n_subjects), n)
    X = rng.normal(size=(len(y), 3, 20)).astype(np.float32)
    X[y == "right", 1] += 0.8
    X[:, 0, 0] = np.arange(len(y))  # tells epochs apart
    return X, y, groups


def run(pipelines, data, **options):
    return run_benchmark(pipelines, *data, **{"cv": 3, "progress": False, **options})


def same(one, other):
    """Say whether two results have the same scores and predictions."""
    drop = ["fit_seconds", "predict_seconds", "memory_mb"]
    pd.testing.assert_frame_equal(one.folds.drop(columns=drop), other.folds.drop(columns=drop))
    pd.testing.assert_frame_equal(one.subjects, other.subjects)
    pd.testing.assert_frame_equal(one.predictions, other.predictions)
