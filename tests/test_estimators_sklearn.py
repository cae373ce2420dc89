"""scikit-learn's own checks, on instances that really run them."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from eegfound.estimators import FoundationClassifier, FoundationRegressor, FoundationTransformer
from eegfound.models import registry
from eegfound.testing.toy import toy_model

# The decorator below needs the model while tests are collected.
if "toy" not in registry.models():
    registry.register(toy_model())


# The checks feed bare numbers of no unit, a few "samples" long: we warn, they go on.
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
@parametrize_with_checks(
    [
        FoundationTransformer("toy", checkpoint=None),
        FoundationTransformer("toy", checkpoint=None, pooling="mean_std", layer=1, unit="uV"),
        FoundationClassifier("toy", checkpoint=None),
        FoundationClassifier("toy", checkpoint=None, head="mlp", max_epochs=10),
        FoundationRegressor("toy", checkpoint=None),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
