"""Frozen encoders encode every epoch once, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from eegfound.benchmark.identity import describe
from tests.helpers_benchmark import by_value, flatten, make_data, run, same

by_value(__name__)


@pytest.fixture
def data():
    return make_data()


class Frozen(TransformerMixin, BaseEstimator):
    """Stand-in for a frozen encoder that counts its work."""

    is_frozen_encoder = True
    encoded = 0

    def __init__(self, width=4, learns=False, random_state=0):
        self.width = width
        self.learns = learns
        self.random_state = random_state

    def fit(self, X, y=None, groups=None):
        self.fingerprint_ = f"fixed {self.width}"
        self.weights_ = "random"
        self.front_end_ = float(np.mean(X)) if self.learns else None
        return self

    def transform(self, X):
        Frozen.encoded += len(X)
        base = np.stack([flatten(X).astype(np.float64).std(1), X.mean((1, 2))], axis=1)
        return (base + (self.front_end_ or 0.0)).astype(np.float32)


class TestEncodingOnce:
    def pipelines(self):
        return {
            "one": make_pipeline(Frozen(), StandardScaler(), LogisticRegression()),
            "two": make_pipeline(
                FeatureUnion([("fm", Frozen()), ("flat", FunctionTransformer(flatten))]),
                StandardScaler(),
                LogisticRegression(),
            ),
            "late": make_pipeline(
                FunctionTransformer(np.negative), Frozen(width=5), LogisticRegression()
            ),
        }

    def test_every_epoch_passes_every_encoder_once(self, data):
        Frozen.encoded = 0
        results = run(self.pipelines(), data, seeds=(0, 1))
        assert not results.errors
        assert Frozen.encoded == 2 * 48  # 'one' and 'two' share an encoder
        assert results.facts["pretraining"]["one"] == "random weights"
        assert (results.folds.query("kind == 'foundation'")["fit_seconds"] > 0).all()

    def test_results_do_not_depend_on_it(self, data):
        Frozen.encoded = 0
        plain = run(self.pipelines(), data, precompute=False)
        assert Frozen.encoded == 3 * 3 * 48
        same(plain, run(self.pipelines(), data))
        same(plain, run(self.pipelines(), data, n_jobs=2))

    def test_the_users_pipelines_stay_as_they_were(self, data):
        pipelines = self.pipelines()
        run(pipelines, data)
        assert type(pipelines["one"][0]) is Frozen
        assert not hasattr(pipelines["one"][0], "fingerprint_")

    def test_a_front_end_that_learns_is_not_remembered(self, data):
        pipelines = {"learns": make_pipeline(Frozen(learns=True), LogisticRegression())}
        same(run(pipelines, data, precompute=False), run(pipelines, data))

    def test_times_are_those_of_encoding_in_every_fold(self, data, monkeypatch):
        import time

        encode = Frozen.transform

        def slow(self, X):
            time.sleep(0.002 * len(X))
            return encode(self, X)

        monkeypatch.setattr(Frozen, "transform", slow)
        pipelines = {"one": make_pipeline(Frozen(), LogisticRegression())}
        folds = run(pipelines, data).folds
        # Train and test of later folds were looked up, yet cost 2 ms an epoch.
        assert (folds["fit_seconds"] > 0.0018 * folds["n_train"]).all()
        assert (folds["predict_seconds"] > 0.0018 * folds["n_test"]).all()


def test_a_changed_function_is_another_pipeline():
    def scaled(factor):
        return FunctionTransformer(lambda X: X * factor)

    assert describe(scaled(1e6)) == describe(scaled(1e6))
    assert describe(scaled(1e6)) != describe(scaled(1e-6))
    assert describe(FunctionTransformer(lambda X: X + 1)) != describe(
        FunctionTransformer(lambda X: X + 2)
    )
