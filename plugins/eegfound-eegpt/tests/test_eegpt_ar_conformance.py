"""eegpt-ar passes the suite's conformance kit, its multi-task classifier scikit-learn's checks."""

from unittest import SkipTest

import pytest
from eegfound_eegpt import EEGPTMultiTaskClassifier
from sklearn.utils.estimator_checks import estimator_checks_generator

from eegfound.testing import check_model


def test_eegpt_ar_conforms():
    assert len(check_model("eegpt-ar", size="tiny", scikit_learn=False)) > 18


@pytest.mark.slow
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_eegpt_ar_conforms_to_all(size):
    assert len(check_model("eegpt-ar", size=size)) > 150


#: What most easily breaks; the others are run by the slow test.
EVERYDAY = {
    "check_estimators_unfitted",
    "check_estimators_pickle",
    "check_estimator_sparse_array",
    "check_sample_weight_equivalence_on_dense_data",
    "check_methods_subset_invariance",
    "check_classifiers_regression_target",
    "check_dict_unchanged",
    "check_fit2d_1sample",
    "check_n_features_in_after_fitting",
}


def run_checks(names):
    estimator = EEGPTMultiTaskClassifier(size="tiny", max_epochs=15)
    passed = set()
    for one, check in estimator_checks_generator(estimator):
        name = getattr(check, "func", check).__name__
        if names and name not in names:
            continue
        try:
            check(one)
        except SkipTest:
            continue
        passed.add(name)
    return passed


@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
def test_multi_task_classifier_passes_checks_of_scikit_learn():
    assert run_checks(EVERYDAY) == EVERYDAY


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::eegfound.base.SignalWarning")
def test_multi_task_classifier_passes_all_checks_of_scikit_learn():
    assert len(run_checks(None)) > 50
