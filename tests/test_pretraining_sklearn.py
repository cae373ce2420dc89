"""scikit-learn's own checks of the Pretrainer, cloning and pickling."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from eegfound.estimators import FoundationPretrainer
from tests.helpers_pretraining import pretrainer, register, rows, weights, windows

register()  # the decorator below needs the models while tests are collected


# The checks feed bare numbers of no unit, a few "samples" long: we warn, they go on.
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@parametrize_with_checks([FoundationPretrainer("masked-toy", max_epochs=1)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@parametrize_with_checks(
    [
        FoundationPretrainer("staged-toy", max_epochs=2, ema_decay=0.9, unit="uV"),
        FoundationPretrainer("masked-toy", max_epochs=3, optimizer="sgd", lr=1e-3),
    ]
)
def test_scikit_learn_checks_of_stages(estimator, check):
    check(estimator)


def test_a_clone_trains_the_same():
    X, groups = windows(24)
    first = pretrainer("staged-toy", max_epochs=2).fit(X, groups=groups)
    again = clone(first).fit(X, groups=groups)
    assert rows(again) == rows(first)
    assert again.fingerprint_ == first.fingerprint_


def test_a_pickle_scores_and_goes_on_like_the_original():
    X, groups = windows(24)
    pre = pretrainer(max_epochs=2, ema_decay=0.9).fit(X, groups=groups)
    again = pickle.loads(pickle.dumps(pre))
    assert again.score(X) == pre.score(X)
    again.partial_fit(X, groups=groups)
    pre.partial_fit(X, groups=groups)
    for name, tensor in weights(pre).items():
        np.testing.assert_array_equal(tensor, weights(again)[name], err_msg=name)
