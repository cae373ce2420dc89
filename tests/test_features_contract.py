"""The feature Transformers obey scikit-learn and the data contract."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from eegfound.features import BandPower, DifferentialEntropy, LogVariance

STEPS = [
    BandPower(),
    BandPower({"low": (1, 20), "high": (20, 40)}, sfreq=100, log=False, relative=True),
    DifferentialEntropy(),
    DifferentialEntropy(sfreq=100, window_seconds=0.02, smoothing="lds", output="concat"),
    LogVariance(),
]


@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@parametrize_with_checks(STEPS)
def test_sklearn_contract(estimator, check):
    check(estimator)
