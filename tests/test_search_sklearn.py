"""OptunaSearchCV and Choice as scikit-learn estimators."""

from __future__ import annotations

import pickle

import numpy as np
import optuna
import pytest
import sklearn
from optuna.distributions import FloatDistribution
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from eegfound.base import SpecError
from eegfound.search import Choice, OptunaSearchCV, SearchSpace

X, y = make_classification(90, 6, n_informative=3, random_state=0)
GROUPS = np.repeat(np.arange(9), 10)
C = {"C": FloatDistribution(1e-3, 1e2, log=True)}


def search(estimator=None, space=None, **params):
    estimator = LogisticRegression() if estimator is None else estimator
    return OptunaSearchCV(
        estimator,
        C if space is None else space,
        **({"n_trials": 4, "cv": 3, "random_state": 0} | params),
    )


def plain(results):
    """``cv_results_`` without what differs by nature: times, trial columns."""
    skip = ("fit_time", "score_time", "trial_")
    return {k: v for k, v in results.items() if not any(s in k for s in skip)}


@parametrize_with_checks(
    [
        search(GaussianNB(), {"var_smoothing": [1e-9, 1e-8]}, n_trials=2, cv=2),
        search(Ridge(), {"alpha": [0.1, 1.0]}, n_trials=2, cv=2),
        Choice([("a", LogisticRegression()), ("b", SVC())]),
        Choice([("a", Ridge()), ("b", SVC())], chosen="a"),
        Choice([("a", StandardScaler()), ("b", "passthrough")], chosen="a"),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        search(n_trials=3, cv=3, pruner="median"),
        search(
            make_pipeline(StandardScaler(), LogisticRegression()),
            {"logisticregression__C": [0.1, 1.0]},
            n_trials=2,
            cv=2,
        ),
    ]
)
def test_more_of_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("scoring", [None, "balanced_accuracy", ["accuracy", "roc_auc"]])
def test_same_candidates_give_the_results_of_grid_search(scoring):
    grid = {"C": [0.01, 1.0, 100.0], "fit_intercept": [True, False]}
    several = isinstance(scoring, list)
    common = {
        "cv": GroupKFold(3), "scoring": scoring, "return_train_score": True,
        "refit": "roc_auc" if several else True,
    }  # fmt: skip
    expected = GridSearchCV(LogisticRegression(), grid, **common).fit(X, y, groups=GROUPS)
    sampler = optuna.samplers.GridSampler(grid, seed=0)
    ours = OptunaSearchCV(LogisticRegression(), grid, n_trials=6, sampler=sampler, **common)
    ours.fit(X, y, groups=GROUPS)
    theirs, own = plain(expected.cv_results_), plain(ours.cv_results_)
    assert set(theirs) == set(own)
    assert {"trial_number", "trial_state", "mean_fit_time", "std_score_time"} <= set(
        ours.cv_results_
    )
    order = [own["params"].index(params) for params in theirs["params"]]
    for key, column in theirs.items():
        if key != "params":
            np.testing.assert_array_equal(np.asarray(own[key])[order], column, err_msg=key)
    assert ours.best_score_ == expected.best_score_
    assert ours.multimetric_ is several
    assert ours.score(X, y) == expected.score(X, y)


def test_same_seed_same_trials_whatever_n_jobs_and_clone():
    space = {"C": FloatDistribution(1e-3, 1e2, log=True), "l1_ratio": [0.0]}
    first = search(space=space, n_trials=11, pruner="median").fit(X, y)
    for other in (clone(first), clone(first).set_params(n_jobs=2)):
        other.fit(X, y)
        assert [t.params for t in other.trials_] == [t.params for t in first.trials_]
        assert [t.state for t in other.trials_] == [t.state for t in first.trials_]
        assert other.best_params_ == first.best_params_
        for key, column in plain(first.cv_results_).items():
            np.testing.assert_array_equal(other.cv_results_[key], column)
    different = clone(first).set_params(random_state=1).fit(X, y)
    assert different.trials_[0].params != first.trials_[0].params
    refitted = first.best_params_
    assert first.fit(X, y).best_params_ == refitted  # a fresh study per fit
    assert len(first.trials_) == 11


def test_is_what_its_estimator_is():
    fitted = search().fit(X, y)
    assert is_classifier(fitted)
    assert is_regressor(search(Ridge(), {"alpha": [1.0]}))
    assert not hasattr(search(), "transform")
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    assert len(loaded.study_.trials) == 4
    nested = cross_val_score(search(n_trials=2), X, y, cv=2)
    assert nested.shape == (2,)
    assert np.isfinite(nested).all()
    scaler = search(
        make_pipeline(StandardScaler()), {"standardscaler__with_mean": [True]}, n_trials=1,
        scoring=lambda estimator, X, y=None: 1.0,
    ).fit(X)  # fmt: skip
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(X)), X)


class Weighted(ClassifierMixin, BaseEstimator):
    """Remembers what it was given."""

    def __init__(self, a=0):
        self.a = a

    def fit(self, X, y, groups=None, sample_weight=None):
        self.classes_ = np.unique(y)
        self.n_features_in_ = np.asarray(X).shape[1]
        self.seen_ = (None if groups is None else set(groups), sample_weight)
        assert sample_weight is None or len(sample_weight) == len(X)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def folds_seen():
    seen = []

    def score(estimator, X, y):
        seen.append(estimator.seen_)
        return 0.5

    return seen, score


def test_groups_and_weights_without_routing():
    seen, score = folds_seen()
    weight = np.arange(90.0)
    search(Weighted(), {"a": [1, 2]}, cv=GroupKFold(3), scoring=score, n_trials=1).fit(
        X, y, groups=GROUPS, sample_weight=weight
    )
    assert len(seen) == 3
    assert all(groups is None and len(weights) == 60 for groups, weights in seen)
    assert sorted(w for _, weights in seen for w in weights) == sorted([*weight, *weight])


def test_groups_and_weights_with_routing():
    seen, score = folds_seen()
    with sklearn.config_context(enable_metadata_routing=True):
        inner = Weighted().set_fit_request(groups=True, sample_weight=False)
        other = LogisticRegression().set_fit_request(sample_weight=False)
        choice = Choice([("w", inner), ("lr", other)])

        def inner_score(estimator, X, y):
            return score(estimator.estimator_, X, y)

        own = search(
            choice, {"w__a": [1, 2]}, cv=GroupKFold(3), scoring=inner_score, n_trials=1
        ).fit(X, y, groups=GROUPS)
        assert [len(groups) for groups, _ in seen] == [6, 6, 6]
        assert own.best_estimator_.estimator_.seen_[0] == set(range(9))
        with pytest.raises(TypeError, match="sample_weight"):
            own.fit(X, y, groups=GROUPS, sample_weight=np.ones(90))


class Picky(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        if self.C > 1:
            raise RuntimeError("C is too large for me")
        return super().fit(X, y, sample_weight)


def test_failing_fits():
    space = {"C": [0.1, 10.0]}
    sampler = optuna.samplers.GridSampler(space, seed=0)
    own = search(Picky(), space, n_trials=2, sampler=sampler)
    with pytest.warns(sklearn.exceptions.FitFailedWarning, match="too large for me"):
        own.fit(X, y)
    states = dict(zip(own.cv_results_["param_C"], own.cv_results_["trial_state"]))
    assert states == {0.1: "COMPLETE", 10.0: "FAIL"}
    assert own.best_params_ == {"C": 0.1}
    with pytest.warns(sklearn.exceptions.FitFailedWarning):
        zero = clone(own).set_params(error_score=0.0).fit(X, y)
    assert set(zero.cv_results_["trial_state"]) == {"COMPLETE"}
    assert zero.cv_results_["mean_test_score"].min() == 0
    with pytest.raises(RuntimeError, match="too large for me"):
        clone(own).set_params(error_score="raise").fit(X, y)
    with pytest.raises(ValueError, match="All the 6 fits failed"):
        search(Picky(), {"C": [10.0, 20.0]}, n_trials=2).fit(X, y)


def test_an_error_that_is_raised_leaves_no_trial_behind(tmp_path):
    """The disk was full; now it is not."""
    full = tmp_path / "full"

    def on_disk(data):
        if full.exists():
            raise OSError("the disk is full")
        return data

    def own(n_trials):
        return search(
            make_pipeline(FunctionTransformer(on_disk), LogisticRegression()),
            {"logisticregression__C": [0.1, 1.0, 10.0]}, n_trials=n_trials, error_score="raise",
            storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="mine",
        )  # fmt: skip

    full.touch()
    for _ in range(2):  # the error is not hidden by its trial
        with pytest.raises(OSError, match="disk is full"):
            own(1).fit(X, y)
    full.unlink()
    done = own(2).fit(X, y)
    assert list(done.cv_results_["trial_state"]) == ["COMPLETE", "COMPLETE"]
    assert done.best_score_ > 0


def test_estimators_as_values_are_cloned_and_kept():
    heads = [LogisticRegression(C=0.1), SVC()]
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    own = search(pipe, {"logisticregression": heads}, n_trials=6).fit(X, y)
    assert {type(p["logisticregression"]) for p in own.cv_results_["params"]} == {
        LogisticRegression, SVC,
    }  # fmt: skip
    assert not any(hasattr(head, "classes_") for head in heads)
    assert own.trials_[0].params["logisticregression"] in ("LogisticRegression(C=0.1)", "SVC()")


def test_refit_scoring_and_callbacks():
    def worst(results):
        return int(results["mean_test_score"].argmin())

    own = search(refit=worst).fit(X, y)
    assert own.best_index_ == own.cv_results_["mean_test_score"].argmin()
    assert not hasattr(search(refit=False).fit(X, y), "best_estimator_")
    several = search(scoring=lambda e, X, y: {"a": 1.0, "b": e.score(X, y)}, refit="b").fit(X, y)
    assert several.trials_[0].value == several.cv_results_["mean_test_b"][0]

    class Third(list):
        def __call__(self, study, trial):
            self.append(trial.number)
            return len(self) == 3

    stop = Third()
    stopped = search(n_trials=9, callbacks=[stop]).fit(X, y)
    assert len(stopped.trials_) == 3
    assert stop == []  # each fit has its own copy
    with pytest.raises(ValueError, match="No trial was finished"):
        search(timeout=0).fit(X, y)


def test_scikit_learns_callbacks():
    pytest.importorskip("sklearn.callback")
    tasks = []

    class Watch:
        def setup(self, estimator, context):
            tasks.append("setup")

        def on_fit_task_begin(self, estimator, context):
            tasks.append(context.task_name)

        def on_fit_task_end(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            tasks.append("teardown")

    search(n_trials=2).set_callbacks(Watch()).fit(X, y)
    assert tasks[0] == "setup"
    assert tasks[-1] == "teardown"
    assert tasks.count("candidate-split-evaluation") == 6
    assert {"search", "refit-with-best-params"} <= set(tasks)


def test_ways_to_write_a_space():
    space = SearchSpace(
        {"kernel": ["linear", "rbf"], "C": loguniform(1e-2, 1e2), "gamma": C["C"]},
        when={"gamma": {"kernel": ("rbf",)}},
    )
    own = search(SVC(), space, n_trials=8, cv=KFold(2)).fit(X, y)
    for params in own.cv_results_["params"]:
        assert ("gamma" in params) == (params["kernel"] == "rbf")

    def by_hand(trial):
        kernel = trial.suggest_categorical("kind", ["linear", "rbf"])
        return {"kernel": kernel} | (
            {"C": trial.suggest_float("c", 1, 2)} if kernel == "rbf" else {}
        )

    own = search(SVC(), by_hand, n_trials=6, cv=KFold(2)).fit(X, y)
    assert {tuple(sorted(p)) for p in own.cv_results_["params"]} == {("C", "kernel"), ("kernel",)}
    with pytest.raises(SpecError, match="cannot be sampled"):
        search(space={"C": 3}).fit(X, y)
    late = SearchSpace({"C": [1.0], "tol": [0.1]}, when={"C": {"tol": (0.1,)}})
    with pytest.raises(SpecError, match="before it"):
        search(space=late).fit(X, y)
    with pytest.raises(SpecError, match="sampler='anneal'"):
        search(sampler="anneal").fit(X, y)


def test_light_import():
    import subprocess
    import sys

    code = (
        "import sys, eegfound.search; assert 'optuna' not in sys.modules; "
        "eegfound.search.OptunaSearchCV; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
