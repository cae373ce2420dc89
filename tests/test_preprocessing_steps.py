"""The preprocessing steps obey scikit-learn and their own promises."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from eegfound import BandPass, ChannelInfo, Notch, Rereferencer, Resampler, Windower

STEPS = [
    Resampler(),
    Resampler(100, 80),
    Resampler(100, 130, method="fft"),
    Resampler(100, 200, method="nearest"),
    BandPass(),
    BandPass(None, 30, sfreq=100),
    Notch(),
    Rereferencer(),
    Rereferencer(None),
    Windower(),
]


@parametrize_with_checks(STEPS)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_clone_pickle_and_names(step, rng):
    X = rng.standard_normal((4, 3, 200))
    fitted = clone(step).fit(X)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    assert fitted.get_feature_names_out().tolist() == ["ch0", "ch1", "ch2"]
    assert fitted.get_feature_names_out(["a", "b", "c"]).tolist() == ["a", "b", "c"]
    flat = clone(step).fit(X[:, 0])
    assert len(flat.get_feature_names_out()) == flat.transform(X[:, 0]).shape[1]


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_two_and_three_dimensions_agree(step, rng):
    X = rng.standard_normal((4, 1, 200))
    np.testing.assert_array_equal(
        clone(step).fit_transform(X)[:, 0], clone(step).fit_transform(X[:, 0])
    )


def test_dimensions_may_not_change_after_fit(rng):
    step = Resampler(100, 80).fit(rng.standard_normal((4, 3, 200)))
    with pytest.raises(ValueError, match=r"3-D|features"):
        step.transform(rng.standard_normal((4, 3)))


def test_names_come_from_info(rng):
    info = ChannelInfo(["C3", "Cz", "C4"], 100)
    step = BandPass(1, 30, info=info).fit(rng.standard_normal((4, 3, 200)))
    assert step.get_feature_names_out().tolist() == ["C3", "Cz", "C4"]
