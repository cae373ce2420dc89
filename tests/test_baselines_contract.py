"""The baselines' own estimators obey scikit-learn."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from eegfound.baselines import (
    BaselineInput,
    EpochCovariances,
    RankReducer,
    RecentredTangentSpace,
)

ESTIMATORS = [
    BaselineInput(),
    BaselineInput(max_classes=5, unit="uV"),
    RankReducer(),
    EpochCovariances(),
    EpochCovariances("scm"),
    RecentredTangentSpace(),
    RecentredTangentSpace("scm", C=0.1, unit="uV"),
]


@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@parametrize_with_checks(ESTIMATORS)
def test_sklearn_contract(estimator, check):
    check(estimator)
