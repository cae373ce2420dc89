"""A grid search that encodes once, as users type it, on the bundled real sample."""

from __future__ import annotations

import hashlib
import os
import sys

import cloudpickle
import numpy as np
import pytest
from eegfound_labram import LaBraMTransformer
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import eegfound as ef
from eegfound.cache import cache_info

COUNTED = "EEGFOUND_TEST_LABRAM_COUNTED"
# Worker processes cannot import this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Counted(LaBraMTransformer):
    """LaBraM that writes down which epochs pass its network, in whatever process."""

    def _load_encoder(self):
        handle = super()._load_encoder()
        if not handle.network._forward_pre_hooks:
            handle.network.register_forward_pre_hook(note)
        return handle


def note(_, arguments):
    place = os.environ.get(COUNTED)
    if place:
        rows = {hashlib.sha1(row.numpy().tobytes()).hexdigest() for row in arguments[0].signal}
        with open(place, "a") as file:
            file.write(" ".join(rows) + "\n")


@pytest.fixture
def sample():
    """Five subjects, eight windows each."""
    X, y, groups, info = ef.datasets.load_sample()
    keep = np.concatenate(
        [
            np.flatnonzero((groups == g) & (y == c))[:4]
            for g in np.unique(groups)[:5]
            for c in np.unique(y)
        ]
    )
    return X[keep], y[keep], groups[keep], info


@pytest.mark.usefixtures("published")
def test_journey_4_grid_search_that_encodes_once(sample, tmp_path, monkeypatch):
    X, y, groups, info = sample
    monkeypatch.setenv("EEGFOUND_CACHE", str(tmp_path))
    monkeypatch.setenv(COUNTED, str(tmp_path / "counted"))
    # Workers that were started before do not know where the weights are.
    get_reusable_executor().shutdown(wait=True)
    assert ef.make_transformer("labram", info=info, cache=True).get_params()["cache"] is True
    enc = Counted(info=info, cache=True)
    grid = GridSearchCV(
        make_pipeline(enc, StandardScaler(), SVC()), {"svc__C": [0.1, 1, 10, 100]},
        cv=GroupKFold(5), n_jobs=2, error_score="raise",
    )  # fmt: skip
    grid.fit(X, y, groups=groups)
    passed = (tmp_path / "counted").read_text().split()
    assert len(passed) == len(set(passed)) == len(X)
    tomorrow = clone(grid).set_params(n_jobs=None).fit(X, y, groups=groups)
    assert len((tmp_path / "counted").read_text().split()) == len(X)
    for found in (grid, tomorrow):
        assert found.cv_results_["mean_test_score"].shape == (4,)
    np.testing.assert_array_equal(
        tomorrow.cv_results_["mean_test_score"], grid.cv_results_["mean_test_score"]
    )
    # The cache holds what LaBraM says without it, to the bit.
    plain = ef.make_transformer("labram", info=info)
    np.testing.assert_array_equal(grid.best_estimator_[0].transform(X), plain.fit_transform(X))
    (source,) = cache_info().sources
    assert (source["model"], source["entries"], source["encoded"]) == ("labram", len(X), len(X))
    get_reusable_executor().shutdown(wait=True)
