"""Folds are cut once where the data is only read, and the search finds the same."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import Bunch

import eegfound as ef
from eegfound.cache import memory
from eegfound.search import slices
from eegfound.search.folds import FoldRunner
from eegfound.search.slices import CutOnce, cut_once
from tests.helpers_pretraining import INFO, windows

X, GROUPS = windows(36, n_times=100)
Y = np.arange(36) % 2
SPACE = {"logisticregression__C": FloatDistribution(1e-3, 1e3, log=True)}


def pipeline(*steps):
    encoder = ef.make_transformer("masked-toy", checkpoint=None, info=INFO, random_state=0)
    return make_pipeline(*(steps or (encoder, StandardScaler())), LogisticRegression())


@pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")
@pytest.mark.parametrize("return_train_score", [True, False])
def test_the_search_finds_the_same(monkeypatch, return_train_score):
    found = []
    cuts = []
    plain_cut = CutOnce.__getitem__
    monkeypatch.setattr(
        CutOnce, "__getitem__", lambda self, key: cuts.append(1) or plain_cut(self, key)
    )
    for limit in (slices.MOST_BYTES, 0):
        monkeypatch.setattr(slices, "MOST_BYTES", limit)
        search = ef.search.OptunaSearchCV(
            pipeline(), SPACE, n_trials=4, cv=GroupKFold(3), random_state=0,
            return_train_score=return_train_score,
        )  # fmt: skip
        search.fit(X, Y, groups=GROUPS)
        found.append(search)
    assert len(cuts) == 4 * 3 * 2  # the first search only
    for name, values in found[0].cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(values, found[1].cv_results_[name], err_msg=name)
    assert type(found[0].best_estimator_[0]) is type(found[1].best_estimator_[0])


def test_a_side_of_a_fold_is_cut_once_and_cannot_be_written_into():
    train, test = np.arange(30), np.arange(30, 36)
    cut = CutOnce.of(X, [train, test])
    first = cut[train, ...]
    assert type(first) is np.ndarray
    assert cut[train, ...] is first
    np.testing.assert_array_equal(cut[test], X[test])
    np.testing.assert_array_equal(cut[np.arange(30), ...], first)
    assert cut[np.arange(30), ...] is not first
    np.testing.assert_array_equal(cut[3, 1:, ::2], X[3, 1:, ::2])
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    assert X.flags.writeable


def test_what_a_side_holds_is_read_once(monkeypatch):
    reads = []
    plain_read = memory._read
    monkeypatch.setattr(memory, "_read", lambda X: reads.append(1) or plain_read(X))
    train = np.arange(30)
    part = CutOnce.of(X, [train])[train, ...]
    assert memory.content(part) == memory.content(part) == plain_read(X[:30])
    assert len(reads) == 1
    part.flags.writeable = True  # by force: it counts for nothing any more
    part[0] += 1
    assert memory.content(part) == plain_read(part) != plain_read(X[:30])
    key = id(part)
    del part
    assert key not in memory._sealed


def write_into(X):
    X *= 2
    return X.reshape(len(X), -1)


def test_steps_that_may_write_get_copies():
    splits = list(GroupKFold(3).split(X, Y, GROUPS))
    writer = pipeline(FunctionTransformer(write_into))
    assert cut_once(X, splits, writer, 1) is X
    assert cut_once(X, splits, pipeline(), 2) is X
    assert cut_once(X.tolist(), splits, pipeline(), 1) == X.tolist()
    assert isinstance(cut_once(X, splits, pipeline(), 1), CutOnce)
    search = ef.search.OptunaSearchCV(writer, SPACE, n_trials=3, cv=splits, random_state=0)
    search.fit(X.copy(), Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")
def test_a_candidate_may_bring_a_step_that_writes():
    space = {"foundationtransformer": CategoricalDistribution([FunctionTransformer(write_into)])}
    search = ef.search.OptunaSearchCV(
        pipeline(), space, n_trials=2, cv=GroupKFold(3), random_state=0, error_score="raise",
        refit=False,
    )  # fmt: skip
    before = X.copy()
    search.fit(X, Y, groups=GROUPS)
    np.testing.assert_array_equal(X, before)


def centred(estimator, X, y):
    X -= X.mean()
    return estimator.score(X, y)


@pytest.mark.filterwarnings("ignore::eegfound.base.RandomWeightsWarning")
def test_scoring_that_may_write_gets_copies():
    scorer = make_scorer(accuracy_score)
    cut = {
        "once": [None, "accuracy", ["accuracy", "roc_auc"], scorer, {"a": scorer, "b": "roc_auc"}],
        "each time": [centred, {"a": scorer, "b": centred}],
    }
    for what, scorings in cut.items():
        for scoring in scorings:
            several = not (scoring is None or isinstance(scoring, str) or callable(scoring))
            search = ef.search.OptunaSearchCV(
                pipeline(), SPACE, n_trials=1, cv=GroupKFold(3), error_score="raise",
                scoring=scoring, refit=not several,
            )  # fmt: skip
            search.fit(X.copy(), Y, groups=GROUPS)
            splits = list(GroupKFold(3).split(X, Y, GROUPS))
            routed = Bunch(estimator=Bunch(fit={}), scorer=Bunch(score={}))
            runner = FoldRunner(search, X, Y, splits, None, routed)
            assert isinstance(runner._cut, CutOnce) == (what == "once"), scoring
