"""Few-shot splits and curves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eegfound.base import SpecError
from eegfound.model_selection import FewShotSplit, few_shot_curve, summarize_curve
from tests.helpers_toy import eeg, encoder

LABELS = np.array(["left", "right", "rest"])


@pytest.fixture
def design():
    """Return labels and subjects of 4 people in mixed order, 8 epochs per class each."""
    rng = np.random.default_rng(0)
    y, groups = np.repeat(LABELS, 32), np.tile(["a", "b", "c", "d"], 24)
    order = rng.permutation(96)
    return y[order], groups[order]


@pytest.mark.parametrize("order", ["random", "first"])
@pytest.mark.parametrize("others", [True, False])
def test_split_is_what_it_says(design, order, others):
    y, groups = design
    splitter = FewShotSplit(2, order=order, others=others, reserve=3)
    tested = []
    for subject, (train, test) in zip("abcd", splitter.split(y, y, groups), strict=True):
        own = groups[train] == subject
        assert pd.Series(y[train][own]).value_counts().to_dict() == dict.fromkeys(LABELS, 2)
        away = np.flatnonzero(groups != subject) if others else []
        assert set(train[~own]) == set(away)
        assert set(groups[test]) == {subject}
        assert pd.Series(y[test]).value_counts().to_dict() == dict.fromkeys(LABELS, 5)
        assert not set(train) & set(test)
        tested.append(test)
    assert splitter.get_n_splits(y, y, groups) == len(tested) == 4


def test_first_means_first_in_time(design):
    y, groups = design
    for train, test in FewShotSplit(3, order="first").split(y, y, groups):
        subject = groups[test[0]]
        for label in LABELS:
            shots = train[(groups[train] == subject) & (y[train] == label)]
            assert shots.max() < test[y[test] == label].min()


def test_test_epochs_are_the_same_for_every_number_of_shots(design):
    y, groups = design
    found = [
        list(FewShotSplit(k, n_repeats=3, reserve=5, random_state=7).split(y, y, groups))
        for k in (0, 1, 3, 5)
    ]
    for smaller, larger in pairwise(found):
        for (train, test), (more, same) in zip(smaller, larger, strict=True):
            np.testing.assert_array_equal(test, same)
            assert set(train) < set(more)
    draws = [tuple(test) for _, test in found[0][:3]]
    assert len(set(draws)) == 3  # repeats are different draws
    other = FewShotSplit(0, reserve=5, random_state=8).split(y, y, groups)
    assert tuple(next(other)[1]) != draws[0]


def test_a_seed_or_a_generator(design):
    y, groups = design
    one, two = (list(FewShotSplit(2, random_state=3).split(y, y, groups)) for _ in range(2))
    np.testing.assert_equal(one, two)
    state = np.random.RandomState(0)
    first, second = (list(FewShotSplit(2, random_state=state).split(y, y, groups)) for _ in "12")
    assert any((a[1] != b[1]).any() for a, b in zip(first, second))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_shots": -1}, "n_shots=-1"),
        ({"n_shots": 1.5}, "n_shots=1.5"),
        ({"n_repeats": 0}, "n_repeats=0"),
        ({"order": "last"}, r"order='last' is not one of \('random', 'first'\)"),
        ({"order": "first", "n_repeats": 2}, "n_repeats=2 with order='first'"),
        ({"n_shots": 0, "others": False}, "n_shots=0 with others=False"),
        ({"n_shots": 3, "reserve": 2}, "reserve=2 must be a whole number not below n_shots=3"),
        ({"n_shots": 8}, "Subject a has 8 epoch.* of class left: n_shots=8 leaves none.*Lower"),
        ({"n_shots": 1, "reserve": 9}, "reserve=9 leaves none of it to test. Lower reserve"),
    ],
)
def test_errors_name_the_parameter(design, params, message):
    y, groups = design
    with pytest.raises(SpecError, match=message):
        next(FewShotSplit(**params).split(y, y, groups))


def test_errors_of_the_data(design):
    y, groups = design
    for arguments, message in [
        ((y, None, groups), "needs y"),
        ((y, y, None), "needs groups="),
        ((y, y, groups[1:]), r"groups has shape \(95,\) for 96 epochs"),
        ((y, np.linspace(0, 1, 96), groups), "is for classification"),
        ((y, y, np.zeros(96)), "others=False"),
    ]:
        with pytest.raises(SpecError, match=message):
            next(FewShotSplit(1).split(*arguments))
    y[groups == "b"] = "left"
    with pytest.raises(SpecError, match=r"Subject b has 0 epoch\(s\) of class rest"):
        next(FewShotSplit(1).split(y, y, groups))
    assert len(list(FewShotSplit(0).split(y, y, groups))) == 4  # zero-shot needs no class


class TestCurve:
    def problem(self):
        """Every subject has a labelling of its own: zero-shot is hopeless, shots help."""
        rng = np.random.default_rng(0)
        groups, code = np.repeat(np.arange(6), 20), np.tile([0, 1], 60)
        y = LABELS[code]
        shift = np.column_stack([groups * 10.0, np.where(groups % 2, code, 1 - code) * 3.0])
        return shift + 0.3 * rng.standard_normal((120, 2)), y, groups

    def test_shots_help_who_can_use_them(self):
        X, y, groups = self.problem()
        curve = few_shot_curve(
            {"near": KNeighborsClassifier(1), "guess": DummyClassifier()}, X, y, groups,
            n_shots=(3, 0, 1), n_repeats=2,
        )  # fmt: skip
        assert list(curve.columns) == [
            "estimator", "n_shots", "subject", "repeat", "n_train", "n_test", "score",
        ]  # fmt: skip
        assert len(curve) == 2 * 3 * 6 * 2
        assert set(curve["n_test"]) == {20 - 2 * 3}
        assert set(curve["n_train"] - 2 * curve["n_shots"]) == {100}
        table = summarize_curve(curve).set_index(["estimator", "n_shots"])
        assert table.loc["near", "mean"].tolist() == pytest.approx([0, 1, 1], abs=0.05)
        assert table.loc["guess", "mean"].tolist() == [0.5, 0.5, 0.5]
        assert table.index.get_level_values(0).tolist() == ["near"] * 3 + ["guess"] * 3
        only = few_shot_curve(
            {"near": KNeighborsClassifier(1)}, X, y, groups, n_shots=(2,), others=False
        )
        assert set(only["n_train"]) == {4}

    def test_summary_by_hand(self):
        curve = pd.DataFrame(
            {
                "estimator": "e", "n_shots": 1, "subject": [0, 0, 1, 1], "repeat": [0, 1, 0, 1],
                "score": [0.4, 0.6, 0.9, 0.9],
            }
        )  # fmt: skip
        found = summarize_curve(curve).iloc[0]
        assert found["mean"] == pytest.approx(0.7)
        assert found["sd_subjects"] == pytest.approx(0.4 / np.sqrt(2))
        assert found["sd_repeats"] == pytest.approx(np.std([0.4, 0.6], ddof=1) / 2)
        assert found["n_subjects"] == 2

    def test_weight_of_a_shot(self):
        X, y, groups = self.problem()
        # Scaled, so that the subjects' own offset does not tell them apart.
        pipe = {"LR": make_pipeline(StandardScaler(), LogisticRegression())}
        light, heavy = (
            few_shot_curve(pipe, X[:, 1:], y, groups, n_shots=(3,), shot_weight=w)["score"].mean()
            for w in (None, 100)
        )
        assert light < 0.2
        assert heavy > 0.9
        one = few_shot_curve(pipe, X[:, 1:], y, groups, n_shots=(3,), shot_weight=1)
        assert one["score"].mean() == pytest.approx(light)
        with pytest.raises(SpecError, match="takes no sample_weight"):
            few_shot_curve({"near": KNeighborsClassifier(1)}, X, y, groups, shot_weight=2)
        with pytest.raises(SpecError, match="shot_weight=0"):
            few_shot_curve(pipe, X, y, groups, shot_weight=0)

    def test_weights_with_routing(self):
        X, y, groups = self.problem()
        LR = LogisticRegression()
        with config_context(enable_metadata_routing=True):
            with pytest.raises(SpecError, match="requests sample_weight"):
                few_shot_curve({"LR": LR}, X[:, 1:], y, groups, shot_weight=9)
            asking = clone(LR).set_fit_request(sample_weight=True)
            routed = few_shot_curve({"LR": asking}, X[:, 1:], y, groups, shot_weight=9)
        plain = few_shot_curve({"LR": LR}, X[:, 1:], y, groups, shot_weight=9)
        pd.testing.assert_frame_equal(routed, plain)

    @pytest.mark.parametrize("routing", [False, True])
    def test_groups_reach_who_asks(self, routing):
        X, y, groups = self.problem()
        with config_context(enable_metadata_routing=routing):
            curve = few_shot_curve(
                {"asks": make_pipeline(StandardScaler(), AsksForGroups())}, X, y, groups,
                n_shots=(2,), scoring=told,
            )  # fmt: skip
        assert curve["score"].eq(1).all()

    def test_on_windows_of_eeg(self, toy):
        X, y = eeg(48), LABELS[np.tile([0, 1], 24)]
        X[y == "right", 1] += 1e-5
        groups = np.repeat(np.arange(4), 12)
        pipe = make_pipeline(encoder(), StandardScaler(), LogisticRegression())
        options = {"n_shots": (0, 2), "order": "first"}
        one = few_shot_curve({"toy": pipe}, X, y, groups, **options)
        two = few_shot_curve({"toy": pipe}, list(X), y, groups, **options)
        pd.testing.assert_frame_equal(one, two)
        scores = cross_val_score(
            pipe, X, y, groups=groups, cv=FewShotSplit(2, order="first"),
            scoring="balanced_accuracy",
        )  # fmt: skip
        np.testing.assert_array_equal(scores, one.query("n_shots == 2")["score"])

    @pytest.mark.slow
    def test_processes_give_the_same_numbers(self):
        X, y, groups = self.problem()
        pipes = {"LR": LogisticRegression(), "guess": DummyClassifier()}
        pd.testing.assert_frame_equal(
            *(few_shot_curve(pipes, X, y, groups, n_shots=(0, 2), n_jobs=n) for n in (1, 2))
        )


class AsksForGroups(ClassifierMixin, BaseEstimator):
    """Scores 1 if it was told its training subjects, all of them."""

    __metadata_request__fit = {"groups": True}

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        self.told_ = len(groups) == len(X) and len(set(groups)) == 6
        return self

    def predict(self, X):
        return self.classes_[np.zeros(len(X), int)]


def told(pipeline, X, y):
    return float(pipeline[-1].told_)


def test_half_a_shot_is_no_shot():
    y, groups = np.tile(["rest", "task"], 8), np.repeat(["a", "b"], 8)
    with pytest.raises(SpecError, match=r"n_shots=0\.5"):
        few_shot_curve({"guess": DummyClassifier()}, y[:, None], y, groups, n_shots=(0.5, 2))
