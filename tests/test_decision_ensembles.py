"""Stacks, votes, thresholds and weights around whole pipelines, with people kept apart."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import recall_score
from sklearn.model_selection import (
    GroupKFold,
    StratifiedGroupKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from eegfound.base import SpecError
from eegfound.baselines import make_baseline
from eegfound.benchmark import run_benchmark
from eegfound.estimators import FoundationClassifier
from eegfound.model_selection import GroupedStackingClassifier
from tests.helpers_toy import eeg, encoder, info

pytestmark = pytest.mark.usefixtures("toy")


def data(n=48, n_subjects=4, every=2):
    """Epochs of two states; every so many is a task, which shifts one electrode."""
    X = eeg(n)
    y = np.where(np.arange(n) % every == 0, "task", "rest")
    X[y == "task", 1] += 3e-5
    return X, y, np.arange(n) * n_subjects // n


def pipeline(**params):
    return make_pipeline(encoder(**params), StandardScaler(), LogisticRegression())


def classifier(**params):
    return FoundationClassifier("toy", checkpoint=None, info=info(), max_epochs=3, **params)


class RecognizesPeople(ClassifierMixin, BaseEstimator):
    """Right for people it was fitted on, for others always of the first class.

    The size of channel 0 is the person, that of channel 1 the class.
    """

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.people_ = set(X[:, 0, 0])
        return self

    def predict_proba(self, X):
        known = np.isin(X[:, 0, 0], list(self.people_))
        second = np.where(known, X[:, 1, 0], 0.0)
        return np.column_stack([1 - second, second])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Generalizes(RecognizesPeople):
    """Right four times out of five, for anybody."""

    def predict_proba(self, X):
        second = np.abs(X[:, 1, 0] - X[:, 2, 0])
        return np.column_stack([1 - second, second])


def people():
    groups, code = np.repeat(np.arange(6.0), 20), np.tile([0.0, 1.0], 60)
    wrong = (np.arange(120) // 2 % 5 == 0).astype(float)
    X = np.zeros((120, 3, 4)) + np.column_stack([groups, code, wrong])[:, :, None]
    return X, np.array(["rest", "task"])[code.astype(int)], groups


class TestGroupedStack:
    def test_trusts_what_generalizes(self):
        """The stack whose folds cut through people trusts the member that recognizes them."""
        X, y, groups = people()
        members = [("memory", RecognizesPeople()), ("honest", Generalizes())]
        common = {"final_estimator": LogisticRegression(), "cv": 3}
        shuffled = np.random.default_rng(0).permutation(120)  # so that folds do cut
        X, y, groups = X[shuffled], y[shuffled], groups[shuffled]
        options = {"groups": groups, "cv": GroupKFold(3)}
        cut = cross_val_score(StackingClassifier(members, **common), X, y, **options)
        kept = cross_val_score(
            GroupedStackingClassifier(members, **common), X, y, **options,
            params={"groups": groups},
        )  # fmt: skip
        assert cut.mean() < 0.6
        assert kept.mean() == pytest.approx(0.8)

    @pytest.mark.parametrize("routing", [False, True])
    def test_no_subject_is_on_both_sides(self, routing):
        X, y, groups = people()
        seen = []

        class Witness(RecognizesPeople):
            def predict_proba(self, X):
                seen.append(self.people_ & set(X[:, 0, 0]))
                return super().predict_proba(X)

        stack = GroupedStackingClassifier([("w", Witness())], cv=3)
        with config_context(enable_metadata_routing=routing):
            stack.fit(X, y, groups=groups)
        assert seen == [set()] * 3
        assert stack.estimators_[0].people_ == set(groups)  # the last fit takes everybody

    @pytest.mark.parametrize("routing", [False, True])
    def test_on_windows(self, routing):
        X, y, groups = data()
        members = [("toy", pipeline()), ("tuned", classifier()), ("raw", make_baseline("mdm"))]
        stack = GroupedStackingClassifier(members, cv=2)
        with config_context(enable_metadata_routing=routing):
            stack.fit(X, y, groups=groups)
        assert set(stack.predict(X)) == {"rest", "task"}
        assert stack.predict_proba(X).shape == (48, 2)
        assert type(stack.final_estimator_) is LogisticRegression
        # The same as scikit-learn's stack on folds made by hand.
        splits = list(GroupKFold(2).split(X, y, groups))
        by_hand = StackingClassifier(members, cv=splits).fit(X, y)
        np.testing.assert_array_equal(stack.predict_proba(X), by_hand.predict_proba(X))
        np.testing.assert_array_equal(stack.transform(X), by_hand.transform(X))
        again = pickle.loads(pickle.dumps(stack))
        np.testing.assert_array_equal(again.decision_function(X), stack.decision_function(X))
        assert stack.get_params()["cv"] == 2  # fit leaves the parameters alone
        assert stack.final_estimator is None

    def test_members_that_ask_for_groups_get_them_by_routing(self):
        X, y, groups = data(n_subjects=8)
        member = classifier(early_stopping=True)
        with config_context(enable_metadata_routing=True):
            stack = GroupedStackingClassifier([("m", member), ("p", pipeline())], cv=2)
            scores = cross_val_score(
                stack, X, y, cv=GroupKFold(2), params={"groups": groups}, error_score="raise"
            )
        assert len(scores) == 2

    def test_weights_reach_members_and_final(self):
        X, y, groups = data()
        weight = np.where(y == "task", 50.0, 1.0)
        X[:] = eeg(48, seed=2)
        for routing in (False, True):
            with config_context(enable_metadata_routing=routing):
                member = classifier()
                if routing:
                    member.set_fit_request(sample_weight=True)
                stack = GroupedStackingClassifier([("m", member)], cv=2)
                stack.fit(X, y, groups=groups, sample_weight=weight)
            assert set(stack.predict(X)) == {"task"}

    def test_what_it_can_do_before_fit(self):
        assert hasattr(GroupedStackingClassifier([("nb", GaussianNB())]), "predict_proba")
        ridge = GroupedStackingClassifier([("nb", GaussianNB())], RidgeClassifier())
        assert hasattr(ridge, "predict")
        assert not hasattr(ridge, "predict_proba")

    @pytest.mark.parametrize(
        ("cv", "groups", "message"),
        [
            (None, None, "needs groups="),
            (None, [0] * 8, r"cv=None folds cannot be made of 1 subject"),
            (5, [0, 0, 1, 1, 2, 2, 3, 3], "cv=5 folds cannot be made of 4"),
            ("prefit", [0, 0, 1, 1, 2, 2, 3, 3], "cv='prefit'"),
            (3, [0, 1], "groups has 2 entries for 8 epochs"),
            (
                [([0, 1, 2], [3, 4, 5, 6, 7])],
                [0, 0, 1, 1, 2, 2, 3, 3],
                r"\[1\] on both",
            ),
        ],
    )
    def test_errors(self, cv, groups, message):
        X, y = np.zeros((8, 2)), np.tile([0, 1], 4)
        with pytest.raises(SpecError, match=message):
            GroupedStackingClassifier([("nb", GaussianNB())], cv=cv).fit(X, y, groups=groups)


def test_votes_and_unions_of_encoders_and_riemann():
    X, y, groups = data()
    members = [("toy", pipeline()), ("tuned", classifier()), ("raw", make_baseline("mdm"))]
    vote = VotingClassifier(members, voting="soft", weights=[1, 2, 0]).fit(X, y)
    expected = (vote.estimators_[0].predict_proba(X) + 2 * vote.estimators_[1].predict_proba(X)) / 3
    np.testing.assert_allclose(vote.predict_proba(X), expected, atol=1e-6)
    union = make_union(encoder(), encoder(size="wide"), encoder(layer=1))
    assert union.fit_transform(X).shape == (48, 16 + 32 + 16)
    whole = make_pipeline(union, StandardScaler(), LogisticRegression())
    assert cross_val_score(whole, X, y, groups=groups, cv=GroupKFold(2)).mean() > 0.7


class TestImbalance:
    @pytest.mark.parametrize("make", [pipeline, classifier])
    def test_threshold_is_tuned_by_subject(self, make):
        X, y, groups = data(60, 6, every=5)
        with config_context(enable_metadata_routing=True):
            tuned = TunedThresholdClassifierCV(
                make(), scoring="balanced_accuracy", cv=StratifiedGroupKFold(2)
            )
            found = cross_val_predict(
                tuned, X, y, cv=StratifiedGroupKFold(2), params={"groups": groups}
            )
            assert 0 < clone(tuned).fit(X, y, groups=groups).best_threshold_ < 1
        plain = cross_val_predict(make(), X, y, cv=StratifiedGroupKFold(2), groups=groups)
        recall = [recall_score(y, p, pos_label="task") for p in (found, plain)]
        assert recall[0] >= recall[1]
        assert recall[0] > 0.6

    def test_class_weight_is_the_sample_weight_it_says(self):
        X, y, _ = data(50, 5, every=5)
        X[:] = eeg(50, seed=3)
        balanced = classifier(class_weight="balanced").fit(X, y)
        by_hand = classifier().fit(X, y, sample_weight=np.where(y == "task", 2.5, 0.625))
        np.testing.assert_allclose(balanced.predict_proba(X), by_hand.predict_proba(X), atol=1e-6)
        plain = classifier().fit(X, y)
        assert (balanced.predict(X) == "task").sum() > (plain.predict(X) == "task").sum()

    def test_rare_class_in_grouped_folds(self):
        """Six subjects, the rare class in three: StratifiedGroupKFold has it in every fold."""
        groups = np.repeat(np.arange(6), 10)
        y = np.where((groups < 3) & (np.arange(60) % 10 == 0), "rare", "common")
        shares = [
            {label: (y[test] == label).sum() for label in set(y)}
            for _, test in StratifiedGroupKFold(3).split(y, y, groups)
        ]
        assert [share["rare"] for share in shares] == [1, 1, 1]


@pytest.mark.parametrize("routing", [False, True])
def test_the_benchmark_hands_groups_to_a_stack(routing):
    X, y, groups = data()
    pipelines = {"toy": pipeline(), "stack": GroupedStackingClassifier([("nb", pipeline())])}
    with config_context(enable_metadata_routing=routing):
        results = run_benchmark(pipelines, X, y, groups, cv=2, info=info())
    assert not results.folds["error"].notna().any(), results.folds["error"].tolist()


@pytest.mark.slow
def test_stack_in_processes():
    stack = GroupedStackingClassifier([("nb", Generalizes())], cv=2)
    X, y, groups = people()
    one, two = (
        cross_val_score(
            stack, X, y, groups=groups, cv=GroupKFold(3), params={"groups": groups}, n_jobs=n
        )
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
