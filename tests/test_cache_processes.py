"""Searches, threads, worker processes and killed processes: every epoch passes once."""

from __future__ import annotations

import os
import signal
import time

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eegfound.cache import cache_info, verify_cache
from tests.helpers_cache import COUNTED, counted, passes
from tests.helpers_toy import eeg

GRID = {"logisticregression__C": [0.01, 0.1, 1, 10]}


@pytest.fixture(scope="module")
def data():
    X = eeg(40)
    y = np.tile(["left", "right"], 20)
    X[y == "right", 1] *= 3
    return X, y, np.repeat(np.arange(10), 4)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(COUNTED, str(tmp_path / "counted"))
    return tmp_path


def pipeline(**params):
    return make_pipeline(counted(**params), StandardScaler(), LogisticRegression(max_iter=500))


@pytest.fixture
def fresh_workers():
    """Workers that run already do not know this test's file."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)
    yield
    get_reusable_executor().shutdown(wait=True)


@pytest.fixture(scope="module")
def plain(data):
    X, y, groups = data
    made = GridSearchCV(pipeline(), GRID, cv=GroupKFold(5), error_score="raise")
    return made.fit(X, y, groups=groups).cv_results_


def grid(data, cache, n_jobs):
    X, y, groups = data
    made = GridSearchCV(
        pipeline(cache=cache), GRID, cv=GroupKFold(5), n_jobs=n_jobs, error_score="raise"
    )
    return made.fit(X, y, groups=groups)


def same_scores(one, other):
    for name in (name for name in one if name.endswith("_score")):
        np.testing.assert_array_equal(one[name], other[name])


def test_a_grid_search_encodes_once(place, data, plain):
    found = grid(data, place / "c", 1)
    assert len(passes(place / "counted")) == 40
    assert len(set(passes(place / "counted"))) == 40
    same_scores(found.cv_results_, plain)
    again = grid(data, place / "c", 1)  # also tomorrow
    assert len(passes(place / "counted")) == 40
    same_scores(again.cv_results_, plain)


def test_a_grid_search_in_processes_encodes_once(place, data, plain, fresh_workers):
    found = grid(data, place / "c", 2)
    assert len(passes(place / "counted")) == 40
    same_scores(found.cv_results_, plain)
    assert cache_info(place / "c").claims == 0
    # Two that share nothing but the cache, at the same time, in another order.
    slow = [counted(model="counted-slow", cache=place / "d") for _ in range(2)]
    X = data[0]
    one, other = joblib.Parallel(n_jobs=2)(
        joblib.delayed(enc.fit_transform)(part) for enc, part in zip(slow, (X, X[::-1]))
    )
    assert len(passes(place / "counted")) == 80
    np.testing.assert_array_equal(one, other[::-1])


def test_threads_encode_once(place, data):
    X, y, groups = data
    with joblib.parallel_config("threading"):
        found = cross_val_score(
            pipeline(cache=place / "c"), X, y, groups=groups, cv=GroupKFold(5), n_jobs=4
        )
    assert len(passes(place / "counted")) == 40
    np.testing.assert_array_equal(
        found, cross_val_score(pipeline(), X, y, groups=groups, cv=GroupKFold(5))
    )


def test_optuna_encodes_once(place, data):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    X, y, groups = data

    def objective(trial):
        pipe = pipeline(cache=place / "c")
        pipe.set_params(logisticregression__C=trial.suggest_float("C", 1e-3, 1e3, log=True))
        return cross_val_score(pipe, X, y, groups=groups, cv=GroupKFold(3)).mean()

    optuna.create_study(direction="maximize").optimize(objective, n_trials=6)
    assert len(passes(place / "counted")) == 40


@pytest.mark.slow
def test_dask_workers_encode_once(place, data, plain):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        found = grid(data, place / "c", -1)
    assert len(passes(place / "counted")) == 40
    same_scores(found.cv_results_, plain)


def test_a_killed_process_keeps_what_it_has(place, data):
    X = data[0]
    child = os.fork()
    if child == 0:
        try:
            counted(model="counted-slow", cache=place / "c").fit(X).transform(X)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 120
    while len(passes(place / "counted")) < 16 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    stored, before = cache_info(place / "c").entries, passes(place / "counted")
    assert 4 <= stored < 40
    enc = counted(model="counted-slow", cache=place / "c")
    features = enc.fit_transform(X)  # and the claims of the dead are not waited for
    after = passes(place / "counted")
    assert len(after) - len(before) == 40 - stored
    assert len(after) == 40 + len(before) - stored  # only what was in flight passed again
    assert verify_cache(place / "c").checked == 40
    plain = counted(model="counted-slow").fit_transform(X)
    np.testing.assert_array_equal(features, plain)


def test_frozen_features_of_a_classifier_use_it_too(place, data):
    from eegfound.estimators import FoundationClassifier
    from tests.helpers_toy import info

    X, y, _ = data
    made = [
        FoundationClassifier(
            "counted", checkpoint=None, info=info(), tuning="head", max_epochs=2, cache=cache,
            random_state=0,
        ).fit(X, y).predict_proba(X)
        for cache in (None, place / "c", place / "c")
    ]  # fmt: skip
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])
    assert cache_info(place / "c").sources[0]["encoded"] == 40
