"""Calibration: its measures, and scikit-learn's tools around whole pipelines."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eegfound.base import SpecError
from eegfound.benchmark.calibration import (
    calibration_error,
    calibration_floor,
    neg_calibration_error,
    reliability_table,
)
from eegfound.estimators import FoundationClassifier
from tests.helpers_toy import eeg, encoder, info

pytestmark = pytest.mark.usefixtures("toy")


def data(n=60, n_subjects=6):
    """Epochs of two states; what tells them apart is an offset on one electrode."""
    X = eeg(n)
    y = np.array(["rest", "task"])[np.arange(n) % 2]
    X[y == "task", 1] += 1e-5
    return X, y, np.arange(n) * n_subjects // n


def pipeline():
    return make_pipeline(encoder(), StandardScaler(), LogisticRegression(C=10))


def classifier(**params):
    return FoundationClassifier("toy", checkpoint=None, info=info(), max_epochs=5, **params)


class TestCalibrationError:
    def test_by_hand(self):
        prob = [0.55, 0.58, 0.9, 0.95]
        y = [1, 0, 1, 1]
        # Bins (0.5, 0.6] and (0.8, 1.0] of five: |0.5 - 0.565| / 2 + |1 - 0.925| / 2.
        assert calibration_error(y, prob, n_bins=5) == pytest.approx(0.07)
        assert calibration_error(y, prob, n_bins=5, norm="max") == pytest.approx(0.075)
        assert calibration_error(y, prob, n_bins=1) == pytest.approx(abs(0.75 - 0.745))

    def test_right_closed_bins(self):
        # 0.6 belongs to (0.5, 0.6], 0.61 to (0.6, 0.7].
        table = reliability_table([1, 1], [0.6, 0.61], labels=[0, 1], n_bins=10)
        assert table["n_epochs"].tolist() == [1, 1]

    def test_equal_mass_has_equal_bins_and_keeps_ties_together(self, rng):
        prob = rng.uniform(0.5, 1, 600)
        table = reliability_table(rng.random(600) < prob, prob, n_bins=6, bins="mass")
        assert table["n_epochs"].tolist() == [100] * 6
        tied = np.repeat([0.7, 0.9], [90, 10])
        y = np.ones(100, int)
        table = reliability_table(y, tied, labels=[0, 1], n_bins=5, bins="mass")
        assert table["n_epochs"].tolist() == [90, 10]
        assert table["gap"].to_numpy() == pytest.approx([0.3, 0.1])

    def test_agrees_with_scikit_learn_on_one_side(self, rng):
        """With probabilities above 1/2 only, top-label bins are those of the positive class."""
        prob = rng.uniform(0.5, 1, 500)
        y = (rng.random(500) < 0.8).astype(int)
        table = reliability_table(y, prob, n_bins=10)
        accuracy, confidence = calibration_curve(y, prob, n_bins=10)
        np.testing.assert_allclose(table["accuracy"], accuracy)
        np.testing.assert_allclose(table["confidence"], confidence)

    @pytest.mark.parametrize("bins", ["width", "mass"])
    def test_order_of_epochs_and_names_of_classes_do_not_matter(self, rng, bins):
        prob = rng.dirichlet([1, 1, 1], 80).round(2)
        prob[:, 0] = 1 - prob[:, 1:].sum(axis=1)
        prob = np.clip(prob, 0, 1)
        y = rng.integers(0, 3, 80)
        error = calibration_error(y, prob, bins=bins)
        order = rng.permutation(80)
        names = np.array(["a", "b", "c"])
        assert calibration_error(y[order], prob[order], bins=bins) == pytest.approx(error)
        assert calibration_error(
            names[y][::-1], prob[::-1], labels=list(names), bins=bins
        ) == pytest.approx(error)

    def test_floor_is_what_perfect_probabilities_have(self, rng):
        prob = rng.dirichlet([1, 1, 1], 300)
        drawn = [
            calibration_error([rng.choice(3, p=p) for p in prob], prob, labels=[0, 1, 2], n_bins=10)
            for _ in range(30)
        ]
        floor = calibration_floor(prob, n_bins=10)
        assert floor == pytest.approx(np.mean(drawn), rel=0.15)
        assert calibration_floor(np.repeat(prob, 50, axis=0), n_bins=10, n_draws=5) < floor / 4

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([0, 1], [0.2, 1.4]), "no table of probabilities"),
            (([0, 1], [[0.2, 0.2], [0.5, 0.5]]), "not decision values"),
            (([0, 0], [0.2, 0.4]), r"labels=estimator\.classes_"),
            (([0, 1, 1], [0.2, 0.4]), r"y_true has shape \(3,\)"),
        ],
    )
    def test_errors(self, arguments, message):
        with pytest.raises(SpecError, match=message):
            calibration_error(*arguments)

    def test_errors_of_options(self):
        for option, value in (("n_bins", 0), ("bins", "equal"), ("norm", "l3")):
            with pytest.raises(SpecError, match=f"{option}={value!r}"):
                calibration_error([0, 1], [0.2, 0.7], **{option: value})
        with pytest.raises(SpecError, match=r"\['c'\], which labels does not"):
            calibration_error(["a", "c"], [0.2, 0.7], labels=["a", "b"])

    def test_is_a_scorer(self):
        X, y, groups = data()
        scores = cross_val_score(
            DummyClassifier(strategy="constant", constant="task"), X[:, 0], y, groups=groups,
            cv=GroupKFold(3), scoring=partial(neg_calibration_error, n_bins=5),
        )  # fmt: skip
        np.testing.assert_allclose(scores, -0.5)  # certain, and right every other time
        one_class = DummyClassifier().fit(X[:, 0], y)  # a fold with one class only
        assert neg_calibration_error(one_class, X[::2, 0], y[::2]) == pytest.approx(-0.5)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("make", [pipeline, classifier])
def test_calibrates_whole_pipelines_by_subject(make, method):
    X, y, groups = data()
    fitted = make().fit(X[:30], y[:30])
    frozen = CalibratedClassifierCV(FrozenEstimator(fitted), method=method)
    with config_context(enable_metadata_routing=True):
        calibrated = CalibratedClassifierCV(make(), method=method, cv=GroupKFold(2))
        calibrated.fit(X, y, groups=groups)
    frozen.fit(X[30:], y[30:])
    for found in (calibrated, frozen):
        prob = found.predict_proba(X)
        assert prob.shape == (60, 2)
        np.testing.assert_allclose(prob.sum(axis=1), 1, atol=1e-5)
        assert set(found.predict(X)) <= {"rest", "task"}
    np.testing.assert_array_equal(
        frozen.calibrated_classifiers_[0].estimator.predict_proba(X), fitted.predict_proba(X)
    )


def test_weights_reach_the_classifier_and_the_calibrator():
    X, y, groups = data()
    weight = np.where(y == "task", 10.0, 1.0)
    X[:] = eeg(60, seed=1)  # nothing to learn but the weights
    with config_context(enable_metadata_routing=True):
        calibrated = CalibratedClassifierCV(
            classifier().set_fit_request(sample_weight=True), cv=GroupKFold(2)
        ).fit(X, y, groups=groups, sample_weight=weight)
    assert calibrated.predict_proba(X)[:, 1].mean() > 0.75


class Witness(ClassifierMixin, BaseEstimator):
    """Remembers which subjects it was fitted on; the subject is the signal's size."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen_ = set(np.unique(X[:, 0, 0]))
        return self

    def predict_proba(self, X):
        # No calibrator and no test part may ask about subjects that were seen.
        assert not self.seen_ & set(np.unique(X[:, 0, 0])), "leak"
        return np.full((len(X), 2), 0.5)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_no_subject_is_on_both_sides_anywhere():
    groups = np.repeat(np.arange(6), 10)
    X = np.zeros((60, 2, 5)) + groups[:, None, None]
    y = np.arange(60) % 2
    with config_context(enable_metadata_routing=True):
        grouped = CalibratedClassifierCV(Witness(), cv=GroupKFold(2))
        cross_val_predict(
            grouped, X, y, cv=GroupKFold(3), params={"groups": groups}, method="predict_proba"
        )
        with pytest.raises(AssertionError, match="leak"):
            cross_val_predict(
                CalibratedClassifierCV(Witness(), cv=3), X, y, cv=GroupKFold(3),
                params={"groups": groups}, method="predict_proba",
            )  # fmt: skip


def test_calibration_repairs_overconfidence():
    """On labels that are half noise, the nearly unpenalized head is overconfident."""
    rng = np.random.default_rng(0)
    X, y, groups = data(90, 9)
    y = np.where(rng.random(90) < 0.5, rng.permutation(y), y)
    sure = make_pipeline(encoder(), StandardScaler(), LogisticRegression(C=1e6, max_iter=5000))
    with config_context(enable_metadata_routing=True):
        raw, repaired = (
            cross_val_predict(
                e, X, y, cv=GroupKFold(2), params={"groups": groups}, method="predict_proba"
            ).astype(float)
            for e in (sure, CalibratedClassifierCV(sure, cv=GroupKFold(2)))
        )
    assert log_loss(y == "task", repaired[:, 1]) < log_loss(y == "task", raw[:, 1]) - 0.05
    assert calibration_error(y, repaired) < calibration_error(y, raw) - 0.05


def test_epochs_of_mne_are_taken():
    mne = pytest.importorskip("mne")
    X, y, _ = data(24)
    epochs = mne.EpochsArray(
        X, mne.create_info(list(info().ch_names), info().sfreq, "eeg"), verbose="error"
    )
    calibrated = CalibratedClassifierCV(pipeline(), cv=2)
    np.testing.assert_array_equal(
        clone(calibrated).fit(epochs, y).predict_proba(epochs),
        calibrated.fit(X, y).predict_proba(X),
    )
