"""Conv-linear probing: weights, subjects held out, searches, random numbers."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

import eegfound as ef
from eegfound.estimators import FoundationRegressor
from eegfound.estimators._validation import validation_split
from eegfound.testing.toy import ELECTRODES
from tests.helpers_conv_linear import STRANGE, classifier, task

pytestmark = pytest.mark.usefixtures("toy")


def test_repetition_is_weight_and_order_is_nothing():
    X, y, _ = task()
    weight = np.ones(36)
    weight[:6], weight[6:9] = 3, 0
    repeated = np.concatenate([np.arange(6), np.arange(9, 36), np.arange(6), np.arange(6)])
    a = classifier(max_epochs=4, train_batch_size=8).fit(X, y, sample_weight=weight)
    b = classifier(max_epochs=4, train_batch_size=8).fit(X[repeated], y[repeated])
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))


def test_classes_are_balanced():
    X, y, _ = task()
    few = np.flatnonzero((y == "rest") | (np.arange(36) < 8))
    noisy = X[few] + 4e-5 * np.random.default_rng(0).standard_normal(X[few].shape)
    plain = classifier().fit(noisy, y[few]).predict_proba(X)[:, 1].mean()
    fair = classifier(class_weight="balanced").fit(noisy, y[few]).predict_proba(X)[:, 1].mean()
    assert fair > plain


class Spy(Callback):
    """Remember which epochs are trained on."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        net.seen_ = sorted({round(float(v), 6) for v in X.X[:, 0, 0]})


def test_early_stopping_holds_whole_subjects_out_and_callbacks_run():
    X, y, groups = task()
    X[:, 0] += 1e-5 * groups[:, None]
    clf = classifier(
        info=STRANGE.replace(sfreq=100.0), early_stopping=True, validation_fraction=0.3, patience=2,
        max_epochs=8, callbacks=[Spy()], adapter_options={"batch_norm": True},
    )  # fmt: skip
    X[:, 0, 0] = 1e-5 * (1 + groups)
    clf.fit(X, y, groups=groups)
    assert len(clf.net_.seen_) == 4
    assert len(clf.net_.history) <= 8
    assert {"valid_loss", "valid_acc"} <= set(clf.net_.history[0])
    assert len(pickle.dumps(clf)) < X.nbytes / 2


def test_what_is_held_out_shapes_nothing():
    X, y, groups = task()
    params = {
        "early_stopping": True, "max_epochs": 1, "adapter_options": {"batch_norm": True},
    }  # fmt: skip
    _, held = validation_split(
        np.unique(y, return_inverse=True)[1], groups, fraction=0.2, seed=0, stratify=True
    )
    one = classifier(**params).fit(X, y, groups=groups).net_.module_.state_dict()
    X[held] *= 5
    other = classifier(**params).fit(X, y, groups=groups).net_.module_.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert one["network.adapter.conv_layers.1.running_var"].max() != 1


def test_grid_search_over_tunings_and_mapped_arrays():
    names = ("Fp1", "C3", "Cz", "C4", "O1")
    X, y, _ = task(sfreq=100.0, n_times=200)
    info = ef.ChannelInfo(names, 100.0)
    search = GridSearchCV(
        classifier(info=info, max_epochs=3), {"tuning": ["head", "conv_linear"]}, cv=2,
        error_score="raise",
    )  # fmt: skip
    assert search.fit(X, y).best_score_ > 0.5
    mapped = ef.MontageMapper(info=info, target="toy", missing="nan").fit_transform(X)
    clf = classifier(info=None, max_epochs=1).fit(mapped, y)
    assert clf.ch_names_ == list(ELECTRODES)


def test_regressor():
    rng = np.random.default_rng(0)
    X, _, _ = task(n=60)
    X[:] = 1e-6 * rng.standard_normal(X.shape)
    power = rng.uniform(0, 3, 60)
    X[:, 1] += 1e-5 * power[:, None] * np.sin(2 * np.pi * 8 * np.arange(256) / 128)
    both = np.column_stack([100 + 5 * power, -power])
    reg = FoundationRegressor(
        "toy", checkpoint=None, info=STRANGE, tuning="conv_linear", lr=5e-3, max_epochs=40,
        head_dropout=0.0,
    )  # fmt: skip
    assert reg.fit(X, both).score(X, both) > 0.5
    assert reg.predict(X).shape == (60, 2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reg)).predict(X), reg.predict(X))


def test_training_leaves_random_numbers_and_other_threads_alone():
    X, y, _ = task(n=24)
    torch.manual_seed(5)
    before = torch.get_rng_state()

    def proba(seed):
        clf = classifier(max_epochs=3, random_state=seed, n_threads=1)
        return clf.fit(X, y).predict_proba(X)

    alone = [proba(seed) for seed in range(3)]
    assert torch.equal(before, torch.get_rng_state())
    together = joblib.Parallel(3, backend="threading")(joblib.delayed(proba)(s) for s in range(3))
    np.testing.assert_array_equal(together, alone)
